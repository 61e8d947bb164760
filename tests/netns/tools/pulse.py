#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""pulse.py ADDRESS NAME [INTERVAL]: a datagram each INTERVAL seconds (0.05), until SIGTERM, and what comes back.

The other end is `traffic.py serve`, which sends back what comes. Each datagram has the name of its sender in it: what comes back with
another one was another's. SIGUSR1 makes it say, as one line of JSON, what was seen since it was last told to:
{"sent": N, "received": N, "wrong": N, "gap": SECONDS, "since": SECONDS} where gap is the longest time without an answer, and since that since the
last answer. SIGTERM makes it send nothing more, wait for what is under way, PATIENCE seconds at most, and say of all its time:
{"total": N, "lost": N, "all_wrong": N}
"""

import json
import select
import signal
import socket
import sys
import time

from traffic import UDP_PORT, family_of

PATIENCE = 2.0


class Pulse:
    def __init__(self, address, name, interval):
        self.socket = socket.socket(family_of(address), socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.target, self.name, self.interval = (address, UDP_PORT), name.encode(), interval
        self.serial = self.all_wrong = 0
        self.awaited = set()  # serials
        self.asked = self.stopping = False
        self.last = time.monotonic()
        self.begin()

    def begin(self):
        self.sent = self.received = self.wrong = 0
        self.gap = 0.0

    def note_time(self, now):
        self.gap = max(self.gap, now - self.last)

    def send(self):
        self.serial += 1
        try:
            self.socket.sendto(b"pulse %s %d" % (self.name, self.serial), self.target)
            self.sent += 1
            self.awaited.add(self.serial)
        except OSError:
            pass  # no route for a moment: it is a gap

    def receive(self):
        try:
            data, _ = self.socket.recvfrom(2048)
        except OSError:
            return  # what came back was an ICMP error
        words = data.split()
        if words[:2] != [b"pulse", self.name]:
            self.wrong += 1
            self.all_wrong += 1
            return
        self.awaited.discard(int(words[2]))
        now = time.monotonic()
        self.note_time(now)
        self.last = now
        self.received += 1

    def tell(self):
        now = time.monotonic()
        self.note_time(now)
        seen = {"sent": self.sent, "received": self.received, "wrong": self.wrong, "gap": round(self.gap, 3)}
        print(json.dumps(seen | {"since": round(now - self.last, 3)}), flush=True)
        self.begin()

    def run(self):
        due = time.monotonic()
        while not self.stopping:
            if self.asked:
                self.asked = False
                self.tell()
            wait = due - time.monotonic()
            if wait <= 0:
                self.send()
                due = max(due + self.interval, time.monotonic())
            elif select.select([self.socket], [], [], wait)[0]:
                self.receive()
        self.end()

    def end(self):
        late = time.monotonic() + PATIENCE
        while self.awaited and (wait := late - time.monotonic()) > 0:
            if select.select([self.socket], [], [], wait)[0]:
                self.receive()
        print(json.dumps({"total": self.serial, "lost": len(self.awaited), "all_wrong": self.all_wrong}), flush=True)


def main(address, name, interval="0.05"):
    pulse = Pulse(address, name, float(interval))
    signal.signal(signal.SIGTERM, lambda *_: setattr(pulse, "stopping", True))
    signal.signal(signal.SIGUSR1, lambda *_: setattr(pulse, "asked", True))
    print("ready", flush=True)
    pulse.run()


if __name__ == "__main__":
    if not 2 < len(sys.argv) < 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
