#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Forty rekeys, so that the epochs wrap twice, under traffic both ways through a network that loses, repeats, delays and
# reorders: what it lets through is never lost for lack of a key. Clocks run ten times as fast, which makes a rekey of every
# second one of every ten.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
"${CC:-cc}" -shared -fPIC -o "$dir/wall_clock.so" "$tests_dir/tools/wall_clock.c"
fast=(env LD_PRELOAD="$dir/wall_clock.so" CLOCK_SPEED=10)
rekeys=40

relay() { # COMMAND...
	"$tests_dir/tools/relay.py" tell "$dir/relay.sock" "$@"
}

gateway_config "Workers = 2" "TunReaders = 1" "Handshakers = 1" "RekeyInterval = 10"
endpoint=192.0.2.2:6001
client_config
start relay client "$tests_dir/tools/relay.py" run "$dir/relay.sock" one=6001/first first=192.0.2.2:40001/192.0.2.1:5555
wait_for 30 grep -q relays "$dir/relay.log"
start gateway gateway "${fast[@]}" "$BUILD/shardtund" -c "$dir/gateway.conf"
wait_for 30 listens gateway udp 5555
start client client "${fast[@]}" "$BUILD/shardtun" run "$dir/client.conf"
wait_for 30 pings client 10.8.0.1

start sink-up host "$tests_dir/tools/one_way.py" sink
start sink-down client "$tests_dir/tools/one_way.py" sink
wait_for 30 grep -q ready "$dir/sink-up.log"
wait_for 30 grep -q ready "$dir/sink-down.log"
relay impairment 5 5 20 40 >/dev/null
start up client "$tests_dir/tools/one_way.py" send 198.51.100.2 200 400
start down host "$tests_dir/tools/one_way.py" send 10.8.0.2 200 400

enough_rekeys() {
	[[ $(figure gateway rekeys) -ge $rekeys ]]
}

check "$rekeys rekeys of one session under traffic" wait_for 120 enough_rekeys
stop up
stop down
# What is delayed, or waits for a busy worker, arrives.
at_rest() {
	local before
	before="$(figure gateway tun_tx_packets) $(figure client tun_tx_packets)"
	sleep 0.5
	[[ "$(figure gateway tun_tx_packets) $(figure client tun_tx_packets)" == "$before" ]]
}
wait_for 30 at_rest
stop sink-up || true
stop sink-down || true
relay impairment 0 0 0 0 >/dev/null
carried=$(relay carried)

# Each packet that was sent arrived, once, unless its datagram was lost, or waited too long for a busy worker: CoDel's
# clock is as fast as all others.
arrived() { # up|down SENDER
	local sent came waited
	waited=$(figure "$2" out_queue)
	read -r sent _ < <(tail -n 1 "$dir/$1.log")
	read -r came _ < <(tail -n 1 "$dir/sink-$1.log")
	echo "$came of $sent; $waited waited; $carried"
	python3 -c '
import json, sys
lost = json.loads(sys.argv[1])[sys.argv[2]]["lost_data"]
sent, came, waited = map(int, sys.argv[3:])
sys.exit(not (sent > 5000 and lost > 100 and came == sent - lost - waited))' "$carried" "$1" "$sent" "$came" "$waited"
}

check "up, each packet arrives that the network did not lose" arrived up client
check "down, likewise" arrived down gateway
for side in client gateway; do
	for reason in unknown_epoch unknown_session forged out_no_key; do
		check "no drop at the $side: $reason" wait_for 30 figure_is "$side" "$reason" 0
	done
	check "what came twice was dropped once" test "$(figure "$side" replay)" -gt 100
	check "every datagram is accounted for" wait_for 30 accounted_for "$side"
done
check "it is the first session still" test "$(figure gateway sessions_started) $(figure client sessions_started)" = "1 1"
both_stop

done_testing
