#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints what perf/bench/compare/builds measured, and writes it as JSON.

usage: builds.py SAMPLES RATE BUILD_DIR_BEFORE BUILD_DIR_AFTER [RESULT_JSON]

SAMPLES has lines "SIDE ROUND KIND ... GATEWAY_NS CLIENT_NS"; in between, of TCP (up, down) Gbit/s and seconds, of UDP (small, paced)
packets sent, packets arrived and seconds. CPU time is by what arrived.
"""

import datetime
import json
import os
import statistics
import sys

from summary import commit, machine

SIDES = ("before", "after")
# Kind -> unit of throughput, of what the CPU time is for, and how it is titled. Of the paced run the rate is given.
KINDS = {
    "up": ("Gbit/s", "CPU-s per GiB", "TCP up"),
    "down": ("Gbit/s", "CPU-s per GiB", "TCP down"),
    "small": ("kpps", None, "64 bytes unaggregated"),
    "paced": (None, "CPU-us per packet", "64 bytes at {rate:.0f} kpps"),
}


def figures(kind, values):
    """[(figure, value)] of one line of samples."""
    throughput, cost, _ = KINDS[kind]
    if throughput == "Gbit/s":
        gbit, seconds, gateway, client = values
        arrived, unit_ns = gbit * seconds / 8 * 1e9 / 2**30, 1e9
        rate = gbit
    else:
        _, arrived, seconds, gateway, client = values
        unit_ns, rate = 1e3, arrived / seconds / 1e3
    if arrived == 0:
        sys.exit(f"compare: nothing arrived ({kind})")
    found = [(throughput, rate)] if throughput else []
    if cost:
        found += [(f"{who} {cost}", ns / unit_ns / arrived) for who, ns in (("gateway", gateway), ("client", client))]
    return found


def read(path):
    """(kind, figure) -> side -> samples, one a round."""
    samples = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            side, _, kind, *values = line.split()
            for figure, value in figures(kind, [float(value) for value in values]):
                samples.setdefault((kind, figure), {name: [] for name in SIDES})[side].append(value)
    return samples


def main():
    path, rate, *builds = sys.argv[1:5]
    rate = float(rate)
    samples = read(path)
    result = {
        "schema": "shardtun-builds/1",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "load_average": os.getloadavg(),
        "commits": {side: commit(build) for side, build in zip(SIDES, builds)},
        "rate": rate,
        "figures": {},
    }
    print(", ".join(f"{side}: {result['commits'][side]}" for side in SIDES))
    print("%-48s %9s %9s   ratio: median of the rounds' (least to most)" % ("medians", *SIDES))
    for (kind, figure), sides in samples.items():
        title = f"{KINDS[kind][2].format(rate=rate / 1e3)}, {figure}"
        # A side that measured nothing in a round (the sender got no CPU) has no ratio there; the samples keep it.
        ratios = [new / old for old, new in zip(*sides.values()) if old != 0 and new != 0]
        if not ratios:
            print(f"{title}: nothing was measured")
            continue
        middle = statistics.median(ratios)
        medians = [statistics.median(values) for values in sides.values()]
        print("%-48s %9.3f %9.3f   %.3f (%.3f to %.3f)" % (title, *medians, middle, min(ratios), max(ratios)))
        result["figures"][title] = {**sides, "median_ratio": middle}
    if len(sys.argv) > 5:
        with open(sys.argv[5], "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
