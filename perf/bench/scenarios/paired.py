# SPDX-License-Identifier: Apache-2.0
"""What a running gateway loses by this or that while TCP runs through it: forms take turns of a fraction of a second, in
an order that changes from round to round, and each is compared with the first form of its own round."""

import glob
import json
import os
import platform
import socket
import statistics
import subprocess
import time


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


def measure(path, pid, direction, rounds, forms, settle, span):
    """`forms`: name -> a function that brings it about and returns one that ends it. Prints a line for each turn."""
    counter = "udp_rx_bytes" if direction == "up" else "udp_tx_bytes"
    names = list(forms)
    for number in range(rounds):
        for place in range(len(names)):
            name = names[(place + number) % len(names)]
            end = forms[name]()
            time.sleep(settle)
            before = look(path, pid, counter)
            time.sleep(span)
            cpu, moved, seconds = (b - a for a, b in zip(before, look(path, pid, counter)))
            end()
            if moved == 0:
                continue  # the machine was busy with something else: the round does not count
            print(direction, number, name, 8 * moved / seconds / 1e9, cpu / moved, flush=True)


def summary(path, names, what, span):
    samples = {}
    with open(path, encoding="ascii") as lines:
        for line in lines:
            direction, number, name, rate, cost = line.split()
            samples[direction, int(number), name] = float(rate), float(cost)
    rounds = sorted({number for _, number, _ in samples})
    rounds = [r for r in rounds if all((d, r, name) in samples for d in ("up", "down") for name in names)]
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    commit = subprocess.run(["git", "describe", "--always"], capture_output=True, text=True, check=False).stdout.strip()
    print(f"{what}, commit {commit}: {len(rounds)} rounds of {span} s each way and each form")
    print(f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}; load average {os.getloadavg()[1]:.0f}\n")
    print(f"to {names[0]} in the same round, medians (quartiles):\n")
    print(f"{'':14} {'':5} {'throughput':>23} {'CPU time per byte':>23}")
    for name in names[1:]:
        for direction in ("up", "down"):
            cells = ""
            for figure in (0, 1):
                ratios = [
                    samples[direction, number, name][figure] / samples[direction, number, names[0]][figure]
                    for number in rounds
                ]
                low, middle, high = statistics.quantiles(ratios, n=4)
                cells += f"{middle:9.3f} ({low:.3f}-{high:.3f})"
            print(f"{name:14} {direction:5}{cells}")
    print("\nGbit/s, medians: " + "; ".join(
        f"{direction} " + ", ".join(
            f"{statistics.median(samples[direction, number, name][0] for number in rounds):.2f} {name}"
            for name in names
        )
        for direction in ("up", "down")
    ))
