#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A new process takes the gateway's sessions over, five times in a row, under pings and a TCP connection: no ping is lost,
# sessions and counters go on, each query of status and metrics is answered, and nobody connects again. One that cannot leaves the old
# one as it is.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

times=5

topology_up
mkdir "$dir/own"
chown nobody "$dir/own"
chmod 711 "$dir"
gateway_config "MetricsListen = 127.0.0.1:9586" "Workers = 2" "LogLevel = info" "Forward = yes" "Masquerade = eth1" "User = nobody"
sed -i 's|^ControlSocket = .*|ControlSocket = own/gateway.sock\nQuotaFile = own/quota|
	0,/^PresharedKeyFile.*/s//&\nQuota = 1000G\/month\nAllowedIPs = 192.168.7.0\/24/' "$dir/gateway.conf"
ln -s own/gateway.sock "$dir/gateway.sock"
client_config
status=0
ns gateway "$BUILD/shardtund" -c "$dir/gateway.conf" --takeover >"$dir/none.log" 2>&1 || status=$?
check "without a gateway that runs there is nothing to take over" test "$status" -eq 1
check "which one line says" grep -qE '^shardtund: take-over: no gateway that runs answers at [^ ]*own/gateway.sock.takeover' "$dir/none.log"
gateway_start
client_start
traffic_serve host
start stream client "$tests_dir/tools/stream.py" 198.51.100.2 2000000

sessions() {
	ctl --json sessions | python3 -c '
import json, sys
for one in json.load(sys.stdin)["sessions"]:
    print(one["id"], one["addresses"], one["state"])'
}

# What the file has.
quota_used() {
	awk '$2 == "month" { print $5 + 0 }' "$dir/own/quota"
}

behind() {
	ns gateway ip route show 192.168.7.0/24 dev shardtun0 | grep -q .
}

# Not before `ip monitor` listens.
watched() {
	ns gateway ip route add 192.168.99.0/24 dev shardtun0 && ns gateway ip route del 192.168.99.0/24 dev shardtun0
	grep -q 'Deleted 192\.168\.99\.0' "$dir/monitor.log"
}

one_table() {
	[[ $(nft_tables gateway | wc -l) -eq 1 ]]
}

take_over() { # NAME
	start "$1" gateway "$BUILD/shardtund" -c "$dir/gateway.conf" --takeover
}

# Not by check: its subshell cannot wait for it.
status_of() { # NAME
	status=0
	wait_for 30 gone "${started[$1]}" || true
	wait "${started[$1]}" || status=$?
	unset "started[$1]"
}

sessions >"$dir/sessions"
check "there is a session" test -s "$dir/sessions"
interface_index gateway >"$dir/index"
started_sessions=$(figure gateway sessions_started)
packets=$(figure gateway udp_rx_bytes)
used=0

### one that cannot ####################################################################################################

sed 's/^Workers = 2/Workers = two/' "$dir/gateway.conf" >"$dir/wrong.conf"
status=0
ns gateway "$BUILD/shardtund" -c "$dir/wrong.conf" --takeover >"$dir/wrong.log" 2>&1 || status=$?
check "a configuration that does not parse ends the new process alone" test "$status" -eq 3
check "with one line" test "$(wc -l <"$dir/wrong.log")" -eq 1
sed 's/^Workers = 2/Workers = 3/' "$dir/gateway.conf" >"$dir/layout.conf"
status=0
ns gateway "$BUILD/shardtund" -c "$dir/layout.conf" --takeover >"$dir/layout.log" 2>&1 || status=$?
check "another layout is refused" test "$status" -eq 1
check "which the new process says" grep -q "layout is another one: restart the gateway instead" "$dir/layout.log"
check "and the old one too" logged gateway "layout is another one.*serves on" 1
sed '/^Workers/a MaxSessions = 100
	/^AllowedIPs/s|192.168.7.0|192.168.8.0|' "$dir/gateway.conf" >"$dir/late.conf"
