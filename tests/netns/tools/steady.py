#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Asks a gateway ten times a second for its status, by shardtunctl, and for its metrics: each answer has to come, and no counter
may ever be less than it was: those of the metrics for all threads together, without the CPU time, which is of a process, and those of the
kernel's rules, which are each process's own.

steady.py URL SHARDTUNCTL ARGUMENT...    with the arguments that a command follows; until SIGTERM. Says "asking", and at the end a
                                         line of JSON; status 1 if anything was wrong. URL "-": no metrics
"""

import json
import signal
import subprocess
import sys
import time
import urllib.request

PERIOD, PATIENCE, WRONG_MOST = 0.1, 60, 5
BEGIN_ANEW = ("cpu_seconds", "shardtun_forward_")


class Steady:
    def __init__(self):
        self.last, self.wrong = {}, []
        self.asked = {"status": 0, "metrics": 0}
        self.slowest = {"status": 0.0, "metrics": 0.0}

    def complain(self, text):
        self.wrong.append(text)

    def compare(self, kind, counters):
        for name, value in counters.items():
            before = self.last.get((kind, name), value)
            if value < before:
                self.complain(f"{kind}: {name} was {before}, then {value}")
            self.last[kind, name] = value

    def ask(self, kind, how):
        self.asked[kind] += 1
        began = time.monotonic()
        try:
            self.compare(kind, how())
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as failure:
            said = getattr(failure, "stderr", b"") or b""
            self.complain(f"{kind}: {failure!r} {said.decode(errors='replace')}")
        self.slowest[kind] = max(self.slowest[kind], time.monotonic() - began)

    def report(self):
        slowest = {kind: round(1000 * took) for kind, took in self.slowest.items()}
        print(json.dumps({"asked": self.asked, "slowest_ms": slowest, "wrong": len(self.wrong),
                          "first": self.wrong[:WRONG_MOST]}), flush=True)
        return bool(self.wrong) or not self.asked["status"]


def status(command):
    answer = json.loads(subprocess.run([*command, "--json", "status"], capture_output=True, check=True, timeout=PATIENCE).stdout)
    return {**answer["counters"], **{f"{drop['reason']} {drop['direction']}": drop["count"] for drop in answer["drops"]}}


def metrics(url):
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        lines = answer.read().decode().splitlines()
    sums = {}
    for sample, _, value in (line.rpartition(" ") for line in lines if line and not line.startswith("#")):
        name = sample.partition("{")[0]
        if name.endswith("_total") and not any(part in name for part in BEGIN_ANEW):
            sums[name] = sums.get(name, 0.0) + float(value)
    return sums


def main(url, *command):
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    steady = Steady()
    print("asking", flush=True)
    while not stopping:
        due = time.monotonic() + PERIOD
        steady.ask("status", lambda: status(command))
        if url != "-":
            steady.ask("metrics", lambda: metrics(url))
        time.sleep(max(0.0, due - time.monotonic()))
    sys.exit(steady.report())


if __name__ == "__main__":
    main(*sys.argv[1:])
