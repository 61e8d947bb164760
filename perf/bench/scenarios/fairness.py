#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints what perf/bench/scenarios/fairness measured, and writes it as JSON.

usage: fairness.py DIRECTORY ROUNDS SECONDS [RESULT_JSON]
       fairness.py addresses GREEDY_KEY <SESSIONS     the sessions' IPv4 addresses, that of the greedy one first

DIRECTORY is as report.py says; `figures` has "FIGURE SHARE" lines, and windows/FIGURE/SUBJECT/ROUND/ the sessions before and after,
when that was, and in packets a second what the greedy one and all others together were offered.

Jain's index is (sum x)^2 / (n sum x^2), 1 when all x are alike and 1/n when one has all. x is a client's goodput, divided by what max-min
fairness gives it of what all had: it need not have more than it asks for. When each asks for its share at least, that is the same as of
the goodput itself (`jain-raw`).
"""

import json
import os
import statistics
import sys

from report import Report, lines_of


def jain(values):
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 0.0


def max_min(total, demands):
    """What each has of the total when none can have more without taking it from one that has no more."""
    shares = [0.0] * len(demands)
    order = sorted(range(len(demands)), key=lambda index: demands[index])
    for place, index in enumerate(order):
        shares[index] = min(demands[index], total / (len(order) - place))
        total -= shares[index]
    return shares


def text_of(directory, name):
    with open(os.path.join(directory, name), encoding="ascii") as file:
        return file.read().strip()


def sessions(directory, name, greedy):
    """(packets, bytes) of each peer, the greedy one first."""
    way = "tx" if "-down-" in directory else "rx"
    listed = json.loads(text_of(directory, name))["sessions"]
    found = {one["peer"]: (one[f"{way}_packets"], one[f"{way}_bytes"]) for one in listed if one["state"] == "active"}
    return {peer: found[peer] for peer in sorted(found, key=lambda peer: (peer != greedy, peer))}


def window(directory):
    """One sample."""
    greedy = text_of(directory, "greedy")
    before, after = (sessions(directory, name, greedy) for name in ("before", "after"))
    if list(before) != list(after) or greedy not in after:
        sys.exit(f"fairness: the sessions are not those of before, or the greedy one is missing: {directory}")
    seconds = (int(text_of(directory, "after-us")) - int(text_of(directory, "before-us"))) / 1e6
    packets, sizes = ([(after[peer][unit] - before[peer][unit]) / seconds for peer in after] for unit in (0, 1))
    found = {"goodput_mbit": [size * 8 / 1e6 for size in sizes]}
    fair = [sum(sizes) / len(sizes)] * len(sizes)
    if os.path.exists(os.path.join(directory, "offered")):
        first, others = (float(word) for word in text_of(directory, "offered").split())
        demands = [first] + [others / (len(packets) - 1)] * (len(packets) - 1)
        fair = max_min(sum(packets), [max(pair) for pair in zip(demands, packets)])
        found["offered_pps"] = {"greedy": first, "others": others}
        found["offered"] = sum(demands) / sum(packets) if any(packets) else 0.0
        sizes = packets
    found["jain"] = jain([size / share if share else 0.0 for size, share in zip(sizes, fair)])
    found["jain-raw"] = jain(sizes)
    return found


def table(directory, rounds, seconds, result_path=None):
    figures = dict(line.split() for line in lines_of(directory, "figures"))
    report = Report("fairness", directory, rounds, seconds, share_pps={name: int(share) for name, share in figures.items()})
    windows = {}
    for figure in figures:
        root = os.path.join(directory, "windows", figure)
        for subject in report.subjects:
            places = sorted(os.listdir(os.path.join(root, subject)), key=int)
            windows.setdefault(figure, {})[subject] = [window(os.path.join(root, subject, place)) for place in places]
        rows = {
            "jain": lambda one: one["jain"],
            "jain-raw": lambda one: one["jain-raw"],
            "total/mbit": lambda one: sum(one["goodput_mbit"]),
            "greedy/mbit": lambda one: one["goodput_mbit"][0],
            "others-median/mbit": lambda one: statistics.median(one["goodput_mbit"][1:]),
            "others-least/mbit": lambda one: min(one["goodput_mbit"][1:]),
            "offered/times": lambda one: one.get("offered"),
        }
        for row, value in rows.items():
            values = {subject: [value(one) for one in found] for subject, found in windows[figure].items()}
            if None not in next(iter(values.values())):
                report.samples[f"{figure}/{row}"] = values
    report.result["windows"] = windows
    report.finish(result_path)


def print_addresses(greedy):
    listed = sorted(json.load(sys.stdin)["sessions"], key=lambda one: one["peer"] != greedy)
    print("\n".join(address for one in listed for address in one["addresses"] if ":" not in address))


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "addresses":
        print_addresses(sys.argv[2])
    elif len(sys.argv) in (4, 5):
        table(*sys.argv[1:])
    else:
        sys.exit(__doc__)