check "the network behind the client has its route" behind
start monitor gateway ip monitor route
check "(routes are watched)" wait_for 30 watched
status=0
ns gateway "$BUILD/shardtund" -c "$dir/late.conf" --takeover >"$dir/late.log" 2>&1 || status=$?
check "one that finds out late that it cannot have the sessions ends" test "$status" -eq 1
check "with the reason" grep -q "Workers or MaxSessions differs" "$dir/late.log"
check "and the old one says that it serves on" wait_for 30 logged gateway "the other process is gone; this process serves on" 1
check "with its rules" test -n "$(nft_tables gateway)"
ns gateway ip route add 192.168.98.0/24 dev shardtun0
check "(to the end)" wait_for 30 grep -q '^192\.168\.98\.0' "$dir/monitor.log"
ns gateway ip route del 192.168.98.0/24 dev shardtun0
stop monitor || true
check_fails "its routes were left alone" grep -qE '192\.168\.[78]\.0' "$dir/monitor.log"
check "and are there" behind
check "no good-bye was sent" figure_is gateway tx_bye 0
check "only root and the gateway's user may connect" test "$(stat -c %a "$dir/own/gateway.sock.takeover")" = 600
chmod 666 "$dir/own/gateway.sock.takeover"
check "a stranger is refused" ns gateway setpriv --reuid 12345 --regid 12345 --clear-groups python3 - "$dir" <<-'END'
	import socket, sys
	s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
	s.connect(sys.argv[1] + "/own/gateway.sock.takeover")
	s.send(bytes(16))
	s.settimeout(30)
	said = s.recv(4096)
	assert b"may not have the sessions" in said, said
