#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: alone
# What the data path costs while TCP runs through the gateway, up and down, where the underlay takes trains of datagrams:
# at most one system call for 16 full-size packets, no allocation, no lock. The gateway's own counters say so, and strace
# what the kernel saw of its threads.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
client_config
start server gateway iperf3 --server
wait_for 30 listens gateway tcp 5201

# For as long as it is looked at: a machine may be slow.
bulk_start() { # IPERF_ARGS...
	start bulk client iperf3 --client 10.8.0.1 --connect-timeout 30000 --time 100 --parallel 4 "$@"
}

# It ends with what was sent on its way still.
bulk_stop() {
	stop bulk || true
}

carried_more_than() { # PACKETS
	[[ $(figure gateway packets_carried) -gt $1 ]]
}

measured_since() { # FILE
	[[ $(grep cpu_seconds "$1") != "$(status_json gateway | grep cpu_seconds)" ]]
}

# What each thread allocated and used of a CPU, its control thread asks once a second: not before that did.
figures_to() { # FILE
	status_json gateway >"$dir/last"
	wait_for 30 measured_since "$dir/last"
	status_json gateway >"$1"
}

# Waits until so many packets more have come through.
flows() { # PACKETS
	wait_for 60 carried_more_than $(($(figure gateway packets_carried) + $1))
}

bulk() { # DESCRIPTION up|down IPERF_ARGS...
	bulk_start "${@:3}"
	check "$1, $2: packets flow" flows 20000
	figures_to "$dir/before"
	check "$1, $2: and go on" flows 100000
	figures_to "$dir/after"
	bulk_stop
	check "$1, $2: one system call for 16 full-size packets at most" \
		"$tests_dir/tools/status.py" calls "$dir/before" "$dir/after" "$2"
	("$tests_dir/tools/status.py" calls "$dir/before" "$dir/after" "$2" 2>&1 || true) | diagnose
	if [[ $(ldd "$BUILD/shardtund") == *jemalloc* ]]; then
		check "$1, $2: no allocation" "$tests_dir/tools/status.py" allocated "$dir/before" "$dir/after"
	fi
}

task_of() { # THREAD
	grep -lx "$1" "/proc/${started[gateway]}/task"/*/comm | awk -F / '{ print $5 }'
}

is_traced() { # TASK
	! grep -q '^TracerPid:[[:space:]]*0$' "/proc/${started[gateway]}/task/$1/status"
}

quiet() {
	local before
	before=$(figure gateway packets_carried)
	sleep 0.2
	figure_is gateway packets_carried "$before"
}

# Nothing flows when it begins and when it ends, so that strace and the counters see the same.
traced() { # THREAD...
	local thread task tasks=()
	for thread in "$@"; do
		task=$(task_of "$thread")
		tasks+=(-p "$task")
	done
	start strace gateway strace -qq -c -o "$dir/strace.out" "${tasks[@]}"
	wait_for 30 is_traced "$task"
	status_json gateway >"$dir/before"
	bulk_start
	check "under strace, up: packets flow" flows 50000
	bulk_stop
	bulk_start --reverse
	check "under strace, down: packets flow" flows 50000
	bulk_stop
	wait_for 30 quiet
	status_json gateway >"$dir/after"
	stop strace || true
	check "the kernel saw the calls that were counted, and no futex" \
		"$tests_dir/tools/status.py" traced "$dir/before" "$dir/after" "$dir/strace.out"
	diagnose <"$dir/strace.out"
}

gateway_config "Workers = 2" "TunReaders = 1"
gateway_start
client_start
bulk "two workers and a reader" up
bulk "two workers and a reader" down --reverse
if strace -qq -f -e trace=none true 2>/dev/null; then
	traced "worker 0" "worker 1" "reader 0"
else
	skip "the kernel saw the calls that were counted, and no futex" "no strace"
fi
stop client && stop gateway

gateway_config "Workers = 1" "TunReaders = 0"
gateway_start
client_start
bulk "one worker" up
bulk "one worker" down --reverse
both_stop

done_testing
