#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# RateUp and RateDown with real TCP and UDP: what the gateway counts of a session, against the rate; changes by reload, for
# peers that are added at run time, and what is said of all that.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

rate=8000000 # bits a second: no machine is too slow for it
seconds=3

topology_up

# The session's bytes that moved that way while the command ran, in per cent of the rate, and when it was measured.
share() { # up|down COMMAND...
	local key=rx_bytes
	[[ $1 == up ]] || key=tx_bytes
	bytes() {
		ctl --json sessions --peer "$(public_key client)" | python3 -c "import json, sys
print(json.load(sys.stdin)['sessions'][0]['$key'], '${EPOCHREALTIME/,/.}')"
	}
	local before after
	"${@:2}" >/dev/null 2>&1 &
	local pid=$!
	sleep 1 # the burst, and TCP's start
	before=$(bytes)
	sleep "$seconds"
	after=$(bytes)
	wait "$pid" || true
	awk -v before="$before" -v after="$after" -v rate="$rate" 'BEGIN {
		split(before, b); split(after, a)
		printf "%.0f\n", 100 * 8 * (a[1] - b[1]) / (a[2] - b[2]) / rate
	}'
}

# Never above; below it only as far as the machine or TCP's own course are to blame.
keeps_rate() { # up|down COMMAND...
	local percent
	percent=$(share "$@")
	echo "$percent % of the rate"
	[[ $percent -ge 85 && $percent -le 103 ]]
}

no_limit_holds() { # up|down COMMAND...
	local percent
	percent=$(share "$@")
	echo "$percent % of the rate"
	[[ $percent -gt 150 ]]
}

tcp() { # up|down
	local way=()
	[[ $1 == up ]] || way=(-R)
	iperf gateway client 10.8.0.1 -t $((seconds + 2)) "${way[@]}"
}

udp() { # up|down
	local way=()
	[[ $1 == up ]] || way=(-R)
	iperf gateway client 10.8.0.1 -u -b $((5 * rate)) -l 1200 -t $((seconds + 2)) "${way[@]}"
}

sessions_say() { # TEXT
	local said
	said=$(ctl sessions)
	[[ $said =~ $1 ]] || {
		echo "$said"
		return 1
	}
}

gateway_config "RateUp = 8M" "RateDown = 8000K" "Workers = 2"
gateway_start
client_config
client_start
check "the event of the connection has them" wait_for 30 grep -q "event=connect .*rate_up=8000000 rate_down=8000000" "$dir/gateway.log"
for way in up down; do
	check "TCP $way: the rate" keeps_rate "$way" tcp "$way"
	check "UDP $way, five times as much: the rate" keeps_rate "$way" udp "$way"
	check "what is too much is counted" test "$(figure gateway "limit_$way")" -gt 100
done
check "and so is what waited" test "$(figure gateway limited_packets)" -gt 1000
check "sessions shows the rates" sessions_say ' 8M +8M '
# Nobody else's queue is in the way, and ours is kept short by CoDel.
tcp down >"$dir/tcp" &
sleep 2
check "a ping beside one's own shaped TCP" ns client ping -q -c 5 -i 0.2 -W 2 10.8.0.1
wait $! || true
check "every packet is accounted for" wait_for 30 accounted_for gateway

# --- a reload, without a new session ---
connected=$(figure gateway sessions_started)
sed -i 's/^RateUp.*//; s/^RateDown.*//' "$dir/gateway.conf"
ctl reload >"$dir/reloaded"
check "a reload without limits: peers are as before" grep -q "1 as before" "$dir/reloaded"
check_fails "and no restart is needed" grep -q restart "$dir/reloaded"
check "down is not limited any more" no_limit_holds down udp down
check "nor up" no_limit_holds up udp up
check "sessions shows that" sessions_say ' - +- '
printf 'RateDown = 8M\n' >>"$dir/gateway.conf" # of the last section: the peer's own
ctl reload >"$dir/reloaded"
check "a reload with one of the peer's own" keeps_rate down tcp down
check "the other way is free" no_limit_holds up udp up
check "all that in one session" figure_is gateway sessions_started "$connected"

# --- a peer that is added at run time ---
key=$(public_key client)
stop client
ctl peer del "$key" >"$dir/said"
ctl peer add "$key" --psk-file "$dir/client.psk" --rate-up 8M --rate-down off --burst 64K >"$dir/said"
client_start
check "peer add: its rate holds" keeps_rate up tcp up
check "sessions shows it" sessions_say ' 8M +- '
for bad in "--rate-up 0" "--rate-down 7999" "--rate-up 2T" "--burst 0" "--burst 2G" "--rate-up fast"; do
	# shellcheck disable=SC2086 # two words
	ctl peer add "$(public_key nobody)" $bad >"$dir/said" 2>&1 && echo accepted >>"$dir/said"
	check "peer add $bad is refused" grep -qE "^shardtunctl: ${bad/ / }: (neither|not) " "$dir/said"
done
both_stop

done_testing
