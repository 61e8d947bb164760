#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: alone
# A gateway with more threads than CPUs, on one CPU and on all. Its status is right about CPU and load of each
# thread; 200 clients at once over its workers are all served, and none gets another's packets.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

clients=200

topology_up
# Each client has an outer address of its own, as in life: the gateway limits handshakes by source.
ns client ip route add local 10.64.0.0/16 dev lo
ns gateway ip route add 10.64.0.0/16 via 192.0.2.2

all_cpus=$(awk '/^Cpus_allowed_list/ { print $2 }' /proc/self/status)
one_cpu=${all_cpus##*[-,]}

pool() { # WHAT ARGUMENT...
	status_json gateway | "$tests_dir/tools/pool.py" "$@"
}

gateway_up() { # CPUS WORKERS READERS HANDSHAKERS
	gateway_config "Workers = $2" "TunReaders = $3" "Handshakers = $4" "LogLevel = warning"
	"$BUILD/client_farm" --peers "$clients" --seed pool >>"$dir/gateway.conf"
	start gateway gateway taskset -c "$1" "$BUILD/shardtund" -c "$dir/gateway.conf"
	wait_for 30 listens gateway udp 5555
}

client_farm_start() { # OPTION...
	rm -f "$dir/client_farm.log"
	start client_farm client "$BUILD/client_farm" --gateway 192.0.2.1:5555 --gateway-key "$(public_key gateway)" --seed pool \
		--clients "$clients" --from 10.64.0.0 --hold "$@"
}

# In the middle of the traffic: a measured second of the gateway's lies within ours. On a busy machine it may come late.
load_is_told() {
	local before attempt
	sleep 1
	for attempt in 1 2; do
		before=$("$tests_dir/tools/pool.py" times "${started[gateway]}")
		sleep 2
		! pool load "${started[gateway]}" "$before" || return 0
		echo "attempt $attempt failed"
	done
	return 1
}

served() { # WHAT CPUS WORKERS READERS HANDSHAKERS SLACK
	local what=$1 status=0
	gateway_up "${@:2:4}"
	check "$what: each thread is where the status says" pool threads "${started[gateway]}" "${@:2:4}"
	# As many as one of the TUN's queues holds, 500: each client sends more when it has an answer, so all that is under
	# way may end up in the queue whose reader waits for the CPU. A CPU's backlog takes 1000.
	client_farm_start --seconds 5 --window 2
	check "$what: the status tells the load of each thread" load_is_told
	check "$what: the clients have their result" wait_for 30 grep -q connected "$dir/client_farm.log"
	check "$what: all clients are connected" client_farm_is connected "$clients"
	check "$what: nobody went without answers" client_farm_is least '[1-9][0-9]*'
	check "$what: nobody got another's packets" client_farm_is foreign 0
	check "$what: no answer came twice" client_farm_is unasked 0
	check "$what: all answers were whole" client_farm_is malformed 0
	check "$what: no answer was lost" client_farm_is lost 0
	check "$what: no address was given to two" client_farm_is held_twice 0
	check "$what: each worker has its share of the sessions" pool spread "$3" "$clients" "$6"
	# Without session are the kernel's own first words on a new interface (MLD). Cookies are asked for under load, and
	# once after the start.
	check "$what: no packet was dropped" pool drops out_no_session cookie stale
	check "$what: all packets are accounted for" pool sums
	check "$what: fewer wake-ups than packets" pool wakes 0.75
	stop client_farm || status=$?
	check "$what: the clients end with status 0" test "$status" -eq 0
	check "$what: nobody is connected any more" wait_for 30 figure_is gateway sessions.active 0
	check "$what: all packets are accounted for at the end" pool sums
	status=0
	stop gateway || status=$?
	check "$what: the gateway ends with status 0" test "$status" -eq 0
	check "$what: the gateway leaves nothing behind" nothing_left gateway
}

served "8 workers, one CPU" "$one_cpu" 8 2 3 3
served "8 workers, all CPUs" "$all_cpus" 8 2 3 3
served "64 workers, all CPUs" "$all_cpus" 64 2 3 3

done_testing
