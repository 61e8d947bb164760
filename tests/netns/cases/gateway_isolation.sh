#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ClientToClient: two clients reach each other, and networks behind each other, only when the operator says so; both the
# gateway, and what is beyond it, always. Also when the gateway's kernel would route between them (Forward). And nobody
# outside is taken for one of them.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
second_up

# Inner packets that the gateway sent to a peer.
sent_to() { # NAME
	ctl --json sessions --peer "$(public_key "$1")" |
		python3 -c 'import json, sys; print(json.load(sys.stdin)["sessions"][0]["tx_packets"])'
}

grown() { # COMMAND ARGUMENT BEFORE
	[[ $("$1" "$2") -gt $3 ]]
}

refused() { # (any)
	figure gateway inner_destination || echo 0
}

both_up() { # OPTION...
	gateway_config "Workers = 2" "$@"
	add_peer second "Address = 10.8.0.9" "AllowedIPs = 192.168.77.0/24, fd77::/64"
	gateway_start
	client_start
	other_client_start second second
}

# A neighbour on a link outside sends a datagram to the first client that claims to be from there.
claims() { # FROM TO
	ns host python3 -c '
import socket, sys
six = ":" in sys.argv[1]
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP, 75 if six else 19, 1)  # TRANSPARENT
s.bind((sys.argv[1], 7100))
s.sendto(b"datagram", (sys.argv[2], 7007))' "$1" "$2"
}

arrived() { # FROM
	grep -q "$1.7100 >" "$dir/inner.log"
}

# Hosts outside do not reach inner addresses, or to clients as another client or as a network behind one (CVE-2019-14899).
guarded() {
	: >"$dir/inner.log"
	start inner client tcpdump -n -l -i shardtun0 "udp port 7007"
	wait_for 30 grep -q listening "$dir/inner.log"
	local from
	for from in 10.8.0.9 10.8.0.77 192.168.77.5; do
		claims "$from" 10.8.0.2
	done
	for from in fd00:8::9 fd77::5; do
		claims "$from" fd00:8::2
	done
	claims 198.51.100.2 10.8.0.2
	claims 2001:db8:2::2 fd00:8::2
	check "$what: a host's datagram as itself gets to the client" wait_for 30 arrived 198.51.100.2
	check "$what: in IPv6, too" wait_for 30 arrived 2001:db8:2::2
	for from in 10.8.0.9 10.8.0.77 192.168.77.5 fd00:8::9 fd77::5; do
		check_fails "$what: none as $from" arrived "$from"
	done
	stop inner || true
	ns host ip route replace 10.8.0.1/32 via 198.51.100.1
	for to in 10.8.0.1 fd00:8::1 fd00:8::; do
		check_fails "$what: $to does not answer outside" pings host "$to" -W 0.5
	done
}

all_stop() {
	status=0
	stop second || status=$?
	check "$what: the second client ends with status 0" test "$status" -eq 0
	both_stop
}

client_config
other_client_config client client 192.0.2.1:5555 "10.8.0.0/16, fd00:8::/64, 192.168.77.0/24, fd77::/64, 198.51.100.0/24, 2001:db8:2::/64"
other_client_config second second 203.0.113.1:5555 "10.8.0.0/16, fd00:8::/64, 198.51.100.0/24"

for forward in "Forward = no" "Forward = yes"; do
	what="isolated, $forward"
	both_up "$forward"
	before=$(sent_to second)
	for address in 10.8.0.9 fd00:8::9 192.168.77.1 fd77::1; do
		count=$(refused)
		check_fails "$what: $address is not reached" pings client "$address" -W 0.5
		check "$what: and counted as refused" wait_for 30 grown refused any "$count"
	done
	check "$what: not a packet got to the other client" test "$(sent_to second)" -eq "$before"
	check_fails "$what: nor the other way round" pings second 10.8.0.2 -W 0.5
	check "$what: the gateway is reached, IPv4" answers client 10.8.0.1
	check "$what: and IPv6" answers second fd00:8::1
	check "$what: so is what is beyond it" answers second 198.51.100.2
	check "$what: from there clients are reached" answers host 10.8.0.9
	guarded
	all_stop
done

what="not isolated"
both_up "ClientToClient = yes"
check "$what: IPv4" answers client 10.8.0.9
check "$what: IPv6" answers client fd00:8::9
check "$what: the other way round" answers second 10.8.0.2
check "$what: IPv6, the other way round" answers second fd00:8::2
for address in 192.168.77.1 fd77::1; do
	# The other end, a client of ours, takes packets for its own addresses only: they get there and no further.
	before=$(sent_to second)
	pings client "$address" || true
	check "$what: packets for $address get to the one that it is behind" wait_for 30 grown sent_to second "$before"
done
all_stop

done_testing
