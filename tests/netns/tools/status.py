#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Looks at what `shardtunctl --json status` says.

    status.py growth BEFORE AFTER       "reason count" for each drop that grew, on one line, sorted
    status.py conserved FILE            whether no packet was lost without a reason; says how many there were
    status.py calls BEFORE AFTER WAY    whether a system call, up or down, stood for enough packets; says for how many
    status.py allocated BEFORE AFTER    whether no thread of the data path allocated between
    status.py traced BEFORE AFTER FILE  whether strace -c saw the calls that were counted, and none to wait for a lock
"""

import json
import sys


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def drops(status, direction=None):
    return {drop["reason"]: drop["count"] for drop in status["drops"] if direction in (None, drop["direction"])}


def growth(before, after):
    old, new = drops(load(before)), drops(load(after))
    return " ".join(f"{reason} {new[reason] - old[reason]}" for reason in sorted(new) if new[reason] != old[reason])


def conserved(path):
    status = load(path)
    counters = status["counters"]
    up, down = drops(status, "uplink"), drops(status, "downlink")
    arrived, went = counters["udp_rx_packets"], counters["tun_tx_packets"] + counters["rx_control"] + sum(up.values())
    read, sent = counters["tun_rx_packets"], counters["udp_tx_data"] + sum(down.values())
    text = (
        f"{arrived} datagrams = {counters['tun_tx_packets']} packets + {counters['rx_control']} control"
        f" + {sum(up.values())} dropped; {read} packets = {counters['udp_tx_data']} datagrams"
        f" + {sum(down.values())} dropped"
    )
    if arrived != went or read != sent:
        sys.exit(f"not conserved: {text}; drops {growth_text(up)} {growth_text(down)}")
    return text


def growth_text(reasons):
    return " ".join(f"{reason} {count}" for reason, count in reasons.items() if count)


# Full-size packets for each call that moves them; for each of these, sleep and wake-up (a TUN reader that keeps up sleeps
# after each super-packet, which is 47 of them); and for each call whatsoever, also those for the acknowledgements that come
# the other way, and those that find nothing while a worker looks around.
PACKETS_PER_CALL = 16
PACKETS_PER_CALL_OR_SLEEP = 10
PACKETS_PER_ANY_CALL = 3


def calls(before, after, way):
    old, new = load(before), load(after)
    grown = {name: new["counters"][name] - old["counters"][name] for name in new["counters"]}
    if way == "up":
        packets, moving = grown["tun_tx_packets"], grown["udp_rx_calls"] + grown["tun_tx_frames"]
    else:
        packets, moving = grown["udp_tx_data"], grown["tun_rx_frames"] + grown["udp_tx_calls"]
    sleeping = moving + grown["sleeps"] + 2 * grown["wakes"]
    total = new["system_calls"] - old["system_calls"]
    text = (
        f"{packets} packets {way}: {packets / moving:.1f} for each call that moves them, {packets / sleeping:.1f} with sleeps"
        f" and wake-ups, {packets / total:.1f} for each of all ({grown['empty_calls']} of {total} found nothing)"
    )
    if (
        packets < PACKETS_PER_CALL * moving
        or packets < PACKETS_PER_CALL_OR_SLEEP * sleeping
        or packets < PACKETS_PER_ANY_CALL * total
    ):
        sys.exit("too many calls: " + text)
    return text


def data_threads(status):
    return {thread["name"]: thread for thread in status["threads"] if thread["name"].startswith(("worker", "reader"))}


def allocated(before, after):
    old, new = data_threads(load(before)), data_threads(load(after))
    if any(thread["allocated_bytes"] is None for thread in (*old.values(), *new.values())):
        sys.exit("the allocator does not say what each thread allocated")
    grown = {name: thread["allocated_bytes"] - old[name]["allocated_bytes"] for name, thread in new.items()}
    text = ", ".join(f"{name} {size}" for name, size in grown.items())
    if any(grown.values()):
        sys.exit(f"bytes allocated: {text}")
    return f"nothing allocated by {text}"


# Whether it was traced or counted: threads wake up now and then between the looks at both.
TRACED_SLACK = 400
DATA_CALLS = {
    "recvmmsg",
    "sendmmsg",
    "read",
    "writev",
    "write",
    "epoll_wait",
    "epoll_pwait2",
    "epoll_ctl",
    "sched_yield",
    "clock_nanosleep",
}


def traced(before, after, path):
    old, new = data_threads(load(before)), data_threads(load(after))
    counted = sum(thread["system_calls"] - old[name]["system_calls"] for name, thread in new.items())
    seen = {}
    with open(path, encoding="utf-8") as file:
        for line in file:  # % time, seconds, usecs/call, calls, errors if any, name
            words = line.split()
            if len(words) >= 5 and words[3].isdigit() and words[-1] != "total":
                seen[words[-1]] = int(words[3])
    text = f"{counted} counted; {sum(seen.values())} traced: {seen}"
    if not seen or not set(seen) <= DATA_CALLS:
        sys.exit("calls that the data path does not make: " + text)
    if abs(counted - sum(seen.values())) > TRACED_SLACK + counted / 50:
        sys.exit("counted wrong: " + text)
    return text


COMMANDS = {"growth": growth, "conserved": conserved, "calls": calls, "allocated": allocated, "traced": traced}

if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    print(COMMANDS[sys.argv[1]](*sys.argv[2:]))
