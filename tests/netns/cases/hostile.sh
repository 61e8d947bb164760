#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Python peer (tests/peer) as a badly behaved client of the real gateway, while a real client's TCP connection and
# pings go on: nothing changes but the drop counters, and these by exactly what was sent. Then as a good one, with either
# suite; and as the gateway of the real client.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
traffic_serve host

probe() { # ACTION...
	ns client "$tests_dir/../peer/probe.py" --endpoint "${probe_endpoint:-192.0.2.1:5555}" --key "$dir/probe.key" \
		--gateway-key "$(public_key gateway)" --psk "$dir/probe.psk" ${probe_suite:+--suite "$probe_suite"} "$@"
}

remember() {
	status_json gateway >"$dir/before.json"
	log_lines=$(wc -l <"$dir/gateway.log")
}

# Since remember(), the log got the lines of a probe that came, moved and left, and no other; but of those refused when they
# are expected. The last one may be on its way yet.
probe_lines_only() { # [refused]
	wait_for 30 probe_came_and_left || true
	probe_came_and_left && probe_lines "$@"
}

probe_came_and_left() {
	local events
	events=$(tail -n +$((log_lines + 1)) "$dir/gateway.log" | grep -o "event=[a-z]*connect .* peer=$probe_key ")
	[[ $(grep -c event=connect <<<"$events") -eq $(grep -c event=disconnect <<<"$events") && -n $events ]]
}

probe_lines() { # [refused]
	tail -n +$((log_lines + 1)) "$dir/gateway.log" |
		grep -v "^info: event=\(connect\|roam\|disconnect\) session=.* peer=$probe_key " |
		grep -v "^warning: event=${1:-none} .* reason=\(unknown_peer\|not_confirmed\)\$" >"$dir/other-lines" || return 0
	cat "$dir/other-lines"
	return 1
}

undisturbed() {
	check "the client's TCP connection goes on" running flow
	check "so do its pings" answers client fd00:8::1
	check "the log has no line about any of it" probe_lines_only
	check "the client still has its first session" wait_for 30 figure_is client tx_hello 2
	# What a handshake without confirmation has reserved is free again after 10 s.
	check "and is the only one" wait_for 30 figure_is gateway sessions.active 1
	check "with the only address" wait_for 30 figure_is gateway pool.used 1
	check "every datagram is accounted for" wait_for 30 accounted_for gateway
}

# Without RESET, so that silence means silence.
gateway_config "RekeyInterval = 3600" "Reset = no"
probe_key=$(public_key probe)
add_peer probe
client_config
gateway_start
client_start
start flow client "$tests_dir/tools/traffic.py" flow 198.51.100.2
wait_for 30 grep -q flows "$dir/flow.log"

# --- a good client of another make: known to the gateway, which asks for a COOKIE once after its start ---
probe connect bye >/dev/null
check "the first HELLO of each is answered with COOKIE" wait_for 30 figure_is gateway tx_cookie 2
remember
: >"$dir/probe.log"
probe_well() { # ACTION...
	probe "$@" >>"$dir/probe.log"
}
for probe_suite in 1 2; do
	check "a probe with suite $probe_suite: connect, new keys, another port, leave" \
		probe_well connect ping rekey ping roam ping keepalive bye
done
probe_suite=
probe_endpoint="[2001:db8:1::1]:5555"
check "and over IPv6" probe_well connect ping bye
probe_endpoint=
sparse_came() {
	grep '"action": "ping"' "$dir/probe.log" | tail -n 1 | grep -q "\"sparse\": {\"sent\": $1, \"received\": $2}"
}
check "small pings go to the gateway as DATA_SPARSE, and come from there" sparse_came 2 '[1-9][0-9]*'
check "a peer that knows no DATA_SPARSE: connect, ping, leave" probe_well --capabilities 0 connect ping bye
check "it gets none" sparse_came 0 0
check "nor does one with capabilities that are not known" probe_well --capabilities 0xfc connect ping bye
check "as its pings show" sparse_came 0 0
status_json gateway >"$dir/after.json"
check "nothing of it is dropped, but what came after BYE" \
	"$tests_dir/tools/attacks.py" "$dir/before.json" "$dir/after.json" "$dir/probe.log"

