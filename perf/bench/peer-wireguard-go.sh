#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# wireguard-go as a peer to compare with, between the client and the gateway of tests/netns/lib.sh:
# MTU 1420, the gateway is 10.9.0.1 and the client 10.9.0.2. Debian: wireguard-go, wireguard-tools.
#
# To be sourced after lib.sh and topology_up, for peer_wireguard_go_up and peer_wireguard_go_down; both may be called
# again and again. Run by itself, as root, it measures one TCP stream beside the bare veth in interleaved rounds:
#   perf/bench/peer-wireguard-go.sh [SECONDS [ROUNDS]]
# Another binary than the one on the PATH: WIREGUARD_GO=FILE.

# The sockets of all namespaces lie in one directory, named by the interface: so the names differ and hold our pid.
peer_wireguard_go_interface() { # client|gateway
	echo "wg-${1:0:1}-$$"
}

# A kernel with WireGuard of its own must not be measured by accident.
peer_wireguard_go_is_tun() { # client|gateway
	ns "$1" ip -details link show "$(peer_wireguard_go_interface "$1")" | grep -qw "tun type tun"
}

peer_wireguard_go_up() {
	local side interface address socket
	for side in client gateway; do
		interface=$(peer_wireguard_go_interface "$side")
		socket=/var/run/wireguard/$interface.sock
		[[ -e $dir/$interface.key ]] || (umask 077 && wg genkey >"$dir/$interface.key")
		WG_PROCESS_FOREGROUND=1 LOG_LEVEL=error \
			start "wireguard-go-$side" "$side" "${WIREGUARD_GO:-wireguard-go}" -f "$interface"
		wait_for 10 test -S "$socket"
		wait_for 5 peer_wireguard_go_is_tun "$side"
	done
	# wg finds both by their sockets, whatever the namespace.
	wg set "$(peer_wireguard_go_interface gateway)" listen-port 51821 \
		private-key "$dir/$(peer_wireguard_go_interface gateway).key" \
		peer "$(wg pubkey <"$dir/$(peer_wireguard_go_interface client).key")" allowed-ips 10.9.0.2/32
	wg set "$(peer_wireguard_go_interface client)" listen-port 51822 \
		private-key "$dir/$(peer_wireguard_go_interface client).key" \
		peer "$(wg pubkey <"$dir/$(peer_wireguard_go_interface gateway).key")" allowed-ips 10.9.0.1/32 \
		endpoint 192.0.2.1:51821
	for side in client gateway; do
		interface=$(peer_wireguard_go_interface "$side")
		[[ $side == gateway ]] && address=10.9.0.1/24 || address=10.9.0.2/24
		ns "$side" ip address add "$address" dev "$interface"
		ns "$side" ip link set "$interface" mtu 1420 up
	done
	wait_for 10 pings client 10.9.0.1
}

# It ends with status 0 on SIGTERM or is gone already; the interface and the socket go with it.
peer_wireguard_go_down() {
	local side
	for side in client gateway; do
		stop "wireguard-go-$side" || true
		wait_for 5 peer_wireguard_go_left "$side"
	done
}

peer_wireguard_go_left() { # client|gateway
	local interface
	interface=$(peer_wireguard_go_interface "$1")
	[[ ! -e /var/run/wireguard/$interface.sock ]] && ! ns "$1" ip link show "$interface" 2>/dev/null
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
	NETNS_TIMEOUT=${NETNS_TIMEOUT:-3600}
	# shellcheck source=tests/netns/lib.sh
	. "$(dirname "$0")/../../tests/netns/lib.sh"
	seconds=${1:-5}
	rounds=${2:-3}
	topology_up
	printf '%-6s %-14s %10s %10s   Gbit/s, TCP, 1 stream, %s s each\n' round what up down "$seconds"
	for ((round = 1; round <= rounds; round++)); do
		up=$(iperf gateway client 192.0.2.1 -C cubic -t "$seconds")
		down=$(iperf gateway client 192.0.2.1 -C cubic -t "$seconds" -R)
		printf '%-6s %-14s %10s %10s\n' "$round" "bare veth" "$up" "$down"
		peer_wireguard_go_up
		up=$(iperf gateway client 10.9.0.1 -C cubic -t "$seconds")
		down=$(iperf gateway client 10.9.0.1 -C cubic -t "$seconds" -R)
		printf '%-6s %-14s %10s %10s\n' "$round" wireguard-go "$up" "$down"
		peer_wireguard_go_down
	done
fi
