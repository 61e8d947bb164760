#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Predicts what a gateway does on a larger machine, from what its threads spend for a packet on this one.

usage: model.py RESULT.json [--cores 8,32,128] [--json] [ASSUMPTION...]
       model.py --update|--check FILE [RESULT.json]

RESULT.json comes from perf/bench/scenarios/scale. Of each load the cheapest step counts: what else ran on the machine only adds. A
packet costs what its thread's CPU clock says or what the stages add up to, whichever is less: the clock has a worker's
looks around while it waits, the stages have what the kernel let run in between.

Packets go down in one of two ways. Behind TUN readers: a worker's cost is taken from steps with a reader and from those without
one alike. Without one it includes the worker's own reads of the TUN, which is more than a worker behind a reader does; but
such a step is the one that leaves the generator CPUs of its own, while a step on all CPUs shares them with it. Or workers
read queues of their own (TunReaders = 0), at the cost of the steps without a reader.

In parallel, without sharing a line that is written: workers. Serial, each to be multiplied on its own: a TUN reader, a
queue of the TUN, a handshake thread. Shared by all: the NIC, memory's bandwidth, the registry's mutex.

--update puts the table between the lines `<!-- model: RESULT.json -->` and `<!-- /model -->` of a document, for the RESULT
that is named there or given; --check says, by its exit status, whether it is there already.
"""

import argparse
import json
import math
import os
import re
import sys

# name, default, help
ASSUMPTIONS = [
    ("clock", 1.0, "speed of one core, of this machine's"),
    ("cores-per-cpu", 1.0, "cores behind one CPU: 0.6 where two hyperthreads share one"),
    ("driver-ns", 150.0, "CPU time for each wire packet in a NIC's driver and its softirq, which a veth does not need"),
    ("nic-gbit", 200.0, "the NICs' bandwidth, each way"),
    ("nic-mpps", 150.0, "and their packets, millions a second"),
    ("memory-gbyte", 0.0, "memory bandwidth in GB/s; 0: 10 for each core, at most 300"),
    ("passes", 6.0, "times that a byte crosses memory's bus: in and out, each read and written, and a cache missed"),
    ("queue-kframes", 1000.0, "super-packets that one queue of the TUN takes, thousands a second: its lock is the senders'"),
    ("mutex-ns", 2000.0, "of a handshake under the registry's mutex"),
    ("sessions", 10000.0, "busy at once, alike: so evenly do they fall upon workers"),
    ("storm", 30.0, "seconds in which 3,000 clients for each core are to be back after a restart"),
]
FEW_CPUS = 4  # as in core/base/cpu.c: more than these, and readers and the control thread have CPUs of their own
READERS_MAX, HANDSHAKERS_MAX, WORKERS_MAX, QUEUES_MAX = 16, 16, 250, 256
CLIENTS_PER_CORE = 3000
SMALL = 64  # bytes of small packets, as perf/bench/scenarios/scale sends them

UP = ("udp_recv", "lookup", "open", "replay", "coalesce", "tun_write")
DOWN = ("route", "segment", "seal", "udp_send")
DISPATCH = ("tun_read", "dispatch")


class Problem(Exception):
    pass


# --- what a packet costs here -----------------------------------------------------------------------------------------


def thread_ns(entry, kind):
    return sum(thread["cpu_ns"] for thread in entry["threads"] if thread["name"].startswith(kind))


def stages_ns(entry, names, item):
    """What the named stages add up to for each time that the stage `item` was timed; None: it never was."""
    stages = {stage["stage"]: stage for stage in entry["stages"]}
    if item not in stages or stages[item]["count"] == 0:
        return None
    return sum(stages[name]["ns"]["sum"] for name in names if name in stages) / stages[item]["count"]


def least(*costs):
    known = [cost for cost in costs if cost]
    if not known:
        raise Problem("no load of this kind in the result")
    return min(known)


def worker_cost(entry, up):
    packets = entry["counters"]["tun_tx_packets" if up else "udp_tx_data"]
    clock = thread_ns(entry, "worker") / packets if packets else None
    # The inline worker's own reads of the TUN are its work as well.
    inline = not any(thread["name"].startswith("reader") for thread in entry["threads"])
    names, item = (UP, "open") if up else (DOWN + (DISPATCH if inline else ()), "seal")
    return least(clock, stages_ns(entry, names, item))


def reader_cost(entry):
    frames = entry["counters"]["tun_rx_frames"]
    clock = thread_ns(entry, "reader") / frames if frames else None
    return least(clock, stages_ns(entry, DISPATCH, "dispatch"))


def handshake_cost(entry):
    answered = entry["counters"]["tx_welcome"]
    clock = thread_ns(entry, "handshake") / answered if answered else None
    return least(clock)


def costs(result):
    """ns for each packet, super-packet or handshake, by name; bytes and packets of a super-packet."""
    by_load = {}
    for entry in result["rows"]:
        by_load.setdefault(entry["load"], []).append(entry)

    def cheapest(load, cost, wanted=lambda entry: True):
        entries = [entry for entry in by_load.get(load, []) if wanted(entry)]
        if not entries:
            raise Problem(f"no load {load} in the result, or none that will do")
        return min(((cost(entry), entry) for entry in entries), key=lambda pair: pair[0])

    def has_reader(entry):
        return any(thread["name"].startswith("reader") for thread in entry["threads"])

    found = {"cpus": {}}

    def take(name, load, cost, wanted=lambda entry: True):
        found[name], entry = cheapest(load, cost, wanted)
        found["cpus"][name] = entry["cpus"]
        return entry["counters"]

    bulk = take("up", "bulk-up", lambda entry: worker_cost(entry, True))
    found["packet"] = bulk["tun_tx_bytes"] / bulk["tun_tx_packets"]
    take("down", "bulk-down", lambda entry: worker_cost(entry, False))
    take("own-down", "bulk-down", lambda entry: worker_cost(entry, False), lambda entry: not has_reader(entry))
    bulk = take("reader", "bulk-down", reader_cost, has_reader)
    found["train"] = bulk["tun_rx_packets"] / bulk["tun_rx_frames"]
    take("small-up", "small-up", lambda entry: worker_cost(entry, True))
    take("small-down", "small-down", lambda entry: worker_cost(entry, False))
    take("small-own-down", "small-down", lambda entry: worker_cost(entry, False), lambda entry: not has_reader(entry))
    small = take("small-reader", "small-down", reader_cost, has_reader)
    found["small-train"] = small["tun_rx_packets"] / small["tun_rx_frames"]
    take("handshake", "handshakes", handshake_cost)
    return found


# --- a larger machine -------------------------------------------------------------------------------------------------


def imbalance(sessions, workers):
    """How much more the busiest worker has than all on average, when sessions fall upon them at random."""
    if workers <= 1:
        return 1.0
    return 1 + math.sqrt(2 * math.log(workers) * workers / max(sessions, workers))


def first_limit(own, shared):
    """Of name -> packets a second: the smallest, its name, and the smallest of the gateway's own."""
    limits = {**own, **shared}
    name = min(limits, key=limits.get)
    return limits[name], name, min(own.values())


