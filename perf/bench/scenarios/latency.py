#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints what perf/bench/scenarios/latency measured, and writes it as JSON.

usage: latency.py DIRECTORY ROUNDS SECONDS [RESULT_JSON]

DIRECTORY is as report.py says; round-trips/FIGURE/SUBJECT/ROUND is what `udp rtt` wrote (microseconds or "lost" on each line), or
ping's output. A quantile is given where there are enough requests for one beyond it: p99 of 100, p99.9 of 1,000. Of rates too low for
that in a round, those of all rounds together are. A lost request counts as a second.
"""

import os
import re
import sys

from report import Report, lines_of

LOST_US = 1e6
QUANTILES = {"p50": (0.5, 1), "p99": (0.99, 100), "p99.9": (0.999, 1000)}
PING_ANSWER, PING_SENT = re.compile(r"icmp_seq=(\d+) .*time=([\d.]+) ms"), re.compile(r"^(\d+) packets transmitted")


def read(path):
    """Round trips in microseconds, LOST_US for each that was lost."""
    with open(path, encoding="ascii", errors="replace") as file:
        lines = file.read().splitlines()
    if not lines or not lines[0].startswith("PING"):
        return [LOST_US if line == "lost" else float(line) for line in lines]
    answers = {match[1]: float(match[2]) * 1e3 for match in map(PING_ANSWER.search, lines) if match}
    sent = next((int(match[1]) for match in map(PING_SENT.match, lines) if match), 0)
    return list(answers.values()) + [LOST_US] * (sent - len(answers))


def summary(times):
    times = sorted(times)
    lost = sum(time >= LOST_US for time in times)
    found = {"requests": len(times), "lost": lost, "lost_percent": 100 * lost / len(times)}
    for name, (part, least) in QUANTILES.items():
        if len(times) >= least:
            found[name] = times[min(int(len(times) * part), len(times) - 1)]
    found["max"] = times[-1]
    return found


def read_all(directory):
    """figure -> subject -> [round trips of each round], figures in the order in which they were measured."""
    root = os.path.join(directory, "round-trips")
    found = {}
    for figure in lines_of(directory, "figures"):
        for subject in os.listdir(os.path.join(root, figure)):
            place = os.path.join(root, figure, subject)
            rounds = [read(os.path.join(place, name)) for name in sorted(os.listdir(place), key=int)]
            found.setdefault(figure, {})[subject] = [times for times in rounds if times]
    return found


def table(directory, rounds, seconds, result_path=None):
    report = Report("latency", directory, rounds, seconds)
    beside, report.samples = report.samples, {}
    each, together = {}, {}
    for figure, subjects in read_all(directory).items():
        for subject, all_rounds in subjects.items():
            if not all_rounds:
                continue
            each.setdefault(figure, {})[subject] = [summary(times) for times in all_rounds]
            together.setdefault(figure, {})[subject] = summary([time for times in all_rounds for time in times])
        for name in (*QUANTILES, "lost_percent"):
            unit = "/us" if name in QUANTILES else ""
            values = {subject: [one[name] for one in found if name in one] for subject, found in each.get(figure, {}).items()}
            if any(values.values()):
                report.samples[f"{figure}/{name}{unit}"] = values
            else:
                values = {subject: [found[name]] for subject, found in together.get(figure, {}).items() if name in found}
                if values:
                    report.samples[f"{figure}/{name}{unit} (all rounds)"] = values
        report.samples |= {name: values for name, values in beside.items() if name.startswith(figure + "/")}
    report.result |= {"samples": beside, "round_trips": each, "all_rounds": together}
    report.finish(result_path)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    table(*sys.argv[1:])
