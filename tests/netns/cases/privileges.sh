#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the programs may still do once they run: user, capabilities thread by thread, system calls; that all works
# with so little, reload and end included; and what the service manager hears.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up

# A user that this machine does not have, as far as those know that are started by in_etc. Files are his group's.
id=64042
sed '/^shardtun:/d' /etc/passwd >"$dir/passwd"
cp "$dir/passwd" "$dir/passwd.without"
echo "shardtun:x:$id:$id::/nonexistent:/usr/sbin/nologin" >>"$dir/passwd"

share() {
	chown "root:$id" "$dir" "$dir"/*.{key,psk,conf}
	chmod 1770 "$dir"
	chmod 640 "$dir"/*.{key,psk,conf}
	chmod 755 "$dir/passwd"*
}

# ip netns exec gave us mounts of our own.
in_etc() { # PASSWD VARIABLE=VALUE... COMMAND...
	# shellcheck disable=SC2016 # the inner shell's arguments
	in_etc=(sh -c 'mount --bind "$1" /etc/passwd && shift && exec env "$@"' sh "$dir/$1" "${@:2}")
}

gateway_start_in() { # PASSWD VARIABLE=VALUE...
	in_etc "$@" "$BUILD/shardtund" -c "$dir/gateway.conf"
	start gateway gateway "${in_etc[@]}"
	wait_for 30 grep -q 'gateway on UDP' "$dir/gateway.log"
}

# The values that a field of /proc/PID/status has on the control thread, or on all the others.
control_has() { # NAME FIELD VALUE
	local value
	value=$(awk -v field="$2:" '$1 == field { $1 = ""; print substr($0, 2) }' "/proc/${started[$1]}/status")
	[[ $value == "$3" ]] || {
		echo "$2 is '$value'"
		return 1
	}
}

others_have() { # NAME FIELD VALUE
	local pid=${started[$1]} status
	for status in "/proc/$pid/task"/*/status; do
		[[ $status != */task/$pid/status ]] || continue
		awk -v field="$2:" -v want="$3" '
			$1 == "Name:" { name = $2 " " $3 }
			$1 == field { $1 = ""; if (substr($0, 2) != want) { print name ": " field $0; bad = 1 } }
			END { exit bad }' "$status" || return 1
	done
}

all_have() { # NAME FIELD VALUE
	control_has "$@" && others_have "$@"
}

task_of() { # NAME THREAD
	grep -lx "$2" "/proc/${started[$1]}/task"/*/comm | awk -F / '{ print $5 }'
}

niceness() { # NAME THREAD
	sed 's/.*) //' "/proc/${started[$1]}/task/$(task_of "$1" "$2")/stat" | cut -d' ' -f17
}

none=0000000000000000 net_admin=0000000000001000

restricted() { # DESCRIPTION NAME
	check "$1: the control thread may change the network, and nothing else" control_has "$2" CapEff $net_admin
	check "$1: nor get more" control_has "$2" CapPrm $net_admin
	check "$1: the other threads may nothing" others_have "$2" CapEff $none
	check "$1: nor get more" others_have "$2" CapPrm $none
	check "$1: nothing is inherited" all_have "$2" CapInh $none
	check "$1: nothing is ambient" all_have "$2" CapAmb $none
	check "$1: no thread gets privileges any more" all_have "$2" NoNewPrivs 1
	check "$1: system calls are filtered on all threads" all_have "$2" Seccomp 2
	check "$1: five threads were looked at" test "$(cat "/proc/${started[$2]}/task"/*/comm | wc -l)" -ge 5
	check "$1: nobody but root looks into its memory" test "$(stat -c %u "/proc/${started[$2]}/environ")" -eq 0
	check "$1: no core dump" grep -q '^Max core file size  *0  *0 ' "/proc/${started[$2]}/limits"
}

# --- started by root: another user ---
gateway_config "Workers = 2" "TunReaders = 1" "User = auto" "UdpBuffer = 64M" "Forward = yes" "Masquerade = eth1"
client_config
# Its note of what is to be taken back is not for a directory that others may write to.
mkdir "$dir/own"
sed -i 's|^ControlSocket = client.sock|ControlSocket = own/client.sock|' "$dir/client.conf"
share
gateway_start_in passwd
check "root becomes the package's user" all_have gateway Uid "$id $id $id $id"
check "with his group" all_have gateway Gid "$id $id $id $id"
check "and no others" all_have gateway Groups ""
restricted "own user" gateway
check "own user: the bounding set is empty" all_have gateway CapBnd $none
check "own user: said so" wait_for 30 grep -qx 'info: running as user shardtun' "$dir/gateway.log"
check "own user: the control socket is his" test "$(stat -c %u:%g "$dir/gateway.sock")" = "$id:$id"
check "own user: handshakes are less urgent" test "$(niceness gateway 'handshake 0')" -eq 10
check "own user: sockets have the buffers that only root gets" test "$(figure gateway udp.receive_buffer)" -ge $((64 << 20))

