#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The control thread makes what a worker, reader or handshake thread owns on that thread's CPU, so that its memory lies on
# that CPU's node; then it floats again.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

command -v strace >/dev/null || skip_all "needs strace"

topology_up
allowed=$(python3 -c 'import os; print(len(os.sched_getaffinity(0)))')
((allowed > 1)) || skip_all "needs two CPUs"

# Of the control thread alone: where it is when it makes each event loop, and where at the end.
places() { # TRACE STATUS
	python3 -c '
import json, re, sys
now = None
loops = []
for line in open(sys.argv[1]):
    if found := re.match(r"(?:\d+ +)?sched_setaffinity\(\d+, \d+, \[([^]]*)\]\) += 0", line):
        now = found.group(1).split()
    elif "epoll_create1(" in line:
        loops.append(now)
status = json.load(open(sys.argv[2]))
owners = [thread for thread in status["threads"] if re.match("worker|reader|handshake", thread["name"])]
wanted = [thread["cpu"] for thread in owners]
made = [int(mask[0]) if mask and len(mask) == 1 else None for mask in loops]
print(f"loops made on {made}, threads on {wanted}, at the end on {now}")
pinned = [cpu for cpu in wanted if cpu is not None]
# Before theirs there is one of the control socket, behind them the one of the metrics.
found = any(made[at : at + len(wanted)] == wanted for at in range(len(made)))
sys.exit(not (len(set(pinned)) > 1 and found))
' "$1" "$2"
}

gateway_config "Workers = 2" "TunReaders = 1" "User = root"
start gateway gateway strace -D -qq -e trace=sched_setaffinity,epoll_create1 -o "$dir/trace" \
	"$BUILD/shardtund" -c "$dir/gateway.conf"
wait_for 30 status_json gateway >/dev/null
status_json gateway >"$dir/status"
check "each thread's memory is made on its CPU" places "$dir/trace" "$dir/status"
floats() {
	python3 -c 'import os, sys; sys.exit(len(os.sched_getaffinity(int(sys.argv[1]))) < 2)' "${started[gateway]}"
}
((allowed > 4)) || check "the control thread floats afterwards" floats
stop gateway || true
diagnose <"$dir/trace"
done_testing
