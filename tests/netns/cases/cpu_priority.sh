#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# CpuPriority as the kernel has it of each thread: with all rights, with the limits of a unit, and without rights.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
chrt --rr 1 true 2>/dev/null || skip_all "needs the right to set real-time policies"

# Not what this script inherited, from a run of all tests under nice(1).
renice -n 0 $$ >/dev/null

# A line for each thread: name, policy, nice value, priority, slice in µs or 0, flags.
scheduling() { # NAME
	python3 - "${started[$1]}" <<'PYTHON'
import ctypes, os, platform, struct, sys
number = {"x86_64": 315, "aarch64": 275}[platform.machine()]
for task in os.listdir(f"/proc/{sys.argv[1]}/task"):
    attributes = ctypes.create_string_buffer(48)
    if ctypes.CDLL(None, use_errno=True).syscall(number, int(task), attributes, 48, 0) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    size, policy, flags, nice, priority, runtime, deadline, period = struct.unpack("IIQiIQQQ", attributes.raw)
    name = open(f"/proc/{sys.argv[1]}/task/{task}/comm").read().strip().replace(" ", "-")
    print(name, {0: "other", 1: "fifo", 2: "rr"}[policy], nice, priority, runtime // 1000, flags)
PYTHON
}

# Whether the kernel keeps a slice for a single thread: since 6.12, and then an ordinary one has some too.
has_slices() {
	scheduling gateway | awk '$1 == "shardtund" { found = $5 > 0 } END { exit !found }'
}

# All threads of that name, of which there is one at least, are so.
are() { # NAME THREADS POLICY NICE PRIORITY SLICE FLAGS
	local slice=$6
	has_slices || slice=0
	scheduling "$1" | awk -v threads="^($2)(-[0-9]+)?$" -v want="$3 $4 $5" -v slice="$slice" -v flags="$7" '
		$1 ~ threads { found++; if ($2 " " $3 " " $4 != want || slice != "any" && $5 != slice || $6 != flags) { print; bad = 1 } }
		END { exit bad || !found }'
}

# The others have what every process has; handshake threads are less urgent as ever.
others_are_normal() {
	are gateway shardtund other 0 0 any 0 && are gateway handshake other 10 0 any 0 && are gateway log other 0 0 any 0 &&
		are gateway reload other 0 0 any 0
}

# What status shows is what the kernel says.
status_agrees() { # NAME
	status_json "$1" >"$dir/status"
	scheduling "$1" >"$dir/scheduling"
	python3 - "$dir/status" "$dir/scheduling" <<'PYTHON'
import json, sys
kernel = {line.split()[0]: line.split() for line in open(sys.argv[2])}
threads = json.load(open(sys.argv[1]))["threads"]
for thread in threads:
    name, policy, nice, priority, slice_us, flags = kernel[thread["name"].replace(" ", "-")]
    shown = (thread["policy"], thread["nice"], thread["slice_us"] or 0)
    if shown != (policy, int(nice), int(slice_us)):
        sys.exit(f"{name}: shown {shown}")
sys.exit(len(threads) == 0)
PYTHON
}

said() { # NAME LEVEL TEXT
	wait_for 30 grep -qF "$2: CpuPriority = $3" "$dir/$1.log" && [[ $(grep -c CpuPriority "$dir/$1.log") -eq 1 ]]
}

# The group of the process is still that of this script, if any: the file is empty for a process of the root group.
inherited=$(cat /proc/$$/autogroup 2>/dev/null)
has_inherited_group() { # NAME
	[[ $(cat "/proc/${started[$1]}/autogroup" 2>/dev/null) == "$inherited" ]]
}

# The group of a session of its own.
autogroup_is() { # NAME NICE
	[[ ! -e /proc/${started[$1]}/autogroup ]] || grep -q " nice $2\$" "/proc/${started[$1]}/autogroup"
}

user=root
gateway_is() { # VALUE COMMAND... (in front of the program)
	gateway_config "Workers = 2" "TunReaders = 1" "CpuPriority = $1" "User = $user"
	: >"$dir/gateway.log"
	start gateway gateway "${@:2}" "$BUILD/shardtund" -c "$dir/gateway.conf"
	wait_for 30 grep -q 'gateway on UDP' "$dir/gateway.log"
}

gateway_is normal
check "normal: short slices, and no more weight" are gateway "worker|reader" other 0 0 100 0
check "normal: the others are left as they are" others_are_normal
check "normal: nothing is said" test "$(grep -c CpuPriority "$dir/gateway.log")" -eq 0
check "normal: status agrees" status_agrees gateway
check "normal: the session's group stays" has_inherited_group gateway
# shellcheck disable=SC2119 # the options are optional
client_config
client_start
check "normal: short slices for the client's worker" are client worker other 0 0 100 0
stop client
slices=", slices of 0.1 ms"
has_slices || slices=", no slices in this kernel"
stop gateway

# Each line of the log is complete where nothing was refused: then it is no warning.
complete=info
[[ $slices == *"of 0.1 ms" ]] || complete=warning

# --- all rights ---
gateway_is high setsid
check "high: weight and slices for workers and readers" are gateway "worker|reader" other -10 0 100 0
check "high: the others are as before" others_are_normal
check "high: said once" said gateway $complete "high: nice -10$slices"
check "high: status agrees" status_agrees gateway
check "high: the right for it is gone" grep -qx "CapEff:.0000000000001000" "/proc/${started[gateway]}/status"
if grep -q '^1$' /proc/sys/kernel/sched_autogroup_enabled 2>/dev/null && ! grep -q "weight of the cgroup" "$dir/gateway.log"; then
	check "high: the group of a session of its own" autogroup_is gateway -10
	check "high: said so" grep -q "autogroup at nice -10" "$dir/gateway.log"
else
	check "high: a group that does not count stays" autogroup_is gateway 0
fi
client_config "CpuPriority = high"
client_start
check "high: the client's worker" are client worker other -10 0 100 0
check "high: not its control thread" are client shardtun other 0 0 any 0
check "high: packets pass" answers client 10.8.0.1
check "high: the client's status agrees" status_agrees client
check "high: in a session of others their group stays" has_inherited_group client
group_said=info
[[ -z $inherited ]] || grep -q "weight of the cgroup" "$dir/client.log" || ! grep -q '^1$' /proc/sys/kernel/sched_autogroup_enabled ||
	group_said="nothing, since this one is not our own"
check "high: what that means is said" grep -q "$group_said" "$dir/client.log"
stop client
stop gateway

gateway_is realtime
check "realtime: the lowest priority for workers and readers, and not for what they start" \
	are gateway "worker|reader" rr 0 1 0 1
check "realtime: the others are as before" others_are_normal
check "realtime: said once" said gateway info "realtime: policy rr, priority 1"
check "realtime: what may stop them is said" wait_for 30 grep -qE \
	"^warning: kernel.sched_rt_runtime_us = $(cat /proc/sys/kernel/sched_rt_runtime_us): " "$dir/gateway.log"
check "realtime: status agrees" status_agrees gateway
check "realtime: the right for it is gone" grep -qx "CapEff:.0000000000001000" "/proc/${started[gateway]}/status"
client_config "CpuPriority = realtime"
: >"$dir/client.log"
client_start
check "realtime: the client's worker" are client worker rr 0 1 0 1
check "realtime: packets pass" answers client 10.8.0.1
# Others of that priority run between two batches: a worker gives the CPU up after each.
yields() { # NAME
	local task worker tasks=()
	for task in "/proc/${started[$1]}/task"/*; do
		[[ $(<"$task/comm") == worker* ]] || continue
		worker=$task tasks+=(-p "${task##*/}")
	done
	start strace gateway strace -qq -c -e trace=sched_yield -o "$dir/strace.out" "${tasks[@]}"
	wait_for 30 traced "$worker"
	ns client ping -q -n -c 10 -i 0.05 10.8.0.1 >/dev/null
	stop strace || true
	grep -q sched_yield "$dir/strace.out"
}
traced() { # TASK
	! grep -q '^TracerPid:[[:space:]]*0$' "$1/status"
}
if strace -qq -f -e trace=none true 2>/dev/null; then
	check "realtime: its workers let others run" yields gateway
	check "realtime: and so does the client's" yields client
