#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: first
# Gateway and client are killed under load and come back; a recorded HELLO is replayed, or a HELLO names a session that
# belongs to another peer; two hosts have one key. The rightful client keeps session, address and TCP connection.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

pool=("Workers = 4" "TunReaders = 1" "Handshakers = 2" "RekeyInterval = 3600")
topology_up
second_up
traffic_serve host

relay() { # COMMAND...
	"$tests_dir/tools/relay.py" tell "$dir/relay.sock" "$@"
}

probe() { # ARGUMENT...
	ns client "$tests_dir/../peer/probe.py" --endpoint 192.0.2.1:5555 --key "$dir/probe.key" \
		--gateway-key "$(public_key gateway)" --psk "$dir/probe.psk" "$@"
}

answered() { # NAME SINCE
	awk -v since="$2" '/bytes from/ && substr($1, 2) + 0 > since { found = 1 } END { exit !found }' "$dir/pings-$1.log"
}

# Pings follow each other every 50 ms: the first answer to one of NAME after a moment, against a limit, which is a promise as
# in within(). Without RESET it would take 15 s.
back_within() { # NAME SECONDS SINCE
	wait_for 60 answered "$1" "$3" >/dev/null || true
	awk -v since="$3" -v limit="$2" -v slack="$(slack_ms)" '
		/bytes from/ && substr($1, 2) + 0 > since && !took { took = substr($1, 2) - since }
		END { print "took " took " s"; exit !(took > 0 && took < limit + slack / 1000) }' "$dir/pings-$1.log"
}

pings_start() { # NAME
	start "pings-$1" "$1" ping -D -O -n -i 0.05 10.8.0.1
}

session_of() { # PEER
	grep "event=connect .* peer=$(public_key "$1") " "$dir/gateway.log" | tail -n 1 | sed 's/.*session=\([0-9a-f]*\) .*/\1/'
}

# --- the gateway is killed under load ---
gateway_config "${pool[@]}"
for name in second probe; do
	add_peer "$name"
done
endpoint=192.0.2.2:6001
client_config
other_client_config second second 203.0.113.1:5555 "10.8.0.0/16"
start relay client "$tests_dir/tools/relay.py" run "$dir/relay.sock" one=6001/first \
	first=192.0.2.2:40001/192.0.2.1:5555 elsewhere=192.0.2.2:40002/192.0.2.1:5555
wait_for 30 grep -q relays "$dir/relay.log"
gateway_start
client_start
other_client_start second second
stream_start 198.51.100.2
pings_start client
pings_start second
sleep 1
kill_hard gateway
sleep 0.5
since=$EPOCHREALTIME
gateway_start
check "the client is back soon after the gateway was killed" back_within client 2 "$since"
check "so is the second one" back_within second 2 "$since"
check "by RESET" test "$(figure client rx_reset)" -ge 1 -a "$(figure second rx_reset)" -ge 1
check "and one handshake" test "$(figure client rx_welcome) $(figure second rx_welcome)" = "2 2"
check "with the COOKIE that a gateway asks for once after its start" test "$(figure client rx_cookie) $(figure second rx_cookie)" = "2 2"
check "with the addresses from before" wait_for 30 logged client 'info: connected: .* addresses 10.8.0.2 fd00:8::2, ' 2
check "the TCP connection goes on soon" stream_paused_less 5

# --- the client is killed under load ---
hellos=$(figure gateway rx_hello)
welcomes=$(figure gateway tx_welcome)
old=$(session_of client)
since=$EPOCHREALTIME
kill_hard client
client_start
check "a client that was killed is back at once" back_within client 2 "$since"
check "with one HELLO and one WELCOME" test "$(figure client tx_hello) $(figure client rx_welcome) $(($(figure gateway rx_hello) -
	hellos)) $(($(figure gateway tx_welcome) - welcomes))" = "1 1 1 1"
check "and without COOKIE" figure_is client rx_cookie 0
check "with the address from before" wait_for 30 logged client 'info: connected: .* addresses 10.8.0.2 fd00:8::2, ' 3
check "its old session is replaced" wait_for 30 grep -q "info: event=disconnect session=$old .* reason=\"replaced by a newer session\"" "$dir/gateway.log"
check "so that there are two, one of each client" wait_for 30 figure_is gateway sessions.active 2
sleep 1
check "the TCP connection goes on" stream_paused_less 5

# --- a HELLO is recorded and repeated ---
undisturbed() { # DESCRIPTION ADDRESSES
	check "$1: the client keeps its session" test "$(session_of client) $(figure client tx_hello)" = "$session $hellos"
	check "$1: no session was made for it" wait_for 30 figure_is gateway pool.used "$2"
	check "$1: the TCP connection does not pause" stream_paused_less 2
}

