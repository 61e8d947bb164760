#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What perf/bench/scenarios/scale measured, step by step.

    scale.py header                             the columns' names
    scale.py row DIRECTORY LOAD CPUS GENERATOR  one line of JSON, from what DIRECTORY has of before and after
    scale.py show ROWS                          the last of them, for people
    scale.py write ROWS RESULT COMMAND          RESULT.json and RESULT.csv
"""

import csv
import json
import os
import platform
import re
import subprocess
import sys

GIB = 2**30
COLUMNS = "load cpus workers readers gbit mpps cpu_per_gib worker_load reader_load handshake_load handshakes wakes_per_packet"
COLUMNS = COLUMNS.split() + ["calls_per_packet"]
STAGES = ["udp_recv", "open", "tun_write", "tun_read", "ring_wait", "seal", "udp_send", "handshake"]


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def words(path):
    with open(path, encoding="utf-8") as file:
        return [line.split(None, 1) for line in file]


def threads(directory, nanoseconds):
    before = {name.strip(): int(spent) for spent, name in words(f"{directory}/threads.before")}
    after = {name.strip(): int(spent) for spent, name in words(f"{directory}/threads.after")}
    return [
        {"name": name, "cpu_ns": spent - before.get(name, 0), "load": round((spent - before.get(name, 0)) / nanoseconds, 4)}
        for name, spent in sorted(after.items())
    ]


def row(directory, name, cpus, generator):
    clock = [int(words(f"{directory}/clock.{when}")[0][0]) for when in ("before", "after")]
    old, new = (load(f"{directory}/status.{when}") for when in ("before", "after"))
    stages = load(f"{directory}/stages")["stages"]
    return {
        "load": name,
        "cpus": int(cpus),
        "seconds": (clock[1] - clock[0]) / 1e6,
        "threads": threads(directory, (clock[1] - clock[0]) * 1000),
        "counters": {key: new["counters"][key] - old["counters"][key] for key in new["counters"]},
        "drops": sum(drop["count"] for drop in new["drops"]) - sum(drop["count"] for drop in old["drops"]),
        "system_calls": new["system_calls"] - old["system_calls"],
        "suites": new["suites"],
        "stages": [
            {"stage": stage["stage"], "unit": stage["unit"], "count": stage["count"], "ns": stage["ns"]}
            for stage in stages
            if stage["count"]
        ],
        "generator": load(generator),
    }


def figures(entry):
    """One value for each of COLUMNS, and the stages' medians."""
    counters, spent = entry["counters"], entry["threads"]
    up = not entry["load"].endswith("down")
    packets = counters["tun_tx_packets"] if up else counters["udp_tx_data"]
    size = counters["tun_tx_bytes"] if up else counters["tun_rx_bytes"]
    # What moved, it moved while stgun sent, not while it connected.
    steps = entry["generator"].get("steps") or [{"seconds": entry["seconds"]}]
    seconds = steps[0]["seconds"]
    kinds = {kind: [t["load"] for t in spent if t["name"].startswith(kind)] for kind in ("worker", "reader", "handshake")}
    shaken = entry["load"] == "handshakes"
    connect = entry["generator"].get("connect") or [{}]
    values = {
        "load": entry["load"],
        "cpus": entry["cpus"],
        "workers": len(kinds["worker"]),
        "readers": len(kinds["reader"]),
        "gbit": None if shaken else round(size * 8 / seconds / 1e9, 2),
        "mpps": None if shaken else round(packets / seconds / 1e6, 3),
        "cpu_per_gib": None if shaken or not size else round(sum(t["cpu_ns"] for t in spent) / 1e9 / (size / GIB), 3),
        "handshakes": round(connect[0].get("per_second", 0)) if shaken else None,
        "wakes_per_packet": None if shaken or not packets else round(counters["wakes"] / packets, 4),
        "calls_per_packet": None if shaken or not packets else round(entry["system_calls"] / packets, 3),
    }
    for kind, loads in kinds.items():
        values[f"{kind}_load"] = round(max(loads), 2) if loads else None
    medians = {stage["stage"]: stage["ns"]["p50"] for stage in entry["stages"]}
    values |= {f"{stage}_ns": medians.get(stage) for stage in STAGES}
    return values


def cells(values):
    return ["-" if values.get(column) is None else str(values[column]) for column in COLUMNS]


def header():
    print(" ".join(f"{column:>11.11}" for column in COLUMNS), " p50 in ns")


def show(path):
    with open(path, encoding="utf-8") as file:
        values = figures(json.loads(file.readlines()[-1]))
    medians = " ".join(f"{stage} {values[f'{stage}_ns']:.0f}" for stage in STAGES if values[f"{stage}_ns"] is not None)
    print(" ".join(f"{cell:>11.11}" for cell in cells(values)), "", medians)


def command_output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"^model name\s*: (.*)$", file.read(), re.MULTILINE)
    return {"cpu": model.group(1) if model else platform.machine(), "cpus": os.cpu_count(), "kernel": platform.release()}


def write(path, result, command):
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    os.makedirs(os.path.dirname(result) or ".", exist_ok=True)
    document = {
        "schema": "shardtun-scale/1",
        "command": command,
        "commit": command_output("git", "rev-parse", "--short", "HEAD"),
        "machine": machine(),
        "rows": rows,
    }
    with open(f"{result}.json", "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")
    with open(f"{result}.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS + [f"{stage}_ns" for stage in STAGES])
        table.writeheader()
        table.writerows(figures(entry) for entry in rows)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["header"]:
            header()
        case ["row", directory, name, cpus, generator]:
            print(json.dumps(row(directory, name, cpus, generator)))
        case ["show", path]:
            show(path)
        case ["write", path, result, command]:
            write(path, result, command)
        case _:
            sys.exit(__doc__)
