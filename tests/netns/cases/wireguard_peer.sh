#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The Python peer's WireGuard protocol (tests/peer) against wireguard-go, which it is no copy of: as initiator with and without
# a PSK, hostile and odd, with cookies while wireguard-go is flooded; as responder, under load too. What holds here is what the
# cases for our own gateway may demand of it.
#
#   client: wireguard_probe.py, 10.9.0.2 (no PSK) and .3 (PSK)   |   gateway: wireguard-go, 10.9.0.1, port 51820
# run-tap: first
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

for program in wireguard-go wg; do
	command -v "$program" >/dev/null || skip_all "needs $program (Debian: wireguard-go wireguard-tools)"
done

topology_up
# The sockets of all namespaces lie in one directory.
interface=wg$$

for name in go plain secret; do
	(umask 077 && wg genkey >"$dir/$name.key")
done
(umask 077 && wg genpsk >"$dir/psk" && wg genpsk >"$dir/another-psk")

wireguard_config() {
	echo "[Interface]"
	echo "PrivateKey = $(<"$dir/go.key")"
	echo "ListenPort = 51820"
	echo "[Peer]"
	echo "PublicKey = $(wg pubkey <"$dir/plain.key")"
	echo "AllowedIPs = 10.9.0.2/32, fd00:9::2/128"
	echo "[Peer]"
	echo "PublicKey = $(wg pubkey <"$dir/secret.key")"
	echo "PresharedKey = $(<"$dir/psk")"
	echo "AllowedIPs = 10.9.0.3/32"
}

wireguard_start() {
	start wireguard gateway env WG_PROCESS_FOREGROUND=1 LOG_LEVEL=error wireguard-go -f "$interface"
	wait_for 30 test -S "/var/run/wireguard/$interface.sock"
	wireguard_config >"$dir/wireguard.conf"
	wg setconf "$interface" "$dir/wireguard.conf"
	ns gateway ip address add 10.9.0.1/24 dev "$interface"
	ns gateway ip address add fd00:9::1/64 dev "$interface" nodad
	ns gateway ip link set "$interface" mtu 1420 up
}

probe_as() { # plain|secret ARGUMENT...
	local name=$1 arguments=(--address 10.9.0.2)
	shift
	[[ $name == plain ]] || arguments=(--address 10.9.0.3 --psk "$dir/${psk:-psk}")
	ns client "$tests_dir/../peer/wireguard_probe.py" --endpoint "${endpoint:-192.0.2.1:51820}" --key "$dir/$name.key" \
		--peer-key "$(wg pubkey <"$dir/go.key")" --to 10.9.0.1 "${arguments[@]}" "$@"
}

wireguard_start
is_tun() {
	ns gateway ip -details link show "$interface" | grep -w "tun type tun"
}
check "it is wireguard-go's interface, not a kernel's" is_tun

# --- wireguard-go answers ---
for name in plain secret; do
	check "$name: connect, ping, new keys, another port, keepalive" \
		probe_as "$name" connect ping rekey ping roam ping keepalive
	check "$name: what looks odd but is allowed is answered" probe_as "$name" lawful
done
check "two initiations within 20 ms are one too many" probe_as plain burst
renewed() {
	local said
	said=$(probe_as secret --rekey-after 2 --seconds 12 --interval 0.1 stay)
	grep '"action": "stay", "ok": true, .*"rekeys": [2-9]' <<<"$said" || {
		echo "$said"
		return 1
	}
}
check "keys are renewed by the rules, if they are shortened, and nothing is lost" renewed

roamed() {
	local port
	port=$(probe_as plain roam | sed -n 's/.*"port": \([0-9]*\).*/\1/p')
	wg show "$interface" endpoints | grep -F "$(wg pubkey <"$dir/plain.key")" | grep -F "192.0.2.2:$port"
}
check "wireguard-go has followed the source port" roamed
psk=another-psk
check_fails "with another PSK there is no session" probe_as secret --connect-timeout 3 connect
psk=
endpoint="[2001:db8:1::1]:51820"
check "over IPv6" probe_as secret connect ping roam
endpoint=
check "with IPv6 inside" probe_as plain --address fd00:9::2 --to fd00:9::1 connect ping lawful

check "hostile handshakes are met by silence" probe_as secret handshake
check "hostile data is met by silence" probe_as secret transport

# --- under load: from another address, so that no limit of an address is reached ---
start flood host "$tests_dir/../peer/wireguard_probe.py" flood --endpoint 198.51.100.1:51820 \
	--peer-key "$(wg pubkey <"$dir/go.key")" --seconds 600
check "flooded, it asks for a cookie, and takes the mac2 that is made with it" probe_as secret --patience 60 cookie
stop flood
check "the flood ends well" grep -q '"event": "flooded"' "$dir/flood.log"

# --- wireguard-go connects ---
responder_start() { # ARGUMENT...
	start responder client "$tests_dir/../peer/wireguard_probe.py" responder --listen 192.0.2.2:51821 \
		--key "$dir/secret.key" --peer-key "$(wg pubkey <"$dir/go.key")" --psk "$dir/psk" \
		--address 10.9.0.3 --allowed 10.9.0.1/32 "$@"
	wait_for 30 grep -q listening "$dir/responder.log"
}

responder_ends() { # NAME
	local status=0
	stop responder || status=$?
	check "the $1 responder ends well" test "$status" -eq 0
	mv "$dir/responder.log" "$dir/$1.log"
}

sessions() { # LOG INITIATOR COUNT
	[[ $(grep -c "\"event\": \"session\", \"initiator\": $2" "$dir/$1.log") -ge $3 ]]
}

responder_start
# As a new peer it has neither keys nor a timestamp yet.
wg set "$interface" peer "$(wg pubkey <"$dir/secret.key")" remove
wg set "$interface" peer "$(wg pubkey <"$dir/secret.key")" preshared-key "$dir/psk" allowed-ips 10.9.0.3/32 \
	endpoint 192.0.2.2:51821
check "wireguard-go connects, and is answered" wait_for 30 pings gateway 10.9.0.3
check "with up to the MTU" answers gateway 10.9.0.3 -s 1392
check "by a handshake that wireguard-go began" sessions responder false 1
kill -USR1 "${started[responder]}"
check "the responder begins one too" wait_for 30 sessions responder true 1
check "under whose keys all goes on" answers gateway 10.9.0.3
responder_ends first
check "which has dropped nothing" grep -q '"event": "end".*"drops": {}' "$dir/first.log"

# A new one at the same address has no keys: 15 s after the first data without an answer, wireguard-go begins anew.
responder_start --under-load
check "one that is under load is reached" wait_for 60 pings gateway 10.9.0.3
responder_ends second
check "by a handshake with a mac2" sessions second false 1
check "that followed a cookie reply" grep -Eq '"event": "end".*"drops": \{.*"no cookie": [0-9]+' "$dir/second.log"

status=0
stop wireguard || status=$?
check "wireguard-go ends with status 0" test "$status" -eq 0
done_testing
