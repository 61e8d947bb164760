#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Looks at the status page with a headless Chromium, as an operator would, while there is traffic.

    page.py URL DIRECTORY       checks the page; leaves screenshots in the directory; prints what the page said

The browser is driven through its DevTools pipe (--remote-debugging-pipe): JSON messages that end with a zero byte.
"""

import base64
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --remote-debugging-pipe --hide-scrollbars"
).split()
PATIENCE = 60
HISTORY = 120  # seconds that the page remembers
SIZES = {"desktop": (1280, 900, 1), "phone": (390, 844, 2)}

# What the page shows now.
LOOK = """JSON.stringify({
    turns: Number(document.documentElement.dataset.turns || 0),
    state: document.getElementById("state").className,
    facts: document.getElementById("facts").textContent,
    up: Number(document.getElementById("up").dataset.value),
    down: Number(document.getElementById("down").dataset.value),
    up_packets: Number(document.getElementById("up-packets").dataset.value),
    sessions: Number(document.getElementById("sessions").dataset.value),
    pool: Number(document.getElementById("pool").dataset.value),
    handshakes: document.getElementById("handshakes-note").textContent,
    threads: [...document.querySelectorAll(".thread")].map((t) => [t.querySelector("b").textContent, Number(t.dataset.load)]),
    queues: [...document.querySelectorAll(".thread .queues")].map((q) => q.textContent),
    widths: [...document.querySelectorAll(".thread .bar i")].map((i) => i.getBoundingClientRect().width),
    span: [document.getElementById("span").dataset.value, document.getElementById("span").textContent],
    stages: [...document.querySelectorAll(".track")].map((t) => t.dataset.stage),
    spans: [...document.querySelectorAll(".track i.q90")].filter((i) => i.getBoundingClientRect().width > 0).length,
    drops: Object.fromEntries([...document.querySelectorAll("#reasons tr")].map((r) => [r.dataset.reason, r.lastChild.textContent])),
    lines: document.querySelectorAll("#chart path.line").length,
    suites: document.getElementById("suites").textContent,
    offloads: document.querySelectorAll("#offloads .chip").length,
    background: getComputedStyle(document.body).backgroundColor,
    scroll: document.documentElement.scrollWidth - document.documentElement.clientWidth,
})"""


# Of one answer: the quantiles that the page computes from its buckets beside those that the daemon computed, and what the
# page thinks came between the answer and itself.
QUANTILES = """fetch("stages.json").then((answer) => answer.json()).then((report) => JSON.stringify([
    stagesBetween({ stages: [] }, report).map((mine) => {
        const theirs = report.stages.find((stage) => stage.stage === mine.stage);
        return [mine.stage, mine.count, theirs.count, ...Object.entries(mine.ns).flatMap(([name, ns]) => [ns, theirs.ns[name]]),
            mine.share ?? -1, theirs.share ?? -1, mine.cycles, theirs.cycles.sum];
    }),
    stagesBetween(report, report)]))"""


class Browser:
    """A page of a browser of our own."""

    def __init__(self, directory):
        program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
        if program is None:
            sys.exit("no Chromium here; config/install-packages monitor installs it")
        to_browser, self.write_end = os.pipe()
        self.read_end, from_browser = os.pipe()

        def place():
            # Far away first: one of them may stand where the other goes.
            high = [os.dup2(fd, 100 + i) for i, fd in enumerate((to_browser, from_browser))]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.log = open(os.path.join(directory, "chromium.out"), "w", encoding="utf-8")
        self.process = subprocess.Popen(
            [program, *OPTIONS, f"--user-data-dir={directory}/profile"],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            pass_fds=(3, 4),
            preexec_fn=place,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.buffer = b""
        self.number = 0
        self.session = None
        self.problems = []
        self.requests = []

    def receive(self, deadline):
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.read_end], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self.read_end, 1 << 20) if ready else b""
            if not data:
                sys.exit("the browser does not answer")
            self.buffer += data
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def note(self, message):
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.problems.append("console: " + json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(params["entry"]["text"] + " " + params["entry"].get("url", ""))
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_end, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self.receive(deadline)
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]
            self.note(answer)

    def open(self, url):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.call(domain + ".enable")
        self.call("Page.navigate", url=url)

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return result["result"].get("value")

    def look(self):
        return json.loads(self.evaluate(LOOK) or "{}")

    def look_until(self, wrong):
        """Until `wrong` finds nothing wrong with what the page shows."""
        deadline = time.monotonic() + PATIENCE
        while True:
            page = self.look() if self.evaluate("document.readyState") == "complete" else {}
            problem = wrong(page) if page.get("up") is not None else "nothing is there yet"
            if problem is None:
                return page
            if time.monotonic() > deadline:
                sys.exit(f"{problem}; console: {self.problems}; the page: {json.dumps(page, indent=1)}")
            time.sleep(0.2)

    def show(self, size, scheme):
        width, height, scale = SIZES[size]
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=size == "phone",
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        turns = self.look()["turns"]
        return self.look_until(lambda page: None if page["turns"] > turns or turns == HISTORY else "it stands still")

    def screenshot(self, path):
        image = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(image))

    def close(self):
        try:
            os.write(self.write_end, b'{"id": 1000000, "method": "Browser.close"}\0')
            self.process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()


def expect(good, what, page):
    if not good:
        sys.exit(f"not so: {what}; the page: {json.dumps(page, indent=1)}")


def wrong(page):
    """What is wrong with a page under load, or None."""
    names = [name for name, _ in page["threads"]]
    facts = {
        "it is not live": page["state"] == "live" and page["turns"] >= 3,
        "there is no traffic": page["up"] > 1e6 and page["down"] > 1e6 and page["up_packets"] > 10,
        "it is not one session with one address": page["sessions"] == 1 and page["pool"] == 1,
        "there was no handshake": re.fullmatch("[1-9][0-9]* in all", page["handshakes"]),
        "it does not say what it is": "gateway · shardtun0" in page["facts"],
        "threads are missing": {"worker 0", "worker 1", "reader 0", "handshake 0"} <= set(names),
        "no thread works": any(load > 0.01 for _, load in page["threads"]),
        "no worker says how long datagrams waited in its socket": any(
            re.match("socket [0-9.]+\u202f[nµm]?s, p99 ", text) for text in page["queues"]
        ),
        "no thread's bar shows it": max(page["widths"], default=0) > 1,
        "stages are missing": {"open", "seal", "udp_recv", "residence_up"} <= set(page["stages"]),
        "their bars are not drawn": page["spans"] > 3,
        "they are not of the last seconds": page["span"][0] == "recent" and re.fullmatch("the last [1-9][0-9]* s", page["span"][1]),
        "the chart has not two lines": page["lines"] == 2,
        "suites or offloads are missing": "AES-256-GCM" in page["suites"] and page["offloads"] == 5,
        "the drop is missing": "unknown_session" in page["drops"],
    }
    return next((what for what, good in facts.items() if not good), None)


def same_stage(stage):
    """Pairs of numbers behind the name. Nanoseconds are sent to a tenth, and the daemon cuts them at the largest value."""
    return all(abs(a - b) <= 0.1 + b / 50 for a, b in zip(stage[1::2], stage[2::2]))


def main(url, directory):
    profile = tempfile.mkdtemp(dir=directory)
    browser = Browser(profile)
    try:
        browser.open(url)
        first = browser.look_until(wrong)
        second = browser.look_until(
            lambda page: None if page["turns"] > first["turns"] and page["up"] != first["up"] else "it stands still"
        )
        stages, nothing = json.loads(browser.evaluate(QUANTILES))
        expect(len(stages) > 5 and all(same_stage(stage) for stage in stages), f"it counts as the daemon does: {stages}", second)
        expect(not nothing, f"it takes away what was there before: {nothing}", second)
        grounds = {}
        for scheme in ("light", "dark"):
            for size in SIZES:
                page = browser.show(size, scheme)
                expect(page["scroll"] <= 0, f"nothing is wider than the {size}", page)
                grounds.setdefault(scheme, page["background"])
                browser.screenshot(os.path.join(directory, f"page-{size}-{scheme}.png"))
        expect(grounds["light"] != grounds["dark"], f"there are a light and a dark page: {grounds}", page)
        outside = [request for request in browser.requests if not request.startswith((url, "data:"))]
        expect(not outside, f"nothing is fetched from elsewhere: {outside}", page)
        expect(not browser.problems, f"no errors in the console: {browser.problems}", page)
        print(json.dumps(second))
    finally:
        browser.close()
        shutil.rmtree(profile, ignore_errors=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
