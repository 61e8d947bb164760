#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cluster_observer.py SOCKET...: which gateway serves which block, read from all of them every 10 ms, until SIGTERM.

The gateways are read in turn. A block that one of them serves in two readings in a row it served all the time between; when another one, read in that time,
serves it too, it has two owners. Each such case is a line "block B: SOCKET and SOCKET". At the end it says, as one line of JSON, how many readings there were,
how many failed (a gateway that is stopped or dead), how many cases, and the longest time for which a block was served by nobody:
{"readings": N, "failed": N, "doubles": N, "longest_unserved": SECONDS}
"""

import json
import signal
import socket
import sys
import time

INTERVAL, PATIENCE = 0.01, 0.05


def read(path):
    """The blocks that are served, or None."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(path)
            connection.sendall(b"cluster\n")
            text = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        return {block["block"] for block in json.loads(text)["result"]["blocks"]}
    except (OSError, ValueError, KeyError):
        return None


class Observer:
    def __init__(self, paths):
        self.paths = paths
        self.last = {path: None for path in paths}  # the reading before
        self.between = {path: {} for path in paths}  # what others served since then: block -> path
        self.readings = self.failed = self.doubles = 0
        self.served_at = {}
        self.longest = 0.0
        self.stopping = False

    def take(self, path):
        blocks = read(path)
        now = time.monotonic()
        self.readings += 1
        self.failed += blocks is None
        for block in (blocks or set()) & (self.last[path] or set()):
            if block in self.between[path]:
                self.doubles += 1
                print(f"block {block}: {path} and {self.between[path][block]}", flush=True)
        self.last[path] = blocks
        self.between[path] = {}
        for block in blocks or ():
            if block in self.served_at:
                self.longest = max(self.longest, now - self.served_at[block])
            self.served_at[block] = now
            for other in self.paths:
                if other != path:
                    self.between[other][block] = path

    def run(self):
        due = time.monotonic()
        while not self.stopping:
            for path in self.paths:
                self.take(path)
            due = max(due + INTERVAL, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
        seen = {"readings": self.readings, "failed": self.failed, "doubles": self.doubles}
        print(json.dumps(seen | {"longest_unserved": round(self.longest, 3)}), flush=True)


def main(*paths):
    observer = Observer(paths)
    signal.signal(signal.SIGTERM, lambda *_: setattr(observer, "stopping", True))
    print("ready", flush=True)
    observer.run()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
