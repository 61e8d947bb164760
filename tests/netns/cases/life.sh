#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Either side is killed, ended, restarted, started first, not known: the tunnel comes back by itself with the same
# addresses, so that a TCP connection through it lives on, and nothing is left behind.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
traffic_serve host

ends_with() { # NAME STATUS
	local status=0
	stop "$1" || status=$?
	check "the $1 ends with status $2" test "$status" -eq "$2"
	check "the $1 leaves nothing behind" nothing_left "$1"
}

# Within the minute that TCP may wait before it tries again.
flow_lives() {
	local before
	before=$(grep -c alive "$dir/flow.log" || true)
	kill -USR1 "${started[flow]}"
	wait_for 90 logged flow alive $((before + 1))
}

one_rule_each() {
	[[ $(ns client ip rule show | grep -c 'lookup 21845') -eq 1 && $(ns client ip -6 rule show | grep -c 'lookup 21845') -eq 1 ]]
}

# --- a client that is there before its gateway ---
gateway_config
client_config
start client client "$BUILD/shardtun" run "$dir/client.conf"
check "the client waits for its gateway" wait_for 30 figure_is_at_least client tx_hello 2
check "and says so in time" wait_for 30 grep -q 'warning: no answer to 3 handshakes; is the gateway up, UDP port 5555 open' "$dir/client.log"
gateway_start
check "it connects once the gateway is there" wait_for 40 pings client 10.8.0.1
check "with one line about it" wait_for 30 logged client 'info: connected: ' 1
start flow client "$tests_dir/tools/traffic.py" flow 198.51.100.2
check "a TCP connection through the tunnel" wait_for 30 grep -q flows "$dir/flow.log"

# --- the gateway is killed ---
kill_hard gateway
check_fails "a killed gateway's interface goes with it" ns gateway ip link show dev shardtun0
gateway_start
check "a restarted gateway is not kept by the old one's socket" status_json gateway
# One packet, one RESET, one handshake: no 15 s of silence.
check "the client is back after a killed gateway" wait_for 30 pings client 10.8.0.1
check "because the gateway said that it forgot" wait_for 30 figure_is_at_least client rx_reset 1
check "and says why it had to" wait_for 30 logged client 'warning: reconnecting because the gateway does not know our session any more' 1
check "with the same addresses" wait_for 30 logged client 'info: connected: .* addresses 10.8.0.2 fd00:8::2, ' 2
check "IPv6 is back as well" wait_for 30 pings client 2001:db8:2::2
check "the TCP connection goes on" flow_lives

# --- the gateway is restarted in order ---
ends_with gateway 0
check "the client hears it" wait_for 30 grep -q 'warning: reconnecting because the gateway ended the session: ' "$dir/client.log"
gateway_start
check "it is back soon" wait_for 30 pings client 10.8.0.1
check "again with the same addresses" wait_for 30 logged client 'info: connected: .* addresses 10.8.0.2 fd00:8::2, ' 3
check "the TCP connection goes on still" flow_lives
status=0
stop flow || status=$?
check "and nothing in it was changed" test "$status" -eq 0

# --- the client is killed ---
before=$(figure gateway sessions_started)
kill_hard client
client_start
check "a restarted client gets the same addresses" wait_for 30 logged client 'info: connected: .* addresses 10.8.0.2 fd00:8::2, ' 4
check "in one round trip" wait_for 30 figure_is client tx_hello 1
check "the old session is replaced" wait_for 30 grep -q 'info: event=disconnect session=.* reason="replaced by a newer session"' "$dir/gateway.log"
check "by one new one" wait_for 30 figure_is gateway sessions_started $((before + 1))
check "so that there is one" wait_for 30 figure_is gateway sessions.active 1
check "with one address" wait_for 30 figure_is gateway pool.used 1
check "and no rule of the dead client is left" one_rule_each

# --- the client ends ---
ends_with client 0
check "BYE frees the session" wait_for 30 figure_is gateway sessions.active 0
check "and, once the control thread collected it, the address" wait_for 30 figure_is gateway pool.used 0
check "with a line" wait_for 30 grep -q 'info: event=disconnect session=.* reason="going away"' "$dir/gateway.log"
ends_with gateway 0

# --- the interface is deleted ---
removed() { # NAME
	ns "$1" ip link delete shardtun0
	wait_for 30 gone "${started[$1]}" || true
	ends_with "$1" 1
	check "and says what happened" wait_for 30 logged "$1" '^shardtund\?: interface shardtun0: another program removed it' 1
	check "and nothing else" wait_for 30 logged "$1" '^shardtund\?: ' 1
}

gateway_start
client_start
removed gateway
removed client

# --- a client that the gateway does not know; of the seconds between its handshakes, five pass in one ---
gateway_start
log_lines=$(wc -l <"$dir/gateway.log")
"$BUILD/shardtun" genkey >"$dir/client.key"
: >"$dir/client.log"
"${CC:-cc}" -shared -fPIC -o "$dir/wall_clock.so" "$tests_dir/tools/wall_clock.c"
start client client env LD_PRELOAD="$dir/wall_clock.so" CLOCK_SPEED=5 "$BUILD/shardtun" run "$dir/client.conf"
check "a stranger is told what may be wrong" wait_for 30 grep -q 'warning: no answer to 3 handshakes; .*our public key listed' "$dir/client.log"
check "once" wait_for 30 logged client warning 1
check "the gateway counts it" wait_for 30 figure_is_at_least gateway unknown_peer 3
check "and holds nothing for it" wait_for 30 figure_is gateway sessions.active 0
refusals_only() {
	! tail -n +$((log_lines + 1)) "$dir/gateway.log" | grep -v "^warning: event=refused peer=.* reason=unknown_peer$"
}
check "and says nothing but whom it refused" refusals_only
both_stop

done_testing
