#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A gateway with several addresses, and its default route elsewhere: each client gets its answers from the address that it
# asked, by way of another interface than it came in by. Once with all of the machine's addresses, once with some.
#
#    The client has an address far away, 198.18.0.9 and 2001:db8:9::9, that the gateway reaches by its default route: out
#    of eth1, over the host, and by a link of its own from there. What the client sends comes in by eth0.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
second_up
ip link add eth1 netns "st-$$-host" type veth peer name eth1 netns "st-$$-client"
link_up host eth1 192.0.0.1/24 2001:db8:8::1/64
link_up client eth1 192.0.0.2/24 2001:db8:8::2/64
ns client ip address add 198.18.0.9/32 dev lo
ns client ip address add 2001:db8:9::9/128 dev lo
ns host sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ns host ip route add 198.18.0.9 via 192.0.0.2
ns host ip route add 2001:db8:9::9 via 2001:db8:8::2
ns gateway ip route add default via 198.51.100.2
ns gateway ip route add default via 2001:db8:2::2
for namespace in client gateway host; do
	ns "$namespace" sh -c 'for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >"$f"; done'
done
# Two more on the interface that the default address is on, and one on another.
ns gateway ip address add 192.0.2.77/24 dev eth0
ns gateway ip address add 2001:db8:1::77/64 dev eth0 nodad
for to in 192.0.2.1 192.0.2.77; do
	ns client ip route add "$to" dev eth0 src 198.18.0.9
done
ns client ip route add 203.0.113.1 via 192.0.2.1 src 198.18.0.9
ns client ip route add 2001:db8:1::77 dev eth0 src 2001:db8:9::9
traffic_serve gateway

# All that the client gets by the other way comes from the address that it asked.
from_address_only() { # ADDRESS
	local bad
	bad=$(ns client tcpdump -n -r "$dir/capture" "src port 5555 and not src host $1" 2>/dev/null)
	[[ -z $bad && -n $(ns client tcpdump -n -r "$dir/capture" "src port 5555 and src host $1" 2>/dev/null) ]] || {
		echo "$bad"
		return 1
	}
}

asks() { # ADDRESS ENDPOINT
	local address=$1
	endpoint=$2
	client_config
	: >"$dir/client.log"
	start capture client tcpdump -n -U -i eth1 -w "$dir/capture" udp
	wait_for 30 grep -q listening "$dir/capture.log"
	start client client "$BUILD/shardtun" run "$dir/client.conf"
	check "$what: a client that asks $address connects" wait_for 30 pings client 10.8.0.1
	check "$what: packets get to it and back" traffic tcp 10.8.0.1 1000000
	check "$what: small and large" traffic udp 10.8.0.1 1392 100
	stop capture || true
	check "$what: all from the address that it asked" from_address_only "$address"
	: >"$dir/capture.log"
	status=0
	stop client || status=$?
	check "$what: the client ends with status 0" test "$status" -eq 0
}

all_ask() {
	asks 192.0.2.77 192.0.2.77:5555
	asks 203.0.113.1 203.0.113.1:5555
	asks 2001:db8:1::77 "[2001:db8:1::77]:5555"
}

what="all addresses"
gateway_config "Workers = 2" "Handshakers = 2"
add_peer second
gateway_start
all_ask
stop gateway || true

what="three addresses"
gateway_config "Workers = 2" "Handshakers = 2" "MaxSessions = 1000" "ListenAddress = 192.0.2.77, 203.0.113.1" \
	"ListenAddress = 2001:db8:1::77"
add_peer second
: >"$dir/gateway.log"
gateway_start
check "$what: it says which" wait_for 30 grep -q 'gateway on UDP 192.0.2.77:5555, 203.0.113.1:5555, \[2001:db8:1::77\]:5555, ' "$dir/gateway.log"
listening() {
	status_json gateway | python3 -c '
import json, sys
sys.exit(json.load(sys.stdin)["listen"] != ["192.0.2.77:5555", "203.0.113.1:5555", "[2001:db8:1::77]:5555"])'
}
check "$what: so does the status" listening
other_client_config second second 203.0.113.1:5555 "10.8.0.0/16"
other_client_start second second # all the time
all_ask
check "$what: another client is served besides" answers second 10.8.0.1
status=0
stop second || status=$?
check "$what: until it goes" test "$status" -eq 0
check "$what: every datagram is accounted for" wait_for 30 accounted_for gateway
for address in 192.0.2.77 2001:db8:1::77; do
	source=192.0.2.2
	[[ $address == 192.* ]] || source=2001:db8:1::2
	check "$what: $address: each datagram goes to its worker" \
		ns client "$tests_dir/tools/steering.py" "${started[gateway]}" 5555 2 2 2047 "$address" "$source"
done
check "$what: no other address is taken" ns gateway python3 -c '
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(("192.0.2.1", 5555))'
status=0
stop gateway || status=$?
check "$what: the gateway ends with status 0" test "$status" -eq 0

gateway_refuses() { # TEXT
	local status=0 said
	said=$(ns gateway timeout 300 "$BUILD/shardtund" -c "$dir/gateway.conf" 2>&1) || status=$?
	[[ $status -eq 1 && $said == *"$1"* ]] || {
		echo "status $status: $said"
		return 1
	}
}
port_hold gateway 203.0.113.1 5555
check "one of them in use: it says so" gateway_refuses "UDP port 5555: in use by another process"
stop other || true
gateway_config "ListenAddress = 192.0.2.77, 192.0.2.99"
check "one that is not there: it says which" gateway_refuses "ListenAddress 192.0.2.99: no interface of this machine has it"

done_testing
