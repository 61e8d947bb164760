#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the gateway says of its clients: one line for each that connects, moves, leaves or is refused; with fields where its
# log is systemd's journal; without addresses where they are to be hidden; and in numbers when there are too many.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up

said() { # PATTERN
	wait_for 30 grep -qE "$1" "$dir/gateway.log"
}

client_key=$(public_key client)
peer=${client_key//+/\\+}
number='[0-9]+'

gateway_config "Workers = 2"
add_peer second "Address = 10.8.0.9"
client_config "ListenPort = 6000"
gateway_start
client_start
check "connect: session, peer, endpoint, addresses, suite, MTU" said \
	"^info: event=connect session=[0-9a-f]{8} peer=$peer endpoint=192.0.2.2:6000 addresses=10.8.0.2,fd00:8::2 suite=[-A-Za-z0-9]+ mtu=1420$"

# --- the client's address changes under it: its NAT chose another ---
ns client nft add table ip nat "{ chain out { type nat hook postrouting priority srcnat; udp sport 6000 masquerade to :6100; }; }"
check "packets go on" answers client 10.8.0.1
check "roam: from where to where" said \
	"^info: event=roam session=[0-9a-f]{8} peer=$peer endpoint=192.0.2.2:6100 previous=192.0.2.2:6000$"
status=0
stop client || status=$?
check "disconnect: reason, duration and totals" said \
	"^info: event=disconnect session=[0-9a-f]{8} peer=$peer endpoint=192.0.2.2:6100 reason=\"going away\" duration=$number\\.[0-9]{3} rx_packets=$number rx_bytes=$number tx_packets=$number tx_bytes=$number$"
totals() {
	grep event=disconnect "$dir/gateway.log" |
		awk '{ for (i = 1; i <= NF; i++) { split($i, pair, "="); v[pair[1]] = pair[2] } }
			END { print; exit !(v["rx_packets"] >= 2 && v["rx_bytes"] >= 84 * v["rx_packets"] - 84 && v["duration"] > 0 && v["tx_packets"] >= 2) }'
}
check "that are right" totals
ns client nft delete table ip nat

# --- refused ---
other_client_config stranger stranger 192.0.2.1:5555 10.8.0.1/32 "ListenPort = 6001"
start stranger client "$BUILD/shardtun" run "$dir/stranger.conf"
stranger=$(public_key stranger)
check "refused: who is not known" said \
	"^warning: event=refused peer=${stranger//+/\\+} endpoint=192.0.2.2:6001 reason=unknown_peer$"
stop stranger || true
gone=$(public_key second)
other_client_config second second 192.0.2.1:5555 10.8.0.0/16
# Of the seconds until it tries again, five pass in one.
"${CC:-cc}" -shared -fPIC -o "$dir/wall_clock.so" "$tests_dir/tools/wall_clock.c"
start second client env LD_PRELOAD="$dir/wall_clock.so" CLOCK_SPEED=5 "$BUILD/shardtun" run "$dir/second.conf"
wait_for 30 grep -q 'info: connected' "$dir/second.log"
gateway_config "Workers = 2"
ctl reload >/dev/null
check "disconnect: removed by a reload" said \
	"^info: event=disconnect .* peer=${gone//+/\\+} .* reason=\"removed by the operator\""
check "and refused from then on" said "^warning: event=refused peer=${gone//+/\\+} .* reason=unknown_peer$"
stop second || true

# --- more than a disk has room for: HELLOs of unknown keys ---
# Under load the gateway asks for cookies instead: some more then.
many_refused() {
	ns client "$tests_dir/tools/refusals.py" 192.0.2.1:5555 "$(public_key gateway)" 100
	[[ $(figure gateway unknown_peer) -ge 250 ]]
}
wait_for 60 many_refused || not_ok "many were refused"
suppressed() {
	grep -qE "^warning: event=suppressed kind=refused count=$number$" "$dir/gateway.log"
}
check "what is too much is one number" wait_for 30 suppressed
few_lines() {
	local refused left
	refused=$(grep -c event=refused "$dir/gateway.log")
	left=$(sed -n 's/.*event=suppressed kind=refused count=//p' "$dir/gateway.log" | awk '{ sum += $1 } END { print sum }')
	echo "$refused lines, $left left out"
	[[ $refused -le 200 && $((refused + left)) -eq $1 ]]
}
unknown=$(figure gateway unknown_peer)
check "lines and number are all there were" wait_for 30 few_lines "$unknown"
status=0
stop gateway || status=$?
check "the gateway ends with status 0" test "$status" -eq 0

# --- hidden ---
: >"$dir/gateway.log"
gateway_config "HideAddresses = yes"
gateway_start
client_start
ns client "$tests_dir/tools/refusals.py" 192.0.2.1:5555 "$(public_key gateway)" 1
check "HideAddresses: a client without its address" said "^info: event=connect .* endpoint=hidden addresses=10.8.0.2,"
check "nor that of who is refused" said "^warning: event=refused .* endpoint=hidden "
both_stop
check "no line has one" eval '! grep -q "192\\.0\\.2\\.2" "$dir/gateway.log"'

# --- where standard error is the journal ---
gateway_config
cat >"$dir/journal.py" <<-'END'
	# Stands in for systemd-journald: native messages go to a socket, lines to standard error.
	import os, socket, subprocess, sys
	subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)  # of this namespace alone
	os.makedirs("/run/systemd/journal")
	journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
	journal.bind("/run/systemd/journal/socket")
	status = os.fstat(2)
	child = subprocess.Popen(sys.argv[1:], env=dict(os.environ, JOURNAL_STREAM=f"{status.st_dev}:{status.st_ino}"))
	journal.settimeout(0.2)
	while child.poll() is None:
	    try:
	        print("message:", *sorted(journal.recv(65536).decode().split("\n")), flush=True)
	    except TimeoutError:
	        pass
END
: >"$dir/gateway.log"
start gateway gateway unshare --mount python3 "$dir/journal.py" "$BUILD/shardtund" -c "$dir/gateway.conf"
wait_for 30 listens gateway udp 5555
client_start
check "in the journal an event has fields" said \
	"^message: .*MESSAGE=event=connect session=.* PRIORITY=6 .*SHARDTUN_ADDRESSES=10.8.0.2,fd00:8::2 SHARDTUN_ENDPOINT=192.0.2.2:6000 SHARDTUN_EVENT=connect .*SHARDTUN_PEER=$peer SHARDTUN_SESSION=[0-9a-f]{8} .*SYSLOG_IDENTIFIER=shardtund"
check "and other lines a priority" said "^<6>gateway on UDP "
stop client || true
check "the reason is one of them" said "SHARDTUN_EVENT=disconnect .*SHARDTUN_REASON=going away "
check "no event is a line as well" eval '! grep -q "^<.>event=" "$dir/gateway.log"'

done_testing
