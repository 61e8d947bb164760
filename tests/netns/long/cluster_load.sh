#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: alone
# A cluster (tests/netns/lib/cluster.sh draws it) with 200 clients, each of which pings the host every 100 ms through its tunnel, and
# three real ones with a TCP stream each. One after the other: a gateway is killed; a machine is cut off from everything; etcd's leader
# hangs, then its majority is gone, with 50 clients more that speak WireGuard; a fourth gateway joins, and one is drained and leaves.
# For each phase it prints what was sent and lost, and the longest time without an answer, of each client. OUTAGE=N for another time
# without etcd than 60 s. About five minutes: tests/netns/run build/gcc $PWD/tests/netns/long/cluster_load.sh
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
cluster_machines=4
# shellcheck source=tests/netns/lib/cluster.sh
. "$tests_dir/lib/cluster.sh"
# shellcheck source=tests/netns/lib/stalls.sh
. "$tests_dir/lib/stalls.sh"

outage=${OUTAGE:-60}
farm=200 guns=50
# The first twenty blocks have ten clients of the farm each, behind the real one that some have; the others those that speak WireGuard.
# shellcheck disable=SC2034 # for the library
cluster_blocks=24
farm_blocks=20
first_gun=320 # index: 10.8.1.64

cluster_up 4 # the farm is in the namespace of the fourth
ns c4 ip route add local 10.64.0.0/15 dev lo
ns router ip route add 10.64.0.0/15 via 172.17.4.2
nodes_up

# --- the clients ---
for client in 1 2 3; do
	client_add "$client" "$(blocks_of "$client" | awk -v most="$farm_blocks" '$1 <= most' | head -n 1)"
done
public_keys() { # COMMAND...
	"$@" | sed -n 's/^PublicKey = //p'
}
public_keys "$BUILD/client_farm" --peers "$farm" --seed load |
	awk -v blocks="$farm_blocks" '{ print $1, 16 * ((NR - 1) % blocks) + 6 + int((NR - 1) / blocks), "shardtun" }' | peers_put
public_keys "$BUILD/stgun" keys "$guns" --seed load --protocol wireguard --address 10.8.1.64 |
	awk -v first="$first_gun" '{ print $1, first + NR - 1, "wireguard" }' | peers_put
check "$((farm + guns + 3)) clients are known to all gateways" wait_for 20 peers_known $((farm + guns + 3)) 1 2 3
traffic_serve host
for client in 1 2 3; do
	began=${EPOCHREALTIME/[.,]/}
	client_node_start "$client" "$shared4:5555"
	check "client $client is served" wait_for 20 pings "c$client" 198.51.100.2
	[[ $connect_ms -gt 0 ]] || connect_ms=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
done
echo "# a first ping took $connect_ms ms: $(slack_ms) ms are added to what is promised"
start client_farm c4 "$BUILD/client_farm" --gateway "$shared4:5555" --gateway-key "$(public_key gateway)" --seed load --clients "$farm" \
	--from 10.64.0.0 --seconds 3600 --interval 100 --to 198.51.100.2,2001:db8:2::2
for client in 1 2 3; do
	start "stream$client" "c$client" "$tests_dir/tools/stream.py" 198.51.100.2 100000
	pulse_start "$client"
done

# --- phases ---
farm_phases() { # MORE THAN
	[[ $(grep -c '"phase"' "$dir/client_farm.log") -gt $1 ]]
}
# Ends a phase of the farm: what it saw is the last line of its log.
farm_tells() {
	local before
	before=$(grep -c '"phase"' "$dir/client_farm.log" || true)
	kill -USR1 "${started[client_farm]}"
	wait_for 30 farm_phases "$before"
}

# Of the farm's clients each got an answer a moment ago.
all_served() {
	farm_tells
	grep '"phase"' "$dir/client_farm.log" | tail -n 1 | python3 -c 'import json, sys
phase = json.loads(sys.stdin.read())
print("silent:", phase["silent"], "longest pause:", max(phase["pauses_ms"]), "ms")
sys.exit(phase["silent"] > 0 or max(phase["pauses_ms"]) > 500)'
}

