#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A service manager's store that is confused or hostile, played by tests/netns/tools/fd_store.py: whatever it hands to the
# gateway is adopted whole, or refused whole with one line, and then the gateway starts afresh. Then every system call of
# a start that adopts is made to fail.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/store.sh
. "$(dirname "$0")/../lib/store.sh"

topology_up
workers=2

# As the unit's process: the same pid, with or without system calls that fail.
cat >"$dir/gateway" <<END
#!/bin/sh
[ ! -e "$dir/no_persist.so" ] || export LD_PRELOAD="$dir/no_persist.so"
[ ! -e "$dir/inject" ] || exec strace -D -qq -f --seccomp-bpf -e trace="\$(cut -d : -f 1 "$dir/inject")" \\
	-e inject="\$(cat "$dir/inject")" -o "$dir/strace" \\
	"$BUILD/shardtund" -c "$dir/gateway.conf"
exec "$BUILD/shardtund" -c "$dir/gateway.conf"
END
gateway_config "Workers = $workers" "MetricsListen = 127.0.0.1:9586" "Masquerade = lo"
manager_start

lines() { # PATTERN
	grep -cE "$1" "$dir/manager.log" || true
}

# Prints what it found, and fails, unless a whole gateway runs.
serves() {
	ready "$1" && status_json gateway >/dev/null && interface_index gateway && [[ $(ns gateway nft list tables) == *shardtun-shardtun0* ]] &&
		[[ $(manager names | wc -w) -eq $names ]] && listens gateway tcp 9586 && listens gateway udp 5555
}

check "the gateway starts" manager start
wait_for 30 ready 1
wait_for 30 status_json gateway >/dev/null
names=$(manager names | wc -w)
check "the store has sockets, queues, two listeners and the layout ($(manager names))" test "$names" -ge 10
times=1

again() { # REQUEST
	times=$((times + 1))
	manager "$1" >/dev/null
	wait_for 60 serves "$times"
}

### adopted ############################################################################################################

old=$(interface_index gateway)
check "after a crash it serves" again crash
check "on the same interface" test "$(interface_index gateway)" -eq "$old"
check "after a restart it serves" again restart
check "on the same interface" test "$(interface_index gateway)" -eq "$old"
manager order reverse >/dev/null
check "in whatever order they come" again crash
check "on the same interface" test "$(interface_index gateway)" -eq "$old"
manager leave >/dev/null
check "between the two the interface is there" test "$(interface_index gateway)" -eq "$old"
check "with its rules" test -n "$(nft_tables gateway)"
check "and the control socket" test -S "$dir/gateway.sock"
times=$((times + 1))
manager start >/dev/null
check "and then it serves" wait_for 60 serves "$times"
check "each time one line says so" test "$(lines 'those from before the restart')" -eq 4
check "and none that something did not fit" test "$(lines 'are not used')" -eq 0

### refused ############################################################################################################

refused=0

refuses() { # REASON REQUEST...
	local reason=$1
	shift
	old=$(interface_index gateway)
	manager "$@" >/dev/null || {
		not_ok "$*"
		return
	}
	refused=$((refused + 1))
	check "$*: it serves" again crash
	check "$*: the line says \"$reason\"" grep -qE "info: the sockets .* are not used \\(.*$reason" <(
		grep 'are not used' "$dir/manager.log" | tail -n 1)
	check "$*: in one line" test "$(lines 'are not used')" -eq "$refused"
	check "$*: the interface is a new one" test "$(interface_index gateway)" -ne "$old"
	check "$*: the only one" test "$(ns gateway ip -o link show type tun | grep -vc foreign)" -eq 1
}

refuses "udp.0.1: missing" drop udp.0.1
refuses "tun.1: missing" drop tun.1
if [[ $(manager names) == *tun.3* ]]; then
	refuses "3 queues, and there have to be 4" drop tun.3
else
	skip "a second queue is missing" "this kernel has none"
