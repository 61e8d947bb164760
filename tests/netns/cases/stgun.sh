#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The load generator against a real gateway: sessions come up from many addresses, every packet is accounted for in all
# directions, reports are JSON, and what the generator itself does not reach is called so. Never how fast it is.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
ns client ip route add local 10.64.0.0/16 dev lo
ns gateway ip route add 10.64.0.0/16 via 192.0.2.2

gateway_config "Workers = 2" "TunReaders = 1" "Handshakers = 2" "LogLevel = warning"
preshared_key gun
"$BUILD/stgun" keys 300 --seed netns --psk-file gun.psk >>"$dir/gateway.conf"
gateway_start
start reflect gateway "$BUILD/stgun" reflect --listen 10.8.0.1 --threads 2
wait_for 30 grep -q answering "$dir/reflect.log"
start reflect6 gateway "$BUILD/stgun" reflect --listen "[fd00:8::1]:7000"
wait_for 30 grep -q answering "$dir/reflect6.log"

gun() { # COMMAND [OPTION...]
	local command=$1
	shift
	ns client "$BUILD/stgun" "$command" --gateway "${endpoint:-192.0.2.1:5555}" --gateway-key "$(public_key gateway)" \
		--seed netns --psk-file "$dir/gun.psk" --source "${source:-10.64.0.0/16}" --json "$dir/report.json" "$@"
}

# A condition on the last report, in Python: r, and its last step s or connect c.
report() { # CONDITION
	python3 -c '
import json, sys
r = json.load(open(sys.argv[1]))
s = r["steps"][-1] if r["steps"] else None
c = r["connect"][-1]
ok = eval(sys.argv[2])
if not ok:
    print(s if s is not None else c)
sys.exit(not ok)' "$dir/report.json" "$1"
}

report_figure() { # NAME
	python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["steps"][-1][sys.argv[2]])' "$dir/report.json" "$1"
}

# What was due was sent, and what was sent was received or lost; a machine that is busy may lose some.
accounted() { # OFFERED
	report "s['offered'] == $1 and 0.9 * $1 <= s['sent'] <= $1 and s['sent'] == s['received'] + s['lost']" &&
		report "s['lost'] <= 0.1 * $1 and s['sessions_ended'] == 0"
}

check "300 sessions come up from 300 addresses, three times" gun connect --sessions 300 --threads 2 --ports 3 --rounds 3
check "the report says so" report "len(r['connect']) == 3 and all(c['up'] == 300 for c in r['connect'])"
check "with version, command line and machine" report \
	"r['version'] == 1 and '--rounds' in r['command'] and r['machine']['cpus'] > 0 and not r['interrupted']"
check "latencies are of all of them" report "c['latency_ns']['count'] == 300 and c['latency_ns']['p50'] > 0"
check "good-bye reaches the gateway" wait_for 30 figure_is gateway sessions.active 0

before=$(figure gateway tun_tx_packets)
check "upwards at a rate" gun load --sessions 20 --rate 1000 --gso off --size imix --duration 2
check "every packet is accounted for" accounted 2000
check "by the reflector" report "s['arrived'] == s['received']"
check "round trips are measured" report "s['latency_ns']['count'] > 10 and s['latency_ns']['max'] < 5e9"
check "bytes are those of the mix" report "abs(s['sent_bytes'] / s['sent'] - (7 * 64 + 4 * 576 + 1400) / 12) < 1"
came=$(($(figure gateway tun_tx_packets) - before))
check "the gateway counts them too, and some questions" test "$came" -ge "$(report_figure received)" -a "$came" -lt 2200

check "in trains" gun load --sessions 7 --threads 2 --rate 8000 --gso 16 --size 1400 --duration 1
check "every packet is accounted for" accounted 8000
check "there and back" gun load --sessions 20 --rate 2000 --gso 8 --size 512 --duration 1 --direction both --gro off
check "every packet is accounted for" accounted 2000
check "each has a round trip" report "s['latency_ns']['count'] == s['received']"
check "downwards" gun load --sessions 20 --rate 6400 --gso 32 --size 1400 --duration 1 --direction down
check "every packet is accounted for" accounted 6400
check "the bytes are those that came" report "s['received_bytes'] == s['received'] * 1400"
for direction in down both; do
	check "$direction as fast as it goes" gun load --sessions 4 --duration 0.5 --direction "$direction"
	check "is accounted for" report "0 < s['received'] <= s['sent'] == s['received'] + s['lost'] and s['limit'] == 'none'"