# A phase begins now: all are served, so that no pause is that of the phase before.
phase_begin() {
	local client
	wait_for 60 all_served || not_ok "each client is served before the next phase"
	[[ -n ${started[stall]:-} ]] || stall_begin g1
	owned=$(block_owners)
	for client in 1 2 3; do
		pulse_tells "$client" >/dev/null
		stream_tells "stream$client" >/dev/null
	done
	farm_tells
}

# It ends: $dir/phase has what was seen, which phase_was judges.
phase_end() { # NAME
	local client
	phase=$1
	moved=$(comm -13 <(sort <<<"$owned") <(block_owners | sort) | cut -d ' ' -f 1)
	farm_tells
	{
		grep '"phase"' "$dir/client_farm.log" | tail -n 1
		for client in 1 2 3; do
			pulse_tells "$client"
		done
		for client in 1 2 3; do
			stream_tells "stream$client"
		done
	} >"$dir/phase"
	phase_was True >"$dir/said" || true
	diagnose <"$dir/said"
}

phase_was() { # EXPRESSION
	"$tests_dir/tools/farm_phase.py" "$farm_blocks" "$moved" "$phase" "$1" <"$dir/phase"
}

# Ends the phase, which is not judged by its pauses where the machine stood still for half a second (lib/stalls.sh), or did not give the
# farm the CPU for what it sends.
phase_is() { # NAME DESCRIPTION EXPRESSION
	local stalled=0
	phase_end "$1"
	stall_end
	if phase_was "$3" >/dev/null 2>&1 || { [[ $stalled -lt 500 ]] && phase_was full >/dev/null 2>&1; }; then
		check "$2" phase_was "$3"
	else
		check "$2 (judged by what may never happen only: the machine stood still for $stalled ms, or was too busy)" phase_was True
	fi
}

# What is promised on an idle machine, and what this one is slower.
promise() { # SECONDS
	awk -v limit="$1" -v slack="$(slack_ms)" 'BEGIN { print limit + slack / 1000 }'
}