fi
refuses "control: missing" drop control
refuses "layout: missing" drop layout
refuses "udp.0.1: no UDP socket" replace udp.0.1 pipe
refuses "udp.0.1: no UDP socket" replace udp.0.1 tcp
refuses "udp.0.1: another address or port" replace udp.0.1 udp
refuses "udp.0.1: connected" replace udp.0.1 connected
refuses "tun.1: no queue" replace tun.1 memory
refuses "tun.1: a queue of foreign0" replace tun.1 tun
refuses "control: no socket that listens" replace control udp
refuses "metrics: no TCP socket" replace metrics pipe
refuses "layout: no sealed memory" replace layout memory
refuses "the same file has another name" copy udp.0.0 udp.0.9
refuses "there twice" copy udp.0.0 udp.0.1
refuses "metrics: missing" rename metrics something
refuses "udp.0.0: no UDP socket" swap udp.0.0 tun.0
refuses "control: (a socket at another path|no socket)" swap control metrics
rm "$dir/gateway.sock"
refuses "another layout: .*no file" order reverse
sed -i "s/Workers = $workers/Workers = 3/" "$dir/gateway.conf"
names=$((names + 4))
refuses "another layout: .Workers 3., which was .Workers 2." order reverse

### system calls that fail #############################################################################################

# What a start that adopts does besides those of tests/netns/cases/errors.sh. Whether it gives up or goes on, nothing may be
# half done: a gateway that serves, or no interface and an empty store. One that fails before it looks into the store leaves
# that whole. What is refused cannot be opened anew here: strace holds what its child got. So that start fails, and the next
# one has to serve.
interface_gone() {
	[[ -z $(ns gateway ip -o link show dev shardtun0 2>/dev/null) ]]
}

fails_once() { # CALL:ERROR NUMBER
	local pid before
	echo "${1%:*}:error=${1#*:}:when=$2" >"$dir/inject"
	: >"$dir/strace"
	before=$(manager ready)
	manager crash >/dev/null
	for ((pid = 1; pid != 0; )); do
		sleep 0.05
		pid=$(manager pid)
		! ready $((before + 1)) || break
	done
	rm "$dir/inject"
	if [[ $pid == 0 ]]; then
		[[ -n $(manager names) ]] || wait_for 10 interface_gone || return 1
		manager start >/dev/null
	fi
	times=$((before + 1))
	wait_for 60 serves "$times" || return 1
}

if strace -qq -f --seccomp-bpf -e trace=none true 2>/dev/null; then
	count=0 hit=0 wrong=0
	for call in fcntl:EBADF getsockopt:ENOBUFS getsockname:ENOBUFS setsockopt:ENOMEM ioctl:EPERM bpf:EPERM memfd_create:ENOMEM \
		sendmsg:EPIPE socket:EMFILE fstat:EIO epoll_create1:EMFILE; do
		for number in 1 3 9 20; do
			count=$((count + 1))
			fails_once "$call" "$number" >"$dir/outcome" 2>&1 || {
				wrong=$((wrong + 1))
				not_ok "$call number $number fails"
				diagnose <"$dir/outcome"
				manager start >/dev/null 2>&1 || true
				wait_for 60 ready $((times + 1)) || true
			}
			! grep -q INJECTED "$dir/strace" || hit=$((hit + 1))
		done
	done
	check "each of $count system calls that failed was an error or no matter" test "$wrong" -eq 0
	check "most of them were made ($hit)" test "$hit" -gt $((count / 2))
else
	skip "every system call made to fail" "no strace with --seccomp-bpf"
fi

manager stop >/dev/null
check "a stop leaves nothing" nothing_left gateway

### a kernel before 6.9 ################################################################################################

# It removes a table with its owner: so this one has none.
owned() {
	ns gateway nft list table inet shardtun-shardtun0 | grep -q owner
}

"${CC:-cc}" -shared -fPIC -o "$dir/no_persist.so" "$tests_dir/tools/no_persist.c"
names=$((names - 4))
sed -i "s/Workers = 3/Workers = $workers/" "$dir/gateway.conf"
times=$(($(manager ready) + 1))
manager start >/dev/null
check "a kernel before 6.9: it serves" wait_for 60 serves "$times"
check_fails "a kernel before 6.9: the rules have no owner" owned
rules=$(ns gateway nft --stateless list table inet shardtun-shardtun0)
manager leave >/dev/null
check "a kernel before 6.9: between two processes they are there" test \
	"$(ns gateway nft --stateless list table inet shardtun-shardtun0)" = "$rules"
times=$((times + 1))
manager start >/dev/null
check "a kernel before 6.9: and then it serves" wait_for 60 serves "$times"
ns gateway nft flush ruleset
check "a kernel before 6.9: what others flush is put back" wait_for 30 eval \
	'[[ "$(ns gateway nft --stateless list table inet shardtun-shardtun0)" == "$rules" ]]'
manager stop >/dev/null
check "a kernel before 6.9: a stop leaves nothing" nothing_left gateway
manager quit || true

done_testing
