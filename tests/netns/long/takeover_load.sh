#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: alone
# Twenty take-overs in a row under load: 100 clients of either protocol say something every 100 ms, and get an answer; 8 TCP streams run
# through a client of ours, and 8 through wireguard-go, if there is one. No packet is lost, nobody shakes hands, status and metrics are
# answered ten times a second, and no counter goes back. TCP pauses little longer than in as many times without a take-over, which alternate
# with the others, so that whatever else the machine does is in both. About two minutes, so "make test" leaves it out:
# tests/netns/run build/gcc $PWD/tests/netns/long/takeover_load.sh
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/wireguard_go.sh
. "$(dirname "$0")/../lib/wireguard_go.sh"

times=${TIMES:-20} clients=100 streams=8 seconds=1
duration=$((5 * times + 60)) # of the load: less than the 180 s for which keys of WireGuard's live
allowed_ms=50 # of a pause, beyond twice that of the same load without a take-over

topology_up
second_up
own_run_up
ns client ip route add local 10.64.0.0/16 dev lo
ns gateway ip route add 10.64.0.0/16 via 192.0.2.2

### the gateway and its clients ########################################################################################

wireguard_gateway_config "Workers = 2" "MetricsListen = 127.0.0.1:9586" "LogLevel = info" "RekeyInterval = 86400"
preshared_key gun
"$BUILD/stgun" keys "$clients" --seed own >>"$dir/gateway.conf"
"$BUILD/stgun" keys "$clients" --seed wireguard --psk-file gun.psk --protocol wireguard --address 10.8.200.0 >>"$dir/gateway.conf"
public_key plain >/dev/null
wireguard_peer plain "Address = 10.8.0.20"
client_config

# As the first process, so the next ones: with the /run of their own.
gateway_process() { # NAME OPTION...
	start "$1" gateway nsenter --target "${started[holder]}" --mount "$BUILD/shardtund" -c "$dir/gateway.conf" "${@:2}"
}

gateway_process gateway
wait_for 30 status_json gateway
client_start
traffic_serve host
start reflect gateway "$BUILD/stgun" reflect --listen 10.8.0.1 --threads 1
wait_for 30 grep -q answering "$dir/reflect.log"
with=(client)
if command -v "$wireguard_program" >/dev/null; then
	with+=(second)
	wireguard_start plain second 203.0.113.1:5555 10.8.0.20 fd00:8::14
	check "wireguard-go connects" wait_for 30 pings second 198.51.100.2
else
	skip "wireguard-go connects" "needs wireguard-go"
fi

load() { # PROTOCOL GATEWAY_KEY OPTION...
	start "load-$1" client "$BUILD/stgun" load --protocol "$1" --gateway 192.0.2.1:5555 --gateway-key "$(public_key "$2")" \
		--source 10.64.0.0/16 --to 10.8.0.1 --sessions "$clients" --rate $((10 * clients)) --size 100 --direction both --gso off \
		--duration "$duration" --json "$dir/$1.json" "${@:3}"
}
load shardtun gateway --seed own
load wireguard wg-gateway --seed wireguard --psk-file "$dir/gun.psk" --address 10.8.200.0 --renew 170
names=()
for namespace in "${with[@]}"; do
	for ((i = 0; i < streams; i++)); do
		names+=("stream-$namespace-$i")
		start "stream-$namespace-$i" "$namespace" "$tests_dir/tools/stream.py" 198.51.100.2 20000
	done