session=$(session_of client)
hellos=$(figure client tx_hello)
stale=$(figure gateway stale)
stream_paused_less 9 >/dev/null || true
relay replay first >/dev/null
relay replay elsewhere >/dev/null
check "a HELLO that comes again is stale, wherever it comes from" wait_for 30 figure_is gateway stale $((stale + 2))
undisturbed "a HELLO that comes again" 2

stop pings-second || true
status=0
stop second || status=$?
check "the second client ends with status 0" test "$status" -eq 0
kill_hard gateway
relay hold one >/dev/null
gateway_start
relay replay first >/dev/null
relay replay elsewhere >/dev/null
check "a restarted gateway cannot know: it asks for a COOKIE" wait_for 30 figure_is gateway tx_cookie 2
check "and does nothing else" test "$(figure gateway tx_welcome) $(figure gateway sessions.active) $(figure gateway pool.used)" = "0 0 0"
since=$EPOCHREALTIME
relay let one >/dev/null
check "then the client itself is back soon" back_within client 2 "$since"
check "by RESET" wait_for 30 figure_is_at_least client rx_reset 1
check "with its address" wait_for 30 logged client 'info: connected: .* addresses 10.8.0.2 fd00:8::2, ' 4
check "the TCP connection goes on soon" wait_for 30 stream_paused_less 2

session=$(session_of client)
hellos=$(figure client tx_hello)
relay replay first >/dev/null
relay replay elsewhere >/dev/null
check "now it is stale there too" wait_for 30 figure_is gateway stale 5
undisturbed "after the restart" 1

# --- a HELLO that names another peer's session ---
check "who names somebody else's session gets his own" probe --victim "$session" foreign-session ping bye
wait_for 30 figure_is gateway pool.used 1 || true
undisturbed "somebody named the session" 1

# --- without RESET ---
gateway_config "${pool[@]}" "Reset = no"
# Not the address that the client had.
add_peer twin "Address = 10.8.0.9"
kill_hard gateway
since=$EPOCHREALTIME
gateway_start

# --- meanwhile, two hosts with one key, whose clocks run twice as fast ---
other_client_config twin-second twin 203.0.113.1:5555 "10.8.0.1/32, 10.8.0.9/32"
other_client_config twin-host twin 198.51.100.1:5555 "10.8.0.1/32, 10.8.0.9/32"
"${CC:-cc}" -shared -fPIC -o "$dir/wall_clock.so" "$tests_dir/tools/wall_clock.c"
fast=(env LD_PRELOAD="$dir/wall_clock.so" CLOCK_SPEED=2)
evictions=()
twin=$(public_key twin)
watch_twins() { # until there were three, and the client is back
	local seen=0 now end=$((SECONDS + 60 * patience))
	while ((SECONDS < end)) && ! { ((seen >= 3)) && answered client "$since"; }; do
		now=$(grep -c "event=disconnect .* peer=$twin .* reason=\"replaced by a newer session\"" "$dir/gateway.log" || true)
		if ((now > seen)); then
			evictions+=("$EPOCHREALTIME")
			seen=$now
		fi
		sleep 0.1
	done
}
start twin-second second "${fast[@]}" "$BUILD/shardtun" run "$dir/twin-second.conf"
wait_for 30 grep -q 'info: connected' "$dir/twin-second.log"
start twin-host host "${fast[@]}" "$BUILD/shardtun" run "$dir/twin-host.conf"
watch_twins
took=$(back_within client 20 "$since") && status=0 || status=$?
check "without RESET the client is back within 20 s ($took)" test "$status" -eq 0
check "because nothing answered it for 15 s" wait_for 30 figure_is_at_least client tx_hello $((hellos + 1))
check "no RESET was sent" wait_for 30 figure_is gateway tx_reset 0
printf '%s\n' "${evictions[@]}" | awk 'NR > 1 { printf "%.1f ", $1 - last } { last = $1 } END { print "s between evictions" }' | diagnose
check "two hosts with one key replace each other" test "${#evictions[@]}" -ge 3
rarely() {
	printf '%s\n' "${evictions[@]}" | awk 'NR > 1 && $1 - last < 11.5 / 2 { fast = 1 } { last = $1 } END { exit fast }'
}
check "but not more often than every 16 s of theirs, less a quarter at random" rarely
check "and one session is theirs" wait_for 30 figure_is gateway sessions.active 2

status=0
stop stream || status=$?
check "the TCP connection lived through all of it" test "$status" -eq 0
check "every datagram is accounted for" wait_for 30 accounted_for gateway
stop twin-second
stop twin-host
both_stop

done_testing
