#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The measuring part of perf/bench/scenarios/sampling.

usage: sampling.py SOCKET PID up|down ROUNDS    prints a line for each half second
       sampling.py SAMPLES                      prints the medians of such lines
"""

import sys

import paired

SETTLE, SPAN = 0.05, 0.45
SAMPLINGS = {"none": 0, "1/64": 64, "1/1": 1}


def forms(path):
    def turn(sampling):
        paired.ask(path, f"stages sampling {sampling}")
        return lambda: None

    return {name: lambda sampling=sampling: turn(sampling) for name, sampling in SAMPLINGS.items()}


if __name__ == "__main__":
    if len(sys.argv) == 5:
        socket, pid, direction, rounds = sys.argv[1:]
        paired.measure(socket, int(pid), direction, int(rounds), forms(socket), SETTLE, SPAN)
    elif len(sys.argv) == 2:
        paired.summary(sys.argv[1], list(SAMPLINGS), "Timing the stages of the data path", SPAN)
    else:
        sys.exit(__doc__)
