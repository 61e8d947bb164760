#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns samples ("SUBJECT FIGURE VALUE" lines) into a table of medians and ratios, and into a JSON file.

usage: summary.py SAMPLES STAGES_JSON RESULT_JSON DESCRIPTION
"""

import json
import os
import platform
import statistics
import subprocess
import sys


def read_samples(path):
    samples = {}
    with open(path, encoding="ascii") as lines:
        for line in lines:
            subject, figure, value = line.split()
            samples.setdefault(figure, {}).setdefault(subject, []).append(float(value))
    return samples


def machine():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return {"cpu": model, "cpus": os.cpu_count(), "kernel": platform.release()}


def commit():
    run = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return run.stdout.strip() or "unknown"


def print_table(samples):
    subjects = list(dict.fromkeys(subject for figure in samples.values() for subject in figure))
    print(f"{'Gbit/s, median (min-max)':26}" + "".join(f"{subject:>24}" for subject in subjects))
    for figure, by_subject in samples.items():
        cells = ""
        for subject in subjects:
            values = by_subject[subject]
            cells += f"{statistics.median(values):9.2f} ({min(values):5.2f}-{max(values):5.2f})"
        print(f"{figure:26}" + cells)
    print()
    for figure, by_subject in samples.items():
        ours = statistics.median(by_subject["shardtun"])
        ratios = [f"{ours / statistics.median(by_subject['veth']):.2f} of the bare veth"]
        if "wireguard-go" in by_subject:
            ratios.append(f"{ours / statistics.median(by_subject['wireguard-go']):.1f} x wireguard-go")
        ratios.append(f"forwarded {statistics.median(by_subject['forwarded']) / ours:.2f} of direct")
        print(f"{figure:26}" + ", ".join(ratios))


def main():
    samples_path, stages_path, result_path, description = sys.argv[1:]
    samples = read_samples(samples_path)
    print_table(samples)
    with open(stages_path, encoding="utf-8") as file:
        stages = json.load(file)
    with open(result_path, "w", encoding="utf-8") as file:
        json.dump(
            {
                "version": 1,
                "command": "make bench",
                "what": f"iperf3 TCP in Gbit/s, {description}, interleaved",
                "commit": commit(),
                "machine": machine(),
                "gbit_per_second": samples,
                "stages": stages,
            },
            file,
            indent=1,
        )
        file.write("\n")
    print(f"\nwritten to {result_path}")


if __name__ == "__main__":
    main()
