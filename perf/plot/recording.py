#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws as SVG what `shardtunctl record` wrote.

usage: recording.py RECORDING [RECORDING...] [--output DIRECTORY]

Of each recording, from its first line to its last:

    stages.svg      how long each stage takes: its distribution, p50, p90, p99 and p99.9
    throughput.svg  bits per second, received, sent, and through the TUN
    packets.svg     packets per second
    batches.svg     packets for each system call, as averages between two lines
    cycles.svg      cycles for each byte, by direction, as the timed batches tell
    drops.svg       packets dropped per second, by reason

With more than one recording, stages.svg has their rows below each other, and the other files begin with the recording's
name. The pictures need nothing from elsewhere and follow the reader's choice of light or dark.
"""

import argparse
import json
import math
import os
import sys

from svg import COLOURS, Svg, duration, quantity, steps_up_to

# What the counters say of how often a stage was passed, timed or not: from that and the timed mean follow its cycles.
UPLINK = {
    "udp_recv": "udp_rx_calls",
    "lookup": "udp_rx_packets",
    "open": "udp_rx_packets",
    "replay": "tun_tx_packets",
    "coalesce": "tun_tx_packets",
    "tun_write": "tun_tx_frames",
}
DOWNLINK = {
    "tun_read": "tun_rx_frames",
    "dispatch": "tun_rx_frames",
    "route": "tun_rx_frames",
    "segment": "udp_tx_data",
    "seal": "udp_tx_data",
    "udp_send": "udp_tx_calls",
}


# --- recordings -------------------------------------------------------------------------------------------------------


class Recording:
    def __init__(self, path):
        self.path = path
        self.name = os.path.splitext(os.path.basename(path))[0]
        self.lines = []
        with open(path, encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                try:
                    self.lines.append(json.loads(text))
                except ValueError:
                    # The last line may be cut short by what ended the recording; no other may.
                    if file.readline() != "":
                        sys.exit(f"{path}:{number}: this is not a line of shardtunctl record")
        if len(self.lines) < 2:
            sys.exit(f"{path}: there are fewer than two lines, so nothing came between them")
        for number, line in enumerate(self.lines, 1):
            if not isinstance(line, dict) or not {"time", "status", "stages"} <= line.keys():
                sys.exit(f"{path}:{number}: this is not a line of shardtunctl record")
        uptimes = [line["stages"]["uptime_seconds"] for line in self.lines]
        if any(b <= a for a, b in zip(uptimes, uptimes[1:])):
            sys.exit(f"{path}: the daemon was started anew in the middle; record its lives apart")
        self.uptimes = uptimes

    def times(self):
        """Seconds since the first line, of the end of each step."""
        return [uptime - self.uptimes[0] for uptime in self.uptimes[1:]]

    def steps(self):
        return list(zip(self.lines, self.lines[1:]))

    def counter_growth(self, name):
        return [b["status"]["counters"].get(name, 0) - a["status"]["counters"].get(name, 0) for a, b in self.steps()]

    def rate(self, name, factor=1):
        seconds = [b - a for a, b in zip(self.uptimes, self.uptimes[1:])]
        return [factor * growth / second for growth, second in zip(self.counter_growth(name), seconds)]

    def ratio(self, above, below):
        return [a / b if b else None for a, b in zip(self.counter_growth(above), self.counter_growth(below))]

    def drops(self):
        """Rates by reason, of those that occurred."""
        seconds = [b - a for a, b in zip(self.uptimes, self.uptimes[1:])]
        counts = [{drop["reason"]: drop["count"] for drop in line["status"]["drops"]} for line in self.lines]
        rates = {}
        for reason in counts[-1]:
            growth = [b.get(reason, 0) - a.get(reason, 0) for a, b in zip(counts, counts[1:])]
            if any(growth):
                rates[reason] = [g / s for g, s in zip(growth, seconds)]
        return rates

    def cycles_per_byte(self, stages, bytes_name, others_name):
        """None where next to nothing but the other direction's acknowledgements moved: their cost is none for bytes."""
        result = []
        for before, after in self.steps():
            counters = [line["status"]["counters"] for line in (before, after)]
            moved = counters[1].get(bytes_name, 0) - counters[0].get(bytes_name, 0)
            other = counters[1].get(others_name, 0) - counters[0].get(others_name, 0)
            cycles, known = 0, moved > 0 and moved >= other / 10
            for label, passed in stages.items():
                old, new = (find_stage(line, label) for line in (before, after))
                times = counters[1].get(passed, 0) - counters[0].get(passed, 0)
                timed = new["count"] - old["count"]
                if timed > 0:
                    cycles += (new["cycles"]["sum"] - old["cycles"]["sum"]) / timed * times
            result.append(cycles / moved if known and cycles > 0 else None)
        return result

    def title(self):
        first, last = self.lines[0]["status"], self.lines[-1]
        sampling = last["stages"]["sampling"]
        timed = "every batch timed" if sampling == 1 else f"one batch in {sampling} timed"
        threads = ", ".join(thread["name"] for thread in first["threads"])
        return f"{first['role']} {first['version']}; {threads}; {timed}; {self.times()[-1]:.0f} s"