END
# As nobody it cannot read what root's new process could.
status=0
ns gateway "$BUILD/shardtund" -c "$dir/gateway.conf" --reload >"$dir/unread.log" 2>&1 || status=$?
check "a reload that the old process cannot do fails" test "$status" -eq 1
check "with its reason" grep -q "Permission denied" "$dir/unread.log"
chown nobody "$dir/gateway.conf" "$dir"/*.key "$dir"/*.psk
check "and one that it can do passes" ns gateway "$BUILD/shardtund" -c "$dir/gateway.conf" --reload
check "when that is done" logged gateway "gateway.conf read again" 1

# As one of a former version, which does not listen for it.
mv "$dir/own/gateway.sock.takeover" "$dir/own/aside"
status=0
ns gateway "$BUILD/shardtund" -c "$dir/gateway.conf" --reload >"$dir/nobody.log" 2>&1 || status=$?
check "a reload without an answer fails" test "$status" -eq 1
check "but with the service manager's word of the main process" ns gateway env MAINPID="${started[gateway]}" \
	"$BUILD/shardtund" -c "$dir/gateway.conf" --reload
check "that gets the signal" wait_for 30 logged gateway "gateway.conf read again" 2
mv "$dir/own/aside" "$dir/own/gateway.sock.takeover"

# While the new process starts.
meanwhile() { # NAME COMMAND...
	local name=$1
	shift
	start "relay_$name" gateway "$tests_dir/tools/takeover_relay.py" "$dir/own/gateway.sock.takeover" "$@"
	wait_for 30 logged "relay_$name" ready 1
	status=0
	ns gateway "$BUILD/shardtund" -c "$dir/gateway.conf" --takeover >"$dir/$name.log" 2>&1 || status=$?
	stop "relay_$name" || true
}

key=$(head -c 32 /dev/urandom | base64)
meanwhile added "$BUILD/shardtunctl" --socket "$dir/gateway.sock" --config "$dir/gateway.conf" peer add "$key"
check "a peer that is added meanwhile ends the new process" test "$status" -eq 1
check "with the reason" grep -q "take-over: peers, limits or quotas changed while" "$dir/added.log"
check "and stays" ctl peer del "$key"
meanwhile reset "$BUILD/shardtunctl" --socket "$dir/gateway.sock" --config "$dir/gateway.conf" quota reset "$(public_key client)"
check "as does a quota that is reset" test "$status" -eq 1
check "with the same reason" grep -q "take-over: peers, limits or quotas changed while" "$dir/reset.log"
check "the old one serves on" pings client 10.8.0.1
check "with the sessions that it had" diff "$dir/sessions" <(sessions)
check "and its interface" test "$(interface_index gateway)" = "$(<"$dir/index")"

### five that can ######################################################################################################

start pings client ping -n -i 0.02 -w 3600 10.8.0.1
start steady gateway "$tests_dir/tools/steady.py" http://127.0.0.1:9586/metrics "$BUILD/shardtunctl" --socket "$dir/gateway.sock" \
	--config "$dir/gateway.conf"
wait_for 30 grep -qx asking "$dir/steady.log"
old=gateway
for ((i = 1; i <= times; i++)); do
	take_over "new$i"
	status_of "$old"
	check "$i: the old process ends, with a failure" test "$status" -eq 1
	check "$i: the new one says how many sessions it has" wait_for 30 logged "new$i" "take-over: 1 sessions go on here" 1
	check "$i: shardtunctl answers" wait_for 30 status_json gateway
	check "$i: the session is the same" diff "$dir/sessions" <(sessions)
	check "$i: nobody connected again" figure_is gateway sessions_started "$started_sessions"
	now=$(figure gateway udp_rx_bytes)
	check "$i: counters go on ($packets, $now)" test "$now" -gt "$packets"
	packets=$now
	now=$(quota_used)
	check "$i: what was used of the quota goes on ($used, $now)" test "$now" -gt "$used"
	check_fails "$i: its file is locked" flock -n "$dir/own/quota" true
	used=$now
	check "$i: the interface is the same" test "$(interface_index gateway)" = "$(<"$dir/index")"
	check "$i: the rules are there, once" wait_for 30 one_table
	check "$i: the network behind the client has its route" wait_for 30 behind
	check "$i: packets pass both ways" pings client 10.8.0.1
	old=new$i
done
status=0
stop steady || status=$?
tail -n 1 "$dir/steady.log" | diagnose
check "ten times a second status and metrics were answered, and no counter went back" test "$status" -eq 0
kill -INT "${started[pings]}"
wait "${started[pings]}" || true
unset "started[pings]"
tail -n 3 "$dir/pings.log" | diagnose
check "no ping was lost" grep -q ' 0% packet loss' "$dir/pings.log"
status=0
stop stream || status=$?
check "the TCP connection lived through all of it" test "$status" -eq 0
check "the client heard nothing of it" test "$(grep -c 'info: connected' "$dir/client.log")" -eq 1

### what happens at the last moment ##################################################################################

# The client's good-bye comes when the old process is to stand still: one of the two logs it. A query comes in the same turn of the old
# one's loop: it accepts the connection, and answers it before it goes.
start relay_last gateway "$tests_dir/tools/takeover_relay.py" "$dir/own/gateway.sock.takeover" --last sh -c "
	kill -STOP ${started[$old]}
	kill ${started[client]}
	'$BUILD/shardtunctl' --socket '$dir/gateway.sock' --config '$dir/gateway.conf' --json identity >'$dir/query' 2>&1 &
	sleep 0.3
	(sleep 0.1; kill -CONT ${started[$old]}) &"
wait_for 30 logged relay_last ready 1
take_over last
status_of "$old"
check "the old process ends once more" test "$status" -eq 1
check "the client's end is in one of the logs" wait_for 30 sh -c "cat '$dir/$old.log' '$dir/last.log' | grep -q event=disconnect"
stop relay_last || true
check "who asked at that moment has an answer" wait_for 30 grep -q '"public_key"' "$dir/query"
old=last

### the end ############################################################################################################

status=0
stop client || status=$?
check "the client ends well" test "$status" -eq 0
status=0
stop "$old" || status=$?
check "the last process ends well" test "$status" -eq 0
check "and leaves nothing behind" nothing_left gateway
check "nor a socket for take-overs" test ! -e "$dir/own/gateway.sock.takeover"

done_testing
