#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A take-over that cannot be: the old process is short of memory when it is to write the records, or records and descriptors are not
# what they are to be when they come to the new one. That one ends with one line, and the old one serves on: no ping is lost, no session,
# and its interface and rules stay. Then a take-over succeeds.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
gateway_config "MetricsListen = off" "Workers = 2" "LogLevel = info" "Seccomp = no"
client_config
"$BUILD/stgun" keys 1 --seed probe >>"$dir/gateway.conf"
gateway_start
client_start
pid=${started[gateway]}
times=0 # refused so far

sessions() {
	ctl --json sessions | python3 -c '
import json, sys
for one in json.load(sys.stdin)["sessions"]:
    print(one["id"], one["addresses"], one["state"])'
}

# Not by check, whose subshell cannot wait for it.
refused() { # DESCRIPTION PATTERN
	local status=0
	ns gateway "$BUILD/shardtund" -c "$dir/gateway.conf" --takeover >"$dir/new.log" 2>&1 || status=$?
	times=$((times + 1))
	check "$1: the new process ends" test "$status" -eq 1
	check "$1: with one line" test "$(wc -l <"$dir/new.log")" -eq 1
	check "$1: which has the reason" grep -qE "^shardtund: .*$2" "$dir/new.log"
	check "$1: the old one says that it serves on" wait_for 30 logged gateway "this process serves on" "$times"
	check "$1: with the same sessions" diff "$dir/sessions" <(sessions)
	check "$1: and interface" test "$(interface_index gateway)" = "$(<"$dir/index")"
	check "$1: and rules" test "$(nft_tables gateway | wc -l)" -eq 1
}

sessions >"$dir/sessions"
check "there is a session" test -s "$dir/sessions"
interface_index gateway >"$dir/index"
start pings client ping -n -i 0.05 -w 3600 10.8.0.1

### no memory ##########################################################################################################

size=$(awk '$1 == "VmSize:" { print $2 * 1024 }' "/proc/$pid/status")
prlimit --pid "$pid" --as="$size:unlimited"
refused "no address space" 'memory'
prlimit --pid "$pid" --as=unlimited

fails() { # CALL ERROR TEXT
	start "strace_$1" gateway strace -qq -p "$pid" -e trace="$1" -e inject="$1:error=$2" -o "$dir/strace"
	wait_for 30 grep -qE '^TracerPid:\s*[1-9]' "/proc/$pid/status"
	refused "$1 fails" "$3"
	check "$1 fails: it was called" grep -q INJECTED "$dir/strace"
	stop "strace_$1" || true
}

if strace -qq -e trace=none true 2>/dev/null; then
	fails ftruncate ENOSPC 'hand-over: memory: cannot size it \(No space left on device\)'
	fails fallocate ENOSPC 'hand-over: memory: there is not enough \(No space left on device\)'
	fails mremap ENOMEM 'hand-over: memory: cannot map it \(Cannot allocate memory\)'
else
	skip "system calls of the old process fail" "needs strace"
fi

### not what it is to be ###############################################################################################

changed() { # CHANGE DESCRIPTION PATTERN
	start "relay_$1" gateway "$tests_dir/tools/takeover_relay.py" "$dir/gateway.sock.takeover" --change "$1"
	wait_for 30 logged "relay_$1" ready 1
	refused "$2" "$3"
	stop "relay_$1" || true
}

changed byte "an altered byte of the records" 'damaged'
changed half "half of the records" 'cut off'
changed unsealed "records that could still change" 'memory: it is not sealed'
changed pipe "a pipe instead of a socket" 'udp\.0\.0: no UDP socket'
changed port "a socket of another port" 'udp\.0\.0: another address or port'

# They rested while the records were with the new process.
check "handshakes go on" within 10 ns client "$BUILD/stgun" connect --gateway 192.0.2.1:5555 --gateway-key "$(public_key gateway)" --seed probe

### what can be ########################################################################################################

start new gateway "$BUILD/shardtund" -c "$dir/gateway.conf" --takeover
status=0
wait_for 30 gone "$pid" || true
wait "$pid" || status=$?
unset "started[gateway]"
check "then a process takes over" test "$status" -eq 1
check "with the session" wait_for 30 logged new "take-over: 1 sessions go on here" 1
check "it answers shardtunctl" wait_for 30 status_json gateway
kill -INT "${started[pings]}"
wait "${started[pings]}" || true
unset "started[pings]"
tail -n 3 "$dir/pings.log" | diagnose
check "no ping was lost" grep -q ' 0% packet loss' "$dir/pings.log"
check "the client heard nothing of it" test "$(grep -c 'info: connected' "$dir/client.log")" -eq 1
status=0
stop client || status=$?
check "the client ends well" test "$status" -eq 0
status=0
stop new || status=$?
check "so does the gateway" test "$status" -eq 0
check "and leaves nothing behind" nothing_left gateway

done_testing
