#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A gateway with ClusterNode, and the test in the place of its agent: it serves a block until the deadline and no longer,
# tells its clients, routes nothing else to its interface, and answers a release when nothing more leaves.
#
#   client 192.0.2.2 --- 192.0.2.1 gateway, 10.8.0.1 and block 1 of 10.8.0.0/16
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

# Exactly these blocks, for so many ms.
own() { # BLOCKS MS
	request "$dir/gateway.sock" cluster-own "$(python3 -c 'import sys, time
print(time.clock_gettime_ns(time.CLOCK_BOOTTIME) + int(sys.argv[1]) * 10**6)' "$2")" "$1"
}

# The agent that goes on.
serve() { # BLOCKS
	while own "$1" 2000 >/dev/null; do sleep 0.5; done
}

served() { # BLOCKS, with commas
	[[ $(ctl --json cluster | python3 -c 'import json, sys
print(*[block["block"] for block in json.load(sys.stdin)["blocks"]], sep=",")') == "$1" ]]
}

dropped() { # LEAST
	[[ $(ctl --json status | python3 -c 'import json, sys
print(*[drop["count"] for drop in json.load(sys.stdin)["drops"] if drop["reason"] == "foreign_block"])') -ge $1 ]]
}

topology_up
gateway_config "ClusterNode = gw1" "ClusterBlockSize = 16"
echo "Address = 10.8.0.5" >>"$dir/gateway.conf"
client_config
gateway_start
check "it serves nothing before it is told" served ""
start client client "$BUILD/shardtun" run "$dir/client.conf"
check "a client's HELLO is dropped as foreign_block" wait_for 20 dropped 1
check "there is no route to the pool" test -z "$(ns gateway ip route show root 10.8.0.0/8 dev shardtun0)"

serve 1 &
agent=$!
check "it serves what it is told" wait_for 10 served 1
check "the client gets through" wait_for 30 pings client 10.8.0.1
check "the block is routed" grep -q "^10.8.0.0/28 " <(ns gateway ip route show dev shardtun0)
check "and nothing more" test "$(ns gateway ip route show root 10.8.0.0/8 dev shardtun0 | wc -l)" -eq 1
sleep 3
check "deadlines that are put off end nothing" pings client 10.8.0.1
check "as the command line shows it" grep -qE "^ +1 +[0-9]+ +1$" <(ctl cluster)

kill $agent
wait $agent 2>/dev/null || true
check "without its agent it gives the block up" wait_for 10 served ""
check "and says so" grep -q "blocks 1 are served no more: their deadline is past" "$dir/gateway.log"
check "the client was told" wait_for 10 grep -q "the gateway ended the session: restarting" "$dir/client.log"
check_fails "nothing comes through" pings client 10.8.0.1
check "the route went" wait_for 10 test -z "$(ns gateway ip route show root 10.8.0.0/8 dev shardtun0)"

serve 1 &
agent=$!
check "it comes back with the agent" wait_for 30 pings client 10.8.0.1
kill $agent
wait $agent 2>/dev/null || true
own 1 30000 >/dev/null
check "a release is answered" grep -q '"released": *1' <(request "$dir/gateway.sock" cluster-release 1)
check "and the block is not served then" served ""
check_fails "nor is the client" pings client 10.8.0.1
check "what is no block is refused" grep -q 'no list of blocks' <(own 256 1000)
status=0
ns gateway "$BUILD/shardtund" -c "$dir/gateway.conf" --takeover >"$dir/takeover.log" 2>&1 || status=$?
check "another process does not take it over" test "$status" -eq 1
check "which says why" grep -q "take-over: not in a cluster: restart" "$dir/takeover.log"
cp "$BUILD/shardtund" "$dir/other"
check "a reload after an upgrade reads the configuration" ns gateway "$dir/other" -c "$dir/gateway.conf" --reload
check "and says that the program stays" grep -q "not in a cluster: .*; the configuration is read again" "$dir/gateway.log"
check "a deadline of another clock is refused" grep -q 'further than 60 s' <(own 1 61000)
done_testing
