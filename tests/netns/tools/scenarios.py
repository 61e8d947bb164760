#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Says what is wrong with a result of perf/bench/scenarios/{latency,fairness,idle} as tests/netns/cases/bench_latency.sh starts
them; silent when nothing is.

usage: scenarios.py latency|fairness|idle RESULT_JSON SUBJECT...
"""

import json
import sys

QUANTILES = ("p50", "p99", "p99.9", "max")
WORST_US = 1e6 * 60  # a second each that is lost, and what a stalled machine adds


def head(result, name, subjects):
    if result["schema"] != f"shardtun-{name}/1" or result["settings"]["rounds"] != 1:
        yield f"schema or settings: {result['schema']}, {result['settings']}"
    if not result["date"] or not result["commit"] or not all(result["machine"].values()):
        yield "no date, commit or machine"
    if list(result["versions"]) != subjects or not all(result["versions"].values()):
        yield f"versions: {result['versions']}"
    if set(result["commits"]) != set(subjects) - {"veth"} or not all(result["commits"].values()):
        yield f"commits: {result['commits']}"
    if len(result["load_average"]) != 1 or len(result["load_average"][0]) != 3:
        yield f"load average: {result['load_average']}"


def within(result, figures, subjects, least, most):
    for figure in figures:
        found = result["samples"].get(figure, {})
        if set(found) != set(subjects) or not all(len(one) == 1 and least <= one[0] <= most for one in found.values()):
            yield f"{figure}: {found}"


def latency(result, subjects):
    trips = result["round_trips"]
    if set(trips) != {"idle-1000", "tcp-1-both", "other-1-down", "flood-up"}:
        yield f"figures: {list(trips)}"
    for figure, found in trips.items():
        if set(found) != set(subjects):
            yield f"{figure}: of {list(found)}"
        for subject, (one,) in found.items():
            values = [one[name] for name in QUANTILES if name in one]
            if values != sorted(values) or not 0.5 < values[0] <= values[-1] < WORST_US:
                yield f"{figure}: {subject} {one}"
            if not 0 <= one["lost"] <= one["requests"] or one["requests"] < 1:
                yield f"{figure}: {subject} {one}"
            if "p99" in one and one["requests"] < 100:
                yield f"{figure}: {subject} has a p99 of {one['requests']} requests"
            if result["all_rounds"][figure][subject] != one:
                yield f"{figure}: {subject} all rounds are not the one round"
    yield from within(result, ("tcp-1-both/tcp-gbit", "other-1-down/tcp-gbit"), subjects, 0.001, 1000)
    yield from within(result, ("flood-up/sent-kpps", "flood-up/arrived-kpps"), subjects, 0.01, 1e5)


def fairness(result, subjects):
    figures = ("udp-down-2", "udp-up-2", "tcp-up-2")
    yield from within(result, [f"{figure}/{name}" for figure in figures for name in ("jain", "jain-raw")], subjects, 0.49, 1.0001)
    yield from within(result, [f"{figure}/greedy/mbit" for figure in figures], subjects, 0.001, 1e6)
    # A generator that the machine starved offered less on the whole than came through within the seconds.
    yield from within(result, [f"udp-{way}-2/offered/times" for way in ("down", "up")], subjects, 0.01, 1e6)
    for figure in figures:
        (one,) = result["windows"][figure][subjects[0]]
        if len(one["goodput_mbit"]) != 2 or one["goodput_mbit"][0] <= 0:
            yield f"{figure}: {one}"


def idle(result, subjects):
    yield from within(result, ("none/wakes", "talking/wakes", "talking/wakes-worker"), subjects, 0.01, 1e5)
    yield from within(result, ("none/cpu-ms", "talking/cpu-ms"), subjects, 0.001, 1e4)
    # Twenty sessions say something each second.
    if result["samples"]["talking/wakes"]["shardtun"][0] <= result["samples"]["none/wakes"]["shardtun"][0]:
        yield f"sessions that talk wake no thread: {result['samples']['talking/wakes']}"


def main():
    name, path, *subjects = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        result = json.load(file)
    checks = {"latency": latency, "fairness": fairness, "idle": idle}
    wrong = [*head(result, name, subjects), *checks[name](result, subjects)]
    print("\n".join(wrong), end="")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
