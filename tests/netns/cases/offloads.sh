#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Each offload switched off by itself, at the gateway, at the client, at both, then all of them; and underlays that lack
# some. What passes is the same every time: TCP and super-datagrams (UDP_SEGMENT), both ways, both families, checked byte
# by byte. Without tun-uso it is as on Linux 6.1.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

everything="tun-checksum, tun-tso, tun-uso, udp-gso, udp-gro"

topology_up
traffic_serve gateway
traffic_serve host

mixed() {
	traffic tcp 10.8.0.1 1500000 + tcp 2001:db8:2::2 1500000 \
		+ gso 10.8.0.1 1392 40 4 + gso fd00:8::1 1372 20 2 + gso 2001:db8:2::2 36 64 4 + gso 198.51.100.2 700 5 4 \
		+ udp fd00:8::1 0-3 1372 + udp 198.51.100.2 1-3 1392
}

# Starts both with these offloads off, passes traffic, checks what the status says, stops both.
round() { # DESCRIPTION OFF_AT_GATEWAY OFF_AT_CLIENT
	local side off=$2 offload
	gateway_config ${2:+"DisableOffloads = $2"}
	client_config ${3:+"DisableOffloads = $3"}
	gateway_start
	client_start
	check "$1: traffic unchanged" mixed
	for side in gateway client; do
		for offload in ${off//, / }; do
			check "$1: off at the $side" wait_for 30 figure_is "$side" "offloads.${offload//-/_}" false
		done
		check "$1: nothing lost at the $side" wait_for 30 accounted_for "$side"
		off=$3
	done
}

figures_equal() { # client|gateway NAME NAME
	figure_is "$1" "$2" "$(figure "$1" "$3")"
}

# How many packets one read or write of the TUN, or one system call of the socket, stood for at least.
carries() { # client|gateway PACKETS CALLS ATLEAST
	local packets calls
	packets=$(figure "$1" "$2")
	calls=$(figure "$1" "$3")
	echo "$packets packets in $calls"
	((packets >= calls * $4))
}

# --- all on: they are at work ---
round "everything on" "" ""
for side in gateway client; do
	check "$side: reads super-packets from the TUN" carries "$side" tun_rx_packets tun_rx_frames 3
	check "$side: writes super-packets to the TUN" carries "$side" tun_tx_packets tun_tx_frames 3
	check "$side: sends trains of datagrams" carries "$side" udp_tx_packets udp_tx_calls 3
	check "$side: receives trains of datagrams" carries "$side" udp_rx_packets udp_rx_calls 3
	check "$side: the device takes them" wait_for 30 figure_is "$side" udp_tx_fallback 0
done

# --- unconnected UDP with DF, as of QUIC: the kernel gives every datagram of it ID 0 ---
# Packets per write of both TUNs meanwhile.
in_trains() { # ATLEAST KIND ARGUMENTS...
	local side least=$1 packets frames
	local -A packets_before frames_before
	shift
	for side in gateway client; do
		packets_before[$side]=$(figure "$side" tun_tx_packets)
		frames_before[$side]=$(figure "$side" tun_tx_frames)
	done
	traffic "$@" || return
	for side in gateway client; do
		packets=$(($(figure "$side" tun_tx_packets) - packets_before[$side]))
		frames=$(($(figure "$side" tun_tx_frames) - frames_before[$side]))
		echo "the $side wrote $packets packets in $frames frames"
		((frames > 0 && packets >= frames * least)) || return
	done
}

check "QUIC's trains stay together" in_trains 20 quic 10.8.0.1 1200 40 50
check "and to and from a host" in_trains 20 quic 198.51.100.2 1200 40 50
# The first of a burst go the way of flows that send little, and the rest may come in more than one batch.
check "its datagrams become trains" in_trains 10 loose 10.8.0.1 1200 40 50 "$(pid_of_client)"
stop client && stop gateway

# --- one by one ---
for offload in ${everything//, / }; do
	round "$offload off at the gateway" "$offload" ""
	stop client && stop gateway
	round "$offload off at the client" "" "$offload"
	stop client && stop gateway
	round "$offload off at both" "$offload" "$offload"
	if [[ $offload == tun-checksum ]]; then
		check "no TCP segmentation without checksums" wait_for 30 figure_is gateway offloads.tun_tso false
		check "nor UDP segmentation" wait_for 30 figure_is gateway offloads.tun_uso false
	elif [[ $offload == tun-uso ]]; then
		check "TCP segmentation needs no UDP segmentation" wait_for 30 figure_is gateway offloads.tun_tso true
	fi
	stop client && stop gateway
done

# --- all off ---
round "all off at the gateway" "$everything" ""
stop client && stop gateway
round "all off at the client" "" "$everything"
stop client && stop gateway
round "all off at both" "$everything" "$everything"
for side in gateway client; do
	check "$side: the TUN gives packet by packet" figures_equal "$side" tun_rx_packets tun_rx_frames
	check "$side: and takes packet by packet" figures_equal "$side" tun_tx_packets tun_tx_frames
done
stop client && stop gateway

# --- underlays that lack some ---
underlay() { # FEATURE VALUE...
	ns client ethtool -K eth0 "$@" >/dev/null
	ns gateway ethtool -K eth0 "$@" >/dev/null
}

underlay tx-udp-segmentation off
round "every datagram crosses alone" "" ""
stop client && stop gateway
underlay gro on rx-udp-gro-forwarding on
round "they cross alone and are merged on arrival" "" ""
stop client && stop gateway
underlay gro off
round "and are not, without GRO" "" "udp-gro"
stop client && stop gateway
underlay tx-udp-segmentation on gro on
underlay tx off
round "no checksums in the device" "" ""
# Linux before 6.11 refuses trains there.
if [[ $(figure gateway udp_tx_fallback) -gt 0 ]]; then
	check "refused trains: the gateway makes no more" wait_for 30 figure_is gateway offloads.udp_gso false
else
	check "trains were taken: the gateway goes on with them" wait_for 30 figure_is gateway offloads.udp_gso true
fi
stop client && stop gateway

done_testing
