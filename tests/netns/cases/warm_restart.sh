#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: alone
# A machine with systemd, whose store keeps the gateway's descriptors: 200 clients send something every 100 ms, one has TCP
# connections. The gateway is killed, crashes, is restarted: no datagram meets a closed port, all clients are back by RESET
# within a second, and interface, addresses, routes and rules never go away. A stop removes everything, and another layout
# starts afresh.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/machine.sh
. "$(dirname "$0")/../lib/machine.sh"

sessions=200 streams=8

### the machine ########################################################################################################

[[ $EUID -ne 0 || -x /lib/systemd/systemd ]] || skip_all "needs systemd"
topology_up
machine_up gateway
machine_install_gateway gateway

gateway_config "Workers = 2" "MetricsListen = 127.0.0.1:9586" "User = shardtun" "LogLevel = info"
sed -i '/^ControlSocket/d' "$dir/gateway.conf"
"$BUILD/stgun" keys "$sessions" --seed warm >>"$dir/gateway.conf"
sed -i '0,/^PresharedKeyFile.*/s//&\nAllowedIPs = 192.168.7.0\/24/' "$dir/gateway.conf"
tar -C "$dir" -c gateway.conf gateway.key client.psk | on gateway tar -xo -C /etc/shardtun
on gateway sh -c 'cd /etc/shardtun && chgrp shardtun * && chmod 640 gateway.conf gateway.key client.psk'

### what is looked at ##################################################################################################

status() {
	on gateway shardtunctl --json status
}

# Says the milliseconds from the moment in which systemd heard that the gateway is ready to that in which it started, and
# to those in which nine tenths, and all, are back. With "next" those of the process after the one that runs, which is noted first: on a
# busy machine this program would take longer to start than clients to come back. The socket waits for the next process.
on gateway sh -c 'cat >/root/back.py' <<'END'
import glob, json, socket, subprocess, sys, time

def look():
    """How many clients there are, and for how long the process runs, in whole seconds; None: no answer."""
    control = socket.socket(socket.AF_UNIX)
    control.settimeout(0.5)
    try:
        control.connect(glob.glob("/run/shardtun/*.sock")[0])
        control.sendall(b"status\n")
        result = json.loads(b"".join(iter(lambda: control.recv(1 << 16), b"")))["result"]
        return result["sessions"]["active"], result["uptime_seconds"]
    except (IndexError, OSError, ValueError):
        return None

def moment(name):
    show = ("systemctl", "show", "-P", name + "TimestampMonotonic", "shardtund")
    return int(subprocess.run(show, capture_output=True, text=True).stdout) / 1e6

wanted, limit = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
before = 0 if "next" in sys.argv else None  # for how long the process of before has run; None: this is the right one
began, now, most = time.monotonic() if "next" in sys.argv else 0, -1, 0
while time.monotonic() < limit and now < wanted:
    seen = look()
    if seen and before is not None and seen[1] >= before:
        if before == 0 and seen[1] > 0:
            print("watching", flush=True)
        before = seen[1]
    elif seen:
        before, now = None, seen[0]
    if now >= wanted * 9 // 10 and not most:
        most = time.monotonic()
    time.sleep(0.02)
end = time.monotonic()
while moment("ActiveEnter") < began and time.monotonic() < limit:
    time.sleep(0.02)
ready = moment("ActiveEnter")
print(*(round((time - ready) * 1000) for time in (moment("ExecMainStart"), most, end)) if now >= wanted else ("not all:", now))
END

# Before what ends the process that runs.
observe() {
	: >"$dir/back.log"
	start back gateway nsenter --target "$(init_of gateway)" --mount --pid --cgroup -- env LC_ALL=C.UTF-8 python3 /root/back.py \
		"$((sessions + 1))" $((20 * patience)) next
	wait_for 30 grep -qx watching "$dir/back.log"
}

all_back() {
	wait_for 30 gone "${started[back]}" || true
	tail -n 1 "$dir/back.log" | grep -E '^-?[0-9]+ -?[0-9]+ -?[0-9]+$'
}

