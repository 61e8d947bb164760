#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ClientToClient: two clients reach each other, and networks behind each other, only when the operator says so; both the
# gateway, and what is beyond it, always. Also when the gateway's kernel would route between them (Forward).
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

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

all_stop() {
	status=0
	stop second || status=$?
	check "$what: the second client ends with status 0" test "$status" -eq 0
	both_stop
}

client_config
other_client_config client client 192.0.2.1:5555 "10.8.0.0/16, fd00:8::/64, 192.168.77.0/24, fd77::/64, 198.51.100.0/24"
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
