#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a daemon makes of the process that it is given: descriptors that are closed, signals that come during its start.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
gateway_config "MetricsListen = off"
client_config

descriptors_are_null() { # NAME
	local fd
	for fd in 0 1 2; do
		[[ $(readlink "/proc/${started[$1]}/fd/$fd") == /dev/null ]] || {
			ls -l "/proc/${started[$1]}/fd"
			return 1
		}
	done
}

# Signals that came before the first instruction of main(), as the kernel keeps them over an exec.
start_signalled() { # NAME NAMESPACE SIGNAL,... COMMAND...
	start "$1" "$2" python3 -c '
import os, signal, sys
numbers = [signal.Signals["SIG" + name] for name in sys.argv[1].split(",")]
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
for number in numbers:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
os.execv(sys.argv[2], sys.argv[2:])' "${@:3}"
}

status_of() { # NAME: how it ended
	local status=0
	wait_for 30 gone "${started[$1]}" || return 1
	wait "${started[$1]}" || status=$?
	unset "started[$1]"
	return "$status"
}

ended_well() { # NAME
	local status=0
	status_of "$1" || status=$?
	check "the $1 ends with status 0" test "$status" -eq 0
	check "the $1 leaves nothing behind" nothing_left "$1"
}

# --- descriptors ---
# shellcheck disable=SC2016
start gateway gateway bash -c 'exec "$@" 0<&- 1>&- 2>&-' bash "$BUILD/shardtund" -c "$dir/gateway.conf"
# shellcheck disable=SC2016
start client client bash -c 'exec "$@" 0<&- 1>&- 2>&-' bash "$BUILD/shardtun" run "$dir/client.conf"
check "started without descriptors, they connect" wait_for 30 pings client 10.8.0.1
sleeps=$(figure gateway sleeps)
sleep 4
check "a gateway with nothing to do hardly wakes" test $(($(figure gateway sleeps) - sleeps)) -le 20
check "the gateway's are /dev/null" descriptors_are_null gateway
check "the client's are /dev/null" descriptors_are_null client
both_stop

# --- signals during the start ---
start_signalled gateway gateway HUP,USR1 "$BUILD/shardtund" -c "$dir/gateway.conf"
check "a HUP during the start reloads once it runs" wait_for 30 logged gateway "info: .*gateway.conf read again" 1
check "USR1 is no reason to end" wait_for 30 logged gateway "warning: User defined signal 1: means nothing here" 1
check "the gateway runs" status_json gateway
start_signalled client client HUP "$BUILD/shardtun" run "$dir/client.conf"
check "a HUP during the client's start is told once it runs" wait_for 30 logged client "warning: SIGHUP: the configuration is read at start only" 1
check "and it connects" wait_for 30 pings client 10.8.0.1
for signal in INT QUIT; do
	kill -USR2 "${started[client]}"
	kill -"$signal" "${started[client]}"
	ended_well client
	[[ $signal == QUIT ]] || client_start
done
kill -QUIT "${started[gateway]}"
kill -TERM "${started[gateway]}" 2>/dev/null || true
ended_well gateway
for signal in TERM INT QUIT; do
	: >"$dir/gateway.log"
	start_signalled gateway gateway "$signal" "$BUILD/shardtund" -c "$dir/gateway.conf"
	ended_well gateway
	check "after it ran: a $signal during the start" logged gateway "info: gateway on UDP" 1
	start_signalled client client "$signal" "$BUILD/shardtun" run "$dir/client.conf"
	ended_well client
done

# --- configurations that can be read once ---
own_keys() { # NAME: with the keys in it
	sed -e "s|^PrivateKeyFile.*|PrivateKey = $(<"$dir/$1.key")|" -e "s|^PresharedKeyFile.*|PresharedKey = $(<"$dir/client.psk")|" "$dir/$1.conf"
}
own_keys gateway >"$dir/gateway.once"
# shellcheck disable=SC2016
start gateway gateway bash -c 'cd "$1" && exec "$2" -c <(cat gateway.once)' bash "$dir" "$BUILD/shardtund"
wait_for 30 status_json gateway >/dev/null || true
check "a gateway runs by a pipe, with paths where it was started" status_json gateway
check "it cannot read that again, and says so" ctl_refuses ": a pipe, which can be read at the start only; restart" reload
own_keys client | sed '/^Interface/a PostUp = echo one ; echo "two # 2" >'"$dir/two # and a comment" >"$dir/client.once"
(cd "$dir" && ns client timeout 300 "$BUILD/shardtun" up /dev/stdin < <(cat client.once)) >"$dir/up.log" 2>&1 || not_ok "up by a pipe"
check "up by a pipe" pings client 10.8.0.1
check "a semicolon separates commands, and a comment is the shell's" test "$(cat "$dir/two")" = "two # 2"
(cd "$dir" && ns client "$BUILD/shardtun" down <(own_keys client))
check "down leaves nothing behind" nothing_left client
kill -TERM "${started[gateway]}"
ended_well gateway

done_testing