# Without RESET it would take 15 s.
back_within() { # SECONDS
	local took
	took=$(all_back) || { echo "not all are back"; status; return 1; }
	echo "started, and nine tenths and all were back: $took ms after it was ready" >>"$dir/times"
	tail -n 1 "$dir/times"
	[[ ${took##* } -lt $(($1 * 1000 + $(slack_ms))) ]]
}

told() {
	[[ $(status | python3 -c 'import json, sys; print(json.load(sys.stdin)["counters"]["tx_reset"])') -gt $sessions ]]
}

# What went away, if only for a moment. Tables that are added and deleted in one step, to see whether the kernel has something and to
# remove what a take-over may have left, held nothing.
gone_meanwhile() {
	grep -hE '^Deleted|^delete table' "$dir/monitor.log" "$dir/rules.log" | grep -F "$1" | grep -v -e "-probe" -e "inet shardtun2-" || true
}

# Datagrams to a closed port, and what was answered to them.
refused() {
	ns gateway nstat -asz UdpNoPorts Udp6NoPorts IcmpOutDestUnreachs Icmp6OutDestUnreachs |
		awk '!/^#/ { sum += $2 } END { print sum + 0 }'
}

overflowed() {
	ns gateway nstat -asz UdpRcvbufErrors Udp6RcvbufErrors | awk '!/^#/ { sum += $2 } END { print sum + 0 }'
}

# All about the interface that a new one would not have.
interface() {
	ns gateway ip -o link show dev shardtun0 | grep -o '^[0-9]*: [a-z0-9]*'
	ns gateway ip -o address show dev shardtun0
	ns gateway ip route show table all dev shardtun0
	ns gateway ip -6 route show table all dev shardtun0
	ns gateway ip rule show
	ns gateway nft list table inet shardtun-shardtun0 | sed -E 's/packets [0-9]+ bytes [0-9]+//'
}

# By way of another process's socket, which is bound to the interface.
echoes() {
	ns client python3 - <<-'END'
		import socket
		udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		udp.settimeout(2)
		udp.sendto(b"still there?", ("10.8.0.1", 7777))
		assert udp.recv(100) == b"still there?"
	END
}

pid() {
	main_pid gateway shardtund
}

started_again() { # OLD_PID
	local now
	now=$(pid) && [[ $now != "$1" ]] && on gateway systemctl is-active shardtund
}

# One line of the journal, so many times.
said() { # PATTERN TIMES
	[[ $(journal gateway shardtund | grep -cE "$1") -eq $2 ]]
}

goodbyes() {
	grep -c 'restarting' "$dir/client.log" || true
}

# The same of each way to start again.
unharmed() { # DESCRIPTION TIMES
	check "$1: all $((sessions + 1)) clients are back within a second" back_within 1
	check "$1: because they were told by RESET" told
	check "$1: no datagram met a closed port" test "$(refused)" -eq "$before_refused"
	check "$1: and none found a full socket" test "$(overflowed)" -eq "$before_overflowed"
	check "$1: index, addresses, routes, rules are as before" diff "$dir/interface" <(interface)
	check "$1: and never went away" test -z "$(gone_meanwhile shardtun0; gone_meanwhile 'lookup 77')"
	check "$1: another process's socket on the interface works" wait_for 30 echoes
	check "$1: and never failed" running echo
	check "$1: one line says so" said 'interface shardtun0, its queues and the sockets are those from before' "$2"
	check "$1: clients were not said good-bye" test "$(goodbyes)" -eq 0
	check "$1: metrics are answered" wait_for 30 on gateway python3 -c \
		'import urllib.request as u; assert b"shardtun_sessions" in u.urlopen("http://127.0.0.1:9586/metrics").read()'
}

### load ###############################################################################################################

ns client ip route add local 10.64.0.0/16 dev lo
ns gateway ip route add 10.64.0.0/16 via 192.0.2.2
ns gateway ip route add blackhole 10.99.0.1/32
check "the gateway starts" on gateway systemctl start shardtund
check "nothing was kept, and nothing is said about it" said 'service manager' 0
client_config
client_start
traffic_serve host
for ((i = 0; i < streams; i++)); do
	start "stream-$i" client "$tests_dir/tools/stream.py" 198.51.100.2 20000
done
start pings client ping -n -q -i 0.1 10.8.0.1
start clients client "$BUILD/stgun" connect --gateway 192.0.2.1:5555 --gateway-key "$(public_key gateway)" --seed warm \
	--source 10.64.0.0/16 --sessions "$sessions" --threads 1 --to 10.99.0.1 --stay 1200 --every 0.1 --say data \
	--json "$dir/report.json"
connected() {
	on gateway python3 /root/back.py "$((sessions + 1))" $((20 * patience)) | grep -v not
}
check "$sessions clients and one with TCP connect" connected
[[ $failures -eq 0 ]] || { done_testing; exit 1; }

start echo gateway python3 -c '
import socket
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"shardtun0")
udp.bind(("10.8.0.1", 7777))
while True:
    udp.sendto(*udp.recvfrom(2000))'
ns gateway ip address add 10.8.255.1/32 dev shardtun0
ns gateway ip route add 10.77.0.0/16 dev shardtun0 table 77
ns gateway ip rule add from 10.77.0.0/16 lookup 77 priority 777
check "another process's socket on the interface is reached" wait_for 30 echoes
interface >"$dir/interface"
check "the gateway has a route to a network behind a peer" grep -q '^192.168.7.0/24' "$dir/interface"
before_refused=$(refused) before_overflowed=$(overflowed)
start monitor gateway ip -o monitor link address route rule
start rules gateway nft monitor
ns gateway ip route add 10.78.0.0/16 dev shardtun0
ns gateway nft add table inet shardtun0-watched
ns gateway ip route delete 10.78.0.0/16 dev shardtun0
ns gateway nft delete table inet shardtun0-watched
check "what goes away is seen" wait_for 30 eval '[[ $(gone_meanwhile shardtun0 | wc -l) -eq 2 ]]'
: >"$dir/monitor.log"
: >"$dir/rules.log"

### kill, restart ######################################################################################################

# A client follows one RESET in 10 s (core/protocol/PROTOCOL.md, RESET).
pause() {
	sleep 11
}

old=$(pid)
observe
on gateway kill -KILL "$old"
check "who was killed is started again" wait_for 30 started_again "$old"
unharmed "killed" 1
pause
observe
on gateway systemctl restart shardtund
unharmed "restarted" 2
pause
old=$(pid)
observe
on gateway kill -ABRT "$old"
check "who crashed is started again" wait_for 30 started_again "$old"
unharmed "crashed" 3
for ((i = 0; i < streams; i++)); do
	status=0
	stop "stream-$i" || status=$?
	check "TCP connection $i lived through all of it" test "$status" -eq 0
done
pipe=$(on gateway systemctl show -P NFileDescriptorStore shardtund)
check "systemd keeps five sockets, the queues, two listeners and the layout ($pipe)" test "$pipe" -ge 10
check "the sandbox refused nothing" said 'Operation not permitted|cannot keep' 0

### another layout #####################################################################################################

pause
on gateway sed -i 's/^Workers = 2/Workers = 3/' /etc/shardtun/gateway.conf
observe
on gateway systemctl restart shardtund
check "another number of workers: one line says that all is new" said \
	'kept are not used \(another layout: "Workers 3", which was "Workers 2"\): all is opened anew' 1
check "all clients are back" all_back
check "the interface is another one" test "$(interface_index gateway)" -ne \
	"$(grep -o '^[0-9]*' "$dir/interface" | head -n 1)"
check "and systemd gave the old ones up in time" said 'it may still hold' 0
pause
old=$(pid)
observe
on gateway kill -KILL "$old"
check "the next start has that one" wait_for 30 said 'are those from before the restart' 4
check "all clients are back once more" all_back

### stop ###############################################################################################################

on gateway systemctl stop shardtund
check "a stop removes the interface" test -z "$(ns gateway ip -o link show dev shardtun0 2>/dev/null)"
check "and its rules" test -z "$(nft_tables gateway)"
check "and the control socket" test -z "$(on gateway ls /run/shardtun)"
check "systemd keeps nothing" test "$(on gateway systemctl show -P NFileDescriptorStore shardtund)" -eq 0
check "clients were said good-bye" wait_for 30 test "$(goodbyes)" -ge 1
check "a start after that is like the first" on gateway systemctl start shardtund
check "with nothing from before" said 'are those from before the restart' 4

### a restart that cannot succeed ######################################################################################

on gateway sh -c 'echo "Nonsense = 1" >>/etc/shardtun/gateway.conf'
check_fails "a restart with a wrong file fails" on gateway systemctl restart shardtund
check "and leaves no interface" test -z "$(ns gateway ip -o link show dev shardtun0 2>/dev/null)"
check "no rules" test -z "$(nft_tables gateway)"
check "and no socket" test -z "$(on gateway ls /run/shardtun)"
sed 's/^/# /' "$dir/times"
for name in client pings monitor rules; do
	stop "$name" || true
done
stop clients || true
check "no client had to find out by silence" python3 -c '
import json, sys
stay = json.load(open(sys.argv[1]))["stay"]
print(stay)
sys.exit(stay["silences"] != 0 or stay["resets"] < 3 * int(sys.argv[2]))' "$dir/report.json" "$sessions"

done_testing