# These gateways have so many sessions of that protocol.
sessions_are() { # shardtun|wireguard NUMBER GATEWAY...
	local number sum=0
	for number in "${@:3}"; do
		sum=$((sum + $(node_json "$number" status | python3 -c 'import json, sys
sessions = json.load(sys.stdin)["sessions"]
wireguard = sessions.get("wireguard", 0)
print(wireguard if sys.argv[1] == "wireguard" else sessions["active"] - wireguard)' "$1")))
	done
	echo "$sum sessions"
	[[ $sum -eq $2 ]]
}

check "$farm clients connect" wait_for 60 sessions_are shardtun $((farm + 3)) 1 2 3
phase_begin
sleep 5
phase_is "nothing happens" "nothing is lost while nothing happens" "lost == 0 and moved == 0"

# --- a gateway is killed ---
phase_begin
kill_hard g1
check "g1 is killed and does not come back: the others have its blocks" wait_for 30 shared_out 2 3
sleep 4
phase_is "g1 is killed" "nobody was without an answer for 3 s, and each has its address" "moved > 0 and pause <= $(promise 3)"
phase_begin
gateway_node_start 1
check "it is started again and gets its share" wait_for 60 shared_out 1 2 3
check "and all know it" wait_for 30 maps_complete 1 2 3
check "it is a way to the shared address again" wait_for 30 ways "$shared4" 3
sleep 2
phase_is "g1 is back" "nobody was without an answer for 3 s" "moved > 0 and pause <= $(promise 3)"

# --- a machine is cut off ---
# A RESET has a client shake hands once in 10 s: by then the first failure is not the second one's.
sleep 10
phase_begin
cut_off 2
sleep 15
phase_is "g2 is cut off" "g2 is cut off from everything: pings are back within 7 s, TCP within 14 s" \
	"moved > 0 and pause <= $(promise 7) and tcp <= $(promise 14)"
check "the others have its blocks" shared_out 1 3
check "and it has none" test -z "$(blocks_of 2)"
phase_begin
end_cut_off 2
check "when it is cut off no more it gets its share" wait_for 60 shared_out 1 2 3
check "and all know it" wait_for 30 maps_complete 1 2 3
check "it is a way to the shared address again" wait_for 30 ways "$shared4" 3
check "and by IPv6" wait_for 30 ways "$shared6" 3
sleep 2
phase_is "g2 is back" "nobody was without an answer for 3 s" "moved > 0 and pause <= $(promise 3)"
sleep 10

# --- etcd is away ---
start reflect host "$BUILD/stgun" reflect --listen 198.51.100.2 --threads 1
wait_for 30 grep -q answering "$dir/reflect.log"
guns_begin() { # SECONDS
	rm -f "$dir/guns.json"
	start guns c4 "$BUILD/stgun" load --protocol wireguard --gateway "$shared4:5555" --gateway-key "$(public_key wg-gateway)" \
		--seed load --address 10.8.1.64 --source 10.65.0.0/16 --to 198.51.100.2 --sessions "$guns" --rate $((10 * guns)) --size 100 \
		--direction both --gso off --renew 100 --duration "$1" --json "$dir/guns.json"
	check "$guns clients that speak WireGuard connect" wait_for 30 sessions_are wireguard "$guns" 1 2 3
	phase_begin
}
guns_ended() {
	! running guns
}
guns_end() { # NAME
	phase_end "$1" # undisturbed() looks at how long the machine stood still
	wait_for 60 guns_ended || true
	kill_hard guns
	guns_said | diagnose
}
guns_said() {
	[[ -s $dir/guns.json ]] && python3 -c 'import json, sys
step = json.load(open(sys.argv[1]))["steps"][-1]
print({name: step[name] for name in ("sent", "received", "lost", "misdelivered", "unexpected", "sessions_ended")})
sys.exit(not (step["sent"] == step["received"] > 0 and step["misdelivered"] == step["sessions_ended"] == 0))' "$dir/guns.json"
}
nothing_lost() {
	phase_was "lost == 0 and moved == 0" && guns_said
}

leader_hangs() {
	guns_begin 15
	etcd_leader_hangs 5
	sleep 3
	guns_end "etcd's leader hangs"
}
undisturbed "etcd's leader hangs for 5 s: no packet is lost, and no block moves" g1 500 leader_hangs nothing_lost

times=0
majority_is_gone() {
	local number
	times=$((times + 1))
	guns_begin $((outage + 15))
	etcd_majority_dies
	for number in 1 2 3; do
		wait_for 10 promised "$number" "$times" || true
	done
	sleep "$outage"
	etcd_majority_starts
	for number in 1 2 3; do
		wait_for 30 answers_again "$number" "$times" || true
	done
	sleep 3
	guns_end "etcd's majority is gone"
}
undisturbed "etcd's majority is gone for $outage s: no packet is lost, and no block moves" g1 500 majority_is_gone nothing_lost
for number in 1 2 3; do
	check "g$number served by promises" promised "$number" "$times"
	check "and by reads again" answers_again "$number" "$times"
done

# --- one joins, one leaves ---
fourth_joins
phase_begin
fourth_is_member
phase_is "g4 joins" "nobody was without an answer for 1.2 s" "moved > 0 and pause - 4 * late <= $(promise 1.2)"
sleep 10
phase_begin
first_is_drained
phase_is "g1 is drained" "nobody was without an answer for 1.2 s" "moved > 0 and pause - 4 * late <= $(promise 1.2)"
phase_begin
first_leaves
phase_is "g1 leaves" "which nobody notices" "lost == 0 and moved == 0"

# --- the end ---
check "each client is served" wait_for 10 all_served
check "all sessions are there" sessions_are shardtun $((farm + 3)) 2 3 4
for client in 1 2 3; do
	check "client $client has its address still" has_inner "$client"
	status=0
	stop "stream$client" || status=$?
	check "and its TCP connection went on, unchanged" test "$status" -eq 0
	check "it got nothing of another's" test "$(pulse_of "$(pulse_tells "$client")" wrong)" = 0
done
status=0
stop client_farm || status=$?
check "the farm ends well" test "$status" -eq 0
grep -v '"phase"' "$dir/client_farm.log" | diagnose
check "all of its clients were connected" client_farm_is connected "$farm"
check "none had another address than before" client_farm_is moved 0
done_testing