def find_stage(line, label):
    for stage in line["stages"]["stages"]:
        if stage["stage"] == label:
            return stage
    return {"count": 0, "cycles": {"sum": 0}, "buckets": []}


# --- histograms -------------------------------------------------------------------------------------------------------


def bucket_edges(index, sub_bits):
    """The smallest value of a bucket and of the one after it: perf/record/histogram.h."""
    count = 1 << sub_bits
    if index < count:
        return index, index + 1
    shift = index // count - 1
    low = (count + index % count) << shift
    return low, low + (1 << shift)


class Distribution:
    """A stage between the first and the last line, in ns."""

    def __init__(self, recording, label):
        first, last = recording.lines[0], recording.lines[-1]
        self.to_ns = 1e9 / last["stages"]["tsc_hz"]
        self.sub_bits = last["stages"]["sub_bits"]
        counts = dict(map(tuple, find_stage(last, label)["buckets"]))
        for index, count in find_stage(first, label)["buckets"]:
            counts[index] -= count
        self.counts = {index: count for index, count in sorted(counts.items()) if count > 0}
        self.total = sum(self.counts.values())

    def quantile(self, fraction):
        rank, seen = max(1, math.ceil(fraction * self.total)), 0
        for index, count in self.counts.items():
            seen += count
            if seen >= rank:
                low, high = bucket_edges(index, self.sub_bits)
                return (low + high - 1) / 2 * self.to_ns
        return 0

    def density(self, low, high, bins):
        """Shares of the values in `bins` equal parts of the logarithmic axis from low to high, in ns."""
        parts = [0.0] * bins
        width = math.log(high / low) / bins
        for index, count in self.counts.items():
            edges = [math.log(max(edge * self.to_ns, low) / low) / width for edge in bucket_edges(index, self.sub_bits)]
            edges[1] = max(edges[1], edges[0] + 1e-9)
            for part in range(int(edges[0]), min(bins - 1, int(edges[1])) + 1):
                inside = min(part + 1, edges[1]) - max(part, edges[0])
                parts[part] += count / self.total * max(inside, 0) / (edges[1] - edges[0])
        return parts


# --- drawing ----------------------------------------------------------------------------------------------------------


def draw_over_time(path, title, note, recording, series, unit):
    """`series`: name -> values, one for each step; None: not known."""
    width, height, left, right, top, bottom = 760, 320, 64, 16, 54, 40
    known = [value for values in series.values() for value in values if value is not None]
    svg = Svg(width, height, title)
    svg.text(16, 24, title, kind="title")
    svg.text(16, 41, note, kind="note")
    times, marks = recording.times(), steps_up_to(max(known, default=0) or 1)
    across, down = width - left - right, height - top - bottom - 22

    def x_of(time):
        return left + across * time / times[-1]

    def y_of(value):
        return top + 22 + down * (1 - value / marks[-1])

    for mark in marks:
        svg.line(left, y_of(mark), width - right, y_of(mark), "grid")
        svg.text(left - 6, y_of(mark) + 4, quantity(mark), "end")
    for mark in steps_up_to(times[-1], 8):
        if mark <= times[-1] * 1.0001:
            svg.line(x_of(mark), y_of(0), x_of(mark), y_of(0) + 4, "axis")
            svg.text(x_of(mark), y_of(0) + 18, f"{mark:g} s", "middle")
    svg.line(left, y_of(0), width - right, y_of(0), "axis")
    svg.text(left - 6, top + 10, unit, "end", "note")
    at = left + 4
    for (name, values), colour in zip(series.items(), COLOURS):
        svg.dot(at + 4, top + 6, colour, 4)
        svg.text(at + 13, top + 10, name)
        at += 30 + 6.6 * len(name)
        run = []
        for time, value in list(zip(times, values)) + [(0, None)]:
            if value is not None:
                run.append((x_of(time), y_of(value)))
                continue
            if len(run) > 1:
                svg.path(run, colour)
            for point in run if len(run) == 1 else []:
                svg.dot(*point, colour)
            run = []
    if not known:
        svg.text(left + across / 2, top + 22 + down / 2, "none", "middle", "note")
    svg.write(path)


def stage_axis(rows):
    edges = [value for _, _, found in rows for value in (found.quantile(0.001), found.quantile(0.9999))]
    low, high = min(edges, default=10), max(edges, default=1e6)
    return 10 ** math.floor(math.log10(max(low, 1))), 10 ** math.ceil(math.log10(max(high, 2)) + 1e-9)


