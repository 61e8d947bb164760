#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Quota with real traffic: exact to one packet over reload, an orderly restart and a crash; a clock that jumps; QuotaRate,
# reset, what is said of it all, and a file that cannot be used.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

quota=$((2 * 1024 * 1024))
packet=1420 # the longest inner packet: by so much a quota may be exceeded

topology_up
"${CC:-cc}" -shared -fPIC -o "$dir/wall_clock.so" "$tests_dir/tools/wall_clock.c"

# The gateway's clock: so many seconds from the right one.
clock_moves() { # SECONDS
	echo "$1" >"$dir/wall_clock.new"
	mv "$dir/wall_clock.new" "$dir/wall_clock"
}

# Without filters of system calls: the preloaded clock reads its file in every thread. All but the clock is tested with them.
timed_gateway_start() {
	start gateway gateway env LD_PRELOAD="$dir/wall_clock.so" WALL_CLOCK_FILE="$dir/wall_clock" \
		"$BUILD/shardtund" -c "$dir/gateway.conf"
	wait_for 30 status_json gateway
}

# Midday, so that no test meets the end of a day.
noon=$((43200 - $(date +%s) % 86400))

# A member of the client's session.
session() { # MEMBER
	ctl --json sessions --peer "$(public_key client)" --state active | python3 -c "import json, sys
print(json.load(sys.stdin)['sessions'][0]['$1'])"
}

# What is used, once nothing moves any more: the host answers with ICMP to some of what is sent.
settled() {
	local last="" used
	used=$(session quota_used)
	until [[ $used == "$last" ]]; do
		sleep 0.5
		last=$used
		used=$(session quota_used)
	done
	echo "$used"
}

used_is() { # BYTES
	local used
	used=$(session quota_used)
	[[ $used -eq $1 ]] || {
		echo "$used bytes are used"
		return 1
	}
}

# The quota is used up, and exceeded by less than a packet.
used_up_exactly() { # QUOTA
	local used
	used=$(session quota_used)
	echo "$used bytes are used"
	[[ $used -ge $1 && $used -lt $(($1 + packet)) ]]
}

