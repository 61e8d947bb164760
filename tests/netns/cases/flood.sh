#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A flood of HELLOs that look right until the gateway computes a DH for them: it demands cookies, and neither clients that are
# connected nor one that connects now suffer.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
second_up
traffic_serve host
gateway_config "Workers = 4" "TunReaders = 1" "Handshakers = 1" "RekeyInterval = 3600"
add_peer second
client_config
other_client_config second second 203.0.113.1:5555 "10.8.0.0/16"
gateway_start
client_start
stream_start 198.51.100.2
stream_paused_less 9 >/dev/null || true

# More than one thread may spend half a CPU on, and less than it can answer with COOKIE, on slow machines and fast ones.
start flood host "$tests_dir/tools/flood.py" 198.51.100.1:5555 "$(public_key gateway)" 25000 120
check "the gateway asks for cookies" wait_for 30 figure_at_least gateway cookie 1000
start second second "$BUILD/shardtun" run "$dir/second.conf"
# Not always by COOKIE: load is forgotten after a second, and then noticed again.
check "a client connects during the flood" wait_for 30 grep -q 'info: connected' "$dir/second.log"
lost_little() {
	ns client ping -n -q -i 0.02 -c 200 -W 20 10.8.0.1 |
		awk '/packets transmitted/ { print; sent = $1; came = $4 } END { exit !(sent == 200 && came > 198) }'
}
check "of the pings of one who was connected less than 1 % are lost" wait_for 30 lost_little
check "the TCP connection does not pause" stream_paused_less 2
running flood && flooding=yes || flooding=no
check "the flood was there all the time" test "$flooding" = yes
stop flood
diagnose <"$dir/flood.log"

# Of those that came: a slow machine's queues overflow.
came=$(($(figure gateway mac1) + $(figure gateway cookie) + $(figure gateway handshake_forged)))
sent=$(awk '/HELLOs/ { print $1 }' "$dir/flood.log")
counts_in() { # FIGURE LEAST MOST
	local value
	value=$(figure gateway "$1")
	echo "$1 is $value"
	[[ $value -ge $2 && $value -le $3 ]]
}
check "most HELLOs are dropped for a cookie" counts_in cookie $((came / 2)) $((sent * 9 / 10 + 10))
check "some before there was load, by arithmetic" counts_in handshake_forged 1 $((came / 2))
check "those with a wrong mac1 before all else" counts_in mac1 1 $((sent / 10 + 1))
check "and COOKIE is sent to whoever may be there" counts_in tx_cookie 1 "$sent"
check "no one of them became a session" wait_for 30 figure_is gateway sessions_started 2
check "nor an address" wait_for 30 figure_is gateway pool.used 2
check "every datagram is accounted for" wait_for 30 accounted_for gateway
figure gateway udp.queue_overflows | sed 's/$/ overflows of queues/' | diagnose
status=0
stop stream || status=$?
check "the TCP connection lived through it" test "$status" -eq 0
stop second
both_stop

done_testing
