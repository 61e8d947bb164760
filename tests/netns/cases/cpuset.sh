#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# CPUs that are given and taken away while the gateway runs: by a cpuset of its cgroup, by taskset(1) for the whole process
# and for one thread; and their time, by a quota. The threads are planned anew, one line of the log says so, and status shows where they are.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
mapfile -t cpus < <(python3 -c 'import os; print(*sorted(os.sched_getaffinity(0)), sep="\n")')
((${#cpus[@]} > 1)) || skip_all "needs two CPUs"
first=${cpus[0]} second=${cpus[1]}
both=$first,$second
((second != first + 1)) || both=$first-$second

# --- a cgroup of our own: version 2, or version 1 ---
group=
make_quota_group() {
	local root=/sys/fs/cgroup/cpu
	if grep -qw cpu /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
		root=/sys/fs/cgroup
		echo +cpu >"$root/cgroup.subtree_control" || return
	fi
	rmdir "$root"/st-quota-* 2>/dev/null || true # of tests that were killed
	group=$root/st-quota-$$
	mkdir "$group" && [[ -w $group/cpu.max || -w $group/cpu.cfs_quota_us ]]
}

quota_is() { # MILLISECONDS OF EACH 100, or -1: none
	if [[ -w $group/cpu.max ]]; then
		[[ $1 -ge 0 ]] && echo "${1}000 100000" >"$group/cpu.max" || echo max >"$group/cpu.max"
	else
		[[ $1 -ge 0 ]] && echo "${1}000" >"$group/cpu.cfs_quota_us" || echo -1 >"$group/cpu.cfs_quota_us"
	fi
}

make_group() {
	local root
	if grep -qw cpuset /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
		root=/sys/fs/cgroup
		echo +cpuset >"$root/cgroup.subtree_control" || return
	elif [[ -w /sys/fs/cgroup/cpuset/cpuset.cpus ]]; then
		root=/sys/fs/cgroup/cpuset
	else
		return 1
	fi
	rmdir "$root"/st-cpuset-* 2>/dev/null || true # of tests that were killed
	group=$root/st-cpuset-$$
	mkdir "$group" || return
	local mems
	mems=$(cat "$root/cpuset.mems.effective" 2>/dev/null || cat "$root/cpuset.effective_mems" 2>/dev/null || cat "$root/cpuset.mems")
	echo "$first,$second" >"$group/cpuset.cpus" && echo "$mems" >"$group/cpuset.mems"
}

remove_group() {
	[[ -z $group || ! -d $group ]] || wait_for 30 rmdir "$group" || true
	group=
}

# --- what the gateway says ---

thread_id() { # NAME ("worker 1")
	local task
	for task in "/proc/${started[gateway]}"/task/*; do
		[[ $(cat "$task/comm") != "$1" ]] || echo "${task##*/}"
	done
}

# What status shows of its threads is what a Python expression over t, by name, says; and what the kernel has.
shows() { # EXPRESSION
	status_json gateway >"$dir/status" || return
	python3 - "$dir/status" "${started[gateway]}" "$1" <<'PYTHON'
import json, os, sys
t = {thread["name"]: thread for thread in json.load(open(sys.argv[1]))["threads"]}
kernel = {}
for task in os.listdir(f"/proc/{sys.argv[2]}/task"):
    kernel[open(f"/proc/{sys.argv[2]}/task/{task}/comm").read().strip()] = os.sched_getaffinity(int(task))
def listed(text):
    ranges = [part.split("-") for part in text.split(",")]
    return {cpu for part in ranges for cpu in range(int(part[0]), int(part[-1]) + 1)}
shown = {name: (thread["cpu"], thread["cpus"]) for name, thread in t.items()}
print(shown, kernel)
for name, (cpu, cpus) in shown.items():
    if listed(cpus) != kernel[name] or (cpu is not None) != (len(kernel[name]) == 1):
        sys.exit(f"{name} is elsewhere")
sys.exit(not eval(sys.argv[3]))
PYTHON
}

planned="t['worker 0']['cpu'] == $first and t['worker 1']['cpu'] == $second"

count_is() { # TEXT TIMES
	[[ $(grep -cF "$1" "$dir/gateway.log") -eq $2 ]]
}

told() { # TEXT TIMES; waits for the line
	wait_for 30 count_is "$@"
}

warnings() {
	grep "^warning" "$dir/gateway.log" | grep -c CPU
}

start_gateway() { # [PROGRAM AND ARGUMENTS BEFORE IT]
	: >"$dir/gateway.log"
	gateway_config "Workers = 2"
	start gateway gateway "$@" taskset -c "$first,$second" "$BUILD/shardtund" -c "$dir/gateway.conf"
	wait_for 30 grep -q 'gateway on UDP' "$dir/gateway.log"
}

# --- taskset: the process, then one thread ---
start_gateway
client_config
client_start
check "each worker has its CPU" shows "$planned"
check "the whole process is put on one CPU" taskset -apc "$first" "${started[gateway]}"
check "that is said" told "CPUs that this process may use are $first now, and were $first" 1
check "and what follows" grep -qF "all threads float, for they are fewer than workers" "$dir/gateway.log"
check "status shows it" shows "all(thread['cpu'] == $first for thread in t.values())"
check "packets pass" wait_for 30 answers client 10.8.0.1
check "it gets both back" taskset -apc "$first,$second" "${started[gateway]}"
check "that is said" told "each worker is pinned to one of them" 1
check "each worker has its CPU again" wait_for 30 shows "$planned"
check "nothing else is said" test "$(warnings)" -eq 2

worker=$(thread_id "worker 1")
check "one worker is moved" taskset -pc "$first" "$worker"
check "that is said" told "worker 1 is not on CPU $second any more: CPUs allowed to it now $first" 1
check "it stays there" shows "t['worker 0']['cpu'] == $first and t['worker 1']['cpu'] == $first"
check "packets pass" wait_for 30 answers client 10.8.0.1
check "and back" taskset -pc "$second" "$worker"
check "that is said" told "worker 1 is on CPU $second again" 1
check "status shows it" shows "$planned"
sleep 3
check "each was said once" test "$(warnings)" -eq 4
stop gateway || true

# --- a cpuset ---
if make_group 2>/dev/null; then
	start_gateway
	# From outside: in the namespace there is another /sys.
	echo "${started[gateway]}" >"$group/cgroup.procs"
	check "cpuset: each worker has its CPU" shows "$planned"
	echo "$second" >"$group/cpuset.cpus"
	check "cpuset: one CPU is left, and that is said" told "CPUs that this process may use are $second now, and were" 1
	check "cpuset: status shows it" wait_for 30 shows "all(thread['cpu'] == $second for thread in t.values())"
	check "cpuset: packets pass" wait_for 30 answers client 10.8.0.1
	echo "$first,$second" >"$group/cpuset.cpus"
	check "cpuset: it is taken back" told "each worker is pinned to one of them" 1
	check "cpuset: each worker has its CPU again" wait_for 30 shows "$planned"
	check "cpuset: packets pass" wait_for 30 answers client 10.8.0.1
	stop gateway || true
	remove_group
else
	skip "cpuset" "no cgroup with cpusets can be made here"
fi

# --- a quota ---
if make_quota_group 2>/dev/null; then
	# With the mounts of the machine: in the namespace there is another /sys, without cgroups.
	start_gateway nsenter --mount="/proc/$$/ns/mnt"
	echo "${started[gateway]}" >"$group/cgroup.procs"
	check "quota: each worker has its CPU" shows "$planned"
	quota_is 80
	check "quota: the time of one CPU is left, and that is said" told "are $both (the time of 1) now, and were $both: all threads float, under a quota of CPU time" 1
	check "quota: status shows it" wait_for 30 shows "all(thread['cpu'] is None for thread in t.values())"
	check "quota: packets pass" wait_for 30 answers client 10.8.0.1
	quota_is -1
	check "quota: it ends" told "are $both now, and were $both (the time of 1): each worker is pinned" 1
	check "quota: each worker has its CPU again" wait_for 30 shows "$planned"
	check "quota: nothing else is said" test "$(warnings)" -eq 2
	stop gateway || true
	remove_group
else
	skip "quota" "no cgroup with a quota of CPU time can be made here"
fi
stop client
done_testing
