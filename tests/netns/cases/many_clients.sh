#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A gateway is killed with many clients connected: all connect to its successor, each with its address, by RESET or because
# the gateway is silent; none has two addresses, and none is left over. How fast that is is for benchmarks.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

sessions=1000

topology_up
ns client ip route add local 10.64.0.0/16 dev lo
ns gateway ip route add 10.64.0.0/16 via 192.0.2.2
ns gateway ip route add blackhole 10.99.0.1/32

gateway_config "Workers = 2" "Handshakers = 1" "LogLevel = warning"
"$BUILD/stgun" keys "$sessions" --seed many >>"$dir/gateway.conf"
gateway_start

addresses() {
	ctl --json sessions | python3 -c '
import json, sys
print(*sorted((s["peer"], s["addresses"]) for s in json.load(sys.stdin)["sessions"]), sep="\n")'
}

active_are() { # NUMBER
	figure_is gateway sessions.active "$1" && figure_is gateway pool.used "$1"
}

start clients client "$BUILD/stgun" connect --gateway 192.0.2.1:5555 --gateway-key "$(public_key gateway)" --seed many \
	--source 10.64.0.0/16 --sessions "$sessions" --threads 2 --to 10.99.0.1 --stay 600 --every 2 --say data \
	--json "$dir/report.json"
check "$sessions clients connect" wait_for 120 active_are "$sessions"
addresses >"$dir/before"

# Clients whose data found nobody for 15 s handshake by themselves: where the gateway got no CPU for so long none is told.
all_were_told() {
	[[ $seconds_down -ge 10 || $(figure gateway tx_reset) -ge $sessions ]]
}

killed=$EPOCHSECONDS
kill_hard gateway
gateway_start
seconds_down=$((EPOCHSECONDS - killed))
check "they come back to a gateway that took the place of theirs" wait_for 120 active_are "$sessions"
addresses >"$dir/after"
check "each with the address that it had" diff "$dir/before" "$dir/after"
check "because it said that it does not know them (down for $seconds_down s)" all_were_told

kill_hard gateway
sed -i 's/^ListenPort/Reset = no\n&/' "$dir/gateway.conf"
gateway_start
check "they come back when it does not say so" wait_for 120 active_are "$sessions"
addresses >"$dir/after"
check "each with the address that it had" diff "$dir/before" "$dir/after"

status=0
stop clients || status=$?
check "the generator ends with status 0" test "$status" -eq 0
check "its report says what happened" python3 -c '
import json, sys
stay = json.load(open(sys.argv[1]))["stay"]
sessions, told = int(sys.argv[2]), int(sys.argv[3]) < 10
print(stay)
sys.exit(not (stay["resets"] + stay["silences"] >= 2 * sessions and stay["silences"] >= sessions and stay["back"] > sessions
	and (stay["resets"] >= sessions or not told)))' "$dir/report.json" "$sessions" "$seconds_down"
check "good-bye leaves no session and no address" wait_for 120 active_are 0
check "every datagram is accounted for" wait_for 30 accounted_for gateway
status=0
stop gateway || status=$?
check "the gateway ends with status 0" test "$status" -eq 0

done_testing
