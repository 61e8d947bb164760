#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: alone
# A fourth gateway joins a cluster of three that is in use, and then one of the first is drained and leaves. Each block has a client,
# so each move of one is seen: nobody is without an answer for more than 1.2 s, keeps his address, and no TCP connection breaks.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
cluster_machines=4
# shellcheck source=tests/netns/lib/cluster.sh
. "$tests_dir/lib/cluster.sh"

clients=12 # as many as cluster_blocks
# shellcheck disable=SC2046 # numbers
set -- $(seq "$clients")
cluster_up "$clients"
nodes_up
for client in "$@"; do
	client_add "$client" "$client"
done
wait_for 10 peers_known "$clients" 1 2 3
traffic_serve host
for client in "$@"; do
	began=${EPOCHREALTIME/[.,]/}
	client_node_start "$client" "$shared4:5555"
	wait_for 20 pings "c$client" 198.51.100.2
	[[ $connect_ms -gt 0 ]] || connect_ms=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
done
for client in "$@"; do
	start "stream$client" "c$client" "$tests_dir/tools/stream.py" 198.51.100.2 20000
	pulse_start "$client"
done

# What pulses saw since the last time: the pause of each client whose block has moved, the median and the longest one, and that of
# those whose block stayed. Fails where one was longer than the limit, or an answer was another one's.
pauses() { # SECONDS
	local client moved
	moved=$(comm -13 <(sort <<<"$owned") <(block_owners | sort) | cut -d ' ' -f 1)
	for client in $(seq "$clients"); do
		echo "$client $(pulse_tells "$client")"
	done | python3 -c 'import json, statistics, sys
limit, moved = float(sys.argv[1]), set(sys.argv[2].split())
gaps = {True: [], False: []}
for line in sys.stdin:
    client, text = line.split(" ", 1)
    seen = json.loads(text)
    gaps[client in moved].append(seen["gap"])
    if seen["wrong"]:
        sys.exit(f"client {client} got what is another one\u0027s: {text}")
for has, name in (True, "moved"), (False, "stayed"):
    if gaps[has]:
        print(f"# {len(gaps[has])} blocks {name}: pause of a ping {statistics.median(gaps[has]):.3f} s in the median, "
              f"{max(gaps[has]):.3f} s at most:", *sorted(gaps[has]))
sys.exit(not gaps[True] or max(gaps[True] + gaps[False]) > limit)' \
		"$(awk -v limit="$1" -v slack="$(slack_ms)" 'BEGIN { print limit + slack / 1000 }')" "$moved" >&3
}
exec 3>&1
promise=1.2
echo "# a first ping took $connect_ms ms; $promise s are a promise, to which $(slack_ms) ms are added"

# The time in which pauses are looked at begins now.
begin() {
	local client
	owned=$(block_owners)
	for client in $(seq "$clients"); do
		pulse_tells "$client" >/dev/null
	done
}

# --- one joins ---
fourth_joins
begin
fourth_is_member
check "nobody was without an answer for $promise s" pauses "$promise"

# --- one leaves ---
begin
first_is_drained
check "nobody was without an answer for $promise s" pauses "$promise"
begin
first_leaves
check "which nobody notices" wait_for 10 shared_out 2 3 4
for client in "$@"; do
	line=$(pulse_tells "$client")
	check "client $client got all answers" test "$(pulse_of "$line" wrong) $(python3 -c 'import json, sys
print(json.loads(sys.argv[1])["gap"] < 1)' "$line")" = "0 True"
	check "client $client has its address still" has_inner "$client"
	status=0
	stop "stream$client" || status=$?
	check "and its TCP connection went on, unchanged" test "$status" -eq 0
done
done_testing
