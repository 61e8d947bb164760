#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns what a run of make bench left in DIRECTORY into a table and a JSON file.

usage: summary.py DIRECTORY RESULT_JSON COMMAND ROUNDS SECONDS

There are `samples` ("SUBJECT FIGURE VALUE" lines), `versions` ("SUBJECT VERSION"), `generator` ("SUBJECT FIGURE": the generator
reached no more) and, where a gateway was under load, `stages.json`. What must be reached stands in musts.json: of a figure's
median so much at least or at most, `times` that of another subject ("each peer": each of them), `of` another figure.
"""

import datetime
import json
import os
import platform
import statistics
import subprocess
import sys

VERSION = 2
OURS, BARE, EACH = "shardtun", "veth", "each peer"


def lines_of(directory, name):
    path = os.path.join(directory, name)
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as lines:
        return [line.strip() for line in lines if line.strip()]


def read_samples(directory):
    samples = {}
    for line in lines_of(directory, "samples"):
        subject, figure, value = line.split()
        samples.setdefault(figure, {}).setdefault(subject, []).append(float(value))
    return samples


def read_stages(directory):
    path = os.path.join(directory, "stages.json")
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def machine():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    try:
        distribution = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        distribution = "unknown"
    return {
        "cpu": model,
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "distribution": distribution,
    }


def commit(directory=os.path.dirname(os.path.abspath(__file__))):
    """Of the work tree that the directory is in."""
    describe = ["git", "-C", directory, "describe", "--always", "--dirty"]
    try:
        run = subprocess.run(describe, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return run.stdout.strip() or "unknown"


# --- what must be ------------------------------------------------------------------------------------------------------


def median(samples, figure, subject):
    values = samples.get(figure, {}).get(subject)
    return statistics.median(values) if values else None


def text_of(value):
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def judge_one(samples, figure, must, ours, other):
    """Whether the median meets it, and the sentence; None when there is nothing to compare with."""
    least = "at_least" in must
    limit = must["at_least"] if least else must["at_most"]
    sign = ">=" if least else "<="
    if other is None:
        return (ours >= limit if least else ours <= limit), f"{sign} {limit:g}"
    figure_of = must.get("of", figure)
    base = median(samples, figure_of, other)
    if not base:
        return None, f"{sign} {limit:g} x {other}"
    ratio = ours / base
    where = "" if figure_of == figure else f", {figure_of}"
    return (ratio >= limit if least else ratio <= limit), f"{sign} {limit:g} x {other}{where}: {ratio:.2f}"


def judge(samples, figure, musts, peers):
    """All that is asked of a figure: a list of (met or None, sentence)."""
    ours = median(samples, figure, OURS)
    if ours is None:
        return []
    verdicts = []
    for must in musts.get(figure, []):
        others = [must.get("times")]
        if others == [EACH]:
            others = [peer for peer in peers if median(samples, figure, peer)]
        verdicts += [judge_one(samples, figure, must, ours, other) for other in others]
    return verdicts


# --- the table ---------------------------------------------------------------------------------------------------------


def print_columns(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join([row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]))


def cell_of(values, limited):
    if not values:
        return "-"
    spread = "" if len(values) == 1 else f" ({text_of(min(values))}-{text_of(max(values))})"
    return text_of(statistics.median(values)) + spread + ("*" if limited else "")


def print_medians(samples, subjects, limited):
    rows = [["median (min-max)"] + subjects]
    for figure, by_subject in samples.items():
        cells = [cell_of(by_subject.get(subject, []), (subject, figure) in limited) for subject in subjects]
        rows.append([figure] + cells)
    print_columns(rows)
    if limited:
        print("* the generator's limit, in some round at least: it reached no higher rate, and what it sent arrived")


def verdict_of(verdicts):
    if not verdicts:
        return ""
    if any(met is False for met, _ in verdicts):
        return "MISSED"
    return "met" if all(met for met, _ in verdicts) else "unknown"


def print_ratios(samples, subjects, musts):
    others = [subject for subject in subjects if subject != OURS]
    peers = [subject for subject in others if subject != BARE]
    rows = [[f"{OURS} as multiple of"] + others + ["must"]]
    missed, unknown = [], []
    for figure in samples:
        ours = median(samples, figure, OURS)
        if ours is None:
            continue
        bases = [median(samples, figure, subject) for subject in others]
        verdicts = judge(samples, figure, musts, peers)
        rows.append([figure] + [f"{ours / base:.2f}" if base else "-" for base in bases] + [verdict_of(verdicts)])
        missed += [f"{figure}: {text_of(ours)}, must be {sentence}" for met, sentence in verdicts if met is False]
        unknown += [f"{figure}: must be {sentence}" for met, sentence in verdicts if met is None]
    absent = [figure for figure in musts if median(samples, figure, OURS) is None]
    print_columns(rows)
    for title, sentences in (("MISSED", missed), ("cannot be said without that peer", unknown)):
        if sentences:
            print(f"\n{title}:")
            print("\n".join("  " + sentence for sentence in sentences))
    if absent:
        print(f"\nmust be reached, and not measured: {', '.join(absent)}")


def main():
    directory, result_path, command, rounds, seconds = sys.argv[1:]
    samples = read_samples(directory)
    versions = dict(line.split(" ", 1) for line in lines_of(directory, "versions"))
    limited = {tuple(line.split()) for line in lines_of(directory, "generator")}
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "musts.json"), encoding="utf-8") as file:
        musts = json.load(file)
    result = {
        "version": VERSION,
        "command": command,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": versions,
        "settings": {"rounds": int(rounds), "seconds": int(seconds)},
        "samples": samples,
        "stages": read_stages(directory),
    }
    if limited:
        result["generator_limited"] = sorted(f"{figure} {subject}" for subject, figure in limited)
    print()
    print_medians(samples, list(versions), limited)
    print()
    print_ratios(samples, list(versions), musts)
    with open(result_path, "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    print(f"\nwritten to {result_path}")


if __name__ == "__main__":
    main()