def draw_stages(path, recordings):
    rows = []
    for stage in recordings[0].lines[-1]["stages"]["stages"]:
        for i, recording in enumerate(recordings):
            found = Distribution(recording, stage["stage"])
            if found.total:
                rows.append((stage, i, found))
    left, right, top, row, width = 226, 124, 74, 30, 900
    height = top + row * len(rows) + 34
    svg = Svg(width, height, "Stages of the data path")
    svg.text(16, 24, "How long the stages of the data path take", kind="title")
    svg.text(16, 41, recordings[0].title(), kind="note")
    svg.text(16, 57, "hill: distribution; thick line: p50; then p90, p99 and p99.9; right: p50 and p99", kind="note")
    if len(recordings) > 1:
        for i, recording in enumerate(recordings):
            svg.dot(520 + 160 * i, 20, COLOURS[i % len(COLOURS)], 5)
            svg.text(530 + 160 * i, 24, recording.name)
    low, high = stage_axis(rows)
    across = width - left - right

    def x_of(ns):
        return left + across * min(1, max(0, math.log(max(ns, low) / low) / math.log(high / low)))

    decade = low
    while decade <= high * 1.001:
        svg.line(x_of(decade), top, x_of(decade), height - 26, "grid")
        svg.text(x_of(decade), height - 10, duration(decade), "middle")
        decade *= 10
    bins = 100
    for number, (stage, i, found) in enumerate(rows):
        base = top + row * (number + 1) - 4
        colour = COLOURS[i % len(COLOURS)]
        parts = found.density(low, high, bins)
        tallest = max(parts)
        shape = [(left + across * (n + 0.5) / bins, base - (row - 8) * part / tallest) for n, part in enumerate(parts)]
        svg.path([(left, base)] + shape + [(left + across, base)], colour, filled=True)
        svg.line(left, base, left + across, base, "grid")
        for fraction, size, thickness in ((0.5, row - 10, 2.4), (0.9, 9, 1.4), (0.99, 7, 1.2), (0.999, 5, 1)):
            x = x_of(found.quantile(fraction))
            svg.line(x, base, x, base - size, "mark", thickness)
        if number == 0 or rows[number - 1][0] is not stage:
            svg.text(16, base - 4, stage["stage"])
            svg.text(left - 10, base - 4, "per " + stage["unit"], "end", "note")
        shown = f"{duration(found.quantile(0.5))}, {duration(found.quantile(0.99))}"
        svg.text(width - right + 8, base - 4, shown, kind="note")
    svg.write(path)


# --- what is drawn ----------------------------------------------------------------------------------------------------


def draw(recording, directory, prefix):
    def over_time(name, title, series, unit):
        draw_over_time(os.path.join(directory, f"{prefix}{name}.svg"), title, recording.title(), recording, series, unit)

    over_time(
        "throughput",
        "Throughput",
        {
            "UDP received": recording.rate("udp_rx_bytes", 8),
            "UDP sent": recording.rate("udp_tx_bytes", 8),
            "TUN read": recording.rate("tun_rx_bytes", 8),
            "TUN written": recording.rate("tun_tx_bytes", 8),
        },
        "bit/s",
    )
    over_time(
        "packets",
        "Packets",
        {
            "UDP received": recording.rate("udp_rx_packets"),
            "UDP sent": recording.rate("udp_tx_packets"),
            "TUN read": recording.rate("tun_rx_packets"),
            "TUN written": recording.rate("tun_tx_packets"),
        },
        "1/s",
    )
    over_time(
        "batches",
        "Packets for each system call",
        {
            "UDP receive": recording.ratio("udp_rx_packets", "udp_rx_calls"),
            "UDP send": recording.ratio("udp_tx_packets", "udp_tx_calls"),
            "TUN read": recording.ratio("tun_rx_packets", "tun_rx_frames"),
            "TUN write": recording.ratio("tun_tx_packets", "tun_tx_frames"),
        },
        "packets",
    )
    over_time(
        "cycles",
        "Cycles for each byte",
        {
            "uplink": recording.cycles_per_byte(UPLINK, "udp_rx_bytes", "udp_tx_bytes"),
            "downlink": recording.cycles_per_byte(DOWNLINK, "udp_tx_bytes", "udp_rx_bytes"),
        },
        "cycles",
    )
    over_time("drops", "Packets dropped", recording.drops(), "1/s")


def main():
    parser = argparse.ArgumentParser(description="Draws what shardtunctl record wrote as SVG pictures.")
    parser.add_argument("recordings", nargs="+", metavar="RECORDING")
    parser.add_argument("--output", default=".", metavar="DIRECTORY", help="where the pictures go (default: here)")
    arguments = parser.parse_args()
    recordings = [Recording(path) for path in arguments.recordings]
    os.makedirs(arguments.output, exist_ok=True)
    draw_stages(os.path.join(arguments.output, "stages.svg"), recordings)
    for recording in recordings:
        draw(recording, arguments.output, f"{recording.name}-" if len(recordings) > 1 else "")


if __name__ == "__main__":
    main()
