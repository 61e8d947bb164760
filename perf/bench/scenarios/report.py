#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table and the JSON file of the benchmarks that take samples of several subjects in rounds (subjects.sh).

DIRECTORY has `samples` ("SUBJECT FIGURE VALUE" lines, the rounds in order), `versions` ("SUBJECT VERSION"), `builds` ("SUBJECT
BUILD_DIR") and `loads` (the load average at the beginning of each round).

usage: report.py NAME DIRECTORY ROUNDS SECONDS [RESULT_JSON]     prints those samples, and writes them as JSON
"""

import datetime
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "compare"))
from summary import commit, lines_of, machine, print_medians, read_samples  # noqa: E402  pylint: disable=wrong-import-position


class Report:
    def __init__(self, name, directory, rounds, seconds, **settings):
        self.samples = read_samples(directory)
        self.subjects = [line.split()[0] for line in lines_of(directory, "versions")]
        self.result = {
            "schema": f"shardtun-{name}/1",
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "commit": commit(),
            "commits": {name: commit(path) for name, path in self.pairs(directory, "builds")},
            "machine": machine(),
            "load_average": [[float(load) for load in line.split()] for line in lines_of(directory, "loads")],
            "versions": dict(self.pairs(directory, "versions")),
            "settings": {"rounds": int(rounds), "seconds": int(seconds), **settings},
            "samples": self.samples,
        }

    @staticmethod
    def pairs(directory, name):
        return [line.split(" ", 1) for line in lines_of(directory, name)]

    def print_run(self):
        result = self.result
        builds = ", ".join(f"{name} {text}" for name, text in result["commits"].items())
        loads = [load[0] for load in result["load_average"]]
        print(f"\ncommit {builds or result['commit']}; {result['machine']['cpus']} CPUs, {result['machine']['cpu']}, "
              f"Linux {result['machine']['kernel']}; {result['settings']['rounds']} rounds of "
              f"{result['settings']['seconds']} s; load average {min(loads):.1f} to {max(loads):.1f}")

    def finish(self, path):
        print_medians(self.samples, self.subjects, set())
        self.print_run()
        if path is None:
            return
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.result, file, indent=1)
            file.write("\n")
        print(f"written to {path}")


if __name__ == "__main__":
    if len(sys.argv) not in (5, 6):
        sys.exit(__doc__)
    Report(*sys.argv[1:5]).finish(sys.argv[5] if len(sys.argv) == 6 else None)