# --- attacks: each is silent, and counted under its own reason; garbage is every length from 0 to 2000 and every first byte
attack() { # ACTION...
	local status=0
	remember
	probe connect "$@" bye >"$dir/probe.log" || status=$?
	check "$*: silence, and a true packet is still answered" test "$status" -eq 0
	status_json gateway >"$dir/after.json"
	check "$*: each one is a drop with its reason" \
		"$tests_dir/tools/attacks.py" "$dir/before.json" "$dir/after.json" "$dir/probe.log"
	check "$*: the log has no line about it, but of who is refused" probe_lines_only "${refused:-}"
	check "$*: the client's TCP connection goes on" running flow
	check "$*: so do its pings" answers client fd00:8::1
	check "$*: the client still has its first session" wait_for 30 figure_is client tx_hello 2
	check "$*: every datagram is accounted for" wait_for 30 accounted_for gateway
}

attack garbage
attack runts wrong-version forge
attack replay reorder spoof sparse
refused=refused attack stale-hello unknown-peer wrong-psk
check "who is not known is named" wait_for 30 grep -q "^warning: event=refused peer=.* endpoint=192.0.2.2:.* reason=unknown_peer\$" "$dir/gateway.log"
# What is reserved for handshakes that were not confirmed is free again after 10 s.
check "there is the one session, when all is over" wait_for 30 figure_is gateway sessions.active 1
check "with the one address" wait_for 30 figure_is gateway pool.used 1
status=0
stop flow || status=$?
check "the client's TCP connection lived through all of it" test "$status" -eq 0
both_stop

# --- the other way round: the real client at a gateway of another make ---
start other-gateway gateway "$tests_dir/../peer/probe.py" gateway --listen 192.0.2.1:5555 --key "$dir/gateway.key" \
	--client-key "$(public_key client)" --psk "$dir/client.psk" --rekey-interval 10
wait_for 30 grep -q listening "$dir/other-gateway.log"
# Of the ten seconds, five pass in one.
"${CC:-cc}" -shared -fPIC -o "$dir/wall_clock.so" "$tests_dir/tools/wall_clock.c"
start client client env LD_PRELOAD="$dir/wall_clock.so" CLOCK_SPEED=5 "$BUILD/shardtun" run "$dir/client.conf"
wait_for 30 pings client 10.8.0.1
check "its answers reach the client, IPv6" answers client fd00:8::1
check "of up to the MTU" answers client 10.8.0.1 -s 1392
renewed() {
	pings client 10.8.0.1 -W 5
	figure_at_least client rekeys 1
}
check "the client renews its keys when that gateway says" wait_for 30 renewed
stop client
status=0
stop other-gateway || status=$?
check "that gateway ends well" test "$status" -eq 0
check "with nothing dropped but the first HELLO since its start, which has to show a cookie" \
	wait_for 30 grep -q '"event": "end".*"drops": {"timestamp": 1}' "$dir/other-gateway.log"
check "small pings came from the client as DATA_SPARSE, and were answered so" \
	grep -q '"event": "end".*"sparse": {"sent": [1-9][0-9]*, "received": [1-9][0-9]*}' "$dir/other-gateway.log"

# --- and at one from before DATA_SPARSE ---
start older-gateway gateway "$tests_dir/../peer/probe.py" gateway --listen 192.0.2.1:5555 --key "$dir/gateway.key" \
	--client-key "$(public_key client)" --psk "$dir/client.psk" --capabilities 0
wait_for 30 grep -q listening "$dir/older-gateway.log"
client_start
check "a gateway that knows no DATA_SPARSE: its answers reach the client" answers client fd00:8::1
stop client
status=0
stop older-gateway || status=$?
check "and it gets none" wait_for 30 grep -q '"event": "end".*"sparse": {"sent": 0, "received": 0}, "drops": {"timestamp": 1}' \
	"$dir/older-gateway.log"
check "that gateway ends well, too" test "$status" -eq 0

done_testing
