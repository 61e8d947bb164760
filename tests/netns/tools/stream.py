#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""stream.py ADDRESS [BYTES_PER_SECOND]: one TCP connection that is busy both ways, until SIGTERM.

The other end is `traffic.py serve`, which sends back what comes. The content is checked. SIGUSR1 makes it say, as soon as
something comes, how long the longest silence was since it was last asked ("silence SECONDS"); at the end it says how much passed.
"""

import os
import signal
import socket
import sys
import threading
import time

from traffic import FLOW_PORT, connect

PIECE = 256  # what the other end waits for
PATTERN = os.urandom(999_937)
STEP = 0.01


class Stream:
    def __init__(self, address, rate):
        self.connection = connect(address, FLOW_PORT)
        self.connection.settimeout(60)
        self.piece = max(PIECE, int(rate * STEP) // PIECE * PIECE)
        self.sent = self.received = 0
        self.longest, self.last = 0.0, time.monotonic()
        self.stopping = False
        self.asked = []

    def send(self):
        due = time.monotonic()
        while not self.stopping:
            try:
                self.connection.sendall(content(self.sent, self.piece))
            except OSError:
                return  # the receiving side tells
            self.sent += self.piece
            due = max(due + STEP, time.monotonic() - 0.1)
            time.sleep(max(0.0, due - time.monotonic()))

    def stop(self):
        """What is on its way still comes back, and then the other end closes."""
        self.stopping = True
        self.connection.shutdown(socket.SHUT_WR)

    def receive(self):
        while True:
            data = self.connection.recv(1 << 16)
            if not data and self.stopping:
                return
            if not data:
                sys.exit("the connection ended early")
            if data != content(self.received, len(data)):
                sys.exit("what came back was changed")
            self.received += len(data)
            now = time.monotonic()
            self.longest, self.last = max(self.longest, now - self.last), now
            if self.asked:
                self.asked.clear()
                print(f"silence {self.longest:.3f}", flush=True)
                self.longest = 0.0


def content(offset, size):
    start = offset % len(PATTERN)
    part = PATTERN[start : start + size]
    return part if len(part) == size else part + content(0, size - len(part))


def main(address, rate="1000000"):
    stream = Stream(address, float(rate))
    signal.signal(signal.SIGTERM, lambda *_: stream.stop())
    signal.signal(signal.SIGUSR1, lambda *_: stream.asked.append(True))
    threading.Thread(target=stream.send, daemon=True).start()
    print("streams", flush=True)
    try:
        stream.receive()
    except OSError as error:
        sys.exit(f"stream.py: {error}")
    print(f"{stream.received} bytes there and back")


if __name__ == "__main__":
    if not 1 < len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
