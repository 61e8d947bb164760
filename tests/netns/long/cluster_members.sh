#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A fourth gateway joins a cluster of three that is in use, and then one of the first is drained (taken out of the members) and stopped: blocks move by plan, so
# nobody is without an answer for long, no TCP connection breaks, and no block ever has two owners.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
cluster_machines=4
# shellcheck source=tests/netns/lib/cluster.sh
. "$tests_dir/lib/cluster.sh"

cluster_up 6
nodes_up
for client in 1 2 3 4 5 6; do
	# Two of each gateway.
	client_add "$client" "$(blocks_of $(((client - 1) % 3 + 1)) | sed -n "$(((client - 1) / 3 + 1))p")"
done
wait_for 10 peers_known 6 1 2 3
traffic_serve host
for client in 1 2 3 4 5 6; do
	client_node_start "$client" "$shared4:5555"
done
for client in 1 2 3 4 5 6; do
	wait_for 20 pings "c$client" 198.51.100.2
	pulse_start "$client"
	start "stream$client" "c$client" "$tests_dir/tools/stream.py" 198.51.100.2 50000
done
start observer g1 "$tests_dir/tools/cluster_observer.py" "$dir/g1.sock" "$dir/g2.sock" "$dir/g3.sock" "$dir/g4.sock"

# Since the last time; a planned move is a BYE, a handshake and its route.
nobody_waited() { # SECONDS
	local client line worst=0
	for client in 1 2 3 4 5 6; do
		line=$(pulse_tells "$client")
		echo "client $client: $line"
		python3 -c 'import json, sys
seen = json.loads(sys.argv[1])
sys.exit(seen["wrong"] != 0 or seen["gap"] > float(sys.argv[2]))' "$line" "$1" || worst=1
	done
	return "$worst"
}
sleep 1
nobody_waited 1000 >/dev/null
node_config 4
gateway_node_start 4
agent_node_start 4
etcdctl put /shardtun/members '{"version":1,"members":["g1","g2","g3","g4"]}' >/dev/null
check "a fourth gateway gets its share" wait_for 120 shared_out 1 2 3 4
check "it is a way to the shared address" wait_for 10 ways "$shared4" 4
sleep 2
check "nobody was without an answer for 3 s" nobody_waited 3
etcdctl put /shardtun/members '{"version":1,"members":["g2","g3","g4"]}' >/dev/null
check "one that is drained gives all its blocks away" wait_for 120 shared_out 2 3 4
check "and is no way to the shared address any more" wait_for 10 ways "$shared4" 3
stop agent1 || true
stop g1 || true
sleep 2
check "nobody was without an answer for 3 s" nobody_waited 3
stop observer || true
tail -n 1 "$dir/observer.log" | sed 's/^/# observer: /'
check "no block had two owners" grep -q '"doubles": 0,' "$dir/observer.log"
for client in 1 2 3 4 5 6; do
	check "client $client has its address still" has_inner "$client"
	status=0
	stop "stream$client" || status=$?
	check "and its TCP connection went on, unchanged" test "$status" -eq 0
done
done_testing
