#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""stand_in_gateway.py SOCKET STATE: the control socket of a gateway in a cluster, as far as its agent needs it.

Answers cluster-own, cluster-release, cluster-map, cluster-map-part and cluster-peers, and writes what it was told to
STATE after each: {"blocks": [...], "until_ns": N, "map": "...", "peers": {key: value}, "released": [...], "fences": N,
"lost": [...]}: fences counts deadlines that were past when the next one came, lost has blocks that were no longer named
without having been released. Of more than 1000 peers STATE has the number alone. One request per connection, and one at a time.
"""

import json
import os
import random
import socket
import sys
import time

PEERS_SHOWN = 1000


class Gateway:
    def __init__(self, path, state):
        self.state_path = state
        self.instance = random.randrange(1, 1 << 62)
        self.peers = {}
        self.parts = []
        self.state = {"blocks": [], "until_ns": 0, "map": None, "released": [], "requests": 0, "loads": [],
                      "fences": 0, "lost": []}
        if os.path.exists(path):
            os.unlink(path)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(16)

    def write(self):
        shown = self.peers if len(self.peers) <= PEERS_SHOWN else {}
        with open(self.state_path + ".new", "w", encoding="utf-8") as file:
            json.dump({**self.state, "peer_count": len(self.peers), "peers": shown}, file)
        os.rename(self.state_path + ".new", self.state_path)

    def own(self, until, blocks):
        before = self.state["blocks"]
        self.state["fences"] += bool(before) and time.clock_gettime_ns(time.CLOCK_BOOTTIME) >= self.state["until_ns"]
        self.state["blocks"] = [] if blocks == "-" else [int(block) for block in blocks.split(",")]
        self.state["lost"] += sorted(set(before) - set(self.state["blocks"]))
        self.state["until_ns"] = int(until)
        return {"blocks": self.state["blocks"], "instance": self.instance}

    def release(self, block):
        if int(block) not in self.state["blocks"]:
            raise ValueError(f"block {block} is not owned")
        self.state["blocks"].remove(int(block))
        self.state["released"].append(int(block))
        return {}

    def map(self, text):
        self.state["map"] = text
        return {}

    def map_part(self, serial, place, text):
        number, count = (int(word) for word in place.split("/"))
        self.parts = self.parts[: number - 1] + [text]
        if number == count:
            self.map(",".join(self.parts))
        return {"serial": int(serial)}

    def load(self, path):
        began = time.monotonic()
        changed, seen = 0, None
        with open(path, encoding="utf-8") as file:
            for line in file:
                change = json.loads(line)
                kind = change.pop("op")
                if kind == "snapshot":
                    seen = {}
                elif kind == "delete":
                    changed += self.peers.pop(change["key"], None) is not None
                else:
                    changed += 1
                    (self.peers if seen is None else seen)[change.pop("key")] = change
        if seen is not None:
            self.peers = seen
        self.state["loads"] = [*self.state["loads"][-20:], [os.path.basename(path), time.monotonic() - began]]
        return {"peers": len(self.peers), "changed": changed, "refused": []}

    def answer(self, line):
        commands = {"cluster-own": self.own, "cluster-release": self.release, "cluster-map": self.map,
                    "cluster-map-part": self.map_part, "cluster-peers": self.load}
        command, *arguments = line.split()
        self.state["requests"] += 1
        try:
            return {"ok": True, "result": commands[command](*arguments)}
        except (KeyError, TypeError, ValueError, OSError) as why:
            return {"ok": False, "error": f"{command}: {why}"}

    def serve(self):
        while True:
            connection, _ = self.socket.accept()
            with connection, connection.makefile("r", encoding="ascii") as lines:
                line = lines.readline()
                if not line:
                    continue
                reply = self.answer(line)
                self.write()
                try:
                    connection.sendall(json.dumps(reply).encode() + b"\n")
                except OSError as why:
                    print(f"{line[:60]!r}: {why}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    Gateway(*sys.argv[1:]).serve()
