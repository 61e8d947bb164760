#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# wireguard-go. Another binary than the one on the PATH: WIREGUARD_GO=FILE.
# shellcheck disable=SC2034,SC2154 # variables of who sources it

peer_wireguard_go_available() {
	programs_here "${WIREGUARD_GO:-wireguard-go}" wg || {
		echo "not installed, so not compared (Debian: wireguard-go wireguard-tools)"
		return 1
	}
}

peer_wireguard_go_version() {
	wireguard_go_version "${WIREGUARD_GO:-wireguard-go}"
}

peer_wireguard_go_addresses() {
	echo 10.9.0.1 198.51.100.9
}

peer_wireguard_go_up() {
	wireguard_go_up wireguard-go "${WIREGUARD_GO:-wireguard-go}" 9
}

peer_wireguard_go_client() {
	wireguard_go_client wireguard-go "${WIREGUARD_CLIENT:-${WIREGUARD_GO:-wireguard-go}}" 9 client
}

peer_wireguard_go_second() {
	wireguard_go_client wireguard-go "${WIREGUARD_GO:-wireguard-go}" 9 second
}

# --- for any binary, whose tunnel is 10.N.0.0/24 -----------------------------------------------------------------------

wireguard_go_version() { # FILE
	# Without a terminal some ask for an interface first.
	"$1" --version 2>/dev/null | sed -n '1s/^wireguard-go *v*//p'
}

# Interface and socket go by one name; the sockets of all namespaces lie in one directory.
wireguard_go_interface() { # N client|gateway|second
	echo "wg$1-${2:0:1}-$$"
}

# A kernel with WireGuard of its own must not be measured by accident.
wireguard_go_is_tun() { # N client|gateway
	ns "$2" ip -details link show "$(wireguard_go_interface "$1" "$2")" | grep -w "tun type tun" >/dev/null
}

# The inner address is 10.N.0.1 of the gateway, .2 of the client and .3 of the second one.
wireguard_go_config() { # NAME N client|gateway|second PORT
	local other number=2
	echo "[Interface]"
	echo "PrivateKey = $(<"$dir/$1-$3.key")"
	echo "ListenPort = $4"
	if [[ $3 != gateway ]]; then
		echo "[Peer]"
		echo "PublicKey = $(wg pubkey <"$dir/$1-gateway.key")"
		echo "Endpoint = 192.0.2.1:$((51800 + $2))"
		echo "AllowedIPs = 10.$2.0.1/32, 198.51.100.$2/32"
		return
	fi
	for other in client second; do
		echo "[Peer]"
		echo "PublicKey = $(wg pubkey <"$dir/$1-$other.key")"
		echo "AllowedIPs = 10.$2.0.$((number++))/32"
	done
}

wireguard_go_up() { # NAME FILE N
	local name=$1 number=$3 side own
	export WG_PROCESS_FOREGROUND=1 LOG_LEVEL=error
	for side in client second gateway; do
		(umask 077 && wg genkey >"$dir/$name-$side.key")
	done
	wireguard_go_config "$name" "$number" gateway "$((51800 + number))" >"$dir/$name-gateway.conf"
	for side in client second; do
		wireguard_go_config "$name" "$number" "$side" "$((51900 + number))" >"$dir/$name-$side.conf"
	done
	own=$(wireguard_go_interface "$number" gateway)
	start "$name-gateway" gateway "$2" -f "$own"
	wait_for 10 test -S "/var/run/wireguard/$own.sock"
	wait_for 10 wireguard_go_is_tun "$number" gateway
	wg setconf "$own" "$dir/$name-gateway.conf"
	ns gateway ip address add "10.$number.0.1/24" dev "$own"
	ns gateway ip link set "$own" mtu 1420 up
}

wireguard_go_client() { # NAME FILE N client|second
	local own script host=2
	[[ $4 == client ]] || host=3
	own=$(wireguard_go_interface "$3" "$4")
	# shellcheck disable=SC2016 # the other bash expands it
	script='
		"$1" -f "$2" &
		trap "kill $!; wait; exit 0" TERM
		until [[ -S /var/run/wireguard/$2.sock ]]; do
			kill -0 $! || exit 1
			sleep 0.002
		done
		wg setconf "$2" "$3"
		ip address add "10.$4.0.$5/24" dev "$2"
		ip link set "$2" mtu 1420 up
		ip route add "198.51.100.$4" dev "$2"
		wait'
	client_command=(bash -c "$script" "$1-$4" "$2" "$own" "$dir/$1-$4.conf" "$3" "$host")
}
