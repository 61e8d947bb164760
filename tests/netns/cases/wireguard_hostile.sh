#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Python peer of WireGuard's protocol (tests/peer) against our gateway: well behaved, odd but lawful, hostile, and while the
# gateway is flooded with initiations. tests/netns/cases/wireguard_peer.sh shows the same of wireguard-go, so that what is
# demanded here is what the protocol demands.
#
#   client: wireguard_probe.py, 10.8.0.20 (no PSK) and .21 (PSK), and .22 over IPv6   |   host: the flood
# run-tap: first
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/wireguard_go.sh
. "$(dirname "$0")/../lib/wireguard_go.sh"

topology_up
own_run_up

(umask 077 && wg genpsk >"$dir/secret.psk" && wg genpsk >"$dir/another-psk")
wireguard_gateway_config "Workers = 2" "Handshakers = 2"
wireguard_peer plain "Address = 10.8.0.20"
wireguard_peer secret "Address = 10.8.0.21" "PresharedKeyFile = secret.psk"

probe_as() { # plain|secret ARGUMENT...
	local name=$1 arguments=(--address 10.8.0.20)
	shift
	[[ $name == plain ]] || arguments=(--address 10.8.0.21 --psk "$dir/${psk:-secret.psk}")
	ns client "$tests_dir/../peer/wireguard_probe.py" --endpoint "${to:-192.0.2.1:5555}" --key "$dir/$name.key" \
		--peer-key "$(public_key wg-gateway)" --to 10.8.0.1 "${arguments[@]}" "$@"
}

wireguard_gateway_start

# --- well behaved, and odd ---
for name in plain secret; do
	check "$name: connect, ping, new keys, another port, keepalive" \
		probe_as "$name" connect ping rekey ping roam ping keepalive
	check "$name: what looks odd but is allowed is answered" probe_as "$name" lawful
done
check "two initiations within 20 ms are one too many" probe_as plain burst
check "keys are renewed by the rules, if they are shortened, and nothing is lost" \
	probe_as secret --rekey-after 2 --seconds 12 --interval 0.1 stay
psk=another-psk
check_fails "with another PSK there is no session" probe_as secret --connect-timeout 3 connect
psk=
check "with the right one there is" probe_as secret connect ping
to="[2001:db8:1::1]:5555"
check "over IPv6" probe_as plain connect ping roam
to=
check "with IPv6 inside" probe_as plain --address fd00:8::14 --to fd00:8::1 connect ping lawful

# --- hostile ---
connects=$(grep -c event=connect "$dir/gateway.log")
sleep 2 # what came at once may have been load
check "hostile handshakes are met by silence" probe_as secret handshake
sleep 2
check "hostile data is met by silence" probe_as secret transport
for reason in runt oversized type mac1 handshake_forged unknown_peer stale unexpected unknown_session forged replay \
	inner_malformed inner_source; do
	check "counted as $reason" figure_at_least gateway "$reason" 1
done
check "nothing of it has made a session" test "$(grep -c event=connect "$dir/gateway.log")" -eq "$connects"

# --- a key of the other protocol ---
check_fails "the key of a client of ours is no WireGuard client's" ns client "$tests_dir/../peer/wireguard_probe.py" \
	--endpoint 192.0.2.1:5555 --key "$dir/client.key" --peer-key "$(public_key wg-gateway)" --psk "$dir/client.psk" \
	--address 10.8.0.2 --to 10.8.0.1 --connect-timeout 2 connect
check "the log says so" grep -q "event=refused .*peer=$(public_key client) .*reason=other_protocol" "$dir/gateway.log"
check_fails "nor the other way round" ns client "$tests_dir/../peer/probe.py" --endpoint 192.0.2.1:5555 \
	--key "$dir/plain.key" --gateway-key "$(public_key gateway)" --psk "$dir/client.psk" connect
check "the log says so too" grep -q "event=refused .*peer=$(public_key plain) .*reason=other_protocol" "$dir/gateway.log"

# --- under load: from another address, so that no limit of an address is reached ---
start flood host "$tests_dir/../peer/wireguard_probe.py" flood --endpoint 198.51.100.1:5555 \
	--peer-key "$(public_key wg-gateway)" --seconds 600 --burst 1200 --interval 0.05
wait_for 30 figure_is_at_least gateway tx_wg_cookie 100
check "flooded, it asks for a cookie, and takes the mac2 that is made with it" probe_as secret --patience 60 cookie
check "whoever lacks only the cookie is given one" probe_as plain --patience 60 load
client_config
client_start
check "a client of ours connects meanwhile" answers client 10.8.0.1
stop flood
check "the flood ends well" grep -q '"event": "flooded"' "$dir/flood.log"
sleep 2
check "after it all is as before" probe_as secret connect ping

check "every datagram is accounted for" wait_for 30 accounted_for gateway
both_stop
done_testing