# So many bytes of UDP, up, in packets of 1228 bytes.
send() { # BYTES
	ns client python3 -c '
import socket, sys, time
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(int(sys.argv[1]) // 1228):
    udp.sendto(bytes(1200), ("10.8.0.1", 9))
    if i % 32 == 31:
        time.sleep(0.002)' "$1"
}

both_ways_until_cut() {
	local i
	for ((i = 0; i < 40; i++)); do
		pings client 10.8.0.1 -s 1300 -W 1 || return 0
		send 100000
	done
	echo "it is not cut off"
	return 1
}

cut_off() {
	! pings client 10.8.0.1 -W 1
}

# It need not get an answer for that.
back() {
	free || figure_is gateway sessions.active 1
}

free() {
	pings client 10.8.0.1 -W 1
}

events() { # TIMES
	[[ $(grep -c 'event=quota ' "$dir/gateway.log") -eq $1 ]] || {
		grep 'event=quota ' "$dir/gateway.log"
		return 1
	}
}

line_has() { # BYTES
	local line
	line=$(grep -F "$(public_key client)" "$dir/state/quota")
	[[ $line == *" day "*" $(printf %020d "$1")" ]] || {
		echo "$line"
		return 1
	}
}

set_quota() { # OPTION...: the gateway's
	gateway_config "Workers = 2" "QuotaFile = state/quota" "$@"
}

# --- exact, and once said ---
clock_moves "$noon"
set_quota "Quota = 2M/day" "Seccomp = no"
client_config
timed_gateway_start
client_start
check "the file is made, for the gateway alone" test "$(stat -c %a "$dir/state" "$dir/state/quota" | tr '\n' ' ')" = "700 600 "
check "traffic until the quota is used up" both_ways_until_cut
check "exact to a packet" used_up_exactly "$quota"
counted=$(settled)
check "what the session moved is what counts" test $(($(session rx_bytes) + $(session tx_bytes))) -eq "$counted"
send 200000
check "nothing passes any more" used_is "$counted"
check "what is dropped has its reason" figure_is_at_least gateway quota_up 100
check "an event says so" wait_for 10 grep -qE "event=quota session=[0-9a-f]+ peer=[^ ]+ quota=$quota period=day used=$counted rate=0" "$dir/gateway.log"
check "sessions shows it" grep -qE ' 2\.[0-9]+ [A-Za-z]+ +2M/day ' <(ctl sessions)
check "and so does the status" wait_for 10 figure_is gateway quotas.over 1
check "the file has the number" wait_for 10 line_has "$counted"

# --- reload: raised and lowered, without a new session ---
connected=$(figure gateway sessions_started)
sed -i 's/^Quota = .*/Quota = 4M\/day/' "$dir/gateway.conf"
ctl reload >"$dir/said"
check "a raised quota sets the session free" wait_for 2 free
check "what was used counts on" test "$(session quota_used)" -ge "$counted"
sed -i 's/^Quota = .*/Quota = 1M\/day/' "$dir/gateway.conf"
ctl reload >"$dir/said"
check "a lowered one cuts it off" cut_off
check "which is said once more" wait_for 10 events 2
sed -i 's/^Quota = .*/Quota = 4M\/day/' "$dir/gateway.conf"
ctl reload >"$dir/said"
check "raised again" wait_for 2 free
check "all that in one session" figure_is gateway sessions_started "$connected"

# --- the clock ---
counted=$(session quota_used)
clock_moves $((noon - 3 * 86400))
check "a clock that is set back is warned of" wait_for 10 grep -q "warning: quotas: the clock was set back, to .*: 1 clients keep" "$dir/gateway.log"
check "and nothing is lost" test "$(session quota_used)" -ge "$counted"
clock_moves "$noon"
sleep 2
check "nor when it is set right" test "$(session quota_used)" -ge "$counted"
both_ways_until_cut >"$dir/said" || true
clock_moves $((noon + 86400))
check "a clock that is put forward begins a new day" wait_for 10 grep -q "info: quotas: a new day began on .*, since the clock was put forward: 1 clients" "$dir/gateway.log"
check "the session is free, and has used little" free
check "of its new quota" test "$(session quota_used)" -lt 5000
check "all that in one session" figure_is gateway sessions_started "$connected"
check "every packet is accounted for" wait_for 30 accounted_for gateway
both_stop

# --- restarts, with the filters of system calls ---
# The end of a real day is not to come in between.
left=$((86400 - $(date +%s) % 86400))
[[ $left -gt 600 ]] || sleep "$left"
rm -r "$dir/state"
set_quota "Quota = 2M/day"
gateway_start
client_start
send 500000
stop gateway || true
counted=$(grep 'event=disconnect ' "$dir/gateway.log" | tail -n 1 |
	sed 's/.* rx_bytes=\([0-9]*\) .* tx_bytes=\([0-9]*\).*/\1 + \2/')
counted=$((counted))
check "half a megabyte" test "$counted" -ge 490000
check "an orderly end writes the last byte" line_has "$counted"
gateway_start
check "the client is back" wait_for 30 free
before=$(session quota_used)
check "after a restart it counts on" test "$before" -ge "$counted" -a "$before" -lt $((counted + 5000))
send 500000
counted=$(settled)
check "what is used is in the file a second later" wait_for 10 line_has "$counted"
kill_hard gateway
gateway_start
wait_for 30 free
check "after a crash too" test "$(session quota_used)" -ge "$counted"
check "the rest" both_ways_until_cut
check "is exact, over three processes" used_up_exactly "$quota"
said=$(grep -c 'event=quota ' "$dir/gateway.log")
kill_hard gateway
gateway_start
check "after another crash the client is back" wait_for 30 back
check "and still over its quota" cut_off
sleep 2
check "the event is not repeated" events "$said"

# --- reset ---
check "quota reset" ctl quota reset "$(public_key client)"
check "sets it free" wait_for 5 free
check "from 0" test "$(session quota_used)" -lt 5000
check "a peer without is refused" ctl_refuses "no such peer" quota reset "$(public_key nobody)"

# --- others and the file ---
rm "$dir/state/quota"
send 10000
check "a file that is removed is made anew" wait_for 10 line_has "$(settled)"
check "which is said" grep -q "warning: QuotaFile = .*: another program removed or replaced it: it is written anew" "$dir/gateway.log"
truncate -s 5 "$dir/state/quota"
send 10000
check "one that is truncated is written anew" wait_for 10 line_has "$(settled)"
echo "an editor was here" >>"$dir/state/quota"
both_stop
gateway_start
check "a line that is none is skipped, and named" grep -q "warning: QuotaFile = .*/quota:3: 1 lines" "$dir/gateway.log"
check "the others are read" grep -q "$(public_key client)" "$dir/state/quota"

# --- a rate afterwards ---
sed -i 's/^Quota = .*/Quota = 1M\/day\nQuotaRate = 800K/' "$dir/gateway.conf"
ctl reload >"$dir/said"
client_start
ctl quota reset "$(public_key client)" >"$dir/said"
send 1200000
check "the quota is used up" test "$(session quota_used)" -ge 1048576
before=$(session quota_used)
took=$EPOCHREALTIME
send 2000000
sleep 1
check "QuotaRate: the rate holds" awk -v bytes="$(($(session quota_used) - before))" -v from="$took" -v to="$EPOCHREALTIME" \
	'BEGIN { share = 8 * bytes / (to - from) / 800000; print share; exit !(share > 0.4 && share < 1.1) }'
check "and it answers" wait_for 5 free
check "the event says the rate" wait_for 10 grep -q "event=quota .* rate=800000" "$dir/gateway.log"

# --- peers at run time; what cannot be ---
key=$(public_key client)
stop client || true
ctl peer del "$key" >"$dir/said"
ctl peer add "$key" --psk-file "$dir/client.psk" --quota 3M/week --quota-rate off >"$dir/said"
client_start
check "peer add: its quota holds" grep -q ' 3M/week ' <(ctl sessions)
for bad in "--quota 0/day" "--quota 63K/day" "--quota 1G" "--quota 1G/year" "--quota 1025T/month" "--quota-rate 1"; do
	# shellcheck disable=SC2086 # two words
	ctl peer add "$(public_key nobody)" $bad >"$dir/said" 2>&1 && echo accepted >>"$dir/said"
	check "peer add $bad is refused" grep -qE "^shardtunctl: $bad: neither 'off' nor " "$dir/said"
done
both_stop

gateway_config "QuotaFile = /proc/quota" "Quota = 1G/month"
check_fails "a file that cannot be made is an error at the start" ns gateway "$BUILD/shardtund" -c "$dir/gateway.conf"
ns gateway "$BUILD/shardtund" -c "$dir/gateway.conf" >"$dir/said" 2>&1 || true
check "with a line that says what to do" grep -qE "QuotaFile = /proc/quota: cannot be opened .*; (let|make|give) " "$dir/said"
gateway_config "QuotaFile = /proc/quota"
gateway_start
check "without a quota it is not needed" status_json gateway
check "but for the first one it is" ctl_refuses "QuotaFile = /proc/quota: cannot be opened" peer add "$(public_key nobody)" --quota 1G/month
sed -i 's/^QuotaFile = .*/&\nQuota = 1G\/month/' "$dir/gateway.conf"
check "a reload that brings one changes nothing" ctl_refuses "QuotaFile = /proc/quota: cannot be opened" reload
stop gateway || true

done_testing
