#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the tables and charts of the documents from what `make bench` wrote.

usage: figures.py RESULT_JSON [--readme [FILE...]] [--charts DIRECTORY]
       figures.py --check [RESULT_JSON]

Between the lines `<!-- bench: NAME perf/results/RESULT.json -->` and `<!-- /bench -->` of README.md and perf/README.md come,
by NAME:

    ratios      how many times better than each peer, of a few figures
    headline    the figures that matter most: medians of all subjects, and how far ahead of the best peer
    whole       all figures: median (min–max), then the run: command, commit, machine, versions
    stages      the chart of the stages

and into DIRECTORY (perf/results) come bench.svg, the headline's figures as bars, and stages.svg, each stage's median and
p99. The result that is named in the lines is put there by this program; `--readme` without a file leaves the documents
alone. What a result lacks, be it a figure, a subject or the stages, is left out.

--check changes nothing: exit status 1 says that a table or chart is not what the result named there gives.
"""

import argparse
import json
import math
import os
import re
import statistics
import sys
import textwrap
from collections import namedtuple

from svg import COLOURS, Svg, duration

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
READMES = ("README.md", "perf/README.md")
RESULTS = "perf/results/"

Subject = namedtuple("Subject", "label colour")  # {} is where the version goes
SUBJECTS = {
    "shardtun": Subject("shardtun", COLOURS[0]),
    "veth": Subject("bare veth", COLOURS[7]),
    "wireguard-go-new": Subject("wireguard-go{}", COLOURS[1]),
    "wireguard-go": Subject("wireguard-go{}", COLOURS[4]),
    "openvpn": Subject("OpenVPN{}", COLOURS[2]),
    "fastd": Subject("fastd{}", COLOURS[3]),
    "fastd-null": Subject("fastd{} without cipher", COLOURS[5]),
}
OURS, NO_PEERS = "shardtun", ("shardtun", "veth")

Figure = namedtuple("Figure", "label unit more_is_better headline", defaults=(True, False))
FIGURES = {
    "tcp-1-up/gso/gbit": Figure("TCP, 1 stream up", "Gbit/s", headline=True),
    "tcp-1-down/gso/gbit": Figure("TCP, 1 stream down", "Gbit/s", headline=True),
    "tcp-8-up/gso/gbit": Figure("TCP, 8 streams up", "Gbit/s", headline=True),
    "tcp-1-up-forwarded/gso/gbit": Figure("TCP, 1 stream up, forwarded to a host behind", "Gbit/s", headline=True),
    "tcp-1-down-forwarded/gso/gbit": Figure("TCP, 1 stream down, forwarded from a host behind", "Gbit/s", headline=True),
    "tcp-1-up/wire/gbit": Figure("TCP, 1 stream up, no GSO outside", "Gbit/s", headline=True),
    "tcp-1-down/wire/gbit": Figure("TCP, 1 stream down, no GSO outside", "Gbit/s", headline=True),
    "cpu-per-gib/up/seconds": Figure("gateway's CPU time for 1 GiB up", "s", more_is_better=False, headline=True),
    "cpu-per-gib/down/seconds": Figure("gateway's CPU time for 1 GiB down", "s", more_is_better=False),
    "unaggregated-64/kpps": Figure("unaggregated UDP of 64 bytes, 1 % loss", "kpps", headline=True),
    "unaggregated-1200/kpps": Figure("unaggregated UDP of 1200 bytes, 1 % loss", "kpps", headline=True),
    "rtt-idle-p50/us": Figure("round trip, idle, p50", "µs", more_is_better=False, headline=True),
    "rtt-idle-p99/us": Figure("round trip, idle, p99", "µs", more_is_better=False),
    "rtt-loaded-p50/us": Figure("round trip beside TCP, p50", "µs", more_is_better=False),
    "rtt-loaded-p99/us": Figure("round trip beside TCP, p99", "µs", more_is_better=False, headline=True),
    "tcp-beside-rtt/gbit": Figure("that TCP", "Gbit/s"),
    "connect/ms": Figure("from the client's start to the first answer", "ms", more_is_better=False, headline=True),
    "resident/mib": Figure("gateway's memory after load", "MiB", more_is_better=False),
    "bulk-one-worker/gbit": Figure("bulk up, for a second of a worker's CPU time", "Gbit/s"),
    "bulk-one-worker-wall/gbit": Figure("bulk up, one worker, by the clock", "Gbit/s"),
    "bulk-one-worker-down/gbit": Figure("bulk down, for a second of a worker's CPU time", "Gbit/s"),
    "bulk-one-worker-down-wall/gbit": Figure("bulk down, one worker, by the clock", "Gbit/s"),
    "small-super/mpps": Figure("64 bytes in trains up, for a second of a worker's CPU time", "Mpps"),
    "small-super-wall/mpps": Figure("64 bytes in trains up, one worker, by the clock", "Mpps"),
    "small-super-down/mpps": Figure("64 bytes in trains down, for a second of a worker's CPU time", "Mpps"),
    "small-super-down-wall/mpps": Figure("64 bytes in trains down, one worker, by the clock", "Mpps"),
    "small-unaggregated-one-worker/mpps": Figure("64 bytes unaggregated up, for a second of a worker's CPU time", "Mpps"),
    "small-unaggregated-one-worker-wall/mpps": Figure("64 bytes unaggregated up, one worker, by the clock", "Mpps"),
    "handshakes/per-second": Figure("handshakes, for a second of a handshake thread's CPU time", ""),
    "handshakes-wall/per-second": Figure("handshakes in a second by the clock", ""),
    "handshakes-first/per-second": Figure("first handshakes of peers, for a second of a handshake thread's CPU time", ""),
    "handshakes-first-wall/per-second": Figure("first handshakes of peers in a second by the clock", ""),
    "sessions/count": Figure("sessions held", ""),
    "sessions-up/per-second": Figure("sessions that came up in a second", ""),
    "sessions-churn/per-second": Figure("sessions replaced in a second", ""),
    "sessions-random/mpps": Figure("64 bytes of any of the sessions, for a second of the workers' CPU time", "Mpps"),
    "sessions-tcp-kept/ratio": Figure("TCP beside the sessions, of what it moves without them", ""),
    "sessions-churn-tcp-kept/ratio": Figure("TCP while they are replaced, of what it moves without them", ""),
    "session-idle/bytes": Figure("memory of an idle session", "bytes", more_is_better=False),
    "session-active/bytes": Figure("memory of a session with traffic", "bytes", more_is_better=False),
    "session-asleep/bytes": Figure("memory of a session that hibernates", "bytes", more_is_better=False),
    "peer/bytes": Figure("memory of a peer", "bytes", more_is_better=False),
    "lookup-1m/ns": Figure("session look-up among a million, random", "ns", more_is_better=False),
}

RATIOS = (
    "tcp-1-up/gso/gbit",
    "tcp-1-down/gso/gbit",
    "cpu-per-gib/up/seconds",
    "unaggregated-64/kpps",
    "rtt-idle-p50/us",
    "rtt-loaded-p99/us",
)

# What figures are called in results of before 2026-11-29.
FORMER = {name.replace("unaggregated", "loose"): name for name in FIGURES if "unaggregated" in name}


# --- the result -------------------------------------------------------------------------------------------------------


class Result:
    """`name` is how the documents call it: its path from the root of the repository."""

    def __init__(self, name):
        self.name = name
        try:
            with open(os.path.join(ROOT, name), encoding="utf-8") as file:
                content = json.load(file)
        except (OSError, ValueError) as error:
            sys.exit(f"{name}: cannot be read ({error})")
        if not isinstance(content, dict) or content.get("version") != 2 or not isinstance(content.get("samples"), dict):
            sys.exit(f"{name}: this is not a result of make bench in version 2; measure again")
        self.content = content
        self.samples = {}
        for former, by_subject in content["samples"].items():
            figure = FORMER.get(former, former)
            for subject, values in by_subject.items():
                if not all(isinstance(value, (int, float)) for value in values):
                    sys.exit(f"{name}: {figure} of {subject} has samples that are no numbers")
                if values:
                    self.samples.setdefault(figure, {})[subject] = values
        limited = (entry.split(" ") for entry in content.get("generator_limited", []))  # "FIGURE SUBJECT"
        self.limited = {f"{FORMER.get(figure, figure)} {subject}" for figure, subject in limited}
        stages = (content.get("stages") or {}).get("stages", [])
        self.stages = [stage for stage in stages if stage["count"]]

    def figures(self, chosen=lambda figure: True):
        """Names, in the order of FIGURES; those unknown to it at the end."""
        known = [name for name, figure in FIGURES.items() if name in self.samples and chosen(figure)]
        return known + [name for name in self.samples if name not in FIGURES and chosen(describe(name))]

    def subjects(self, figures):
        """Those that any of the figures has."""
        having = {subject for figure in figures for subject in self.samples[figure]}
        return [name for name in SUBJECTS if name in having] + sorted(having - SUBJECTS.keys())

    def median(self, figure, subject):
        values = self.samples[figure].get(subject)
        return statistics.median(values) if values else None

    def star(self, figure, subject):
        return "*" if f"{figure} {subject}" in self.limited else ""

    def footnote(self, figures):
        starred = any(self.star(figure, subject) for figure in figures for subject in self.samples[figure])
        return " A * is the generator's limit: the subject was not at its own." if starred else ""

    def label(self, subject):
        version = self.content.get("versions", {}).get(subject)
        label = SUBJECTS[subject].label if subject in SUBJECTS else f"{subject}{{}}"
        return label.format(f" {version}" if version else "")

    def times(self, figure, subject):
        """How many times better than that subject; None when one of the two was not measured."""
        ours, theirs = self.median(figure, OURS), self.median(figure, subject)
        if not ours or not theirs:
            return None
        return ours / theirs if describe(figure).more_is_better else theirs / ours

    def peers(self, figures):
        return [subject for subject in self.subjects(figures) if subject not in NO_PEERS]

    def ahead(self, figure):
        """How many times better than the best peer, and which one that is; None without one of the two."""
        ratios = [(self.times(figure, peer), peer) for peer in self.peers([figure])]
        return min((ratio for ratio in ratios if ratio[0] is not None), key=lambda ratio: ratio[0], default=None)


def describe(name):
    return FIGURES.get(name, Figure(name, ""))


def titled(name):
    figure = describe(name)
    return f"{figure.label}, {figure.unit}" if figure.unit else figure.label


def number(value):
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"


# --- the tables -------------------------------------------------------------------------------------------------------


def table(rows):
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines) + "\n"


def paragraph(text):
    return textwrap.fill(text, 150, break_long_words=False, break_on_hyphens=False) + "\n"


def rounds(result):
    settings = result.content.get("settings", {})
    if "rounds" not in settings or "seconds" not in settings:
        return "Medians"
    return f"Medians of {settings['rounds']} interleaved rounds of {settings['seconds']} s"


def machine(result):
    found = result.content.get("machine", {})
    kernel = f"Linux {found.get('kernel', '(unknown)')}"
    parts = [found.get("cpu", "unknown CPU"), kernel] + ([found["distribution"]] if "distribution" in found else [])
    return f"{found.get('cpus', 'an unknown number of')} CPUs ({', '.join(parts)})"


def picture(what, charts, readme):
    path = os.path.relpath(os.path.join(charts, what), os.path.dirname(readme) or ".")
    return path.replace(os.sep, "/")


def middle(result, figure, subject):
    median = result.median(figure, subject)
    return "–" if median is None else number(median) + result.star(figure, subject)


def ratios_block(result, *_):
    figures = [figure for figure in RATIOS if figure in result.samples]
    peers = result.peers(figures)
    rows = [["times better than"] + [result.label(peer) for peer in peers]]
    for figure in figures:
        ratios = [result.times(figure, peer) for peer in peers]
        rows.append([describe(figure).label] + ["–" if ratio is None else number(ratio) for ratio in ratios])
    return table(rows) if peers else ""


def headline_block(result, charts, readme):
    figures = result.figures(lambda figure: figure.headline)
    subjects = result.subjects(figures)
    rows = [[""] + [result.label(subject) for subject in subjects] + ["times better than the best peer"]]
    for figure in figures:
        ahead = result.ahead(figure)
        rows.append(
            [titled(figure)]
            + [middle(result, figure, subject) for subject in subjects]
            + [f"{number(ahead[0])} ({result.label(ahead[1])})" if ahead else "–"]
        )
    said = (
        f"{rounds(result)} in one run of `{result.content.get('command', 'make bench')}` on {machine(result)} that all ends "
        f"and the load shared; commit {result.content.get('commit', 'unknown')}; the samples are in `{result.name}`."
        f"{result.footnote(figures)}"
    )
    image = f"![the same as bars]({picture('bench.svg', charts, readme)})\n"
    return "\n".join([table(rows), paragraph(said), image])


def spread(result, figure, subject):
    values = result.samples[figure].get(subject, [])
    around = f" ({number(min(values))}–{number(max(values))})" if len(values) > 1 else ""
    return middle(result, figure, subject) + around


def whole_block(result, *_):
    beside = [figure for figure in result.figures() if set(result.samples[figure]) != {OURS}]
    alone = [figure for figure in result.figures() if figure not in beside]
    parts = []
    if beside:
        subjects = result.subjects(beside)
        rows = [[""] + [result.label(subject) for subject in subjects]]
        rows += [[titled(figure)] + [spread(result, figure, subject) for subject in subjects] for figure in beside]
        parts.append(table(rows))
    if alone:
        parts.append(table([["shardtun alone", ""]] + [[titled(name), spread(result, name, OURS)] for name in alone]))
    content = result.content
    others = {key: value for key, value in content.get("settings", {}).items() if key not in ("rounds", "seconds")}
    said = f"{rounds(result)}, in brackets the least and the most. `{content.get('command', 'make bench')}`"
    said += f" of {content['date'][:10]}" if "date" in content else ""
    said += f", commit {content.get('commit', 'unknown')}, on {machine(result)}"
    said += "".join(f"; {key}: {value}" for key, value in others.items())
    ours = content.get("versions", {}).get(OURS)
    said += f"; shardtun {ours}" if ours else ""
    parts.append(paragraph(f"{said}. All samples: `{result.name}`.{result.footnote(result.figures())}"))
    return "\n".join(parts)


def stages_block(result, charts, readme):
    return f"![stages of that run]({picture('stages.svg', charts, readme)})\n" if result.stages else ""


BLOCKS = {"ratios": ratios_block, "headline": headline_block, "whole": whole_block, "stages": stages_block}


# --- the charts -------------------------------------------------------------------------------------------------------


def draw_bars(result):
    """Each figure a panel of its own, for each has a unit of its own; two beside each other."""
    figures = result.figures(lambda figure: figure.headline)
    row, head, gap, width, names, values = 18, 24, 14, 960, 168, 58
    panels = [(figure, result.subjects([figure])) for figure in figures]
    lines = [panels[i : i + 2] for i in range(0, len(panels), 2)]
    heights = [head + row * max(len(subjects) for _, subjects in line) + gap for line in lines]
    svg = Svg(width, 66 + sum(heights), "shardtun beside its peers")
    svg.text(16, 24, "shardtun beside its peers", kind="title")
    svg.text(16, 41, f"{rounds(result)}; {machine(result)}; commit {result.content.get('commit', 'unknown')}", kind="note")
    top = 62
    for line, height in zip(lines, heights):
        for column, (figure, subjects) in enumerate(line):
            left = 16 + column * (width // 2)
            across = width // 2 - 32 - names - values
            svg.text(left, top + 12, titled(figure))
            svg.text(
                left + width // 2 - 32,
                top + 12,
                "more is better" if describe(figure).more_is_better else "less is better",
                "end",
                "note",
            )
            most = max(result.median(figure, subject) for subject in subjects) or 1
            for i, subject in enumerate(subjects):
                y, median = top + head + row * i, result.median(figure, subject)
                colour = SUBJECTS[subject].colour if subject in SUBJECTS else COLOURS[6]
                svg.text(left + names - 8, y + 11, result.label(subject), "end", "note")
                svg.rectangle(left + names, y + 1, max(1, across * median / most), row - 5, colour)
                svg.text(left + names + max(1, across * median / most) + 6, y + 11, number(median) + result.star(figure, subject))
        top += height
    return svg.render()


def draw_stages(result):
    row, top, left, right, width = 24, 70, 226, 210, 900
    height = top + row * len(result.stages) + 34
    svg = Svg(width, height, "Stages of the data path")
    svg.text(16, 24, "How long the stages of the data path take", kind="title")
    svg.text(16, 41, f"{machine(result)}; commit {result.content.get('commit', 'unknown')}", kind="note")
    svg.text(16, 57, "from the median to p99; right: both, and the stage's share of the CPU time", kind="note")
    quantiles = [(stage["ns"]["p50"], stage["ns"]["p99"]) for stage in result.stages]
    low = 10 ** math.floor(math.log10(max(1, min(p50 for p50, _ in quantiles))))
    high = 10 ** math.ceil(math.log10(max(low * 10, max(p99 for _, p99 in quantiles))))

    def x_of(ns):
        return left + (width - left - right) * math.log(max(ns, low) / low) / math.log(high / low)

    decade = low
    while decade <= high:
        svg.line(x_of(decade), top, x_of(decade), height - 26, "grid")
        svg.text(x_of(decade), height - 10, duration(decade), "middle")
        decade *= 10
    for i, (stage, (p50, p99)) in enumerate(zip(result.stages, quantiles)):
        y = top + row * i + row / 2
        svg.text(16, y + 4, stage["stage"])
        svg.text(left - 10, y + 4, "per " + stage["unit"], "end", "note")
        svg.rectangle(x_of(p50), y - 3, max(1, x_of(p99) - x_of(p50)), 6, COLOURS[5])
        svg.dot(x_of(p50), y, COLOURS[0], 5)
        svg.dot(x_of(p99), y, COLOURS[1], 4)
        share = "" if stage.get("share") is None else f", {100 * stage['share']:.1f} %"
        svg.text(width - right + 12, y + 4, f"{duration(p50)}, {duration(p99)}{share}", kind="note")
    return svg.render()


# --- the documents ----------------------------------------------------------------------------------------------------

BLOCK = re.compile(r"^<!-- bench: (\S+)(?: (\S+))? -->\n(.*?)^<!-- /bench -->$", re.MULTILINE | re.DOTALL)


def blocks_of(readme, text):
    """Match objects, after a look at whether each beginning has its end."""
    for match in re.finditer(r"^<!-- /?bench.*$", text, re.MULTILINE):
        line = text.count("\n", 0, match.start()) + 1
        if not any(match.start() in (block.start(), block.end() - len(match[0])) for block in BLOCK.finditer(text)):
            sys.exit(f"{readme}:{line}: {match[0]} is no half of a pair <!-- bench: NAME --> … <!-- /bench -->")
    found = list(BLOCK.finditer(text))
    for block in found:
        if block[1] not in BLOCKS or "<!-- bench" in block[3]:
            line = text.count("\n", 0, block.start()) + 1
            sys.exit(f"{readme}:{line}: there is no table {block[1]}; there are {', '.join(BLOCKS)}")
    return found


def read(path):
    try:
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        sys.exit(f"{path}: cannot be read ({error.strerror})")


def named_result(readmes):
    """The one result that the documents name, or None while they name none."""
    named = {}
    for readme in readmes:
        for block in blocks_of(readme, read(readme)):
            named.setdefault(block[2], f"{readme} ({block[1]})")
    if len(named) > 1:
        where = "; ".join(f"{name or 'no result'}: {place}" for name, place in named.items())
        sys.exit(f"the tables are of different results; give figures.py the one that is current ({where})")
    return next(iter(named), None)


def make(result, readmes, charts):
    """Path -> content of all that is made from the result."""
    made = {}
    for readme in readmes:
        text = read(readme)
        for block in reversed(blocks_of(readme, text)):
            inside = BLOCKS[block[1]](result, charts, readme)
            new = f"<!-- bench: {block[1]} {result.name} -->\n{inside}<!-- /bench -->"
            text = text[: block.start()] + new + text[block.end() :]
        made[readme] = text
    if result.figures(lambda figure: figure.headline):
        made[os.path.join(charts, "bench.svg")] = draw_bars(result)
    if result.stages:
        made[os.path.join(charts, "stages.svg")] = draw_stages(result)
    return made


def content_of(path):
    try:
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def check(result, made):
    stale = [path for path, content in made.items() if content_of(path) != content]
    for path in stale:
        print(f"{path}: not what {result.name} gives; run: perf/plot/figures.py {result.name}", file=sys.stderr)
    return 1 if stale else 0


def write(made):
    for path, content in made.items():
        if content_of(path) == content:
            continue
        path = os.path.join(ROOT, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
        print(f"wrote {os.path.relpath(path)}")
    return 0


def from_root(path):
    """As seen from the root of the repository, whatever the current directory is."""
    return os.path.relpath(os.path.abspath(path), ROOT).replace(os.sep, "/")


def main():
    parser = argparse.ArgumentParser(description="Makes the documents' tables and charts from a result of make bench.")
    parser.add_argument("result", nargs="?", metavar="RESULT_JSON", help="with --check: the one that the documents name")
    parser.add_argument("--readme", nargs="*", metavar="FILE", help="documents with tables (default: README.md, perf/README.md)")
    parser.add_argument("--charts", metavar="DIRECTORY", help="where the charts go (default: perf/results)")
    parser.add_argument("--check", action="store_true", help="change nothing; say what is not as the result gives it")
    arguments = parser.parse_args()
    readmes = list(READMES) if arguments.readme is None else [from_root(path) for path in arguments.readme]
    charts = from_root(arguments.charts) if arguments.charts else RESULTS.rstrip("/")
    name = from_root(arguments.result) if arguments.result else None
    if name is None and not arguments.check:
        parser.error("which result? RESULT_JSON is missing")
    if name is None:
        name = named_result(readmes)
        if name is None:
            print("no document names a result: nothing to check")
            return 0
    if readmes and not name.startswith(RESULTS):
        sys.exit(f"{name}: what documents quote lies in {RESULTS}; move it there, or give --readme without a file")
    result = Result(name)
    made = make(result, readmes, charts)
    return check(result, made) if arguments.check else write(made)


if __name__ == "__main__":
    sys.exit(main())
