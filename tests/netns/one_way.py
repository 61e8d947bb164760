#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""UDP that nobody answers.

    one_way.py sink                    counts what comes, until SIGTERM: "N datagrams"
    one_way.py send ADDRESS SECONDS    50 a second: "N datagrams"
"""

import signal
import socket
import sys
import time

PORT, RATE = 7100, 50


def sink():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("0.0.0.0", PORT))
    count = 0

    def end(*_):
        print(f"{count} datagrams", flush=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    print("ready", flush=True)
    while True:
        udp.recv(65535)
        count += 1


def send(address, seconds):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    count = int(float(seconds) * RATE)
    start = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, start + number / RATE - time.monotonic()))
        udp.sendto(number.to_bytes(4, "big"), (address, PORT))
    print(f"{count} datagrams")


if __name__ == "__main__":
    if sys.argv[1:] == ["sink"]:
        sink()
    elif len(sys.argv) == 4 and sys.argv[1] == "send":
        send(*sys.argv[2:])
    else:
        sys.exit(__doc__)