class Machine:
    """So many cores, as core/base/cpu.c deals them: the first handshake thread has control's, others and readers one each."""

    def __init__(self, cores, readers, handshakers, cost, assume):
        self.cost, self.assume, self.readers, self.handshakers = cost, assume, readers, handshakers
        control = 1 if cores > FEW_CPUS else 0
        others = control + readers + handshakers - 1
        self.workers = max(1, min(cores - others, WORKERS_MAX, QUEUES_MAX - readers))
        self.speed = assume["clock"] * assume["cores_per_cpu"]
        per_core = assume["memory_gbyte"] or min(10.0 * cores, 300.0)
        self.memory = per_core * 1e9 / assume["passes"]  # bytes a second

    def shared(self, size):
        return {
            "NIC": min(self.assume["nic_gbit"] * 1e9 / 8 / (size + 25 + 48), self.assume["nic_mpps"] * 1e6),
            "memory": self.memory / size,
        }

    def worked(self, ns):
        even = self.workers / imbalance(self.assume["sessions"], self.workers)
        return even * 1e9 * self.speed / (ns + self.assume["driver_ns"])

    def up(self, name, size):
        return first_limit({"workers": self.worked(self.cost[name])}, self.shared(size))

    def down(self, prefix, size):
        """`prefix` is that of the costs: "" of super-packets, "small-" of small packets."""
        train = self.cost[prefix + "train"]
        queue = self.assume["queue_kframes"] * 1000 * train
        if self.readers == 0:
            even = self.workers / imbalance(self.assume["sessions"], self.workers)
            limits = {"workers": self.worked(self.cost[prefix + "own-down"]), "TUN queues": even * queue}
        else:
            limits = {
                "workers": self.worked(self.cost[prefix + "down"]),
                "TUN readers": self.readers * 1e9 * self.speed / self.cost[prefix + "reader"] * train,
                "TUN queues": self.readers * queue,
            }
        return first_limit(limits, self.shared(size))

    def handshakes(self):
        threads = self.handshakers * 1e9 * self.speed / self.cost["handshake"]
        return first_limit({"handshake threads": threads}, {"registry": 1e9 / self.assume["mutex_ns"]})


