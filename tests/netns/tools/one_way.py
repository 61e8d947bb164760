#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""UDP that nobody answers.

    one_way.py sink                    counts what comes, until SIGTERM: "N datagrams"
    one_way.py send ADDRESS SECONDS [RATE]    50 a second: "N datagrams"; also ends early at SIGTERM
"""

import signal
import socket
import sys
import time

PORT, RATE = 7100, 50


def sink():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)  # SO_RCVBUFFORCE
    udp.bind(("0.0.0.0", PORT))
    udp.settimeout(0.1)
    count, ended = 0, []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    print("ready", flush=True)
    while True:
        try:
            udp.recv(65535)
            count += 1
        except TimeoutError:
            if ended:  # and what came before that is counted
                break
    print(f"{count} datagrams", flush=True)


def send(address, seconds, rate=RATE):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    count, start = 0, time.monotonic()
    while count < int(float(seconds) * int(rate)) and not ended:
        time.sleep(max(0.0, start + count / int(rate) - time.monotonic()))
        udp.sendto(count.to_bytes(4, "big"), (address, PORT))
        count += 1
    print(f"{count} datagrams")


if __name__ == "__main__":
    if sys.argv[1:] == ["sink"]:
        sink()
    elif len(sys.argv) in (4, 5) and sys.argv[1] == "send":
        send(*sys.argv[2:])
    else:
        sys.exit(__doc__)
