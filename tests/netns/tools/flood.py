#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""flood.py ADDRESS:PORT GATEWAY_KEY PER_SECOND SECONDS: HELLOs of nobody, with a right mac1; every tenth with a wrong one.

They come from eight ports, as trains of ten (UDP_SEGMENT), with ephemeral keys for which the gateway has to do its
arithmetic unless it asks for a cookie first. What it answers is not read. At the end, or at SIGTERM, it says how many it sent.
"""

import itertools
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "peer"))

import wire  # noqa: E402
from tool import read_endpoint, read_key  # noqa: E402

UDP_SEGMENT = 103
PORTS, TRAINS, TRAIN = 8, 64, 10


def hello(gateway_key, right):
    covered = wire.header(wire.HELLO, wire.VERSION, 0) + os.urandom(wire.MAC1_OFFSET - wire.HEADER_SIZE)
    mac1 = wire.mac1(gateway_key, covered) if right else os.urandom(16)
    return covered + mac1 + bytes(16)


def main(target, gateway_key, rate, seconds):
    address, key = read_endpoint(target), read_key(gateway_key)
    trains = [b"".join(hello(key, number != 3) for number in range(TRAIN)) for _ in range(TRAINS)]
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(PORTS)]
    for udp in sockets:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        udp.connect(address)
    control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("@H", wire.HELLO_SIZE))]
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    sent, start, interval = 0, time.monotonic(), TRAIN / float(rate)
    for number, udp, train in zip(itertools.count(), itertools.cycle(sockets), itertools.cycle(trains)):
        due = start + number * interval
        if ended or due > start + float(seconds):
            break
        time.sleep(max(0.0, due - time.monotonic()))
        udp.sendmsg([train], control)
        sent += TRAIN
    print(f"{sent} HELLOs in {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