check "own user: rules are laid" ns gateway nft list table inet shardtun-shardtun0

# The process that lays them is started again under the control thread's filter, with its rights and no others.
helper() {
	pgrep -x -P "${started[gateway]}" nftables
}

another_helper() { # PID
	local now
	now=$(helper) && [[ $now != "$1" ]]
}

helper_has() { # FIELD VALUE
	local value
	value=$(awk -v field="$1:" '$1 == field { $1 = ""; print substr($0, 2) }' "/proc/$(helper)/status")
	[[ $value == "$2" ]] || {
		echo "$1 is '$value'"
		return 1
	}
}

rules=$(ns gateway nft --stateless list table inet shardtun-shardtun0)
for time in once twice; do
	old=$(helper)
	kill -KILL "$old"
	check "own user: the process that lays rules ended $time: there is another one" wait_for 30 another_helper "$old"
	check "own user: and the rules, as before" wait_for 30 eval \
		'[[ "$(ns gateway nft --stateless list table inet shardtun-shardtun0)" == "$rules" ]]'
	check "own user: with an owner" grep -q owner <<<"$rules"
done
check "own user: it is the same user" helper_has Uid "$id $id $id $id"
check "own user: it may change the network, and nothing else" helper_has CapEff $net_admin
check "own user: nor get more" helper_has NoNewPrivs 1
check "own user: its system calls are filtered" helper_has Seccomp 2
check "own user: none was refused" test "$(grep -c seccomp "$dir/gateway.log")" -eq 0

client_start
check "own user: packets pass" answers client 10.8.0.1
check "own user: in IPv6, too" answers client fd00:8::1
check "own user: shardtunctl reload" ctl reload
# What others change is put back with as little, in /proc/sys too.
is_back() {
	[[ $(ns gateway sysctl -n net.ipv4.ip_forward) == 1 ]] && ns gateway ip address show dev shardtun0 | grep -q fd00:8::1/64
}
ns gateway sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.shardtun0.disable_ipv6=1
check "own user: what others change is put back" wait_for 30 is_back
check "the client's worker may nothing" others_have client CapEff $none
check "the client's worker gets no privileges" others_have client NoNewPrivs 1
check "the client's worker has its calls filtered" others_have client Seccomp 2

chmod 600 "$dir/client.psk"
check_fails "a reload that may not read a key fails" ctl reload
check "and says who may not" wait_for 30 grep -q "client.psk: cannot open (Permission denied); user ID $id, as which we run, must be able to read it" "$dir/gateway.log"
chmod 640 "$dir/client.psk"
chmod 600 "$dir/gateway.conf"
check_fails "a reload that may not read the configuration fails" ctl reload
check "and says who may not" wait_for 30 grep -q "gateway.conf: cannot be opened (Permission denied); user ID $id, as which we run, must be able to read it" "$dir/gateway.log"
check "and packets go on passing" answers client 10.8.0.1
both_stop
check "and no rules either" test -z "$(ns gateway nft list tables)"
check "all of it with the system calls that it may use" test "$(grep -c seccomp "$dir/gateway.log")" -eq 0

# --- started by root, and no such user ---
: >"$dir/gateway.log"
gateway_start_in passwd.without
check "no user: root stays" all_have gateway Uid "0 0 0 0"
check "no user: said so" wait_for 30 grep -q "^info: User = auto: there is no user 'shardtun'" "$dir/gateway.log"
restricted "no user" gateway
status=0
stop gateway || status=$?
check "no user: it ends with status 0" test $status -eq 0
check "no user: and leaves nothing" nothing_left gateway

# --- not started by root, as a unit does it ---
gateway_config "ListenPort = 555" "User = auto"
sed -i '/^ListenPort = 5555/d' "$dir/gateway.conf"
share
: >"$dir/gateway.log"
# What packages do for the device: any user with the capability may use it.
# shellcheck disable=SC2016 # the inner shell's arguments
open_device=(sh -c 'mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec "$@"' sh)
in_etc passwd "${open_device[@]}" setpriv --reuid $id --regid $id --clear-groups --inh-caps=+net_admin,+net_bind_service \
	--ambient-caps=+net_admin,+net_bind_service "$BUILD/shardtund" -c "$dir/gateway.conf"
start gateway gateway "${in_etc[@]}"
check "ambient capabilities: it starts, on a port that needs one" wait_for 30 listens gateway udp 555
wait_for 30 grep -q 'gateway on UDP' "$dir/gateway.log"
restricted "ambient capabilities" gateway
status=0
stop gateway || status=$?
check "ambient capabilities: it ends with status 0" test $status -eq 0
check "ambient capabilities: and leaves nothing" nothing_left gateway