else
	skip "realtime: workers let others run" "no strace"
fi
stop client
stop gateway

# --- a change of the user leaves the right, until the threads run ---
user=nobody
gateway_is high setsid
check "own user: high" are gateway "worker|reader" other -10 0 100 0
check "own user: it is another" grep -qx "Uid:.$(id -u nobody).*" "/proc/${started[gateway]}/status"
check "own user: the right for it is gone" grep -qx "CapPrm:.0000000000001000" "/proc/${started[gateway]}/status"
stop gateway
user=root

without=(setpriv --bounding-set=-sys_nice --inh-caps=-sys_nice)

# --- the limits of a unit: 20 - 30 is a nice value of -10 ---
# Root may be without the right to raise a limit, in a container.
if prlimit --nice=30 --rtprio=1 true 2>/dev/null; then
	gateway_is high prlimit --nice=30 "${without[@]}"
	check "limits: high" are gateway "worker|reader" other -10 0 100 0
	stop gateway
	gateway_is realtime prlimit --rtprio=1 "${without[@]}"
	check "limits: realtime" are gateway "worker|reader" rr 0 1 0 1
	stop gateway
fi

# --- no rights ---
gateway_is high prlimit --nice=0 "${without[@]}"
check "no rights: the nice value stays, and a slice takes none" are gateway "worker|reader" other 0 0 100 0
check "no rights: said once" said gateway warning "high: nice -10 refused (Permission denied; it takes CAP_SYS_NICE"
check "no rights: status agrees" status_agrees gateway
client_config
client_start
check "no rights: packets pass" answers client 10.8.0.1
stop client
stop gateway
gateway_is realtime prlimit --nice=0 --rtprio=0 "${without[@]}"
check "no rights: realtime is none" are gateway "worker|reader" other 0 0 100 0
check "no rights: said once" said gateway warning "realtime: SCHED_RR refused (Operation not permitted; it takes CAP_SYS_NICE"
check_fails "no rights: nothing about what may stop such threads" grep -q sched_rt_runtime "$dir/gateway.log"
stop gateway

done_testing
