#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: alone
# A cluster as it is meant to be: three gateways with their agents behind one address, three etcd, BGP with ECMP, clients of both
# protocols. Each client is served at its address, whichever gateway its datagrams come to: the gateway hands a handshake on, the
# kernel data. (tests/netns/lib/cluster.sh draws it; cluster_failures.sh is about what dies.)
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/cluster.sh
. "$tests_dir/lib/cluster.sh"
# shellcheck source=tests/netns/lib/wireguard_go.sh
. "$tests_dir/lib/wireguard_go.sh"
wireguard_needed

cluster_up 4
nodes_up
ok "three gateways share the blocks out, each block once, and know who has the others"

# Client 1 is g1's, 2 g2's, 3 g3's; and the fourth, which speaks WireGuard, g1's.
for client in 1 2 3; do
	client_add "$client" "$(blocks_of "$client" | head -n 1)"
done
client_add 4 "$(blocks_of 1 | tail -n 1)" wireguard
check "clients that are added in etcd are known to all gateways" wait_for 10 peers_known 4 1 2 3
traffic_serve host

# --- at the wrong gateway ---
counter_rises() { # GATEWAY NAME FROM
	[[ $(node_counter "$1" "$2") -gt $3 ]]
}
serves_session() { # GATEWAY COUNT
	[[ $(node_json "$1" status | python3 -c 'import json, sys; print(json.load(sys.stdin)["sessions"]["active"])') -eq $2 ]]
}
lead 1 2
lead 2 3
lead 3 1
lead 4 3
client_node_start 1 "$shared4:5555"
check "a client whose HELLO comes to the wrong gateway is served" wait_for 10 pings c1 198.51.100.2
check "the gateway that got it handed it on" counter_rises 2 forwards_sent 0
check "to the one that owns it" counter_rises 1 forwards_taken 0
check "which has the session" serves_session 1 1
check "and the other has none" serves_session 2 0
client_node_start 2 "[$shared6]:5555"
client_node_start 3 "$shared4:5555"
check "so is a client that comes by IPv6" wait_for 10 pings c2 198.51.100.2
check "and the third" wait_for 10 pings c3 198.51.100.2
wireguard_start c4 c4 "$shared4:5555" "$(inner4 4)" "$(inner6 4)"
check "and one that speaks WireGuard" wait_for 10 pings c4 198.51.100.2
for client in 1 2 3; do
	check "client $client has the address that etcd says" has_inner "$client"
done
check "IPv6 passes within the tunnel too" pings c1 2001:db8:2::2
check "much data at the wrong gateway arrives whole" ns c1 "$tests_dir/tools/traffic.py" tcp 198.51.100.2 20000000
check "by IPv6 as well" ns c2 "$tests_dir/tools/traffic.py" tcp 198.51.100.2 5000000
check "and WireGuard's" ns c4 "$tests_dir/tools/traffic.py" tcp 198.51.100.2 5000000
for gateway in 1 2 3; do
	check "the kernel of g$gateway handed it on, the gateway never saw it" test "$(node_dropped "$gateway" foreign_block)" -eq 0
done
for client in 1 2 3 4; do
	lead "$client"
	check "client $client goes on when the router spreads its flows" wait_for 10 pings "c$client" 198.51.100.2
done
done_testing
