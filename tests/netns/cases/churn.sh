#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: first
# 200 clients connect, reconnect, leave, are killed and come back, and roam, 5000 times at random: nothing leaks, no
# address is held by two, and a client that comes back has the address it had.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

clients=200
operations=5000

topology_up
# Each client has outer addresses of its own, as in life: the gateway limits handshakes by source.
ns client ip route add local 10.64.0.0/16 dev lo
ns gateway ip route add 10.64.0.0/16 via 192.0.2.2

resident_kib() {
	awk '/^VmRSS/ { print $2 }' "/proc/${started[gateway]}/status"
}

descriptors() {
	find "/proc/${started[gateway]}/fd" | wc -l
}

churn() { # OPERATIONS
	ns client "$BUILD/client_farm" --gateway 192.0.2.1:5555 --gateway-key "$(public_key gateway)" --seed churn \
		--clients "$clients" --from 10.64.0.0 --churn "$1" >"$dir/client_farm.log"
}

gateway_config "Workers = 8" "TunReaders = 2" "Handshakers = 3" "LogLevel = warning"
"$BUILD/client_farm" --peers "$clients" --seed churn >>"$dir/gateway.conf"
gateway_start

# What is allocated once is there after these.
check "the first operations succeed" churn 1000
check "nobody is left connected after them" wait_for 30 figure_is gateway sessions.active 0
memory=$(resident_kib)
opened=$(descriptors)
check "$operations operations succeed" churn "$operations"
check "nobody got another's packets" client_farm_is foreign 0
check "no address was held by two" client_farm_is held_twice 0
check "who came back had the address it had" client_farm_is moved 0
check "nobody waited in vain" client_farm_is failed 0
check "no session ended by itself" client_farm_is surprises 0
for operation in connect reconnect disconnect kill roam; do
	check "some hundreds of them were: $operation" client_farm_is "$operation" '[5-9][0-9][0-9]\|[0-9][0-9][0-9][0-9]'
done
check "nobody is connected any more" wait_for 30 figure_is gateway sessions.active 0
# A handshake that was begun waits for 10 s; sessions that ended are collected within a second.
check "no address is in use any more" wait_for 30 figure_is gateway pool.used 0
started_count=$(figure gateway sessions_started)
check "each session that began has ended" wait_for 30 figure_is gateway sessions_ended "$started_count"
check "memory has not grown by more than 4 MiB" test "$(resident_kib)" -lt $((memory + 4096))
check "no descriptor was left open" test "$(descriptors)" -eq "$opened"

status=0
stop gateway || status=$?
check "the gateway ends with status 0" test "$status" -eq 0
check "the gateway leaves nothing behind" nothing_left gateway

done_testing
