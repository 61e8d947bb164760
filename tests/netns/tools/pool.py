#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares what a gateway's status (JSON on standard input) says with what the kernel says, and with itself.

    pool.py threads PID CPUS WORKERS READERS HANDSHAKERS     names, and the CPUs of each
    pool.py load PID BEFORE                                  ... and the load, since times' output BEFORE
    pool.py times PID                                        prints wall and CPU time of each thread
    pool.py spread WORKERS SESSIONS SLACK                    sessions of each worker
    pool.py sums                                             conservation of packets
    pool.py drops LABEL...                                   no packet was dropped for another reason than these
    pool.py wakes MOST                                       wake-ups per packet from the TUN
"""

import json
import os
import sys
import time

TICKS = os.sysconf("SC_CLK_TCK")


def tasks(pid):
    """The gateway's own threads by name; the main thread and liburcu's have the program's."""
    found = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm", encoding="ascii") as name:
            found[name.read().strip()] = f"/proc/{pid}/task/{task}"
    return found


def allowed(task):
    with open(f"{task}/status", encoding="ascii") as status:
        return next(line.split()[1] for line in status if line.startswith("Cpus_allowed_list"))


def times(pid):
    spent = {"now": time.monotonic()}
    for name, task in tasks(pid).items():
        with open(f"{task}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        spent[name] = (int(fields[11]) + int(fields[12])) / TICKS
    return spent


def check(good, text):
    if not good:
        sys.exit(text)


def check_threads(status, pid, cpus, *counts):
    names = [f"{kind} {i}" for kind, count in zip(("worker", "reader", "handshake"), counts) for i in range(int(count))]
    check([thread["name"] for thread in status["threads"]] == names, f"not {names}: {status['threads']}")
    found = tasks(pid)
    for thread in status["threads"]:
        expected = cpus if thread["cpu"] is None else str(thread["cpu"])
        real = allowed(found[thread["name"]])
        check(real == expected, f"{thread['name']}: the status says {expected}, the kernel {real}")
    used = {thread["cpu"] for thread in status["threads"] if thread["name"].startswith("worker")}
    low, _, high = cpus.partition("-")
    check(len(used) >= min(int(counts[0]), int(high or low) - int(low) + 1, 4), f"workers are on {used} of {cpus}")


def check_load(status, pid, before):
    before, now = json.loads(before), times(pid)
    passed = now["now"] - before["now"]
    said = {thread["name"]: thread["load"] for thread in status["threads"]}
    real = {name: (now[name] - before[name]) / passed for name in said}
    for name, load in said.items():
        check(abs(load - real[name]) < 0.1 + real[name] / 2, f"{name}: load {load}, the kernel says {real[name]:.3f}")
    busy = [name for name, load in said.items() if load > 0 and name.startswith("worker")]
    check(len(busy) == sum(name.startswith("worker") for name in said), f"only {busy} have a load")


def check_spread(status, workers, sessions, slack):
    shares = [
        thread["counters"]["sessions_started"] - thread["counters"]["sessions_ended"]
        for thread in status["threads"]
        if thread["name"].startswith("worker")
    ]
    mean = int(sessions) / int(workers)
    check(sum(shares) == int(sessions) == status["sessions"]["active"], f"{shares}, not {sessions} in sum")
    check(all(abs(share - mean) <= int(slack) for share in shares), f"not even: {shares}")


def check_sums(status):
    counters = status["counters"]
    lost = {"uplink": 0, "downlink": 0}
    for drop in status["drops"]:
        lost[drop["direction"]] += drop["count"]
    up = counters["tun_tx_packets"] + counters["rx_control"] + lost["uplink"]
    down = counters["udp_tx_data"] + lost["downlink"]
    check(counters["udp_rx_packets"] == up, f"{counters['udp_rx_packets']} datagrams received, {up} accounted for")
    check(counters["tun_rx_packets"] == down, f"{counters['tun_rx_packets']} packets read, {down} accounted for")


def check_drops(status, *labels):
    dropped = {drop["reason"]: drop["count"] for drop in status["drops"] if drop["count"] != 0}
    check(not set(dropped) - set(labels), f"dropped: {dropped}")


def check_wakes(status, most):
    counters = status["counters"]
    wakes = counters["wakes"] / counters["tun_rx_packets"]
    print(f"{wakes:.3f} wake-ups a packet", file=sys.stderr)
    check(wakes <= float(most), "too many")


if sys.argv[1] == "times":
    print(json.dumps(times(sys.argv[2])))
else:
    globals()["check_" + sys.argv[1]](json.load(sys.stdin), *sys.argv[2:])
