#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One UDP flow whose rate and sizes change all the time, and whether it keeps its order.

    order.py sink                     counts what comes, until SIGTERM: "N datagrams, M overtaken"
    order.py send ADDRESS SECONDS     bursts of 1 to 400 numbered datagrams, pauses of up to 30 ms: "N datagrams"
"""

import random
import signal
import socket
import sys
import time

PORT = 7200


def sink():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
    udp.bind(("0.0.0.0", PORT))
    udp.settimeout(0.1)
    count, overtaken, highest, ended = 0, 0, -1, []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    print("ready", flush=True)
    while True:
        try:
            number = int.from_bytes(udp.recv(65535)[:4], "big")
        except TimeoutError:
            if ended:
                break
            continue
        count += 1
        overtaken += number < highest
        highest = max(highest, number)
    print(f"{count} datagrams, {overtaken} overtaken", flush=True)


def send(address, seconds):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.connect((address, PORT))
    end = time.monotonic() + float(seconds)
    count = 0
    while time.monotonic() < end:
        for _ in range(random.choice((1, 1, 2, 5, 20, 100, 400))):
            udp.send(count.to_bytes(4, "big") + bytes(random.choice((12, 60, random.randrange(1380)))))
            count += 1
        time.sleep(random.choice((0, 0.0005, 0.002, 0.005, 0.012, 0.03)))
    print(f"{count} datagrams")


if __name__ == "__main__":
    if sys.argv[1:] == ["sink"]:
        sink()
    elif len(sys.argv) == 4 and sys.argv[1] == "send":
        send(*sys.argv[2:])
    else:
        sys.exit(__doc__)
