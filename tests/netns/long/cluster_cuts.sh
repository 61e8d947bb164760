#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A cluster in which something is cut off, hangs, is killed and started again, or has a wrong clock at random, CUTS times (100), one to three
# of these at once: a link of a gateway (outside, inside, to etcd); the inside link between two gateways; a member of etcd, its link or its
# process; an agent; a gateway; the clock of g3. KINDS="..." for some of them only. All the while an observer reads all gateways every 10 ms: no
# block ever has two owners, no inner address two clients, no client gets what is another's, and when all is well again all are served at the
# address that they had. SEED=N repeats a run. About ten minutes: tests/netns/run build/gcc $PWD/tests/netns/long/cluster_cuts.sh
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/cluster.sh
. "$tests_dir/lib/cluster.sh"
# shellcheck source=tests/netns/lib/wireguard_go.sh
. "$tests_dir/lib/wireguard_go.sh"
wireguard_needed

cuts=${CUTS:-100}
seed=${SEED:-$((EPOCHSECONDS % 32768))}
RANDOM=$seed
echo "# SEED=$seed"

clients=(1 2 3 4)
cluster_up 4
"${CC:-cc}" -shared -fPIC -o "$dir/wall_clock.so" "$tests_dir/tools/wall_clock.c"
clock_is_off() { # SECONDS
	echo "$1" >"$dir/wall_clock.new"
	mv "$dir/wall_clock.new" "$dir/wall_clock"
}
clock_is_off 0
node_environment[3]="LD_PRELOAD=$dir/wall_clock.so WALL_CLOCK_FILE=$dir/wall_clock"
node_option[3]="Seccomp = no" # the preloaded clock opens its file in every thread
nodes_up
for client in 1 2 3; do
	client_add "$client" "$(blocks_of "$client" | head -n 1)"
done
client_add 4 "$(blocks_of 3 | tail -n 1)" wireguard
wait_for 10 peers_known 4 1 2 3
traffic_serve host
for client in 1 2 3; do
	client_node_start "$client" "$shared4:5555"
done
wireguard_start c4 c4 "$shared4:5555" "$(inner4 4)" "$(inner6 4)"
for client in "${clients[@]}"; do
	check "client $client is served" wait_for 10 pings "c$client" 198.51.100.2
	pulse_start "$client"
done
start observer g1 "$tests_dir/tools/cluster_observer.py" "$dir/g1.sock" "$dir/g2.sock" "$dir/g3.sock"
wait_for 10 grep -q ready "$dir/observer.log"

# Nothing passes between g$1 and the next one on the inside link.
cut_pair() { # NUMBER
	local other=$(($1 % 3 + 1))
	ns "g$1" nft -f - <<-END
		table netdev cut-pair {
			chain in {
				type filter hook ingress device "eth1" priority -500;
				ip saddr 10.9.0.$other drop
				ip6 saddr fd09::$other drop
			}
			chain out {
				type filter hook egress device "eth1" priority -500;
				ip daddr 10.9.0.$other drop
				ip6 daddr fd09::$other drop
			}
		}
	END
}

# One that was killed meanwhile has no process.
signal() { # SIGNAL NAME
	[[ -z ${started[$2]:-} ]] || kill "-$1" "${started[$2]}" || true
}
die() { # NAME
	[[ -z ${started[$1]:-} ]] || kill_hard "$1" 2>/dev/null
}

begin() { # KIND NUMBER
	case $1 in
	outside) silence_link "g$2" eth0 ;;
	inside) silence_link "g$2" eth1 ;;
	management) silence_link "g$2" eth2 ;;
	pair) cut_pair "$2" ;;
	etcd) silence_link "e$2" eth0 ;;
	etcd-hangs) signal STOP "etcd$2" ;;
	agent-hangs) signal STOP "agent$2" ;;
	gateway-hangs) signal STOP "g$2" ;;
	etcd-dies) die "etcd$2" ;;
	agent-dies) die "agent$2" ;;
	gateway-dies) die "g$2" ;;
	clock) clock_is_off "$(((RANDOM - 16384) * 10))" ;;
	esac
}

end() { # KIND NUMBER
	case $1 in
	outside) restore_link "g$2" eth0 ;;
	inside) restore_link "g$2" eth1 ;;
	management) restore_link "g$2" eth2 ;;
	pair) ns "g$2" nft delete table netdev cut-pair ;;
	etcd) restore_link "e$2" eth0 ;;
	etcd-hangs) signal CONT "etcd$2" ;;
	agent-hangs) signal CONT "agent$2" ;;
	gateway-hangs) signal CONT "g$2" ;;
	etcd-dies) etcd_start "$2" ;;
	agent-dies) agent_node_start "$2" ;;
	gateway-dies) gateway_node_start "$2" ;;
	clock) clock_is_off 0 ;;
	esac
}

read -r -a kinds <<<"${KINDS:-outside inside management pair etcd etcd-hangs etcd-dies agent-hangs agent-dies gateway-hangs gateway-dies clock}"
declare -A happened=()
began=$SECONDS
for ((cut = 1; cut <= cuts; cut++)); do
	declare -A now=()
	for ((i = RANDOM % 3; i >= 0; i--)); do
		now["${kinds[RANDOM % ${#kinds[@]}]} $((RANDOM % 3 + 1))"]=1
	done
	seconds=$((RANDOM % 7)).$((RANDOM % 10))
	echo "# $((SECONDS - began)) s, $cut: ${!now[*]} for $seconds s"
	for one in "${!now[@]}"; do
		read -r kind number <<<"$one"
		happened[$kind]=$((${happened[$kind]:-0} + 1))
		begin "$kind" "$number"
	done
	sleep "$seconds"
	for one in "${!now[@]}"; do
		read -r kind number <<<"$one"
		end "$kind" "$number"
	done
	unset now
	sleep "$((RANDOM % 4)).$((RANDOM % 10))"
done
for kind in "${kinds[@]}"; do
	echo "# $kind: ${happened[$kind]:-0} times"
done
check "after $cuts cuts the blocks are shared out again, each once" wait_for 60 shared_out 1 2 3
for client in "${clients[@]}"; do
	check "client $client is served" wait_for 60 pulse_beats "$client"
done
for client in 1 2 3; do
	check "client $client has the address that it had" has_inner "$client"
done
for number in 1 2 3; do
	echo "# g$number: fenced $(node_json "$number" cluster | python3 -c 'import json, sys; print(json.load(sys.stdin)["fences"])') times," \
		"$(agent_metric "$number" shardtun_agent_questions_total) questions, $(agent_metric "$number" shardtun_agent_agreements_total) agreements"
	check "g$number and its agent still run" running "g$number"
	check "g$number's agent, too" running "agent$number"
done
stop observer || true
grep -v ready "$dir/observer.log" | sed 's/^/# observer: /'
check "the observer saw all of it" grep -q '"rounds": [0-9]\{4,\},.*"sessions": [0-9]\{3,\},' "$dir/observer.log"
check "no block had two owners" grep -q '"doubles": 0,' "$dir/observer.log"
check "no address had two clients" grep -q '"shared_addresses": 0,' "$dir/observer.log"
for client in "${clients[@]}"; do
	stop "pulse$client" || true
	tail -n 1 "$dir/pulse$client.log" | sed "s/^/# client $client: /"
	check "client $client got nothing of another's" grep -q '"all_wrong": 0}' "$dir/pulse$client.log"
done
done_testing
