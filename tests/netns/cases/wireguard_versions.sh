#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What WireGuard's own test of its kernel module does between two peers, here between wireguard-go and our gateway, first part: all
# versions of IP inside and outside, also with a large MTU, what is counted, and padding at the MTU. wireguard_scenarios.sh and
# wireguard_routes.sh are the others; core/protocol/WIREGUARD.md lists what became of each scenario.
#
#   client: wireguard-go "plain", 10.8.0.20, with a PSK
# run-tap: first
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/wireguard_go.sh
. "$(dirname "$0")/../lib/wireguard_go.sh"

wireguard_topology_up
for side in client gateway; do
	ns "$side" ip link set eth0 mtu 40000
done
preshared_key plain
plain=$(public_key plain)
own=$(wireguard_interface plain)
endpoints=([4]=192.0.2.1:5555 [6]="[2001:db8:1::1]:5555")

gateway_up() { # OPTION...
	wireguard_gateway_config "Workers = 2" "$@"
	wireguard_peer plain "Address = 10.8.0.20" "PresharedKeyFile = plain.psk"
	wireguard_gateway_start
}

# --- what is counted: of the ten requests the first has waited for a handshake ---
gateway_up
wireguard_plain_start
check "ten pings" ns client ping -n -q -c 10 -i 0.1 -W 20 10.8.0.1
# Each is 84 bytes, 96 when padded, and 128 as a message. Initiations have 148 bytes, responses 92, keepalives 32; on a busy
# machine there may be several.
client_counted() {
	local transfer
	transfer=$(wg show "$own" transfer)
	echo "$transfer"
	python3 -c '
import sys
_, rx, tx = sys.argv[1].split("\t")
shaken = lambda total, size: any(int(total) == 10 * 128 + n * size + k * 32 for n in range(1, 9) for k in range(3))
sys.exit(not (shaken(rx, 92) and shaken(tx, 148)))' "$transfer"
}
check "are as many bytes as WireGuard makes of them" client_counted
check "the gateway counts the packets inside" dump_is "peers['$plain']['rx'] == '840' and peers['$plain']['tx'] == '840' and
	int(peers['$plain']['handshake']) > 0"

# --- versions of IP, and MTUs ---
pings_well() { # NAMESPACE ADDRESS [SIZE]
	ns "$1" ping -n -q -c 10 -i 0.01 -W 20 -s "${3:-56}" "$2"
}

# "-b 0": as fast as it goes, so what is lost is not counted.
transfers() { # SERVER_NAMESPACE ADDRESS IPERF_ARGS...
	local said status=0
	said=$(iperf "$1" client "$2" -t 1 "${@:3}" 2>&1) || status=$?
	echo "$said Gbit/s"
	return "$status"
}

all_versions() { # OUTER MTU
	local what="IPv$1 outside, MTU $2"
	wireguard_endpoint plain "${endpoints[$1]}"
	check "$what: IPv4 inside" pings_well client 10.8.0.1
	check "$what: to the client" pings_well gateway 10.8.0.20
	check "$what: IPv6 inside" pings_well client fd00:8::1
	check "$what: to the client" pings_well gateway fd00:8::14
	check "$what: packets as large as the MTU" pings_well client 10.8.0.1 $(($2 - 28))
	check "$what: to the client" pings_well gateway fd00:8::14 $(($2 - 48))
	check "$what: TCP" transfers gateway 10.8.0.1
	check "$what: TCP, IPv6 inside, to the client" transfers gateway fd00:8::1 -R
	check "$what: UDP" transfers gateway 10.8.0.1 -u -b 0
	check "$what: UDP, IPv6 inside, to the client" transfers gateway fd00:8::1 -u -b 100M -R
	check "$what: the session is there" test "$(wireguard_session plain endpoint | grep -c '^\[')" -eq $(($1 == 6))
}
for version in 4 6; do
	all_versions $version 1420
done
check "nothing was dropped as forged or a replay" test "$(figure gateway forged || echo 0) $(figure gateway replay || echo 0)" = "0 0"
check "every datagram is accounted for" wait_for 30 accounted_for gateway
stop gateway || true
stop plain || true

wireguard_mtu=34736
gateway_up "MTU = $wireguard_mtu"
wireguard_plain_start
for version in 4 6; do
	all_versions $version $wireguard_mtu
done
stop gateway || true
stop plain || true

# --- padding ends at the MTU: 1300 bytes inside are 1360 with all headers, and so are 1297, which would be 1312 when padded ---
wireguard_mtu=1300
gateway_up "MTU = $wireguard_mtu"
wireguard_plain_start
ns client nft -f - <<'END' || skip_all "needs nftables"
table ip long {
	chain input {
		type filter hook input priority filter
		udp sport 5555 ip length > 1360 counter drop
	}
	chain output {
		type filter hook output priority filter
		udp dport 5555 ip length > 1360 counter drop
	}
}
END
for size in 1200 1269 1271 1272; do
	check "a ping of $size bytes where the MTU is 1300" answers client 10.8.0.1 -M "do" -s $size
	check "and to the client" answers gateway 10.8.0.20 -M "do" -s $size
done
check "no datagram was longer than the MTU has it" test "$(ns client nft list table ip long | grep -c 'packets 0 bytes 0')" -eq 2
ns client nft delete table ip long


check "every datagram is accounted for" wait_for 30 accounted_for gateway
stop plain || true
status=0
stop gateway || status=$?
check "the gateway ends with status 0" test "$status" -eq 0
done_testing
