#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: alone
# Each of the two processes of a take-over is killed, or stalled, at its steps. A service manager, played by
# tests/netns/tools/supervisor.py, starts the gateway again as systemd does. Someone serves within two seconds, one alone;
# no value of a key's counter is on the wire twice, from both processes together; and what was captured before a take-over
# and during it is accepted by nobody after it. Clients of both protocols. Here at the places that differ most; all of them:
# tests/netns/long/takeover_faults.sh
# shellcheck source=tests/netns/lib/wireguard.sh
. "$(dirname "$0")/../lib/wireguard.sh"

clients=20 # of either protocol, which say something ten times a second
watchdog=2 # seconds: supervisor.py

# PLACE ACTION WHO: who serves then: the old one, the new one, or one that the manager starts ("anew") because the owner was killed,
# or when the owner's watchdog was not fed. Who was stalled goes on when that is seen; for "old" when the old one has given the new
# one up, and for "lasts" when the new one has fed its watchdog all the same. tests/netns/tools/takeover_faults.c says what the places are.
few=(
	"new-ready kill old" "new-built kill old" "new-read stall old" "new-checked stall old" "old-announced stall lasts"
	"old-exported kill anew" "old-frozen kill anew" "old-offered kill anew" "old-sent kill anew" "new-claimed kill anew"
	"new-serves stall watchdog"
)
all=(
	"new-hello kill old" "new-hello stall new"
	"old-request kill anew" "old-request stall watchdog"
	"old-descriptors kill anew" "old-descriptors stall watchdog"
	"old-answered kill anew" "old-answered stall watchdog"
	"new-descriptors kill old" "new-descriptors stall new"
	"new-made kill old" "new-made stall new"
	"new-ready kill old" "new-ready stall old"
	"old-ready kill anew" "old-ready stall watchdog"
	"old-exported kill anew" "old-exported stall watchdog"
	"old-records kill anew" "old-records stall watchdog"
	"new-records kill old" "new-records stall old"
	"new-read kill old" "new-read stall old"
	"new-built kill old" "new-built stall old"
	"old-built kill anew" "old-built stall watchdog"
	"old-frozen kill anew" "old-frozen stall watchdog"
	"old-written kill anew" "old-written stall watchdog"
	"old-offered kill anew" "old-offered stall watchdog"
	"old-sent kill anew" "old-sent stall new"
	"new-offered kill old" "new-offered stall old"
	"new-checked kill old" "new-checked stall old"
	"new-claimed kill anew" "new-claimed stall watchdog"
	"new-serves kill anew" "new-serves stall watchdog"
	"old-given kill anew" "old-given stall new"
	"old-announced kill new" "old-announced stall lasts"
	"old-told kill new" "old-told stall lasts"
	"new-told kill anew" "new-told stall watchdog"
)
TAKEOVER_FAULTS_ALL=${TAKEOVER_FAULTS_ALL:-}
scenarios=("${few[@]}")
[[ -z $TAKEOVER_FAULTS_ALL ]] || scenarios=("${all[@]}")

unit() { # REQUEST...
	"$tests_dir/tools/fd_store.py" tell "$dir/unit" "$@"
}

# --- what is looked at -------------------------------------------------------------------------------------------------

ready() { # TIMES
	[[ $(unit ready) -ge $1 ]]
}

fired() {
	unit fired
}

# Sessions live on, or, of a gateway that was started, one begins: a client follows RESET once in ten seconds.
served() { # WHO
	case $1 in
	old | new | lasts) ns client ping -n -q -c 1 -W 0.3 10.8.0.1 ;;
	*) timeout 0.5 ip netns exec "st-$$-client" "$BUILD/stgun" connect --gateway 192.0.2.1:5555 \
		--gateway-key "$(public_key gateway)" --seed probe ;;
	esac
}

# The main process, and no other.
one_process() {
	local processes
	processes=$(unit processes)
	echo "$processes"
	[[ -n $processes && $processes != *" "* && $processes == "$(unit pid)" ]]
}

