#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: alone
# A cluster (tests/netns/lib/cluster.sh draws it) of which a gateway dies and then a whole machine, for good: the others serve the
# clients, at the same inner addresses, and TCP connections go on. No client gets what is another's. A client that speaks WireGuard
# notices by its own rules alone: when nothing came for 15 s after what it sent (KEEPALIVE_TIMEOUT and REKEY_TIMEOUT of the protocol,
# with up to 0.33 s of jitter), it shakes hands again.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/cluster.sh
. "$tests_dir/lib/cluster.sh"
# shellcheck source=tests/netns/lib/wireguard_go.sh
. "$tests_dir/lib/wireguard_go.sh"

cluster_up 4
nodes_up
# Client 1 is g1's, 2 g2's, 3 g3's.
for client in 1 2 3; do
	client_add "$client" "$(blocks_of "$client" | head -n 1)"
done
# The fourth, which speaks WireGuard, is g1's too.
client_add 4 "$(blocks_of 1 | tail -n 1)" wireguard
wait_for 10 peers_known 4 1 2 3
traffic_serve host
for client in 1 2 3; do
	began=${EPOCHREALTIME/[.,]/}
	client_node_start "$client" "$shared4:5555"
	check "client $client is served" wait_for 10 pings "c$client" 198.51.100.2
	[[ $connect_ms -gt 0 ]] || connect_ms=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
done

has_wireguard=$(command -v "$wireguard_program") || true
if [[ -n $has_wireguard ]]; then
	wireguard_start c4 c4 "$shared4:5555" "$(inner4 4)" "$(inner6 4)"
	check "so is one that speaks WireGuard" wait_for 10 pings c4 198.51.100.2
	pulse_start 4
fi

# --- a gateway is killed ---
for client in 1 2 3; do
	start "stream$client" "c$client" "$tests_dir/tools/stream.py" 198.51.100.2 100000
	pulse_start "$client"
done
# The longest time without an answer, of the clients; all answers were their own.
pulses_within() { # SECONDS CLIENT...
	local client line status=0
	for client in "${@:2}"; do
		line=$(pulse_tells "$client")
		echo "# client $client: $line" >&3
		[[ $(pulse_of "$line" wrong) -eq 0 ]] || return 1
		python3 -c 'import sys
sys.exit(float(sys.argv[1]) > float(sys.argv[2]) + float(sys.argv[3]) / 1000)' \
			"$(pulse_of "$line" gap)" "$1" "$(slack_ms)" || status=1
	done
	return "$status"
}
exec 3>&1
all_beat() { # CLIENT...
	local client
	for client in "$@"; do
		pulse_beats "$client" || return 1
	done
}
sleep 1
for client in 1 2 3 ${has_wireguard:+4}; do
	pulse_tells "$client" >/dev/null
done
kill_hard g1
sleep 3.5
check "g1's process is killed and does not come back: nobody is without an answer for 3 s" pulses_within 3 1 2 3
check "its blocks are the others'" wait_for 30 shared_out 2 3
check "all answers come" wait_for 30 all_beat 1 2 3
check "the client has the same address" has_inner 1
# By then another gateway has its block for long: its first handshake is answered.
if [[ -n $has_wireguard ]]; then
	wait_for 30 pings c4 198.51.100.2
	sleep 0.2
	check "the client that speaks WireGuard is back after 16 s" pulses_within 16 4
else
	skip "the client that speaks WireGuard is back after 16 s" "no wireguard-go"
fi

# --- a machine dies ---
# A RESET has a client shake hands once in 10 s: by then the first failure is not the second one's.
sleep 8
for client in 1 2 3; do
	pulse_tells "$client" >/dev/null
done
kill_machine 2
sleep 7
check "g2's machine dies: nobody is without an answer for 7 s" pulses_within 7 1 2 3
check "the last gateway has all blocks" wait_for 30 shared_out 3
check "all answers come" wait_for 30 all_beat 1 2 3
for client in 1 2 3; do
	check "client $client has the same address" has_inner "$client"
	check "its TCP connection goes on" running "stream$client"
done
for client in 1 2 3; do
	status=0
	stop "stream$client" || status=$?
	check "and all of its data came back unchanged" test "$status" -eq 0
done
done_testing
