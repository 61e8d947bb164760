#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints what arrived by an iperf3 run, in Gbit/s and in bytes.

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
    received = result.get("end", {}).get("sum_received", {})
    if "error" in result or not received.get("bytes"):
        sys.exit("iperf3: " + result.get("error", "nothing arrived"))
    print(f"{received['bits_per_second'] / 1e9:.3f} {received['bytes']}")


if __name__ == "__main__":
    main()
