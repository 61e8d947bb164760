#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A cluster in which something is cut off or stopped at random, CUTS times (100): a link of a gateway, outside, inside or to etcd; a member of
# etcd; an agent or a gateway that hangs. All the while an observer reads all gateways every 10 ms: no block ever has two owners, no client gets what is
# another's, and when all is well again all are served at the address they had. SEED=N repeats a run.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/cluster.sh
. "$tests_dir/lib/cluster.sh"

cuts=${CUTS:-100}
RANDOM=${SEED:-$((EPOCHSECONDS % 32768))}
echo "# SEED=${SEED:-$((EPOCHSECONDS % 32768))}"

cluster_up 3
nodes_up
for client in 1 2 3; do
	client_add "$client" "$(blocks_of "$client" | head -n 1)"
done
wait_for 10 peers_known 3 1 2 3
traffic_serve host
for client in 1 2 3; do
	client_node_start "$client" "$shared4:5555"
	wait_for 10 pings "c$client" 198.51.100.2
	pulse_start "$client"
done
start observer g1 "$tests_dir/tools/cluster_observer.py" "$dir/g1.sock" "$dir/g2.sock" "$dir/g3.sock"

# Of what was started, the program itself.
program_of() { # NAME
	pgrep -P "${started[$1]}" || echo "${started[$1]}"
}

# Something is wrong for a while.
disturb() { # KIND NUMBER SECONDS
	case $1 in
	outside) silence_link "g$2" eth0 ;;
	inside) silence_link "g$2" eth1 ;;
	management) silence_link "g$2" eth2 ;;
	etcd) silence_link "e$2" eth0 ;;
	agent) kill -STOP "$(program_of "agent$2")" ;;
	gateway) kill -STOP "$(program_of "g$2")" ;;
	esac
	sleep "$3"
	case $1 in
	outside) restore_link "g$2" eth0 ;;
	inside) restore_link "g$2" eth1 ;;
	management) restore_link "g$2" eth2 ;;
	etcd) restore_link "e$2" eth0 ;;
	agent) kill -CONT "$(program_of "agent$2")" ;;
	gateway) kill -CONT "$(program_of "g$2")" ;;
	esac
}

kinds=(outside inside management etcd agent gateway)
for ((cut = 1; cut <= cuts; cut++)); do
	kind=${kinds[RANDOM % ${#kinds[@]}]} number=$((RANDOM % 3 + 1)) seconds=$((RANDOM % 7)).$((RANDOM % 10))
	echo "# $cut: $kind $number for $seconds s"
	disturb "$kind" "$number" "$seconds"
	sleep "$((RANDOM % 4)).$((RANDOM % 10))"
done
check "after $cuts cuts the blocks are shared out again, each once" wait_for 60 shared_out 1 2 3
for client in 1 2 3; do
	check "client $client is served" wait_for 60 pulse_beats "$client"
	check "at its address" has_inner "$client"
	line=$(pulse_tells "$client")
	echo "# client $client: $line"
done
stop observer || true
tail -n 1 "$dir/observer.log" | sed 's/^/# observer: /'
check "no block had two owners" grep -q '"doubles": 0,' "$dir/observer.log"
for client in 1 2 3; do
	check "client $client got nothing of another's" test "$(grep -c '"wrong": 0,' "$dir/pulse$client.log")" -eq "$(grep -c wrong "$dir/pulse$client.log")"
done
done_testing
