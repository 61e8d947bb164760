# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the benchmarks with many clients have in common; sourced after tests/netns/lib/lib.sh.
#
# stgun plays the clients, in the namespace of the client. Each has an outer address of its own (10.64.0.0/12), because the gateway
# limits handshakes by source. Their inner addresses are from 10.128.0.0/11. One real client, shardtun, has 10.128.0.2.
#
# shellcheck disable=SC2154 # dir and started are the library's
clients_source=10.64.0.0/12
clients_gateway=10.128.0.1
# The gateway routes it to a blackhole: packets to it cross the tunnel and end there.
# shellcheck disable=SC2034 # used by the scripts that source this
clients_blackhole=10.99.0.1
# The options of stgun connect and load that name the gateway and the clients; clients_config sets it.
clients_options=()

samples_file=

bench_needs() { # PROGRAM...
	local program
	[[ $EUID -eq 0 ]] || {
		echo "bench: needs root, for network namespaces and TUN devices: skipped"
		exit 0
	}
	for program in "$@"; do
		command -v "$program" >/dev/null || {
			echo "bench: needs $program, which is not installed: skipped"
			exit 0
		}
	done
}

bench_needs_memory() { # MIB WHAT
	local available
	available=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
	[[ $available -ge $1 ]] || {
		echo "bench: $2 need about $1 MiB of memory, and $available MiB are free: skipped"
		exit 0
	}
}

# Appends a figure for the RESULT of perf/bench/compare/run, when it runs this benchmark.
sample_is() { # FIGURE VALUE
	[[ -z $samples_file ]] || echo "shardtun $1 $2" >>"$samples_file"
}

calculate() { # FORMAT EXPRESSION (awk's)
	awk "BEGIN { printf \"$1\", ($2) }"
}

clients_topology_up() {
	topology_up
	ns client ip route add local "$clients_source" dev lo
	ns gateway ip route add "$clients_source" via 192.0.2.2
	ns gateway ip route add blackhole "$clients_blackhole/32"
	ns host ip route add 10.128.0.0/11 via 198.51.100.1
}

# Configuration of the gateway, with CLIENTS peers that stgun plays and the real client, and of the real client.
clients_config() { # CLIENTS OPTION...
	local clients=$1
	shift
	gateway_config "LogLevel = warning" "$@"
	sed -i "s|^Address = .*|Address = $clients_gateway/11\nPeersFile = clients.peers|" "$dir/gateway.conf"
	echo "Address = 10.128.0.2" >>"$dir/gateway.conf"
	clients_options=(--gateway 192.0.2.1:5555 --gateway-key "$(public_key gateway)" --seed clients --source "$clients_source")
	(umask 077 && "$BUILD/stgun" keys "$clients" --seed clients >"$dir/clients.peers")
	other_client_config client client 192.0.2.1:5555 "10.128.0.0/11, 198.51.100.0/24"
}

clients_gateway_start() {
	start gateway gateway "$BUILD/shardtund" -c "$dir/gateway.conf"
	wait_for 180 status_json gateway
}

clients_real_start() {
	start client client "$BUILD/shardtun" run "$dir/client.conf"
	wait_for 30 pings client "$clients_gateway"
}

# Runs stgun in the background, as NAME.
clients_start() { # NAME COMMAND OPTION...
	local name=$1 command=$2
	shift 2
	rm -f "$dir/$name.log"
	start "$name" client "$BUILD/stgun" "$command" "${clients_options[@]}" "$@"
}

# Waits until the log of NAME has TEXT; prints the log and exits when NAME has ended before, or after SECONDS.
clients_say() { # SECONDS NAME TEXT
	local deadline=$((SECONDS + $1))
	until grep -qs "$3" "$dir/$2.log"; do
		if ! running "$2" || ((SECONDS >= deadline)); then
			echo "bench: $2 did not say \"$3\":"
			cat "$dir/$2.log"
			exit 1
		fi
		sleep 0.1
	done
}

# Prints a value of a JSON result of stgun: a Python expression of r.
result_value() { # FILE EXPRESSION
	python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$1" "$2"
}

now_us() {
	echo "${EPOCHREALTIME/[.,]/}"
}

resident_kib() { # NAME
	awk '/^VmRSS:/ { print $2 }' "/proc/${started[$1]}/status"
}

# CPU time so far, in ns, of the threads of NAME whose name begins with THREAD: worker, handshake, reader, stgun-. With "waited": the time
# that they were runnable and waited for a CPU.
threads_spent() { # NAME THREAD [waited]
	local task sum=0 name spent waited
	for task in /proc/"${started[$1]}"/task/*; do
		name=$(<"$task/comm") || continue
		[[ $name == "$2"* ]] || continue
		read -r spent waited _ <"$task/schedstat"
		[[ ${3:-} != waited ]] || spent=$waited
		sum=$((sum + spent))
	done
	echo "$sum"
}

# Of the CPUs, those that the worker is not pinned to; all where it is the only one.
other_cpus() {
	local task cpu all
	all=$(nproc --all)
	for task in /proc/"${started[gateway]}"/task/*; do
		[[ $(<"$task/comm") != worker* ]] || cpu=$(awk '/^Cpus_allowed_list:/ { print $2 }' "$task/status")
	done
	seq 0 $((all - 1)) | awk -v own="$cpu" -v all="$all" 'all == 1 || $1 != own' | paste -sd,
}

sessions_are() { # -ge|-le|-eq NUMBER
	test "$(figure gateway sessions.active)" "$1" "$2"
}

# As many addresses are in use as there are sessions. A pending handshake holds an address too, for at most 10 seconds.
pool_is_consistent() {
	local active used
	active=$(figure gateway sessions.active)
	used=$(figure gateway pool.used)
	[[ $used -eq $active ]] || {
		echo "$used addresses are in use, for $active sessions"
		return 1
	}
}
