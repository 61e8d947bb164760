#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""farm_phase.py BLOCKS MOVED NAME EXPRESSION: what client_farm (--interval) and a few real clients saw in a phase, from standard input.

Lines: the farm's, pulse.py's of each real client, and the longest silence of each one's TCP connection, in seconds. BLOCKS is how
many blocks the farm's clients are in, in turns; MOVED names those that have another owner than before. Prints it in words. Fails where
EXPRESSION is false, of: lost (pings of the farm), pause (the longest time without an answer, of any client, in seconds), tcp (the longest
silence), moved (how many blocks), late (what the machine adds: how much longer than a tenth of a second, between two pings, the median
pause of those was whose block stayed), full (the farm sent nine tenths of its pings in time: it was given the CPU); and, whatever it says, where a client got what is another's, or another address.
"""

import json
import statistics
import sys

INTERVAL_MS = 100


def words(pauses):
    return f"median {statistics.median(pauses):.0f}, at most {max(pauses)}"


def main(blocks, moved, name, expression):
    moved = {int(block) for block in moved.split()}
    lines = sys.stdin.read().splitlines()
    farm = json.loads(lines[0])
    pulses = [json.loads(line) for line in lines[1:] if line.startswith("{")]
    silences = [float(line) for line in lines[1:] if not line.startswith("{")]
    pauses = farm["pauses_ms"]
    print(f"{name}: {farm['ms'] / 1000:.1f} s, {farm['sent']} pings, {farm['lost']} lost, {farm['handshakes']} new handshakes,",
          f"{farm['silent']} without an answer at the end;",
          f"pauses of {len(pauses)} clients in ms: {words(pauses)}")
    at_moved, at_others = ([pause for number, pause in enumerate(pauses) if (number % int(blocks) + 1 in moved) == there]
                           for there in (True, False))
    if at_moved and at_others:
        print(f"{name}: of {len(at_moved)} clients whose block moved: {words(at_moved)}; of {len(at_others)} others: {words(at_others)}")
    print(f"{name}: real clients: pauses of pings {[pulse['gap'] for pulse in pulses]} s, of TCP {silences} s")
    never = {what: farm[what] for what in ("foreign", "unasked", "malformed", "held_twice", "moved") if farm[what]}
    if any(pulse["wrong"] for pulse in pulses):
        never["wrong"] = [pulse["wrong"] for pulse in pulses]
    known = {"lost": farm["lost"], "pause": max([max(pauses) / 1000] + [pulse["gap"] for pulse in pulses]),
             "tcp": max(silences), "moved": len(moved), "late": max(0, statistics.median(at_others or pauses) / 1000 - INTERVAL_MS / 1000),
             "full": farm["sent"] > 0.9 * len(pauses) * farm["ms"] / INTERVAL_MS}
    if never or not eval(expression, {}, known):
        sys.exit(f"{name}: not {expression}: {known}; what may not happen: {never}")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