done
check "IPv6 inside, to a port" gun load --sessions 3 --rate 1000 --gso 4 --size 100 --duration 1 --to "[fd00:8::1]:7000"
check "every packet is accounted for" accounted 1000
source=2001:db8:1::2/128 endpoint="[2001:db8:1::1]:5555" \
	check "IPv6 outside" gun load --sessions 3 --rate 1000 --gso 4 --duration 1 --direction both
check "every packet is accounted for" accounted 1000
check "ChaCha20-Poly1305" gun load --rate 1000 --duration 1 --direction both --cipher ChaCha20-Poly1305
check "as it was asked for" report "r['cipher'] == 'ChaCha20-Poly1305' and r['crypto'] and s['received'] > 0"

check "a rate that nothing reaches" gun load --sessions 5 --rate 1Gpps --size 64 --duration 1
check "is the generator's limit" report "s['limit'] == 'generator' and s['sent'] < s['offered']"
check "and accounted for" report "s['sent'] == s['received'] + s['lost']"
check "a search" gun search --sessions 5 --rate 20k --gso off --duration 0.1 --loss 50
check "ends with a rate, in steps" report "r['search']['rate'] > 0 and r['search']['complete'] and len(r['steps']) > 1"

start long client "$BUILD/stgun" load --gateway 192.0.2.1:5555 --gateway-key "$(public_key gateway)" --seed netns \
	--psk-file "$dir/gun.psk" --source 10.64.0.0/16 --sessions 50 --ports 2 --rate 100 --gso off --duration 600 --json "$dir/report.json" --direction both
answered() {
	[[ $(figure gateway tun_rx_packets) -ge $((before + 20)) ]]
}
before=$(figure gateway tun_rx_packets)
wait_for 30 answered
# ADDRESSES PORTS: how many the sessions come from.
sources_are() {
	ctl --json sessions | python3 -c '
import json, sys
ends = [s["endpoint"].rsplit(":", 1) for s in json.load(sys.stdin)["sessions"]]
print(ends)
found = [len({e[i] for e in ends}) for i in (0, 1)]
sys.exit(found != [int(n) for n in sys.argv[1:]] or not all("10.64.0." in e[0] for e in ends))' "$@"
}
check "each session has an address of its own, and half of them a port" sources_are 50 2
status=0
stop long || status=$?
check "SIGTERM ends it with status 0" test "$status" -eq 0
check "with a report of what there was" report "r['interrupted'] and s['seconds'] < 60 and s['received'] > 10"
check "and a good-bye" wait_for 30 figure_is gateway sessions.active 0

fails_with() { # TEXT STGUN ARGUMENTS...
	local text=$1 output
	shift
	! output=$(gun "$@" 2>&1) && [[ $output == *"$text"* ]]
}
check "without a reflector it says so" fails_with "nobody answers inside the tunnel" load --to 10.8.0.1:9 --duration 1
check "unless it is to be blind" gun load --to 10.8.0.1:9 --duration 0.5 --blind --rate 1000
check "then it does not claim to know" report "s['received'] is None and s['lost'] is None and s['sent'] > 0"
check "clients that the gateway does not know" fails_with "the gateway does not answer" connect --first 500 \
	--connect-timeout 1
check "more clients than it knows" fails_with "only 10 of 20 sessions came up" connect --first 290 --sessions 20 \
	--connect-timeout 3
check "the report says how far it came" report "c['up'] == 10 and not r['steps']"
check "a size above the MTU" fails_with "the gateway's MTU is 1420" load --mtu 9000 --size 8000 --duration 1

# What is lost on the way is lost in the report.
ns gateway nft add table inet stgun
ns gateway nft add chain inet stgun input '{ type filter hook input priority 0; }'
# DATA of the second session, by the stamp in the payload: the kernel sees super-packets, which have but one.
ns gateway nft add rule inet stgun input iifname shardtun0 udp dport 5556 @th,96,8 1 @th,160,32 1 drop
check "a fourth of the packets is lost on purpose" gun load --sessions 4 --rate 2000 --gso off --duration 1
check "it is in the report" report "s['sent'] // 4 <= s['lost'] <= s['sent'] // 3 and s['received'] == s['arrived']"
ns gateway nft delete table inet stgun

check "every datagram is accounted for at the gateway" wait_for 30 accounted_for gateway
for name in reflect reflect6 gateway; do
	status=0
	stop "$name" || status=$?
	check "$name ends with status 0" test "$status" -eq 0
done
check "the gateway leaves nothing behind" nothing_left gateway

done_testing