# --- seccomp ---
# One for the handshake thread (a HELLO) and one for a worker.
gone_by_datagrams() { # PID
	ns client bash -c 'printf "\x11%01199d" 0 >/dev/udp/192.0.2.1/5555; printf "\x04%040d" 0 >/dev/udp/192.0.2.1/5555' 2>/dev/null || true
	gone "$1"
}

gateway_config "Seccomp = no"
share
: >"$dir/gateway.log"
gateway_start_in passwd
check "Seccomp = no: no filter" all_have gateway Seccomp 0
check "Seccomp = no: no privileges all the same" others_have gateway CapEff $none
stop gateway

if strace -qq -f -e trace=none true 2>/dev/null; then
	# What strace puts in place of a call is seen by the filter. A thread comes by when there is a datagram for it.
	for thread in "worker 0" "handshake 0"; do
		gateway_config "User = root"
		: >"$dir/gateway.log"
		gateway_start
		wait_for 30 grep -q 'gateway on UDP' "$dir/gateway.log"
		pid=${started[gateway]}
		start strace gateway strace -qq -p "$(task_of gateway "$thread")" -o "$dir/strace.out" \
			-e trace=recvmmsg -e inject=recvmmsg:error=EAGAIN:syscall=getuid
		check "$thread: a call that it never needs ends the gateway" wait_for 30 gone_by_datagrams "$pid"
		status=0
		stop gateway 2>/dev/null || status=$?
		stop strace || true
		check "$thread: by SIGSYS" test $status -eq $((128 + 31))
		check "$thread: one line says what it was" test "$(grep -c "^error: thread '$thread' used system call [0-9]*, which it never needs" "$dir/gateway.log")" -eq 1
		rm -f "$dir/gateway.sock"
	done
else
	skip "a call that is not needed ends the gateway" "no strace"
fi

# --- the service manager ---
heard() { # PATTERN [TIMES]
	[[ $(grep -cE "$1" "$dir/manager.log") -ge ${2:-1} ]]
}

gateway_config "User = auto"
share
: >"$dir/gateway.log"
start manager gateway "$tests_dir/tools/notify_listener.py" "$dir/notify"
wait_for 30 heard listening
gateway_start_in passwd NOTIFY_SOCKET="$dir/notify" WATCHDOG_USEC=2000000
check "the manager hears of the start" wait_for 30 heard 'READY=1'
check "and for people how it goes" wait_for 30 heard 'STATUS=0 clients connected; 0 of [0-9]+ addresses in use'
client_start
check "and when that changes" wait_for 30 heard 'STATUS=1 clients connected; 1 of'
kill -HUP "${started[gateway]}"
check "of a reload" wait_for 30 heard 'RELOADING=1'
check "with its time" heard 'MONOTONIC_USEC=[0-9]+'
check "and its end" wait_for 30 heard 'READY=1' 2
check "it gets signs of life" wait_for 30 heard 'WATCHDOG=1' 3
if strace -qq -f -e trace=none true 2>/dev/null; then
	task=$(task_of gateway "worker 0")
	start strace gateway strace -qq -p "$task" -e trace=recvmmsg -e inject=recvmmsg:delay_enter=120000000:when=1 -o "$dir/strace.out"
	wait_for 30 grep -q '^TracerPid:.*[1-9]' "/proc/${started[gateway]}/task/$task/status"
	pings client 10.8.0.1 >/dev/null || true
	wait_for 30 grep -q recvmmsg "$dir/strace.out" || true # it stands until strace goes
	before=$(grep -c 'WATCHDOG=1' "$dir/manager.log")
	sleep 4
	after=$(grep -c 'WATCHDOG=1' "$dir/manager.log")
	check "a stalled worker: no sign of life" test $((after - before)) -le 1
	stop strace || true
	check "and again once it is back" wait_for 30 heard 'WATCHDOG=1' $((after + 2))
else
	skip "a stalled worker: no sign of life" "no strace"
fi
stop client
stop gateway
check "the manager hears of the end" heard 'STOPPING=1'

: >"$dir/client.log"
gateway_start
start manager2 client "$tests_dir/tools/notify_listener.py" "@st-$$-manager"
wait_for 30 grep -q listening "$dir/manager2.log"
start client client env NOTIFY_SOCKET="@st-$$-manager" WATCHDOG_USEC=2000000 "$BUILD/shardtun" run "$dir/client.conf"
check "the client: READY by way of an abstract name" wait_for 30 grep -q 'READY=1' "$dir/manager2.log"
check "the client: signs of life" wait_for 30 grep -q 'WATCHDOG=1' "$dir/manager2.log"
both_stop

done_testing
