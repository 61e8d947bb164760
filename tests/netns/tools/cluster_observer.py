#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cluster_observer.py SOCKET...: which gateway serves which block, read from all of them every 10 ms, until SIGTERM.

The gateways are read in turn. A block that one of them serves in two readings in a row it served all the time between; when another one, read in that time,
serves it too, it has two owners. Each such case is a line "block B: SOCKET and SOCKET". Every 0.2 s their sessions are read as well: an inner address that
was ever another peer's is a line "address A: PEER and PEER". A block that nobody served for 8 s is a line "SECONDS: block B: nobody for SECONDS", when
it is served again, with the time since the start. At the end it says, as one line of JSON, how many readings there were and how many rounds of all
gateways, how many readings failed (a gateway that is stopped or dead), the longest time between two rounds, how many cases of both kinds, how many sessions
were looked at, and the longest time for which a block was served by nobody:
{"readings": N, "rounds": N, "failed": N, "longest_round": SECONDS, "doubles": N, "sessions": N, "shared_addresses": N, "longest_unserved": SECONDS}
"""

import json
import signal
import socket
import sys
import time

INTERVAL, PATIENCE = 0.01, 0.05
SESSIONS_INTERVAL = 0.2
LONG = 8.0


def ask(path, request):
    """What the gateway says, or None."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(path)
            connection.sendall(request + b"\n")
            text = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        return json.loads(text)["result"]
    except (OSError, ValueError, KeyError):
        return None


class Observer:
    def __init__(self, paths):
        self.paths = paths
        self.last = {path: set() for path in paths}  # the reading before
        self.between = {path: {} for path in paths}  # what others served since then: block -> path
        self.peer_of = {}  # inner address -> public key
        self.readings = self.failed = self.doubles = self.rounds = self.sessions = self.shared = 0
        self.served_at = {}
        self.began = time.monotonic()
        self.longest_unserved = self.longest_round = 0.0
        self.stopping = False

    def take(self, path):
        answer = ask(path, b"cluster")
        now = time.monotonic()
        self.readings += 1
        self.failed += answer is None
        blocks = {block["block"] for block in answer["blocks"]} if answer else set()
        for block in blocks & self.last[path]:
            if block in self.between[path]:
                self.doubles += 1
                print(f"block {block}: {path} and {self.between[path][block]}", flush=True)
        self.last[path] = blocks
        self.between[path] = {}
        for block in blocks:
            self.note_gap(block, now)
            self.served_at[block] = now
            for other in self.paths:
                if other != path:
                    self.between[other][block] = path

    def note_gap(self, block, now):
        gap = now - self.served_at.get(block, now)
        self.longest_unserved = max(self.longest_unserved, gap)
        if gap > LONG:
            print(f"{now - self.began:.1f}: block {block}: nobody for {gap:.1f}", flush=True)

    def take_sessions(self, path):
        answer = ask(path, b"sessions")
        for session in answer["sessions"] if answer else ():
            self.sessions += 1
            for address in session["addresses"]:
                known = self.peer_of.setdefault(address, session["peer"])
                if known != session["peer"]:
                    self.shared += 1
                    print(f"address {address}: {known} and {session['peer']}", flush=True)

    def run(self):
        due = sessions_due = last = time.monotonic()
        while not self.stopping:
            for path in self.paths:
                self.take(path)
            if time.monotonic() >= sessions_due:
                sessions_due = time.monotonic() + SESSIONS_INTERVAL
                for path in self.paths:
                    self.take_sessions(path)
            now = time.monotonic()
            self.rounds += 1
            self.longest_round = max(self.longest_round, now - last)
            last = now
            due = max(due + INTERVAL, now)
            time.sleep(due - now)
        self.tell()

    def tell(self):
        now = time.monotonic()
        unserved = max([self.longest_unserved, *(now - at for at in self.served_at.values())])
        seen = {"readings": self.readings, "rounds": self.rounds, "failed": self.failed}
        seen |= {"longest_round": round(self.longest_round, 3), "doubles": self.doubles, "sessions": self.sessions}
        seen |= {"shared_addresses": self.shared, "longest_unserved": round(unserved, 3)}
        print(json.dumps(seen), flush=True)


def main(*paths):
    observer = Observer(paths)
    signal.signal(signal.SIGTERM, lambda *_: setattr(observer, "stopping", True))
    print("ready", flush=True)
    observer.run()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
