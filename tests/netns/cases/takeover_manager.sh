#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Ends between the claim and the service: the sessions are the new process's, and the service manager, played by
# tests/netns/tools/fd_store.py, has not heard of it yet, or the new process fails. The manager's next process goes on with
# sockets, interface and files, and no client is told that the gateway ends.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/store.sh
. "$(dirname "$0")/../lib/store.sh"

[[ -n $(type -P strace) ]] || skip_all "needs strace"
topology_up

cat >"$dir/gateway" <<END
#!/bin/sh
exec strace -D -qq -e trace=seccomp -o "$dir/calls" "$BUILD/shardtund" -c "$dir/gateway.conf"
END
gateway_config "Workers = 2" "MetricsListen = 127.0.0.1:9586" "LogLevel = info"
client_config
manager_start

take_over() { # NAME COMMAND...
	local name=$1
	shift
	start "$name" gateway env NOTIFY_SOCKET="$dir/store.notify" "$@" "$BUILD/shardtund" -c "$dir/gateway.conf" --takeover
}

# Not by check: its subshell cannot wait for it.
status_of() { # NAME
	status=0
	wait_for 30 gone "${started[$1]}" || true
	wait "${started[$1]}" || status=$?
	unset "started[$1]"
}

goes_on() { # WHAT
	check "$1: the interface is there" test "$(interface_index gateway)" -eq "$old"
	check "$1: and the control socket" test -S "$dir/gateway.sock"
	check "$1: and the one for take-overs" test -S "$dir/gateway.sock.takeover"
	check "$1: no client was told of an end" figure_is client rx_bye 0
	times=$(($(manager ready) + 1))
	manager start >/dev/null
	check "$1: the manager's next process serves" wait_for 60 ready "$times"
	check "$1: on the same interface" test "$(interface_index gateway)" -eq "$old"
	check "$1: with the same client" wait_for 60 pings client 10.8.0.1
}

check "the gateway starts" manager start
wait_for 30 ready 1
client_start
check "a client connects" pings client 10.8.0.1
old=$(interface_index gateway)
calls=$(grep -c '^seccomp(' "$dir/calls" || true)

### the old one dies before it told the manager ########################################################################

first=$(manager pid)
kill -STOP "${started[manager]}"
take_over new
check "the sessions are the new one's" wait_for 30 grep -q 'has the sessions: ending' "$dir/manager.log"
kill -KILL "$first" || true # it waits for the manager for 5 s
wait_for 30 logged new "ended before the service manager had this one" 1
kill -TERM "${started[new]}"
kill -CONT "${started[manager]}"
status_of new
check "the new one ends as for a restart" grep -q 'ending for a restart' "$dir/new.log"
check "without a failure" test "$status" -eq 0
goes_on "no MAINPID"

### the new one fails ##################################################################################################

# The last of the control thread's: its own filter.
take_over late strace -qq -e trace=seccomp -e inject="seccomp:error=ENOMEM:when=$calls" -o "$dir/strace"
status_of late
check "a new one whose filter fails ends ($calls)" test "$status" -eq 1
check "with the reason" grep -q 'seccomp: ' "$dir/late.log"
check "when it had the sessions" grep -q 'sessions go on here' "$dir/late.log"
goes_on "no filter"

### the same as at first, and the end comes later ####################################################################

first=$(manager pid)
kill -STOP "${started[manager]}"
take_over lasting
check "the sessions are the next one's" wait_for 30 grep -q 'sessions go on here' "$dir/lasting.log"
kill -KILL "$first" || true
wait_for 30 logged lasting "ended before the service manager had this one" 1
kill -CONT "${started[manager]}"
sleep 11 # until the service manager would have noticed
kill -TERM "${started[lasting]}"
status_of lasting
check "an end that comes later is no restart" grep -q 'Terminated: ending$' "$dir/lasting.log"
check "and its client is told" figure_is_at_least client rx_bye 1
check "and nothing is left behind" nothing_left gateway
times=$(($(manager ready) + 1))
manager start >/dev/null
check "a gateway that is started then serves" wait_for 60 ready "$times"
check "the client is back" wait_for 60 pings client 10.8.0.1

status=0
stop client || status=$?
check "the client ends well" test "$status" -eq 0
manager stop >/dev/null
check "and leaves nothing behind" nothing_left gateway
stop manager || true

done_testing
