#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A NAT whose mappings change on command: UDP between clients and their gateway.

    relay.py run SOCKET LEG=PORT/PLACE... PLACE=SOURCE/GATEWAY...     until SIGTERM
    relay.py tell SOCKET COMMAND...

A client sends to its leg's port. What it sends leaves from the place that the leg holds, an address and port of its own;
what comes to a place goes to the leg that holds it. Commands, each answered with a line of JSON:

    move LEG PLACE ...    so many pairs at once, so that two legs can change places
    hold LEG / let LEG    nothing passes there / again
    replay PLACE          sends the first HELLO that was ever relayed once more, from that place
    count                 what came to places that nobody has held for a second: {place: datagrams}
    impairment LOSE REPEAT DELAY MS   per cent of the datagrams of both directions, each on its own: lost, sent twice, sent up
                          to MS milliseconds later, so that others pass them; 0 0 0 0 is fair
    carried               {"up": {kind: datagrams}, "down": ...}: DATA lost, and transport messages repeated
"""

import heapq
import json
import os
import random
import selectors
import signal
import socket
import sys
import time

BUFFER = 4 << 20
SETTLED = 1.0  # seconds after which nothing should come to a place that was left
HELLO = 0x11
DATA = (4, 9)  # and DATA_SPARSE
TRANSPORT = (3, 5, 6, *DATA)
SEED = 20


def read_address(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def bound(address, to=None):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, 33):  # SO_RCVBUFFORCE
        udp.setsockopt(socket.SOL_SOCKET, option, BUFFER)
    udp.bind(address)
    if to:
        udp.connect(to)
    udp.setblocking(False)
    return udp


def send(udp, *arguments):
    try:
        udp.send(*arguments) if len(arguments) == 1 else udp.sendto(*arguments)
    except OSError:
        pass  # loss is the network's affair; a gateway that is not there as well


class Leg:
    def __init__(self, port, place):
        self.udp = bound(("0.0.0.0", port))
        self.place, self.client, self.held = place, None, False


class Place:
    def __init__(self, source, gateway):
        self.udp = bound(source, gateway)
        self.left, self.strays = 0.0, 0


class Relay:
    def __init__(self, path, words):
        pairs = [word.partition("=")[::2] for word in words]
        values = {name: value.split("/") for name, value in pairs}
        self.places = {name: Place(read_address(first), read_address(second))
                       for name, (first, second) in values.items() if ":" in first}
        self.legs = {name: Leg(int(first), second) for name, (first, second) in values.items() if ":" not in first}
        self.hello = None
        self.impairment = (0.0, 0.0, 0.0, 0.0)
        self.random = random.Random(SEED)
        self.late = []  # a heap of (when, order, arguments of send)
        self.carried = {direction: {"lost_data": 0, "repeated": 0} for direction in ("up", "down")}
        self.order = 0
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.control.bind(path)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.control, selectors.EVENT_READ, self.obey)
        for leg in self.legs.values():
            self.selector.register(leg.udp, selectors.EVENT_READ, lambda leg=leg: self.out(leg))
        for name, place in self.places.items():
            self.selector.register(place.udp, selectors.EVENT_READ, lambda name=name, place=place: self.back(name, place))

    def out(self, leg):
        data, leg.client = leg.udp.recvfrom(65535)
        if self.hello is None and data[:1] == bytes([HELLO]):
            self.hello = data
        if not leg.held:
            self.pass_on("up", self.places[leg.place].udp, data)

    def pass_on(self, direction, *arguments):
        lose, repeat, delay, longest = self.impairment
        kind, carried = arguments[1][0] & 15, self.carried[direction]
        if self.random.random() < lose:
            carried["lost_data"] += kind in DATA
            return
        again = self.random.random() < repeat
        carried["repeated"] += again and kind in TRANSPORT
        for _ in range(1 + again):
            if self.random.random() < delay:
                self.order += 1
                heapq.heappush(self.late, (time.monotonic() + self.random.random() * longest, self.order, arguments))
            else:
                send(*arguments)

    def send_late(self):
        """Sends what is due; returns the seconds until more is, or None."""
        while self.late and self.late[0][0] <= time.monotonic():
            send(*heapq.heappop(self.late)[2])
        return max(0.0, self.late[0][0] - time.monotonic()) if self.late else None

    def back(self, name, place):
        data = place.udp.recv(65535)
        for leg in self.legs.values():
            if leg.place == name and leg.client:
                if not leg.held:
                    self.pass_on("down", leg.udp, data, leg.client)
                return
        place.strays += time.monotonic() > place.left + SETTLED

    def obey(self):
        message, sender = self.control.recvfrom(4096)
        verb, *words = message.decode().split()
        answer = getattr(self, "do_" + verb)(*words)
        self.control.sendto(json.dumps(answer).encode(), sender)

    def do_move(self, *words):
        for name, place in zip(words[::2], words[1::2]):
            self.places[self.legs[name].place].left = time.monotonic()
            self.legs[name].place = place

    def do_hold(self, name):
        self.legs[name].held = True

    def do_let(self, name):
        self.legs[name].held = False

    def do_replay(self, name):
        self.places[name].udp.send(self.hello)
        return len(self.hello)

    def do_count(self):
        return {name: place.strays for name, place in self.places.items() if place.strays}

    def do_impairment(self, lose, repeat, delay, milliseconds):
        self.impairment = (float(lose) / 100, float(repeat) / 100, float(delay) / 100, float(milliseconds) / 1000)

    def do_carried(self):
        return self.carried

    def run(self):
        print("relays", flush=True)
        while True:
            for key, _ in self.selector.select(self.send_late()):
                for _ in range(64):
                    try:
                        key.data()
                    except BlockingIOError:
                        break
                    except ConnectionRefusedError:
                        continue
                    if key.fileobj is self.control:
                        break


def tell(path, words):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
        control.bind(f"{path}.{os.getpid()}")
        control.settimeout(10)
        control.sendto(" ".join(words).encode(), path)
        print(control.recv(4096).decode())
        os.unlink(f"{path}.{os.getpid()}")


def main(arguments):
    if len(arguments) < 3 or arguments[0] not in ("run", "tell"):
        sys.exit(__doc__)
    if arguments[0] == "tell":
        tell(arguments[1], arguments[2:])
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Relay(arguments[1], arguments[2:]).run()


if __name__ == "__main__":
    main(sys.argv[1:])
