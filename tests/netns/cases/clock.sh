#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A client connects whatever its clock says, and goes on when the clock is put; and UDP that goes one way only, for longer
# than any timer of silence, makes no handshake.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

pool=("Workers = 4" "TunReaders = 1" "Handshakers = 2")
topology_up
second_up

# --- wrong clocks ---
"${CC:-cc}" -shared -fPIC -o "$dir/wall_clock.so" "$tests_dir/tools/wall_clock.c"

# The client's clock, in seconds since 1970, from now on.
clock_is() { # SECONDS
	echo $(($1 - $(date +%s))) >"$dir/wall_clock.new"
	mv "$dir/wall_clock.new" "$dir/wall_clock"
}

# A gateway that knows nothing of a peer yet, or of no such time, asks for a COOKIE, and so costs a second HELLO. (A busy machine
# may cost another one.)
connects() { # DESCRIPTION SECONDS HELLOS COOKIES [VARIABLE=VALUE]
	clock_is "$2"
	start client client env LD_PRELOAD="$dir/wall_clock.so" WALL_CLOCK_FILE="$dir/wall_clock" "${@:5}" \
		"$BUILD/shardtun" run "$dir/client.conf"
	check "$1: the client connects" wait_for 30 pings client 10.8.0.1
	check "$1: with $3 HELLO and $4 COOKIE" test "$(figure client rx_cookie)" -eq "$4" -a "$(figure client tx_hello)" -ge "$3"
}

leaves() {
	local status=0
	stop client || status=$?
	check "it leaves" test "$status" -eq 0
}

gateway_config "${pool[@]}" "RekeyInterval = 10"
client_config "Seccomp = no" # the preloaded clock opens its file in every thread
gateway_start
connects "1970" 10 2 1
leaves
connects "a little later" 100 1 0
leaves
connects "2106, past 32 bits" 4300000000 2 1
leaves
connects "the right time" "$(date +%s)" 2 1
leaves
connects "1970 again" 20 2 1
leaves
# Of the ten seconds until it renews its keys, five pass in one.
connects "the right time again, before which it was 2106" "$(date +%s)" 2 1 CLOCK_SPEED=5
clock_is 30
start pings client ping -n -q -i 0.1 10.8.0.1
check "the clock is put back while it runs: it renews its keys" wait_for 30 figure_at_least client rekeys 1
check "without another COOKIE, since its timestamps rise whatever the clock does" \
	wait_for 30 figure_is client rx_cookie 1
stop pings || true
check "the gateway counts the old ones" test "$(figure gateway stale) $(figure gateway tx_cookie)" = "5 5"
both_stop

# --- one way: a hundred seconds, of which five pass in one ---
fast=(env LD_PRELOAD="$dir/wall_clock.so" CLOCK_SPEED=5)
seconds=20
gateway_config "${pool[@]}" "RekeyInterval = 3600" # a renewal of keys is a handshake too
add_peer second
other_client_config second second 203.0.113.1:5555 "10.8.0.0/16, 198.51.100.0/24"
start gateway gateway "${fast[@]}" "$BUILD/shardtund" -c "$dir/gateway.conf"
wait_for 30 listens gateway udp 5555
for name in client second; do
	start "$name" "$name" "${fast[@]}" "$BUILD/shardtun" run "$dir/$name.conf"
	wait_for 30 pings "$name" 10.8.0.1
done
start sink-up host "$tests_dir/tools/one_way.py" sink
start sink-down second "$tests_dir/tools/one_way.py" sink
wait_for 30 grep -q ready "$dir/sink-up.log"
wait_for 30 grep -q ready "$dir/sink-down.log"
hellos="$(figure client tx_hello) $(figure second tx_hello) $(figure gateway rx_hello)"
heard=$(figure client rx_keepalive)
said=$(figure second tx_keepalive)
start up client "$tests_dir/tools/one_way.py" send 198.51.100.2 "$seconds"
start down host "$tests_dir/tools/one_way.py" send 10.8.0.3 "$seconds"
wait_for 60 gone "${started[up]}"
wait_for 30 gone "${started[down]}"
stop sink-up || true
stop sink-down || true

arrived() { # up|down
	local sent came
	read -r sent _ < <(tail -n 1 "$dir/$1.log")
	read -r came _ < <(tail -n 1 "$dir/sink-$1.log")
	echo "$came of $sent"
	[[ $sent -eq $((seconds * 50)) && $came -ge $((sent * 99 / 100)) && $came -le $sent ]]
}

few() { # COUNT: one in each 10 s of 100
	[[ $1 -ge 8 && $1 -le 11 ]]
}

check "100 s of UDP up: it arrives" arrived up
check "100 s of UDP down: it arrives" arrived down
check "the gateway says every 10 s that it hears the one who sends" few $(($(figure client rx_keepalive) - heard))
check "the one who only receives says so every 10 s" few $(($(figure second tx_keepalive) - said))
check "neither client made a handshake" \
	test "$(figure client tx_hello) $(figure second tx_hello) $(figure gateway rx_hello)" = "$hellos"
check "no line of a log says otherwise" test -z "$(grep -h warning "$dir/client.log" "$dir/second.log" || true)"
check "every datagram is accounted for" wait_for 30 accounted_for gateway
stop second
both_stop

done_testing
