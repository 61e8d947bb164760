#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# As many WireGuard clients as clients of ours at one gateway of eight workers, all busy, while all of them roam again and again and
# renew their keys: each gets its own packets and no others, and each packet is accounted for. With ThreadSanitizer there are fewer.
#
#   client: stgun as the WireGuard clients, from 10.64.0.0/17, and the client farm as ours, from 10.64.128.0 on; a NAT gives each of
#   these addresses another one, of 10.65.0.0/16, then 10.66.0.0/16, and so on: none of them knows that it moves
# run-tap: first
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/wireguard.sh
. "$(dirname "$0")/../lib/wireguard.sh"

clients=200 rate=2000
[[ $BUILD != *-thread* ]] || clients=40 rate=200
workers=8
moves=10
seconds=$((moves + 4))

topology_up
own_run_up
ns client ip route add local 10.64.0.0/16 dev lo
ns gateway ip route add 10.64.0.0/12 via 192.0.2.2

# A connection that is tracked in another zone gets another address; answers are of the zone that their address says.
zones() {
	local zone
	echo "table ip nat {"
	echo "	chain zone {"
	echo "		ct zone set 1"
	echo "	}"
	echo "	chain output {"
	echo "		type filter hook output priority raw"
	echo "		ip saddr 10.64.0.0/16 udp dport 5555 jump zone"
	echo "	}"
	echo "	chain prerouting {"
	echo "		type filter hook prerouting priority raw"
	for ((zone = 1; zone <= moves + 1; zone++)); do
		echo "		ip daddr 10.$((64 + zone)).0.0/16 ct zone set $zone"
	done
	echo "	}"
	echo "	chain postrouting {"
	echo "		type nat hook postrouting priority srcnat"
	for ((zone = 1; zone <= moves + 1; zone++)); do
		echo "		ct zone $zone snat ip prefix to ip saddr map { 10.64.0.0/16 : 10.$((64 + zone)).0.0/16 }"
	done
	echo "	}"
	echo "}"
}
zones >"$dir/zones"
ns client nft -f "$dir/zones" || skip_all "needs nftables with NAT of prefixes"

all_move() { # TIMES
	local zone
	for ((zone = 2; zone <= $1 + 1; zone++)); do
		sleep 1
		ns client nft "flush chain ip nat zone; add rule ip nat zone ct zone set $zone"
	done
}

public_key wg-gateway >/dev/null
gateway_config "Workers = $workers" "Handshakers = 2" "RekeyInterval = 10" "LogLevel = warning" "WireGuard = yes" \
	"WireGuardPrivateKeyFile = wg-gateway.key"
preshared_key gun
"$BUILD/stgun" keys "$clients" --seed wireguard --psk-file gun.psk --protocol wireguard --address 10.8.200.0 >>"$dir/gateway.conf"
"$BUILD/client_farm" --peers "$clients" --seed own >>"$dir/gateway.conf"
start gateway gateway nsenter --target "${started[holder]}" --mount "$BUILD/shardtund" -c "$dir/gateway.conf"
wait_for 30 status_json gateway
start reflect gateway "$BUILD/stgun" reflect --listen 10.8.0.1 --threads 2
wait_for 30 grep -q answering "$dir/reflect.log"

start client_farm client "$BUILD/client_farm" --gateway 192.0.2.1:5555 --gateway-key "$(public_key gateway)" --seed own \
	--clients "$clients" --from 10.64.128.0 --seconds 600 --window 1
start gun client "$BUILD/stgun" load --protocol wireguard --address 10.8.200.0 --gateway 192.0.2.1:5555 \
	--gateway-key "$(public_key wg-gateway)" --seed wireguard --psk-file "$dir/gun.psk" --source 10.64.0.0/17 --to 10.8.0.1 \
	--sessions "$clients" --threads 2 --renew 2 --rate "$rate" --gso 2 --size 600 --duration "$seconds" --direction both \
	--json "$dir/report.json"
both_up() {
	figure_is gateway sessions.active $((2 * clients)) && figure_is gateway sessions.wireguard "$clients"
}
check "$clients WireGuard clients and $clients of ours connect" wait_for 60 both_up
all_move $moves
sum_of() { # wireguard|shardtun FIELD
	ctl --json sessions | python3 -c 'import json, sys
print(sum(one[sys.argv[2]] for one in json.load(sys.stdin)["sessions"] if one["protocol"] == sys.argv[1]))' "$1" "$2"
}
for protocol in wireguard shardtun; do
	count=$(sum_of $protocol roams)
	check "$protocol: most followed most of the moves ($count of $((moves * clients)))" test "$count" -ge $((moves * clients / 2))
done
ctl --json sessions >"$dir/sessions"
spread() { # wireguard|shardtun
	python3 -c '
import json, sys
workers, least = int(sys.argv[2]), int(sys.argv[3])
at = [one["worker"] for one in json.load(open(sys.argv[4]))["sessions"] if one["protocol"] == sys.argv[1]]
counts = [at.count(worker) for worker in range(workers)]
print(counts)
sys.exit(min(counts) < least)' "$1" "$workers" "$((clients / workers / 2))" "$dir/sessions"
}
for protocol in wireguard shardtun; do
	check "$protocol: each worker has sessions" spread $protocol
done

# --- the end ---
renewed=$(sum_of wireguard rekeys)
check "WireGuard's keys were renewed several times each ($renewed)" test "$renewed" -ge $((3 * clients))
# A gateway that was under load when they connected has told them to take longer.
ours_renewed() {
	[[ $(sum_of shardtun rekeys) -ge $((clients / 2)) ]]
}
check "so were those of most of ours" wait_for 60 ours_renewed
gun_ended() {
	! running gun
}
check "the generator comes to its end" wait_for 60 gun_ended
check "well" test -s "$dir/report.json"
accounted() {
	python3 -c '
import json, sys
step = json.load(open(sys.argv[1]))["steps"][-1]
print({name: step[name] for name in ("offered", "sent", "received", "lost", "misdelivered", "unexpected", "sessions_ended")})
sys.exit(not (step["sent"] == step["received"] + step["lost"] and step["sent"] > 0.9 * int(sys.argv[2]) and
	step["lost"] <= 0.1 * step["sent"] and step["misdelivered"] == 0 and step["sessions_ended"] == 0))' \
		"$dir/report.json" $((rate * seconds))
}
accounted | diagnose || true
check "no WireGuard client got another's packets, and each packet is accounted for" accounted
status=0
stop client_farm || status=$?
check "our clients end with status 0" test "$status" -eq 0
check "all of them were connected" client_farm_is connected "$clients"
check "none of them got another's packets" client_farm_is foreign 0
check "no answer came twice" client_farm_is unasked 0
check "all answers were whole" client_farm_is malformed 0
check "no session ended by itself" client_farm_is surprises 0
diagnose <"$dir/client_farm.log"
for reason in protocol forged inner_source inner_malformed; do
	check "nothing was dropped as $reason" test "$(figure gateway "$reason" || echo 0)" = 0
done
check "every datagram is accounted for" wait_for 30 accounted_for gateway
status=0
stop gateway || status=$?
check "the gateway ends with status 0" test "$status" -eq 0
done_testing
