#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The measuring part of perf/bench/scenarios/scrape. The scraper sleeps (SIGSTOP) while it is not its turn.

usage: scrape.py SOCKET PID up|down ROUNDS SCRAPER_PID    prints a line for each second
       scrape.py SAMPLES                                  prints the medians of such lines
"""

import os
import signal
import sys

import paired

SETTLE, SPAN = 0.1, 0.9
NAMES = ["alone", "scraped"]


def forms(scraper):
    def wake():
        os.kill(scraper, signal.SIGCONT)
        return lambda: os.kill(scraper, signal.SIGSTOP)

    return {"alone": lambda: lambda: None, "scraped": wake}


if __name__ == "__main__":
    if len(sys.argv) == 6:
        socket, pid, direction, rounds, scraper = sys.argv[1:]
        paired.measure(socket, int(pid), direction, int(rounds), forms(int(scraper)), SETTLE, SPAN)
    elif len(sys.argv) == 2:
        paired.summary(sys.argv[1], NAMES, "A scraper that never pauses", SPAN)
    else:
        sys.exit(__doc__)
