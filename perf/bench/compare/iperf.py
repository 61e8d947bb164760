#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints what arrived by an iperf3 run, in Gbit/s and in bytes: of one that ran both ways (--bidir), the sum.

usage: iperf.py RESULT_JSON
"""

import json
import sys


def main():
    try:
        with open(sys.argv[1], encoding="utf-8", errors="replace") as file:
            result = json.load(file)
    except ValueError:
        sys.exit("iperf3: no result")
    # It fails too when only its last message is lost: what it measured counts.
    end = result.get("end", {})
    received = [end[key] for key in ("sum_received", "sum_received_bidir_reverse") if key in end]
    if "error" in result or not received or not all(one.get("bytes") for one in received):
        sys.exit("iperf3: " + result.get("error", "nothing arrived"))
    print(f"{sum(one['bits_per_second'] for one in received) / 1e9:.3f} {sum(one['bytes'] for one in received)}")


if __name__ == "__main__":
    main()
