# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the benchmarks with many clients have in common; sourced after tests/netns/lib.sh.
#
# The crowd is stgun's: in the namespace of the client, each of its clients with an outer address of its own (10.64.0.0/12), for
# the gateway limits handshakes by source. Inside they have addresses of 10.128.0.0/11. The real client is 10.128.0.2.
#
# shellcheck disable=SC2154 # dir and started are the library's
crowd_source=10.64.0.0/12
crowd_gateway=10.128.0.1
# Packets to there are the tunnel's, and nobody's behind it.
# shellcheck disable=SC2034 # for those who source this
crowd_blackhole=10.99.0.1

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

# A figure for RESULT (perf/bench/run), if it is wanted.
sample_is() { # FIGURE VALUE
	[[ -z $samples_file ]] || echo "shardtun $1 $2" >>"$samples_file"
}

calculate() { # FORMAT EXPRESSION (awk's)
	awk "BEGIN { printf \"$1\", ($2) }"
}

crowd_topology_up() {
	topology_up
	ns client ip route add local "$crowd_source" dev lo
	ns gateway ip route add "$crowd_source" via 192.0.2.2
	ns gateway ip route add blackhole "$crowd_blackhole/32"
	ns host ip route add 10.128.0.0/11 via 198.51.100.1
}

# The gateway of so many clients, and a real one.
crowd_config() { # CLIENTS OPTION...
	local clients=$1
	shift
	gateway_config "LogLevel = warning" "$@"
	sed -i "s|^Address = .*|Address = $crowd_gateway/11\nPeersFile = crowd.peers|" "$dir/gateway.conf"
	echo "Address = 10.128.0.2" >>"$dir/gateway.conf"
	(umask 077 && "$BUILD/stgun" keys "$clients" --seed crowd >"$dir/crowd.peers")
	other_client_config client client 192.0.2.1:5555 "10.128.0.0/11, 198.51.100.0/24"
}

crowd_gateway_start() {
	start gateway gateway "$BUILD/shardtund" -c "$dir/gateway.conf"
	wait_for 180 status_json gateway
}

crowd_client_start() {
	start client client "$BUILD/shardtun" run "$dir/client.conf"
	wait_for 30 pings client "$crowd_gateway"
}

# In the foreground.
crowd() { # COMMAND OPTION...
	local command=$1
	shift
	ns client "$BUILD/stgun" "$command" --gateway 192.0.2.1:5555 --gateway-key "$(public_key gateway)" --seed crowd \
		--source "$crowd_source" "$@"
}

# In the background, as NAME.
crowd_start() { # NAME COMMAND OPTION...
	local name=$1 command=$2
	shift 2
	rm -f "$dir/$name.log"
	start "$name" client "$BUILD/stgun" "$command" --gateway 192.0.2.1:5555 --gateway-key "$(public_key gateway)" \
		--seed crowd --source "$crowd_source" "$@"
}

# Waits until the log of what runs as NAME says so; fails, with the log, when that has ended or it takes too long.
crowd_says() { # SECONDS NAME TEXT
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

# What a report says: an expression in Python, of r.
reported() { # FILE EXPRESSION
	python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$1" "$2"
}

now_us() {
	echo "${EPOCHREALTIME/[.,]/}"
}

resident_kib() { # NAME
	awk '/^VmRSS:/ { print $2 }' "/proc/${started[$1]}/status"
}

# ns of CPU time so far, of the threads whose name begins so: worker, handshake, reader, gun. With "waited": that they were ready to run,
# and others had the CPU.
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

sessions_are() { # -ge|-le|-eq NUMBER
	test "$(figure gateway sessions.active)" "$1" "$2"
}

# Every address that is taken is a session's; once no handshake waits, which it does for at most 10 seconds.
pool_is_consistent() {
	local active used
	active=$(figure gateway sessions.active)
	used=$(figure gateway pool.used)
	[[ $used -eq $active ]] || {
		echo "$used addresses are in use, for $active sessions"
		return 1
	}
}
