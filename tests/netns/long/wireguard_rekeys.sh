#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What takes wireguard-go minutes: three rekeys by its own rules without a lost packet, a sleep of 200 s, and one that is longer than
# the session lasts. 22 minutes, so "make test" leaves it out: tests/netns/run build/gcc $PWD/tests/netns/long/wireguard_rekeys.sh
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/wireguard.sh
. "$(dirname "$0")/../lib/wireguard.sh"
# shellcheck source=tests/netns/lib/wireguard_go.sh
. "$(dirname "$0")/../lib/wireguard_go.sh"

wireguard_needed
topology_up
own_run_up
wireguard_gateway_config "Workers = 2"
wireguard_peer plain "Address = 10.8.0.20"
wireguard_gateway_start
wireguard_start plain client 192.0.2.1:5555 10.8.0.20 fd00:8::14
check "wireguard-go connects" wait_for 30 pings client 198.51.100.2
session=$(wireguard_session plain id)

lost() {
	sed -n 's/.*transmitted, \([0-9]*\) received.*/\1/p' "$dir/ping.log"
}

# --- rekeys, with traffic both ways all the time ---
ns client ping -n -q -i 0.1 -c 3900 198.51.100.2 >"$dir/ping.log" 2>&1
check "390 s of pings, none of which is lost ($(lost) of 3900)" test "$(lost)" -eq 3900
check "three rekeys at least" figure_is_at_least gateway rekeys 3
check "of the same session" test "$(wireguard_session plain id)" = "$session"

# --- asleep for longer than keys live ---
kill -STOP "${started[plain]}"
sleep 200
kill -CONT "${started[plain]}"
check "a client that slept for 200 s is back" wait_for 20 pings client 198.51.100.2
check "with its session" test "$(wireguard_session plain id)" = "$session"
check "and is reached" answers host 10.8.0.20

# --- asleep for longer than the session lasts ---
kill -STOP "${started[plain]}"
sleep 560
check "the session ends" wait_for 30 grep -q 'event=disconnect .* reason="timed out"' "$dir/gateway.log"
kill -CONT "${started[plain]}"
check "a client that slept for longer is back too" wait_for 20 pings client 198.51.100.2
check "with another session" test "$(wireguard_session plain id)" != "$session"
check "and the same address" answers host 10.8.0.20
check "every datagram is accounted for" wait_for 30 accounted_for gateway
stop plain || true
stop gateway || true
done_testing