answers_control() {
	ctl status
}

given_up() { # TIMES
	[[ $(grep -c 'serves on' "$dir/unit.log") -gt $1 ]]
}

all_connected() {
	figure_is gateway sessions.active $((2 * clients + 1))
}

# One scenario, from and to a gateway that serves all clients.
scenario() { # PLACE ACTION WHO
	local what="$2 at $1" old new pid bound=2 began took before
	[[ -z $TAKEOVER_FAULTS_ALL ]] || check "$what: before, all clients are connected" wait_for 30 all_connected
	old=$(unit pid)
	before=$(grep -c 'serves on' "$dir/unit.log" || true)
	unit arm "$1" "$2" >/dev/null
	new=$(unit reload)
	wait_for 30 fired || {
		not_ok "$what: it came to that"
		return
	}
	began=${EPOCHREALTIME/[.,]/}
	[[ $3 != watchdog ]] || bound=$((2 + watchdog))
	check "$what: someone serves within $bound s" within $bound served "$3"
	took=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
	echo "# $what: served again after $took ms"
	[[ "$2 $3" != "stall old" ]] || check "$what: the old one gives it up" wait_for 10 given_up "$before"
	if [[ $3 == lasts ]]; then
		sleep $((watchdog + 1))
		check "$what: the new one does not wait for it for too long" test "$(unit pid)" -eq "$new"
	fi
	unit go >/dev/null
	check "$what: one process is left" wait_for 10 one_process
	pid=$(unit pid)
	case $3 in
	old) check "$what: the old one serves on" test "$pid" -eq "$old" ;;
	lasts) check "$what: the new one serves" test "$pid" -eq "$new" ;;
	# On a slow machine the stalled one's watchdog may come first.
	new) check "$what: the new one serves" eval '[[ $pid == "$new" || $2 == stall && $pid != "$old" ]]' ;;
	*) check "$what: one that the manager started serves" eval '[[ $pid != "$old" && $pid != "$new" ]]' ;;
	esac
	check "$what: it answers shardtunctl" wait_for 10 answers_control
}

# --- the gateway and its clients -----------------------------------------------------------------------------------------

topology_up
own_run_up
for end in client gateway; do
	ns $end ethtool -K eth0 tx-udp-segmentation off >/dev/null
done
ns client ip route add local 10.64.0.0/16 dev lo
ns gateway ip route add 10.64.0.0/16 via 192.0.2.2
public_key wg-gateway >/dev/null
gateway_config "Workers = 2" "MetricsListen = off" "LogLevel = info" "RekeyInterval = 86400" "WireGuard = yes" \
	"WireGuardPrivateKeyFile = wg-gateway.key"
preshared_key gun
"$BUILD/stgun" keys "$clients" --seed own >>"$dir/gateway.conf"
"$BUILD/stgun" keys "$clients" --seed wireguard --psk-file gun.psk --protocol wireguard --address 10.8.200.0 >>"$dir/gateway.conf"
"$BUILD/stgun" keys 1 --seed probe >>"$dir/gateway.conf"
client_config
start unit gateway "$tests_dir/tools/supervisor.py" run "$dir/unit" nsenter --target "${started[holder]}" --mount \
	"$BUILD/shardtund_faults" -c "$dir/gateway.conf"
wait_for 30 grep -qx serving "$dir/unit.log"
start watch gateway "$tests_dir/tools/counters.py" watch eth0 5555 "$dir/kept"
wait_for 30 grep -qx watching "$dir/watch.log"
check "the gateway starts" unit start
wait_for 30 ready 1
client_start
# One that says nothing finds out by its next keepalive that its gateway was started anew.
start pings client ping -n -q -i 0.2 10.8.0.1
traffic_serve host
load() { # PROTOCOL GATEWAY_KEY OPTION...
	start "load-$1" client "$BUILD/stgun" connect --protocol "$1" --gateway 192.0.2.1:5555 --gateway-key "$(public_key "$2")" \
		--source 10.64.0.0/16 --sessions "$clients" --to 198.51.100.2:7002 --stay 2000 --every 0.1 --say data "${@:3}"
}
load shardtun gateway --seed own
# They come back by their next handshake: nothing tells them of a gateway that lost their keys.
load wireguard wg-gateway --seed wireguard --psk-file "$dir/gun.psk" --address 10.8.200.0 --renew 3
check "clients of both protocols connect" wait_for 30 all_connected

