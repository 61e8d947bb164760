#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# One client connects, over IPv4 and IPv6, with either suite and either crypto library, and everything that IP carries
# passes: the smallest and the largest packets, fragments, ICMP, UDP, TCP, an unassigned protocol.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

everybody=(10.8.0.1 198.51.100.2 fd00:8::1 2001:db8:2::2)
topology_up
traffic_serve gateway
traffic_serve host

all_sizes() { # ADDRESS SIZE...
	local address=$1 size
	shift
	for size in "$@"; do
		pings client "$address" -s "$size" -W 5 -M 'do' || return
	done
}

# $mtu is the session's. Ping's size is the packet's less IP and ICMP header.
check_pings() { # ADDRESS...
	local address largest
	for address in "$@"; do
		largest=$((mtu - 28))
		[[ $address != *:* ]] || largest=$((mtu - 48))
		check "ping $address with 0 to $largest bytes" all_sizes "$address" 0 1 64 $((largest - 1)) $largest
		check_fails "ping $address: one byte more than the MTU is refused" \
			pings client "$address" -s $((largest + 1)) -M 'do' -W 0.2
		# The first answer may teach the host the tunnel's MTU.
		check "ping $address with 4000 bytes, in fragments" wait_for 30 pings client "$address" -s 4000
		check "ping $address, 200 one after the other" ns client ping -n -q -i 0.002 -c 200 -w 60 "$address"
	done
}

# Datagrams of every size around the edges; the largest that fits, and one in fragments.
check_udp() {
	local address largest
	for address in 10.8.0.1 2001:db8:2::2; do
		largest=$((mtu - 28))
		[[ $address != *:* ]] || largest=$((mtu - 48))
		check "UDP to $address, 0 to $largest bytes" traffic udp "$address" 0-70 500 $((largest - 40))-$largest 4000
	done
}

most_arrives() { # ADDRESS SERVER_NAMESPACE ARGS...
	local rate
	rate=$(iperf "$2" client "$1" -u -b 40M -t 1 "${@:3}") || return
	echo "$rate of 0.040 Gbit/s"
	awk -v rate="$rate" 'BEGIN { exit !(rate > 0.02) }'
}

check_udp_rate() { # ADDRESS SERVER_NAMESPACE ARGS...
	check "UDP of iperf3 with $1 ${*:3}: most of it arrives" wait_for 60 most_arrives "$@"
}

check_tcp() { # BYTES ADDRESS...
	local bytes=$1 address
	shift
	for address in "$@"; do
		check "TCP with $address, $bytes bytes each way, unchanged" traffic tcp "$address" "$bytes"
	done
}

check_raw() { # ADDRESS...
	local address
	for address in "$@"; do
		check "protocol 253 with $address" traffic raw "$address" 1-9 1000 $((mtu - 40)) 3000
	done
}

# --- IPv4 outside, everything as it comes by itself ---
gateway_config
client_config
gateway_start
client_start
mtu=$(figure client interface.mtu)
check "MTU 1420" test "$mtu" -eq 1420
check "the client says that it is connected" wait_for 30 grep -q 'info: connected: session .* 10.8.0.2 fd00:8::2, MTU 1420' "$dir/client.log"
check "the gateway says that it is, and from where" \
	wait_for 30 grep -q "info: event=connect session=.* peer=$(public_key client) endpoint=192.0.2.2:" "$dir/gateway.log"
check "the gateway counts one session" wait_for 30 figure_is gateway sessions.active 1
check "and one address" wait_for 30 figure_is gateway pool.used 1
check_pings "${everybody[@]}"
check_udp
check_udp_rate 10.8.0.1 gateway
check_udp_rate 2001:db8:2::2 host -R
check_tcp 5000000 "${everybody[@]}"
check_raw "${everybody[@]}"
check "still the first session" wait_for 30 figure_is gateway sessions_started 1
both_stop

# --- IPv6 outside ---
endpoint="[2001:db8:1::1]:5555" client_config
gateway_start
client_start
mtu=$(figure client interface.mtu)
check "over IPv6, MTU $mtu: 1500 less 48 of IPv6 and UDP, less 25, or 1420" test "$mtu" -eq 1420
check "the gateway is reached over IPv6" wait_for 30 grep -q 'event=connect .* endpoint=\[2001:db8:1::2\]:' "$dir/gateway.log"
check_pings 10.8.0.1 2001:db8:2::2
check_udp
check_tcp 3000000 fd00:8::1 198.51.100.2
check_raw 10.8.0.1 2001:db8:2::2
both_stop

# --- a narrow way: what the client proposes counts ---
ns client ip link set eth0 mtu 1380
client_config
gateway_start
client_start
mtu=$(figure client interface.mtu)
check "MTU of a link of 1380: less 28 of IPv4 and UDP, less 25" test "$mtu" -eq 1327
check_pings fd00:8::1 2001:db8:2::2
for address in 10.8.0.1 198.51.100.2; do
	check "ping $address with 0 to 1299 bytes" all_sizes "$address" 0 1 64 1298 1299
done
check_tcp 1000000 "${everybody[@]}"
told() { # NAMESPACE ADDRESS
	pings "$1" "$2" -M 'do' -s 1300 || true
	ns "$1" ip route get "$2" | grep -w 'mtu 1327'
}
for address in 10.8.0.2 fd00:8::2; do
	check "the gateway is told what is too long for $address" wait_for 30 told gateway "$address"
	check "so is the host" wait_for 30 told host "$address"
done
both_stop
ns client ip link set eth0 mtu 1500

# --- suites and libraries ---
for suite in AES-256-GCM ChaCha20-Poly1305; do
	for libraries in "sodium ipsec-mb" "ipsec-mb sodium"; do
		read -r here there <<<"$libraries"
		what="$suite, client $here, gateway $there"
		if [[ $libraries == *ipsec-mb* && $(uname -m) != x86_64 ]]; then
			skip "$what" "ipsec-mb is for x86-64"
			continue
		fi
		: >"$dir/client.log"
		client_config "CryptoBackend = $here"
		gateway_config "Cipher = $suite" "CryptoBackend = $there"
		gateway_start
		client_start
		check "$what: connects" wait_for 30 grep -q "connected: .*, $suite," "$dir/client.log"
		check "$what: the client's status tells" grep -q "^$here" <<<"$(figure client suites."$suite")"
		check "$what: the gateway's too" grep -q "^$there" <<<"$(figure gateway suites."$suite")"
		check "$what: pings" answers client fd00:8::1
		check "$what: UDP" traffic udp 10.8.0.1 0-40 1392
		check "$what: TCP" traffic tcp 198.51.100.2 1000000
		stop client && stop gateway
	done
done
client_config "Cipher = ChaCha20-Poly1305"
gateway_config "Cipher = auto"
: >"$dir/client.log"
gateway_start
client_start
check "the client's choice counts too" wait_for 30 grep -q "connected: .*, ChaCha20-Poly1305," "$dir/client.log"
both_stop
gateway_config "Cipher = AES-256-GCM"
gateway_start
start client client "$BUILD/shardtun" run "$dir/client.conf"
check "no suite in common: the gateway counts it" wait_for 30 figure_at_least gateway no_suite 2
check "and the client has no session" wait_for 30 figure_is client sessions.active 0
both_stop

done_testing
