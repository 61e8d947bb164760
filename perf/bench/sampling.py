#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The measuring part of perf/bench/sampling.

usage: sampling.py SOCKET PID up|down ROUNDS    prints a line for each half second
       sampling.py SAMPLES                      prints the medians of such lines
"""

import glob
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time

SAMPLINGS = (0, 64, 1)
SETTLE, SPAN = 0.05, 0.45


def ask(path, request):
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(path)
        control.sendall(request.encode() + b"\n")
        with control.makefile() as answer:
            return json.load(answer)["result"]


def look(path, pid, counter):
    """Nanoseconds of CPU time that the gateway's threads used, bytes that it moved, and when."""
    cpu = 0
    for name in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        with open(name, encoding="ascii") as file:
            cpu += int(file.read().split()[0])
    return cpu, ask(path, "status")["counters"][counter], time.monotonic()


def measure(path, pid, direction, rounds):
    counter = "udp_rx_bytes" if direction == "up" else "udp_tx_bytes"
    for number in range(rounds):
        for place in range(len(SAMPLINGS)):
            sampling = SAMPLINGS[(place + number) % len(SAMPLINGS)]
            ask(path, f"stages sampling {sampling}")
            time.sleep(SETTLE)
            before = look(path, pid, counter)
            time.sleep(SPAN)
            cpu, moved, seconds = (b - a for a, b in zip(before, look(path, pid, counter)))
            if moved == 0:
                continue  # the machine was busy with something else: the round does not count
            print(direction, number, sampling, 8 * moved / seconds / 1e9, cpu / moved, flush=True)


def summary(path):
    samples = {}
    with open(path, encoding="ascii") as lines:
        for line in lines:
            direction, number, sampling, rate, cost = line.split()
            samples[direction, int(number), int(sampling)] = float(rate), float(cost)
    rounds = sorted({number for _, number, _ in samples})
    rounds = [r for r in rounds if all((d, r, s) in samples for d in ("up", "down") for s in SAMPLINGS)]
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    commit = subprocess.run(["git", "describe", "--always"], capture_output=True, text=True, check=False).stdout.strip()
    print(f"Timing the stages of the data path, commit {commit}: {len(rounds)} rounds of {SPAN} s each way and each form")
    print(f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}; load average {os.getloadavg()[1]:.0f}\n")
    print("to StageSampling = 0 in the same round, medians (quartiles):\n")
    print(f"{'StageSampling':14} {'':5} {'throughput':>23} {'CPU time per byte':>23}")
    for sampling in SAMPLINGS[1:]:
        for direction in ("up", "down"):
            cells = ""
            for figure in (0, 1):
                ratios = [
                    samples[direction, number, sampling][figure] / samples[direction, number, 0][figure]
                    for number in rounds
                ]
                low, middle, high = statistics.quantiles(ratios, n=4)
                cells += f"{middle:9.3f} ({low:.3f}-{high:.3f})"
            print(f"{sampling:<14} {direction:5}{cells}")
    print("\nGbit/s, medians: " + "; ".join(
        f"{direction} " + ", ".join(
            f"{statistics.median(samples[direction, number, sampling][0] for number in rounds):.2f} at {sampling}"
            for sampling in SAMPLINGS
        )
        for direction in ("up", "down")
    ))


if __name__ == "__main__":
    if len(sys.argv) == 5:
        measure(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    elif len(sys.argv) == 2:
        summary(sys.argv[1])
    else:
        sys.exit(__doc__)
