#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Extends a gateway's blocks as its agent does, and measures how long the gateway takes to answer.

Usage: cluster_owner.py SOCKET BLOCKS SECONDS [REQUEST...]

Every 0.1 s it sends cluster-own, for two seconds from then on, on a connection of its own. Meanwhile it sends the
REQUESTs one after the other, each a line; SECONDS pass from the answer to the last one on. Prints a line of JSON: the
number of answers, the slowest in ms, whether blocks were lost (that the gateway did not name any more), how often their
deadline was past, and how long the first answer and each REQUEST took.
"""
import json
import socket
import sys
import threading
import time

PERIOD_S = 0.1
DEADLINE_NS = 2 * 10**9


def request(path, line):
    """The answer, and ms until it was there."""
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(line.encode() + b"\n")
        text = b"".join(iter(lambda: connection.recv(65536), b""))
    return json.loads(text), (time.monotonic() - began) * 1000


def fences_of(path):
    """How often the gateway gave blocks up because their deadline was past."""
    answer, _ = request(path, "cluster")
    return answer.get("result", answer)["fences"]


def main():
    path, blocks, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    result = {"answers": 0, "slowest_ms": 0, "lost": False, "requests_ms": [], "refused": []}
    requested = threading.Event()

    def send_requests():
        for line in sys.argv[4:]:
            answer, took = request(path, line)
            result["requests_ms"].append(round(took))
            if not answer["ok"]:
                result["refused"].append(answer)
        requested.set()

    sender = None
    wanted = [] if blocks == "-" else [int(block) for block in blocks.split(",")]
    end = None
    while end is None or time.monotonic() < end:
        until = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + DEADLINE_NS
        answer, took = request(path, f"cluster-own {until} {blocks}")
        served = answer.get("result", answer).get("blocks")
        result["answers"] += 1
        if "first_ms" not in result:
            result["first_ms"] = round(took, 1)
            fences = fences_of(path)
        result["slowest_ms"] = max(result["slowest_ms"], round(took, 1))
        result["lost"] |= served != wanted
        if sender is None:
            sender = threading.Thread(target=send_requests)
            sender.start()
        if end is None and requested.is_set():
            end = time.monotonic() + seconds
        time.sleep(PERIOD_S)
    result["fences"] = fences_of(path) - fences
    print(json.dumps(result))


main()
