#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stops a gateway, sends it datagrams, and looks at which of its sockets each one waits; then lets it go on.

    steering.py PID PORT WORKERS HANDSHAKERS SLOT_MASK ADDRESS SOURCE...
"""

import os
import random
import signal
import socket
import struct
import sys
import time

SMALLEST, HELLO = 21, 0x11
INITIATION, RESPONSE, COOKIE_REPLY = 1, 2, 3  # of WireGuard, as is every first byte below 16


class Gateway:
    """Its sockets in the order in which it opened them; a process gets its descriptors in ascending order."""

    def __init__(self, pid, port):
        self.pid, self.port = pid, port
        waiting = self.waiting_by_inode()
        links = {}
        for fd in os.listdir(f"/proc/{pid}/fd"):
            links[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
        inodes = [int(links[fd][8:-1]) for fd in sorted(links) if links[fd].startswith("socket:[")]
        self.inodes = [inode for inode in inodes if inode in waiting]

    def waiting_by_inode(self):
        """Bytes that wait at each UDP socket of the port."""
        waiting = {}
        for name in ("udp", "udp6"):
            with open(f"/proc/{self.pid}/net/{name}", encoding="ascii") as table:
                for fields in (line.split() for line in table.readlines()[1:]):
                    if int(fields[1].split(":")[1], 16) == self.port:
                        waiting[int(fields[9])] = int(fields[4].split(":")[1], 16)
        return waiting

    def waiting(self):
        by_inode = self.waiting_by_inode()
        return [by_inode[inode] for inode in self.inodes]

    def all_tasks(self, stopped):
        states = []
        for task in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{task}/stat", encoding="ascii") as stat:
                states.append(stat.read().rsplit(")", 1)[1].split()[0] == "T")
        return all(state == stopped for state in states)

    def stop(self):
        os.kill(self.pid, signal.SIGSTOP)
        wait_for(lambda: self.all_tasks(True), "the gateway does not stop")

    def go_on(self):
        """Until somebody has read from each socket all that was there."""
        os.kill(self.pid, signal.SIGCONT)
        wait_for(lambda: not any(self.waiting()), "nobody reads from some socket")


def wait_for(condition, problem):
    deadline = time.monotonic() + 5
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(problem)
        time.sleep(0.001)


def steered(message, workers, handshakers, mask):
    """The index of the socket; None: any."""
    if len(message) < SMALLEST:
        return None
    if message[0] < 16:
        index, = struct.unpack_from(">I", message, 8 if message[0] == RESPONSE else 4)
        if message[0] in (INITIATION, RESPONSE, COOKIE_REPLY):
            return workers + (index & 2**28 - 1) % handshakers
        return (index & mask) % workers
    session, magic = struct.unpack(">II", message[1:9])
    return workers + magic % handshakers if message[0] == HELLO else (session & mask) % workers


def messages():
    generator = random.Random(1)
    for first in range(256):
        yield bytes([first]) + generator.randbytes(generator.choice((20, 63, 1199)))
    for _ in range(50):
        yield bytes([HELLO]) + generator.randbytes(1199)
    for first in 50 * (INITIATION, RESPONSE, COOKIE_REPLY, 4):
        yield bytes([first]) + generator.randbytes(147)
    for length in range(30):
        yield (b"\x14" + generator.randbytes(30))[:length]
        yield (b"\x04" + generator.randbytes(30))[:length]


def main():
    pid, port, workers, handshakers, mask = (int(argument) for argument in sys.argv[1:6])
    address, sources = sys.argv[6], sys.argv[7:]
    gateway = Gateway(pid, port)
    # Of the group that each address has. The workers' second sockets are last, and for sessions: there is none here.
    size = workers + handshakers + workers
    if not gateway.inodes or len(gateway.inodes) % size:
        sys.exit(f"{len(gateway.inodes)} sockets, not {workers}, {handshakers} and {workers} for each address")
    groups = set()
    for source in sources:
        udp = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((source, 0))
        gateway.stop()
        try:
            before = gateway.waiting()
            for message in messages():
                udp.sendto(message, (address, port))
                now = before
                deadline = time.monotonic() + 2
                while now == before and time.monotonic() < deadline:
                    now = gateway.waiting()
                grown = [index for index, count in enumerate(now) if count != before[index]]
                expected = steered(message, workers, handshakers, mask)
                if len(grown) != 1 or expected not in (None, grown[0] % size):
                    sys.exit(f"from {source}: {message[:9].hex()}, {len(message)} bytes: socket {grown}, not {expected}")
                groups.add(grown[0] // size)
                before = now
        finally:
            gateway.go_on()
    if len(groups) != 1:
        sys.exit(f"sockets of the address: in the groups {groups}")


main()
