#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Says what is wrong with a result of make bench-quick with the subjects shardtun and veth; silent when nothing is.

usage: bench.py RESULT_JSON
"""

import json
import sys

BOTH = ("shardtun", "veth")
OURS = ("shardtun",)
# Which subject has it, and the least and the most that any machine could have.
FIGURES = {
    "tcp-1-up/gso/gbit": (BOTH, 0.01, 1000),
    "tcp-1-down/gso/gbit": (BOTH, 0.01, 1000),
    "tcp-1-up/wire/gbit": (BOTH, 0.01, 1000),
    "tcp-1-down/wire/gbit": (BOTH, 0.01, 1000),
    "cpu-per-gib/up/seconds": (OURS, 0.001, 100),
    "cpu-per-gib/down/seconds": (OURS, 0.001, 100),
    "unaggregated-64/kpps": (BOTH, 0.1, 100000),
    "unaggregated-1200/kpps": (BOTH, 0.1, 100000),
    "rtt-idle-p50/us": (BOTH, 0.5, 1e6),
    "rtt-idle-p99/us": (BOTH, 0.5, 1e6),
    "rtt-loaded-p50/us": (BOTH, 0.5, 1e6),
    "rtt-loaded-p99/us": (BOTH, 0.5, 1e6),
    "tcp-beside-rtt/gbit": (BOTH, 0.001, 1000),
    "connect/ms": (OURS, 0.5, 10000),
    "resident/mib": (OURS, 0.5, 4096),
}


def faults(result):
    if result["version"] != 2 or result["settings"] != {"rounds": 1, "seconds": 1}:
        yield f"version or settings: {result['version']}, {result['settings']}"
    for key in ("command", "date", "commit"):
        if not result[key]:
            yield f"no {key}"
    for key in ("cpu", "cpus", "kernel", "distribution"):
        if not result["machine"][key]:
            yield f"machine: no {key}"
    if set(result["versions"]) != set(BOTH) or not all(result["versions"].values()):
        yield f"versions: {result['versions']}"
    samples = result["samples"]
    if set(samples) != set(FIGURES):
        yield f"figures too many or missing: {sorted(set(samples) ^ set(FIGURES))}"
    for figure, (subjects, least, most) in FIGURES.items():
        found = samples.get(figure, {})
        if set(found) != set(subjects):
            yield f"{figure}: of {sorted(found)}"
        for subject, values in found.items():
            if not values or not all(least < value < most for value in values):
                yield f"{figure}: {subject} {values}"
    for which in ("rtt-idle", "rtt-loaded"):
        if samples[f"{which}-p50/us"]["shardtun"] > samples[f"{which}-p99/us"]["shardtun"]:
            yield f"{which}: p50 above p99"
    counts = {stage["stage"]: stage["count"] for stage in result["stages"]["stages"]}
    if not counts.get("open") or not counts.get("seal"):
        yield f"stages: nothing was timed under load: {counts}"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        result = json.load(file)
    wrong = list(faults(result))
    print("\n".join(wrong), end="")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
