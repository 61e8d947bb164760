#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What takes wireguard-go minutes: one client rekeys three times by its own rules without a lost packet, while another one sleeps
# for 200 s, and then for longer than its session lasts. 14 minutes, so "make test" leaves it out:
# tests/netns/run build/gcc $PWD/tests/netns/long/wireguard_rekeys.sh
#
#   client: wireguard-go "busy", 10.8.0.20   |   second: wireguard-go "sleeper", 10.8.0.21
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/wireguard_go.sh
. "$(dirname "$0")/../lib/wireguard_go.sh"

wireguard_topology_up
second_up
wireguard_gateway_config "Workers = 2"
wireguard_peer busy "Address = 10.8.0.20"
wireguard_peer sleeper "Address = 10.8.0.21"
wireguard_gateway_start
wireguard_start busy client 192.0.2.1:5555 10.8.0.20 fd00:8::14
wireguard_start sleeper second 203.0.113.1:5555 10.8.0.21 fd00:8::15
for namespace in client second; do
	check "the wireguard-go in $namespace connects" wait_for 30 pings "$namespace" 198.51.100.2
done
busy=$(wireguard_session busy id)
sleeper=$(wireguard_session sleeper id)
start ping client ping -n -q -i 0.1 -c 3900 198.51.100.2

# --- asleep for longer than keys live ---
kill -STOP "${started[sleeper]}"
sleep 200
kill -CONT "${started[sleeper]}"
check "a client that slept for 200 s is back" wait_for 20 pings second 198.51.100.2
check "with its session" test "$(wireguard_session sleeper id)" = "$sleeper"
check "and is reached" answers host 10.8.0.21

# --- rekeys, with traffic both ways all the time; and asleep for longer than the session lasts ---
kill -STOP "${started[sleeper]}"
pinged() {
	grep transmitted "$dir/ping.log"
}
wait_for 100 pinged
lost=$(sed -n 's/.*transmitted, \([0-9]*\) received.*/\1/p' "$dir/ping.log")
check "390 s of pings, of which none is lost ($lost of 3900)" test "$lost" -eq 3900
check "three rekeys at least" test "$(wireguard_session busy rekeys)" -ge 3
check "of the same session" test "$(wireguard_session busy id)" = "$busy"
session_ended() {
	grep "event=disconnect session=$sleeper .* reason=\"timed out\"" "$dir/gateway.log"
}
check "the sleeper's session ends" wait_for 120 session_ended
check "and there is no other" test "$(ctl --json sessions --peer "$(public_key sleeper)" | grep -c '"id"')" -eq 0
kill -CONT "${started[sleeper]}"
check "a client that slept for longer is back too" wait_for 20 pings second 198.51.100.2
check "with another session" test "$(wireguard_session sleeper id)" != "$sleeper"
check "and the same address" answers host 10.8.0.21
check "every datagram is accounted for" wait_for 30 accounted_for gateway
stop busy || true
stop sleeper || true
stop gateway || true
done_testing