done
sessions_are() {
	figure_is gateway sessions.active $((2 * clients + ${#with[@]}))
}
check "$clients clients of either protocol connect" wait_for 60 sessions_are

### what is looked at ##################################################################################################

asked=0
all_answered() {
	local name
	for name in "${names[@]}"; do
		[[ $(grep -c '^silence' "$dir/$name.log") -ge $asked ]] || return 1
	done
}

# The longest silence of any stream since the last time, in ms, behind the others in that file.
pause_since() { # FILE
	local name
	asked=$((asked + 1))
	for name in "${names[@]}"; do
		kill -USR1 "${started[$name]}"
	done
	wait_for 60 all_answered || return 1
	for name in "${names[@]}"; do
		grep '^silence' "$dir/$name.log" | tail -n 1
	done | awk '$2 > most { most = $2 } END { print 1000 * most }' >>"$1"
}

median() { # FILE
	sort -n "$1" | awk '{ all[NR] = $1 } END { print (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2 }'
}

most() { # FILE
	sort -n "$1" | tail -n 1
}

### twenty take-overs ##################################################################################################

handshakes() {
	status_json gateway | python3 -c '
import json, sys
counters = json.load(sys.stdin)["counters"]
print(*(counters[name] for name in "rx_hello tx_welcome rekeys sessions_started sessions_ended".split()))'
}

start steady gateway "$tests_dir/tools/steady.py" http://127.0.0.1:9586/metrics "$BUILD/shardtunctl" --socket "$dir/gateway.sock" \
	--config "$dir/gateway.conf"
wait_for 30 grep -qx asking "$dir/steady.log"
sleep "$seconds"
before=$(handshakes)
initiations=$(figure gateway rx_wg_initiation)
began=$SECONDS
old=gateway taken=0
pause_since "$dir/first" || true
for ((i = 1; i <= times; i++)); do
	sleep "$seconds"
	pause_since "$dir/without" || true
	gateway_process "new$i" --takeover
	wait_for 30 gone "${started[$old]}" || break
	wait "${started[$old]}" || true
	unset "started[$old]"
	old=new$i
	wait_for 30 logged "$old" 'sessions go on here' 1 || break
	taken=$i
	sleep "$seconds"
	pause_since "$dir/with" || true
done
check "$times processes took over, one after the other" test "$taken" -eq "$times"
check "while the generators ran" eval 'running load-shardtun && running load-wireguard'
status=0
stop steady || status=$?
tail -n 1 "$dir/steady.log" | diagnose
check "ten times a second status and metrics were answered, and no counter went back" test "$status" -eq 0
for ((i = 1; i <= taken; i++)); do
	sed -n 's/.*packets waited for \([0-9.]*\) ms.*/\1/p' "$dir/new$i.log"
done >"$dir/freezes"
echo "# the data path stood still for: median $(median "$dir/freezes") ms, at most $(most "$dir/freezes") ms"
echo "# the longest pause of $((streams * ${#with[@]})) TCP streams in $seconds s: without a take-over median $(median "$dir/without") ms," \
	"at most $(most "$dir/without") ms; with one median $(median "$dir/with") ms, at most $(most "$dir/with") ms"
echo "# one after the other, of the data path: $(tr '\n' ' ' <"$dir/freezes"); of TCP: $(tr '\n' ' ' <"$dir/with"), without a take-over:" \
	"$(tr '\n' ' ' <"$dir/without")"
check "each said how long" test "$(wc -l <"$dir/freezes")" -eq "$times"
check "TCP paused by no more than $allowed_ms ms more than twice as long as without (medians)" awk -v with="$(median "$dir/with")" \
	-v without="$(median "$dir/without")" -v allowed="$allowed_ms" 'BEGIN { exit !(with <= 2 * without + allowed) }'
check "no client of ours shook hands" test "$(handshakes)" = "$before"
# wireguard-go does so every 120 s by itself.
count=$(($(figure gateway rx_wg_initiation) - initiations))
check "nor one that speaks WireGuard, but where its keys were old ($count)" test "$count" -le $(((SECONDS - began) / 100))
for name in "${names[@]}"; do
	status=0
	stop "$name" || status=$?
	[[ $status -eq 0 ]] || not_ok "$name lived through all of it"
done
ok "TCP connections: ${#names[@]}"
check "one client of ours connected, once" test "$(grep -c 'info: connected' "$dir/client.log")" -eq 1

### no packet was lost #################################################################################################

ended() { # NAME
	! running "$1"
}
for protocol in shardtun wireguard; do
	check "$protocol: the generator comes to its end" wait_for 100 ended "load-$protocol"
	check "$protocol: well" test -s "$dir/$protocol.json"
	step() { # EXPRESSION
		python3 -c '
import json, sys
step = json.load(open(sys.argv[1]))["steps"][-1]
print({name: step[name] for name in ("offered", "sent", "received", "lost", "misdelivered", "unexpected", "sessions_ended")})
sys.exit(not eval(sys.argv[2]))' "$dir/$protocol.json" "$1"
	}
	step True | diagnose
	check "$protocol: each client said something every 100 ms" step "step['sent'] >= 10 * $clients * $duration"
	check "$protocol: no answer was lost" step "step['lost'] == 0 and step['received'] == step['sent']"
	check "$protocol: and no session ended" step "step['sessions_ended'] == 0 and step['misdelivered'] == 0"
done
stop client || true
[[ ${#with[@]} -eq 1 ]] || stop plain || true
status=0
stop "$old" || status=$?
check "the last process ends well" test "$status" -eq 0

done_testing
