#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# How throughput grows with CPUs: the gateway under taskset on 1, 2, 4 ... of them, with as many workers (more than four: as many
# as it plans for itself), under the load of stgun from the CPUs that are left. Of each step: throughput, CPU seconds for
# each GiB, the load of each kind of thread, wake-ups and system calls for each packet, medians of the stages.
#
#   perf/scale.sh [BUILD_DIR]      RESULT=build/scale (.json, .csv)  SECONDS_EACH=5 CLIENTS=64 HANDSHAKES=5000 CPUS="1 2 4 ..."
#
# perf/model.py predicts larger machines from the JSON. A step of CPUS takes about seven times SECONDS_EACH.
if [[ -n ${1:-} ]]; then
	export BUILD=$1
fi
# shellcheck source=tests/netns/lib.sh
source "$(dirname "$0")/../tests/netns/lib.sh"
# shellcheck source=perf/bench/crowd.sh
source "$(dirname "$0")/bench/crowd.sh"

bench_needs python3 taskset
result=${RESULT:-build/scale}
seconds=${SECONDS_EACH:-5}
clients=${CLIENTS:-64}
handshakes=${HANDSHAKES:-5000}
all=$(nproc)
tool=$(dirname "$0")/bench/scale.py

doublings() {
	local n
	for ((n = 1; n <= all; n *= 2)); do
		echo "$n"
	done
	((n / 2 == all)) || echo "$all"
}

# Of those that this process may run on, as taskset wants them.
cpus_between() { # FIRST COUNT
	taskset -cp $$ | sed 's/.*: //' | tr , '\n' | awk -F- '{ for (i = $1; i <= (NF > 1 ? $2 : $1); i++) print i }' |
		tail -n +"$(($1 + 1))" | head -n "$2" | paste -sd,
}

# "name ns" of each thread's CPU time so far.
threads_cpu() {
	local task name spent
	for task in /proc/"${started[gateway]}"/task/*; do
		name=$(<"$task/comm") || continue
		read -r spent _ <"$task/schedstat" || continue
		echo "$spent $name"
	done
}

snapshot() { # before|after
	now_us >"$dir/clock.$1"
	status_json gateway >"$dir/status.$1"
	threads_cpu >"$dir/threads.$1"
}

row() { # NAME
	"$tool" row "$dir" "$1" "$cpus" "$dir/generator.json" >>"$dir/rows" && "$tool" show "$dir/rows"
}

load() { # NAME up|down SIZE OPTION...
	local name=$1 way=$2 size=$3 to=(--to "$crowd_blackhole" --blind)
	shift 3
	[[ $way == up ]] || to=()
	"$BUILD/shardtunctl" --socket "$dir/gateway.sock" stages --raw >"$dir/stages.before"
	snapshot before
	ns client taskset -c "$others" "$BUILD/stgun" load --gateway 192.0.2.1:5555 --gateway-key "$gateway_key" --seed crowd \
		--source "$crowd_source" --sessions "$clients" --threads "$generators" --direction "$way" --size "$size" \
		--duration "$seconds" "${to[@]}" --json "$dir/generator.json" "$@" >"$dir/load.out" 2>&1 || {
		cat "$dir/load.out"
		exit 1
	}
	snapshot after
	"$BUILD/shardtunctl" --socket "$dir/gateway.sock" --json stages --diff "$dir/stages.before" >"$dir/stages"
	row "$name"
}

shake_hands() {
	"$BUILD/shardtunctl" --socket "$dir/gateway.sock" stages --raw >"$dir/stages.before"
	snapshot before
	ns client taskset -c "$others" "$BUILD/stgun" connect --gateway 192.0.2.1:5555 --gateway-key "$gateway_key" --seed crowd \
		--source "$crowd_source" --sessions "$handshakes" --threads "$generators" --json "$dir/generator.json" \
		>"$dir/load.out" 2>&1 || {
		cat "$dir/load.out"
		exit 1
	}
	snapshot after
	"$BUILD/shardtunctl" --socket "$dir/gateway.sock" --json stages --diff "$dir/stages.before" >"$dir/stages"
	row handshakes
}

# The gateway on so many CPUs; what makes and answers its load, on the others.
step() { # CPUS
	cpus=$1
	local own workers=$1 readers=1
	own=$(cpus_between 0 "$cpus")
	others=$(cpus_between "$cpus" "$all")
	generators=$((all - cpus))
	if [[ -z $others ]]; then
		others=$(cpus_between 0 "$all") generators=$all
	fi
	[[ $cpus -gt 1 ]] || readers=0
	[[ $cpus -le 4 ]] || workers=auto
	crowd_config "$handshakes" "Workers = $workers" "TunReaders = $readers" "StageSampling = 16" "SessionTimeout = 604800"
	start gateway gateway taskset -c "$own" "$BUILD/shardtund" -c "$dir/gateway.conf"
	wait_for 60 status_json gateway
	start reflect gateway taskset -c "$others" "$BUILD/stgun" reflect --listen "$crowd_gateway" --threads "$generators"
	wait_for 10 grep -q answering "$dir/reflect.log"
	shake_hands
	load bulk-up up 1400
	load bulk-down down 1400
	load small-up up 64 --gso off
	load small-down down 64 --gso off
	stop reflect || true
	kill_hard gateway
}

crowd_topology_up
gateway_key=$(public_key gateway)
read -ra steps <<<"${CPUS:-$(doublings | paste -sd' ')}"
last=${steps[${#steps[@]} - 1]}
"$tool" header
for count in "${steps[@]}"; do
	step "$count"
done
"$tool" write "$dir/rows" "$result" "perf/scale.sh${CPUS:+ CPUS=\"$CPUS\"} SECONDS_EACH=$seconds CLIENTS=$clients HANDSHAKES=$handshakes"
echo "$result.json, $result.csv"
if ((last * 2 > all)); then
	echo "scale: with $all CPUs the step of $last shares them with the generator: it says what a packet costs, not how fast $last CPUs are"
fi
