#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The client's outer address changes while a TCP connection is busy both ways: another port, another address, IPv6 and back,
# and the place of another client. relay.py is the NAT between. The connection never stops for long, the session stays, and
# neither the other client nor a place that was left gets anything of it.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
second_up
ns client ip address add 192.0.2.3/24 dev eth0
traffic_serve host

relay() { # COMMAND...
	"$tests_dir/tools/relay.py" tell "$dir/relay.sock" "$@"
}

gateway_config "Workers = 4" "TunReaders = 1" "Handshakers = 2" "RekeyInterval = 3600"
add_peer second
endpoint=192.0.2.2:6001
client_config
other_client_config second second 192.0.2.2:6002 "10.8.0.0/16"
start relay client "$tests_dir/tools/relay.py" run "$dir/relay.sock" one=6001/first two=6002/other \
	first=192.0.2.2:40001/192.0.2.1:5555 port=192.0.2.2:40002/192.0.2.1:5555 address=192.0.2.3:40001/192.0.2.1:5555 \
	"six=[2001:db8:1::2]:40001/[2001:db8:1::1]:5555" other=192.0.2.2:40009/192.0.2.1:5555
wait_for 30 grep -q relays "$dir/relay.log"
gateway_start
client_start
other_client_start second second
check "the gateway sees the clients where the relay put them" \
	wait_for 30 grep -q "event=connect session=.* peer=$(public_key client) endpoint=192.0.2.2:40001 " "$dir/gateway.log"

stream_start 198.51.100.2
# As the second client's kernel counts them: ping may be ended between an answer and its line.
ping_answers() {
	ns second awk '$1 == "Icmp:" && !names { names = 1; for (i = 2; i <= NF; i++) if ($i == "InEchoReps") field = i; next }
		$1 == "Icmp:" { print $field }' /proc/net/snmp
}

delivered=$(($(figure second tun_tx_packets) - $(ping_answers)))
start pings second ping -n -i 0.05 10.8.0.1
sleep 0.3
check "a TCP connection that is busy both ways" stream_paused_less 2

proven() { # ROAMS
	figure_is gateway roams "$1" && figure_is gateway paths_proven "$1"
}

moves=0
check_move() { # DESCRIPTION COUNT LEG PLACE...
	local description=$1
	moves=$((moves + $2))
	shift 2
	relay move "$@" >/dev/null
	check "$description: the gateway sees it and proves the new path" wait_for 30 proven "$moves"
	# A pause that begins with the move is known once it is over; half a second for one that begins later.
	stream_paused_less 2 >"$dir/paused" && paused=$? || paused=$?
	sleep 0.5
	check "$description: no pause of 2 s in the TCP connection ($(<"$dir/paused") s)" test "$paused" -eq 0
	check "$description: nor afterwards" stream_paused_less 2
}

check_move "another port" 1 one port
check_move "another address" 1 one address
check_move "from IPv4 to IPv6" 1 one six
check_move "from IPv6 to IPv4" 1 one first
check_move "two clients change places" 2 one other two first
foreign=$(figure second unknown_session)
check_move "the first one goes on from there" 1 one six
check "each session moved as often as its client did" proven "$moves"
check "no new path was refused" wait_for 30 figure_is gateway paths_refused 0
check "nothing came to the places that were left" test "$(relay count)" = "{}"
check "nothing of the first client came to the second after it had moved" wait_for 30 figure_is second unknown_session "$foreign"

status=0
stop stream || status=$?
check "the TCP connection lived through all of it, unchanged" test "$status" -eq 0
stop pings || true
# Both are looked at again each time: the last answer may still be on its way.
only_own_answers() {
	figure_is second tun_tx_packets $((delivered + $(ping_answers)))
}

check "the second client was delivered its own answers and nothing else" wait_for 30 only_own_answers
check "of which there were some" test "$(grep -c 'bytes from' "$dir/pings.log")" -gt 20
check "and nobody dropped what only looked like its own" wait_for 30 figure_is second forged 0
check "there are two sessions, the first ones" test \
	"$(figure gateway sessions.active) $(figure gateway sessions_started) $(figure client rx_welcome) $(figure second rx_welcome)" = "2 2 1 1"
check "every datagram is accounted for" wait_for 30 accounted_for gateway
stop second
both_stop

done_testing
