#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A gateway that was turned: what it gives passes the client's filter, and an inner address that is not in AllowedIPs is
# not taken.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up

gateway_gives() { # NETWORK...
	! running gateway || stop gateway || true
	gateway_config
	sed -i "s|^Address = .*|Address = $*|" "$dir/gateway.conf"
	gateway_start
}

nothing_set() {
	[[ -z $(ns client ip -o address show dev shardtun0 scope global) ]]
}

# --- it is refused ---
gateway_gives 9.9.9.1/24
client_config "DNS = off"
start client client "$BUILD/shardtun" run "$dir/client.conf"
line='warning: the gateway gives us the address 9.9.9.2, which is not in AllowedIPs: not taken'
check "an address outside AllowedIPs: one line says so" wait_for 30 grep -q "$line" "$dir/client.log"
check "it is not set" nothing_set
check "and not ours" test -z "$(ns client ip route get 9.9.9.2 2>/dev/null | grep '^local')"
check_fails "nobody says connected" grep -q connected: "$dir/client.log"
check "status says why" grep -q 'refused  *the gateway gives us the address 9.9.9.2' <("$BUILD/shardtun" status "$dir/client.conf")
check "but not connected" grep -q 'shardtun0: handshake' <("$BUILD/shardtun" status "$dir/client.conf")
check "it asks again, but not often" test "$(grep -c "$line" "$dir/client.log")" -eq 1

# --- it is set right ---
gateway_gives 10.8.0.1/16, fd00:8::1/64
check "once the gateway is right again it is connected" wait_for 60 pings client 10.8.0.1
check "and status speaks of no refusal" test -z "$("$BUILD/shardtun" status "$dir/client.conf" | grep refused)"

# --- under a session ---
gateway_gives 10.8.0.1/16, 2001:db8:77::1/64
check "a later address is looked at too" wait_for 60 grep -q 'the address 2001:db8:77::2, which is not in AllowedIPs' \
	"$dir/client.log"
check "and not set" test -z "$(ns client ip -o -6 address show dev shardtun0 | grep 2001:db8:77)"
stop client || true

# --- waiting for it ---
status=0
said=$(ns client "$BUILD/shardtun" up "$dir/client.conf" 2>&1) || status=$?
check "up does not wait for it: status 1" test "$status" -eq 1
check "and says why" grep -q '^shardtun: the gateway gives us the address 2001:db8:77::' <<<"$said"

# --- a family that is not in AllowedIPs ---
other_client_config client client 192.0.2.1:5555 "10.8.0.0/16, 198.51.100.0/24" "DNS = off"
client_start
check "a family that AllowedIPs do not have is not wanted" answers client 198.51.100.2
check "its address is not set" test -z "$(ns client ip -o -6 address show dev shardtun0 scope global)"

both_stop
done_testing