def enough_handshakers(cores, cost, assume):
    """So many that all clients are back in time, but never more than a quarter of the cores."""
    wanted = CLIENTS_PER_CORE * cores / assume["storm"] * cost["handshake"] / 1e9 / assume["clock"] / assume["cores_per_cpu"]
    return max(1, min(math.ceil(wanted), HANDSHAKERS_MAX, cores // 4))


def best_readers(cores, handshakers, cost, assume):
    """How many readers bring most down, of bulk and of small packets, which count alike."""

    def gain(readers):
        machine = Machine(cores, readers, handshakers, cost, assume)
        bulk, *_ = machine.down("", cost["packet"])
        small, *_ = machine.down("small-", SMALL)
        # Within a hundredth fewer readers are better: their CPUs are workers'.
        return round(100 * math.log(bulk * small)), -readers

    return max(range(1, min(READERS_MAX, max(1, cores - 2)) + 1), key=gain)


def predict(cores, own, cost, assume):
    """`own`: workers read the TUN themselves."""
    size = cost["packet"]
    handshakers = enough_handshakers(cores, cost, assume)
    readers = 0 if own else best_readers(cores, handshakers, cost, assume)
    machine = Machine(cores, readers, handshakers, cost, assume)
    bulk_up, bulk_down = machine.up("up", size), machine.down("", size)
    small_up, small_down = machine.up("small-up", SMALL), machine.down("small-", SMALL)
    shaken = machine.handshakes()
    return {
        "cores": cores,
        "workers": machine.workers,
        "tun_readers": machine.readers,
        "handshakers": machine.handshakers,
        "up_gbit": bulk_up[0] * size * 8 / 1e9,
        "up_limit": bulk_up[1],
        "up_threads_gbit": bulk_up[2] * size * 8 / 1e9,
        "down_gbit": bulk_down[0] * size * 8 / 1e9,
        "down_limit": bulk_down[1],
        "down_threads_gbit": bulk_down[2] * size * 8 / 1e9,
        "small_up_mpps": small_up[0] / 1e6,
        "small_up_limit": small_up[1],
        "small_down_mpps": small_down[0] / 1e6,
        "small_down_limit": small_down[1],
        "handshakes_per_second": shaken[0],
        "handshake_limit": shaken[1],
    }


# --- for people -------------------------------------------------------------------------------------------------------


def bulk(row, way):
    threads = "" if row[f"{way}_limit"] not in ("NIC", "memory") else f"; threads {row[f'{way}_threads_gbit']:.0f}"
    return f"{row[f'{way}_gbit']:.0f} ({row[f'{way}_limit']}{threads})"


def markdown(result, cost, rows):
    parts = [
        ("worker, 1 packet up", "up"),
        ("down", "down"),
        ("with its own reads of the TUN", "own-down"),
        ("1 small packet up", "small-up"),
        ("down", "small-down"),
        ("with its own reads", "small-own-down"),
        (f"TUN reader, 1 super-packet of {cost['train']:.0f}", "reader"),
        ("1 small frame", "small-reader"),
        ("handshake thread, 1 handshake", "handshake"),
    ]
    lines = [
        f"From `{result['command']}` on {result['machine']['cpu']}, {result['machine']['cpus']} CPUs, Linux"
        f" {result['machine']['kernel']}, commit {result['commit']}. CPU time in ns, in brackets the CPUs of the step that it is"
        " from: " + ", ".join(f"{text} {cost[name]:,.0f} ({cost['cpus'][name]})" for text, name in parts)
        + ".",
        "",
        "| cores | workers | TunReaders | Handshakers | Gbit/s up | Gbit/s down | Mpps of 64 B up | Mpps down | handshakes/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['cores']} | {row['workers']} | {row['tun_readers']} | {row['handshakers']}"
            f" | {bulk(row, 'up')} | {bulk(row, 'down')}"
            f" | {row['small_up_mpps']:.1f} ({row['small_up_limit']})"
            f" | {row['small_down_mpps']:.1f} ({row['small_down_limit']})"
            f" | {row['handshakes_per_second']:,.0f} ({row['handshake_limit']}) |"
        )
    lines += ["", "In brackets: what is used up first, and what the threads alone would do where that is something else."]
    return lines


MARK = re.compile(r"<!-- model: (\S+) -->\n.*?<!-- /model -->", re.DOTALL)


def with_table(document, path, make):
    found = MARK.search(document)
    if not found:
        raise Problem("no line <!-- model: RESULT.json --> in the document")
    path = path or found.group(1)
    table = "\n".join(make(path))
    return document[: found.start()] + f"<!-- model: {path} -->\n{table}\n<!-- /model -->" + document[found.end() :]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", metavar="RESULT.json", nargs="?")
    parser.add_argument("--cores", default="8,32,128", help="machines to predict (%(default)s)")
    parser.add_argument("--json", action="store_true", help="costs, assumptions and predictions, for scripts")
    parser.add_argument("--update", metavar="FILE", help="put the table into this document")
    parser.add_argument("--check", metavar="FILE", help="whether this document has the table")
    for name, default, text in ASSUMPTIONS:
        parser.add_argument(f"--{name}", type=float, default=default, metavar="X", help=f"{text} (%(default)g)")
    options = parser.parse_args()
    if not options.result and not options.update and not options.check:
        parser.error("which RESULT.json?")
    try:
        options.cores = [int(cores) for cores in options.cores.split(",")]
    except ValueError:
        parser.error(f"--cores: numbers with commas between, not {options.cores}")
    assume = {name.replace("-", "_"): getattr(options, name.replace("-", "_")) for name, _, _ in ASSUMPTIONS}
    if min(options.cores) < 2:
        parser.error("--cores: two or more")
    for name, value in assume.items():
        if value < 0 or (value == 0 and name not in ("memory_gbyte", "driver_ns")):
            parser.error(f"--{name.replace('_', '-')}: above 0")
    return options, assume


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
    except (OSError, ValueError) as error:
        raise Problem(f"{path}: cannot be read ({error})") from error
    if not isinstance(result, dict) or result.get("schema") != "shardtun-scale/1":
        raise Problem(f"{path}: not a result of perf/bench/scenarios/scale")
    return result


def main():
    options, assume = arguments()

    def model(path):
        result = read(path)
        try:
            cost = costs(result)
        except (AttributeError, KeyError, TypeError, ZeroDivisionError) as error:
            raise Problem(f"{path}: not a whole result of perf/bench/scenarios/scale ({error!r})") from error
        return result, cost, [
            predict(cores, own, cost, assume) for cores in options.cores for own in (False, True)
        ]

    path = options.update or options.check
    if path:
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        with open(path, encoding="utf-8") as file:
            document = file.read()
        wanted = with_table(document, options.result, lambda name: markdown(*model(os.path.join(root, name))))
        if options.check and wanted != document:
            raise Problem(f"{path} has another table than its result gives; perf/plot/model.py --update {path}")
        if options.update and wanted != document:
            with open(path, "w", encoding="utf-8") as file:
                file.write(wanted)
        return
    result, cost, rows = model(options.result)
    if options.json:
        print(json.dumps({"cost": cost, "assumptions": assume, "machines": rows}, indent=1))
    else:
        print("\n".join(markdown(result, cost, rows)))


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        sys.exit(f"model: {problem}")
