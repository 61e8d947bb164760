#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: alone
# A cluster (tests/netns/lib/cluster.sh draws it) whose etcd fails: its leader hangs, then its majority is gone. Clients of both
# protocols lose no packet, each gateway serves the blocks that it had, and no peer changes until etcd is back. OUTAGE=N for another
# time without etcd, in seconds.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/cluster.sh
. "$tests_dir/lib/cluster.sh"
# shellcheck source=tests/netns/lib/wireguard_go.sh
. "$tests_dir/lib/wireguard_go.sh"
# shellcheck source=tests/netns/lib/stalls.sh
. "$tests_dir/lib/stalls.sh"
wireguard_needed

outage=${OUTAGE:-12}
clients=(1 2 3 4 5)
cluster_up 5
nodes_up
# One of each gateway, and two that speak WireGuard. The router spreads their flows, so some come to the wrong gateway.
for client in 1 2 3; do
	client_add "$client" "$(blocks_of "$client" | head -n 1)"
done
client_add 4 "$(blocks_of 1 | tail -n 1)" wireguard
client_add 5 "$(blocks_of 2 | tail -n 1)" wireguard
wait_for 10 peers_known 5 1 2 3
traffic_serve host
client_node_start 1 "$shared4:5555"
client_node_start 2 "[$shared6]:5555"
client_node_start 3 "$shared4:5555"
wireguard_start c4 c4 "$shared4:5555" "$(inner4 4)" "$(inner6 4)"
wireguard_start c5 c5 "[$shared6]:5555" "$(inner4 5)" "$(inner6 5)"
for client in "${clients[@]}"; do
	check "client $client is served" wait_for 10 pings "c$client" 198.51.100.2
done

# What each gateway serves, and how often it had to stop.
owners() {
	local number
	for number in 1 2 3; do
		node_json "$number" cluster | python3 -c 'import json, sys
cluster = json.load(sys.stdin)
print(sys.argv[1], sorted(block["block"] for block in cluster["blocks"]), "fences", cluster["fences"])' "g$number"
	done
}

all_begin() {
	local client
	wait_for 60 shared_out 1 2 3 || true
	before=$(owners)
	for client in "${clients[@]}"; do
		pulse_start "$client"
	done
}

# Each datagram of each client was answered.
all_end() {
	local client
	after=$(owners)
	seen=()
	for client in "${clients[@]}"; do
		stop "pulse$client" || true
		seen+=("client $client: $(tail -n 1 "$dir/pulse$client.log")")
	done
}

nothing_lost() {
	printf '%s\n' "before:" "$before" "after:" "$after" "${seen[@]}"
	[[ $before == "$after" ]] && printf '%s\n' "${seen[@]}" | python3 -c 'import json, sys
lines = [json.loads(line.partition(": ")[2]) for line in sys.stdin]
sys.exit(not all(line["total"] > 100 and line["lost"] == line["all_wrong"] == 0 for line in lines))'
}

# --- its leader hangs ---

leader_hangs() {
	all_begin
	etcd_leader_hangs 5
	sleep 3
	all_end
}
# From a last read to the fence there are 2 s, and one question in that time suffices.
undisturbed "etcd's leader hangs for 5 s: no packet is lost, and no block moves" g1 500 leader_hangs nothing_lost
printf '# %s\n' "${seen[@]}"

# --- its majority is gone ---

peer_add() { # NAME
	"$BUILD/shardtunctl" --socket "$dir/g1.sock" --agent "$dir/agent1.state/agent.sock" peer add "$(public_key "$1")" --name "$1"
}

majority_goes() {
	local number began=$SECONDS
	all_begin
	etcd_majority_dies
	refused=$(peer_add late 2>&1) && refused="not refused: $refused"
	for number in 1 2 3; do
		wait_for 10 promised "$number" 1 || true
	done
	by_promises="" etcd_is_up=""
	sleep $((began + outage > SECONDS ? began + outage - SECONDS : 0))
	for number in 1 2 3; do
		by_promises+="$(agent_metric "$number" shardtun_agent_blocks_by_promises) "
		etcd_is_up+="$(agent_metric "$number" shardtun_agent_etcd_up) "
	done
	etcd_majority_starts
	for number in 1 2 3; do
		wait_for 30 answers_again "$number" 1 || true
	done
	sleep 3
	all_end
}
undisturbed "etcd's majority is gone for $outage s: no packet is lost, and no block moves" g1 500 majority_goes nothing_lost
printf '# %s\n' "${seen[@]}"
echo "# a peer that was to be added meanwhile: $refused"
check "no peer is added meanwhile" test "${refused#not refused}" = "$refused" -a -n "$refused"
check "all blocks were served by promises, a metric says" test "$by_promises" = "4 4 4 "
check "and that etcd was away" test "$etcd_is_up" = "0 0 0 "
for number in 1 2 3; do
	check "the log of g$number's agent has it" promised "$number" 1
	check "and that etcd is back" answers_again "$number" 1
	check "by reads again" wait_for 10 agent_metric_is "$number" shardtun_agent_blocks_by_promises 0
	check "it was never fenced" agent_metric_is "$number" shardtun_agent_fences_total 0
done
check "the peer that was refused is not there" peers_known 5 1 2 3
check "now peers can be added" wait_for 20 peer_add again
check "and are known to all" wait_for 20 peers_known 6 1 2 3
for client in "${clients[@]}"; do
	check "client $client is served" wait_for 10 pings "c$client" 198.51.100.2
done
done_testing
