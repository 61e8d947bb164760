#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The library itself: what the other tests build on holds, and what they start is gone afterwards.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

# The second life of this script: it dies in the middle, as a test with an error would.
if [[ ${1:-} == die ]]; then
	topology_up
	start sleeper host sleep 1000
	ns host setsid --fork sleep "1001.$$"
	echo "$$ ${started[sleeper]} $dir"
	case $2 in
	error) false ;;
	signal) ns client sleep "1002.$$" ;; # in the foreground: the signal has to get through all the same
	esac
fi

topology_up

# --- the topology ---
check "client reaches gateway, IPv4" answers client 192.0.2.1
check "client reaches gateway, IPv6" answers client 2001:db8:1::1
check "gateway reaches host, IPv4" answers gateway 198.51.100.2
check "gateway reaches host, IPv6" answers gateway 2001:db8:2::2
check "packets of 1500 bytes pass" answers client 192.0.2.1 -M 'do' -s 1472
check_fails "packets of 1501 bytes do not" pings client 192.0.2.1 -M 'do' -s 1473
check_fails "client has no way around a tunnel, IPv4" pings client 198.51.100.2
check_fails "client has no way around a tunnel, IPv6" pings client 2001:db8:2::2

# With routes and addresses laid by hand in place of a tunnel, host and gateway have all they need to answer.
ns client ip route add 198.51.100.0/24 via 192.0.2.1 src 192.0.2.2
ns client ip address add 10.8.0.2/32 dev lo
ns client ip address add fd00:8::2/128 dev lo
ns client ip route add 2001:db8:2::/64 via 2001:db8:1::1
ns gateway ip route add 10.8.0.0/16 via 192.0.2.2
ns gateway ip route add fd00:8::/64 via 2001:db8:1::2
check "host answers 10.8.0.0/16 through the gateway" answers client 198.51.100.2 -I 10.8.0.2
check "host answers fd00:8::/64 through the gateway" answers client 2001:db8:2::2 -I fd00:8::2

# --- processes ---
start sleeper host sleep 1000
check "start leaves it running" running sleeper
in_host_namespace() {
	[[ $(ip netns identify "${started[sleeper]}") == "st-$$-host" ]]
}
check "in its namespace" wait_for 30 in_host_namespace
status=0
stop sleeper || status=$?
check "stop sends TERM and returns the status" test "$status" -eq 143

# shellcheck disable=SC2016 # the inner shell's variable
start stubborn host bash -c 'trap "" TERM; echo ready; while :; do read -r -t 1 <> <(:) || :; done'
wait_for 30 grep -q ready "$dir/stubborn.log"
pid=${started[stubborn]}
kill_hard stubborn
check "kill_hard ends what ignores TERM" gone "$pid"

start failing host bash -c 'echo last words >&2; exit 3'
wait_for 30 gone "${started[failing]}"
status=0
stop failing || status=$?
check "stop returns the status of what has ended already" test "$status" -eq 3
check "the log has its output" wait_for 30 grep -qx "last words" "$dir/failing.log"

before=$SECONDS
check_fails "wait_for gives up" wait_for 1 false
check "not before its time" test $((SECONDS - before)) -ge 1

# --- measuring ---
# What is too slow on a busy machine may be right the next time.
measures() { # LEAST MOST ARGUMENTS...: in Gbit/s
	local rate
	rate=$(iperf "${@:3}") || return
	echo "$rate Gbit/s"
	awk -v rate="$rate" -v least="$1" -v most="$2" 'BEGIN { exit !(rate > least && rate < most) }'
}
check "iperf measures TCP" wait_for 60 measures 0.1 1000 gateway client 192.0.2.1 -t 1
check "and the other way, IPv6" wait_for 60 measures 0.1 1000 gateway client 2001:db8:1::1 -t 1 -R
check "and UDP at its rate" wait_for 60 measures 0.07 0.09 gateway client 192.0.2.1 -u -b 80M -t 1
check_fails "and fails when nobody is there" iperf gateway client 198.51.100.77 -t 1

# --- the TAP ---
# One assertion in a process of its own, which must not be taken for one of ours.
verdict() { # CI COMMAND...
	(
		CI=$1
		tests=0
		shift
		"$@" | head -1
	)
}
check "skip" test "$(verdict '' skip what why)" = "ok 1 - what # SKIP why"
check "no skip in CI" test "$(verdict true skip what why)" = "not ok 1 - what: may not be skipped here (why)"
check "failing check" test "$(verdict '' check what false)" = "not ok 1 - what"
check "not_ok shows the logs" grep -qx "# last words" <(not_ok what)

# --- cleaning up ---
# Nothing of the other life may be left: namespaces, processes, files.
left_over() { # PID SLEEPER DIR
	ip netns list | grep "^st-$1-" || ! gone "$2" || pgrep -f "^sleep 100[12]\.$1\$" || [[ -e $3 ]]
}

status=0
output=$(NETNS_LIMITED='' "$0" die error) || status=$?
read -r other sleeper other_dir <<<"$output"
check "an error fails the script" test "$status" -ne 0
check "and is told as a failed test" grep -q '^not ok 1 ' <<<"$output"
check "with a plan" grep -qx '1\.\.1' <<<"$output"
check_fails "and nothing is left" left_over "$other" "$sleeper" "$other_dir"

for signal in TERM INT; do
	rm -f "$dir/other.out" # the other life of the signal before
	NETNS_LIMITED='' "$0" die signal >"$dir/other.out" 2>&1 &
	pid=$!
	wait_for 30 grep -q . "$dir/other.out"
	read -r other sleeper other_dir <"$dir/other.out"
	wait_for 30 pgrep -f "^sleep 1002\.$other\$"
	kill -"$signal" "$pid"
	check "SIG$signal ends the script at once" wait_for 30 gone "$pid"
	check_fails "and nothing is left" left_over "$other" "$sleeper" "$other_dir"
done

done_testing
