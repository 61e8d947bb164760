#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A scraper and its tricks, and questions to a Prometheus.

    metrics.py get URL                      prints the answer; fails unless its status is 200
    metrics.py headers URL                  prints status and headers
    metrics.py many URL COUNT               scrapes that often, without a pause, or until ^C; fails if one takes 20 s
    metrics.py slow HOST PORT COUNT         holds that many connections, until it is ended: they say half a request,
                                            a byte a second, or never read an answer; who is thrown out comes again
    metrics.py names SCRAPE FILE...         whether each metric that the files name is in the scrape
    metrics.py figure SCRAPE NAME           the sum of the samples of that name
    metrics.py query PROMETHEUS EXPRESSION  the value of the first sample; fails when there is none
    metrics.py agrees PROMETHEUS STAGES     whether quantiles that Prometheus computes from its buckets lie in the bucket
                                            of those that `shardtunctl --json stages` prints
"""

import bisect
import http.client
import json
import re
import select
import signal
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

PATIENCE = 20
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
ERROR = 0.04  # of our own buckets, and of the bounds that Prometheus sees: 2 % each
FEW = 200  # values, of which one more or less may move a quantile


def get(url):
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return answer.read().decode()


def headers(url):
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return f"{answer.status}\n{answer.headers}"
    except urllib.error.HTTPError as error:
        return f"{error.code}\n{error.headers}"


def many(url, count):
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.netloc, timeout=PATIENCE)
    longest, spent, done, paused = 0.0, 0.0, 0, []
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    signal.signal(signal.SIGCONT, lambda *_: paused.append(True))  # a benchmark stopped us: that is no answer's time
    print("scraping", flush=True)
    try:
        while done < int(count):
            start = time.monotonic()
            connection.request("GET", place.path)
            answer = connection.getresponse()
            size = len(answer.read())
            if answer.status != 200:
                sys.exit(f"status {answer.status}")
            done += 1
            if paused:
                paused.clear()
                continue
            longest = max(longest, time.monotonic() - start)
            spent += time.monotonic() - start
    except KeyboardInterrupt:
        pass
    each = spent / max(done, 1)
    return f"{done} scrapes of {size} bytes, one in {each * 1000:.1f} ms; the longest took {longest * 1000:.0f} ms"


class Slow:
    """A client that is never done."""

    def __init__(self, address, kind):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address)
        self.kind = kind
        request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        self.socket.send({"half": request[:9], "drip": request[:20], "deaf": request}[kind])
        self.socket.setblocking(False)

    def drip(self):
        if self.kind == "drip":
            self.socket.send(b"x")

    def gone(self):
        """Whether the server threw us out. The deaf one looks without reading."""
        ready, _, _ = select.select([self.socket], [], [], 0)
        try:
            return bool(ready) and self.kind != "deaf" and self.socket.recv(1) == b""
        except OSError:
            return True


def slow(host, port, count):
    address, kinds = (host, int(port)), ("half", "drip", "deaf")
    clients = {}
    thrown_out = 0
    print("slow", flush=True)
    while True:
        for i in range(int(count)):
            try:
                if i not in clients:
                    clients[i] = Slow(address, kinds[i % 3])
                clients[i].drip()
                if clients[i].gone():
                    raise OSError
            except OSError:
                if clients.pop(i, None) is not None:
                    thrown_out += 1
        print(f"{thrown_out} thrown out", flush=True)
        time.sleep(1)


def samples(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            if not line.startswith("#"):
                yield re.match(r"[a-z0-9_]+", line)[0], float(line.rsplit(" ", 1)[1])


def names(scrape, *paths):
    there = {name for name, _ in samples(scrape)}
    asked = set()
    for path in paths:
        with open(path, encoding="utf-8") as file:
            found = set(re.findall(r"\b(?:shardtun|process)_[a-z0-9_]+\b", file.read()))
        asked |= found
        missing = found - there
        if missing:
            sys.exit(f"{path} names what no scrape has: {' '.join(sorted(missing))}")
    if len(asked) < 10:
        sys.exit(f"only {len(asked)} names were found")
    return f"{len(asked)} names, all there"


def figure(scrape, name):
    values = [value for other, value in samples(scrape) if other == name]
    if not values:
        sys.exit(f"no {name}")
    return f"{sum(values):.0f}"


def answers(prometheus, expression):
    url = f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    return json.loads(get(url))["data"]["result"]


def query(prometheus, expression):
    result = answers(prometheus, expression)
    if not result:
        sys.exit("no sample")
    return result[0]["value"][1]


def buckets(prometheus, stage):
    """The upper bounds, and how many values lie below each."""
    result = answers(prometheus, f'shardtun_stage_duration_seconds_bucket{{stage="{stage}"}}')
    pairs = sorted((float(sample["metric"]["le"]), float(sample["value"][1])) for sample in result)
    return [bound for bound, _ in pairs], pairs[-1][1]


def agrees(prometheus, path):
    with open(path, encoding="utf-8") as file:
        stages = json.load(file)["stages"]
    compared = 0
    for stage in stages:
        if stage["count"] < FEW:
            continue
        name = stage["stage"]
        bounds, count = buckets(prometheus, name)
        if count != stage["count"]:
            sys.exit(f"{name}: Prometheus has {count:.0f}, not {stage['count']} yet")
        for label, quantile in QUANTILES.items():
            ours = stage["ns"][label] / 1e9
            expression = f'histogram_quantile({quantile}, shardtun_stage_duration_seconds_bucket{{stage="{name}"}})'
            theirs = float(query(prometheus, expression))
            # The bucket of ours, or the next one when ours is on the edge.
            places = {bisect.bisect_left(bounds, ours * (1 + side)) for side in (-ERROR, 0, ERROR)}
            low = bounds[min(places) - 1] if min(places) > 0 else 0
            if not low <= theirs <= bounds[max(places)]:
                sys.exit(f"{name} {label}: {ours} s here, {theirs} s there")
            compared += 1
    if compared < 12:
        sys.exit(f"only {compared} quantiles to compare")
    return f"{compared} quantiles agree"


COMMANDS = {
    "get": get,
    "headers": headers,
    "many": many,
    "slow": slow,
    "names": names,
    "figure": figure,
    "query": query,
    "agrees": agrees,
}

if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    try:
        print(COMMANDS[sys.argv[1]](*sys.argv[2:]).rstrip("\n"))
    except (OSError, KeyError) as problem:
        sys.exit(f"{sys.argv[1]} {sys.argv[2]}: {problem}")
