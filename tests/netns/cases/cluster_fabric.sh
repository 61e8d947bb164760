#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: alone
# A gateway that is cut off from its router, and not from etcd, hands its blocks over, with config/examples/shardtun-fabric beside
# its BIRD; and takes blocks again when the router is back. (tests/netns/lib/cluster.sh draws the cluster.)
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/cluster.sh
. "$tests_dir/lib/cluster.sh"

cluster_up 1
nodes_up
ok "three gateways share the blocks out"
mkdir "$dir/fabric"
fabric_start() {
	PATH=$BUILD:$PATH start fabric g1 sh "$examples/shardtun-fabric" "$dir/agent1.state/agent.sock" "$dir/bird-g1.sock" \
		"$dir/fabric" 2 3
}
agent_ctl() {
	"$BUILD/shardtunctl" --agent "$dir/agent1.state/agent.sock" "$@"
}
owns_nothing() { # NUMBER
	[[ -z $(blocks_of "$1") ]]
}
fabric_start
sleep 5
check "nothing happens while there is a session" shared_out 1 2 3
check "nor is a drain noted" test ! -e "$dir/fabric/drains"
client_add 1 "$(blocks_of 1 | head -n 1)"
check "a client is known" wait_for 10 peers_known 1 1 2 3
traffic_serve host
client_node_start 1 "$shared4:5555"
check "and served" wait_for 30 pings c1 198.51.100.2

ns router ip link set g1 down
check "cut off from the router, it hands its blocks over" wait_for 60 owns_nothing 1
check "which the others serve" wait_for 30 shared_out 2 3
check "its client among them" wait_for 60 pings c1 198.51.100.2
stop fabric || true
fabric_start
sleep 4
check "that holds over a restart of the script" owns_nothing 1
ns router ip link set g1 up
check "with the router back, it takes blocks again" wait_for 90 shared_out 1 2 3
check "the drain is over" wait_for 10 test ! -e "$dir/fabric/drains"
agent_ctl drain >/dev/null
sleep 5
check "a drain that was begun by hand stays" owns_nothing 1
agent_ctl drain --off >/dev/null
check "until it is ended by hand" wait_for 60 shared_out 1 2 3
done_testing
