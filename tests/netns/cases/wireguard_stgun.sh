#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The load generator as many WireGuard clients, beside as many of ours, at one gateway of several workers and handshake threads: all
# connect, every packet is accounted for in all directions, and each session is at its own worker. Never how fast it is.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/wireguard.sh
. "$(dirname "$0")/../lib/wireguard.sh"

topology_up
own_run_up
ns client ip route add local 10.64.0.0/16 dev lo
ns gateway ip route add 10.64.0.0/16 via 192.0.2.2

public_key wg-gateway >/dev/null
gateway_config "Workers = 4" "TunReaders = 1" "Handshakers = 2" "LogLevel = warning" "WireGuard = yes" \
	"WireGuardPrivateKeyFile = wg-gateway.key"
preshared_key gun
"$BUILD/stgun" keys 200 --seed wireguard --psk-file gun.psk --protocol wireguard --address 10.8.1.0 >>"$dir/gateway.conf"
"$BUILD/stgun" keys 200 --seed own --psk-file gun.psk >>"$dir/gateway.conf"
start gateway gateway nsenter --target "${started[holder]}" --mount "$BUILD/shardtund" -c "$dir/gateway.conf"
wait_for 30 status_json gateway
start reflect gateway "$BUILD/stgun" reflect --listen 10.8.0.1 --threads 2
wait_for 30 grep -q answering "$dir/reflect.log"
start reflect6 gateway "$BUILD/stgun" reflect --listen "[fd00:8::1]:7000"
wait_for 30 grep -q answering "$dir/reflect6.log"

gun() { # COMMAND [OPTION...]
	local command=$1
	shift
	ns client "$BUILD/stgun" "$command" --protocol wireguard --address "${address:-10.8.1.0}" --gateway "${endpoint:-192.0.2.1:5555}" \
		--gateway-key "$(public_key wg-gateway)" --seed wireguard --psk-file "$dir/gun.psk" \
		--source "${source:-10.64.0.0/16}" --to "${to:-10.8.0.1}" --json "$dir/report.json" "$@"
}

own_gun() { # COMMAND [OPTION...]
	local command=$1
	shift
	ns client "$BUILD/stgun" "$command" --gateway 192.0.2.1:5555 --gateway-key "$(public_key gateway)" --seed own \
		--psk-file "$dir/gun.psk" --source 10.64.0.0/16 --json "$dir/own.json" "$@"
}

# A condition on the last report, in Python: r, and its last step s or connect c.
report() { # CONDITION [FILE]
	python3 -c '
import json, sys
r = json.load(open(sys.argv[1]))
s = r["steps"][-1] if r["steps"] else None
c = r["connect"][-1]
ok = eval(sys.argv[2])
if not ok:
    print(s if s is not None else c)
sys.exit(not ok)' "${2:-$dir/report.json}" "$1"
}

# What was due was sent, and what was sent was received or lost; a machine that is busy may lose some.
accounted() { # OFFERED [FILE]
	report "s['offered'] == $1 and 0.9 * $1 <= s['sent'] <= $1 and s['sent'] == s['received'] + s['lost']" "${2:-}" &&
		report "s['lost'] <= 0.1 * $1 and s['sessions_ended'] == 0" "${2:-}"
}

check "200 WireGuard sessions come up from 200 addresses, three times" gun connect --sessions 200 --threads 2 --ports 3 --rounds 3
check "the report says so" report "len(r['connect']) == 3 and all(c['up'] == 200 for c in r['connect'])"
check "they are there, and WireGuard's" test "$(figure gateway sessions.active) $(figure gateway sessions.wireguard)" = "200 200"
check "each handshake was answered once" test "$(figure gateway rx_wg_initiation)" -ge 600 -a "$(figure gateway rx_wg_initiation)" \
	-eq "$(figure gateway tx_wg_response)"
check "the later ones renewed the keys of the same sessions" figure_is gateway sessions_started 200

check "upwards at a rate" gun load --sessions 20 --rate 1000 --gso off --size imix --duration 2
check "every packet is accounted for" accounted 2000
check "in trains" gun load --sessions 7 --threads 2 --rate 8000 --gso 16 --size 1400 --duration 1
check "every packet is accounted for" accounted 8000
check "there and back" gun load --sessions 20 --rate 2000 --gso 8 --size 511 --duration 1 --direction both --gro off
check "every packet is accounted for" accounted 2000
check "downwards" gun load --sessions 20 --rate 6400 --gso 32 --size 1400 --duration 1 --direction down
check "every packet is accounted for" accounted 6400
check "the bytes are those that came" report "s['received_bytes'] == s['received'] * 1400"
address=fd00:8::100 to="[fd00:8::1]:7000"
check "IPv6 inside, to a port" gun load --sessions 3 --rate 1000 --gso 4 --size 100 --duration 1
check "every packet is accounted for" accounted 1000
address="" to=""
endpoint="[2001:db8:1::1]:5555" source=2001:db8:1::2/128
check "IPv6 outside" gun load --sessions 3 --rate 1000 --gso 4 --size 100 --duration 1
check "every packet is accounted for" accounted 1000
endpoint="" source=""

# --- both at once ---
own_gun load --sessions 200 --threads 1 --rate 2000 --gso 4 --size 600 --duration 4 --direction both >"$dir/own_gun.log" 2>&1 &
own=$!
check "200 WireGuard clients and 200 of ours at once" gun load --sessions 200 --threads 1 --rate 2000 --gso 4 --size 600 \
	--duration 4 --direction both
check "every packet of the former is accounted for" accounted 8000
status=0
wait "$own" || status=$?
check "the latter end well" test "$status" -eq 0
check "every packet of theirs too" accounted 8000 "$dir/own.json"
check "each worker has sessions" python3 -c 'import json, sys
workers = [one["worker"] for one in json.load(sys.stdin)["sessions"]]
assert all(workers.count(i) >= 20 for i in range(4)), workers' < <(ctl --json sessions)
for reason in protocol forged replay unknown_epoch inner_source; do
	check "nothing was dropped as $reason" test "$(figure gateway "$reason" || echo 0)" = 0
done
check "every datagram is accounted for" wait_for 30 accounted_for gateway
status=0
stop gateway || status=$?
check "the gateway ends with status 0" test "$status" -eq 0
done_testing