# --- the scenarios -------------------------------------------------------------------------------------------------------

for one in "${scenarios[@]}"; do
	read -ra words <<<"$one"
	scenario "${words[@]}"
done
check "no process had to be forced to end" test "$(unit forced)" -eq 0

# --- what was on the wire ------------------------------------------------------------------------------------------------

stop watch || true
tail -n 1 "$dir/watch.log" | diagnose
watched() { # EXPRESSION
	python3 -c 'import json, sys; seen = json.loads(sys.stdin.read()); sys.exit(not eval(sys.argv[1]))' "$1" < <(tail -n 1 "$dir/watch.log")
}
check "all datagrams were seen" watched "seen['missed'] == 0"
check "of both protocols, both ways" watched "all(sum(seen['kinds'].get(kind, 0) for kind in kinds) > 500 for kinds in (
	('shardtun 4 up', 'shardtun 9 up'), ('shardtun 4 down', 'shardtun 9 down'), ('wireguard 4 up',), ('wireguard 4 down',)))"
check "no counter's value was used twice with a key" watched "seen['twice'] == 0"

# --- captured packets after a take-over ------------------------------------------------------------------------------------

stop load-shardtun || true
stop load-wireguard || true
load shardtun gateway --seed own
load wireguard wg-gateway --seed wireguard --psk-file "$dir/gun.psk" --address 10.8.200.0
check "the clients connect again" wait_for 30 all_connected
start capture gateway "$tests_dir/tools/counters.py" watch eth0 5555 "$dir/captured"
wait_for 30 grep -qx watching "$dir/capture.log"
sleep 2
before=$(unit pid)
new=$(unit reload)
check "one more take-over" wait_for 30 one_process
check "(by the new one)" test "$(unit pid)" -eq "$new" -a "$new" -ne "$before"
stop capture || true
check "it answers shardtunctl" wait_for 10 answers_control
# Without a good-bye: the sessions stay.
kill_hard load-shardtun
kill_hard load-wireguard

# Accepted would be one that reaches the interface, or that changes a session, or is answered.
accepted_so_far() {
	status_json gateway | python3 -c '
import json, sys
counters = json.load(sys.stdin)["counters"]
names = "tun_tx_packets rx_control rx_hello rx_welcome rx_client_ack rx_keepalive rx_bye rx_wg_initiation tx_welcome tx_wg_response"
print(*(counters[name] for name in (names + " sessions_started sessions_ended rekeys roams").split()))'
}
stop pings || true
stop client || true # its keepalives would be accepted
check "nothing moves any more" wait_for 30 eval 'one=$(accepted_so_far); sleep 0.5; [[ $(accepted_so_far) == "$one" ]]'
accepted=$(accepted_so_far)
replays=$(figure gateway replay || echo 0)
received=$(figure gateway udp_rx_packets)
ns client "$tests_dir/tools/counters.py" replay "$dir/captured" 192.0.2.1:5555 >"$dir/replayed"
diagnose <"$dir/replayed"
transport=$(sed 's/.*"transport": \([0-9]*\).*/\1/' "$dir/replayed")
check "they come ($transport)" wait_for 30 figure_is_at_least gateway udp_rx_packets $((received + transport))
check "they are replays of sessions that live" wait_for 30 figure_is_at_least gateway replay $((replays + transport * 9 / 10))
check "none was accepted" test "$(accepted_so_far)" = "$accepted"

check "the manager ends the gateway" unit stop
check "which leaves nothing behind" nothing_left gateway
stop unit || true

done_testing
