#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Looks at what `shardtunctl --json status` says.

    status.py growth BEFORE AFTER       "reason count" for each drop that grew, on one line, sorted
    status.py conserved FILE            whether no packet was lost without a reason; says how many there were
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


COMMANDS = {"growth": growth, "conserved": conserved}

if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    print(COMMANDS[sys.argv[1]](*sys.argv[2:]))
