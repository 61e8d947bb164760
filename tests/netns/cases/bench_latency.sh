#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: alone
# The benchmarks of latency, fairness and idling work: one round of few figures each, of two builds in one run where it says so. What they print
# and write is whole, and possible; never how fast it is.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

scenarios=$tests_dir/../../perf/bench/scenarios

[[ $EUID -eq 0 ]] || skip_all "needs root"
[[ $(nproc) -ge 2 ]] || skip_all "needs two CPUs"
[[ -c /dev/net/tun ]] || skip_all "needs /dev/net/tun"
[[ -x $BUILD/bench/shares ]] || skip_all "needs $BUILD/bench/shares (make everything)"
dir=$(mktemp -d)
trap cleanup EXIT

bench() { # SCENARIO NAME=VALUE...
	local scenario=$1
	shift
	env -u NETNS_LIMITED ROUNDS=1 SECONDS_EACH=1 RESULT="$dir/$scenario.json" "$@" "$scenarios/$scenario" "$BUILD" >"$dir/$scenario.log" 2>&1
}

# A machine that is busy may lose a sample, and then says so and fails: it may try again.
bench_at_last() { # SCENARIO NAME=VALUE...
	bench "$@" || bench "$@" || bench "$@"
}

refuses() { # TEXT SCENARIO NAME=VALUE...
	local text=$1
	shift
	! bench "$@" && grep -q "$text" "$dir/$1.log"
}

whole() { # SCENARIO SUBJECT...
	"$tests_dir/tools/scenarios.py" "$1" "$dir/$1.json" "${@:2}"
}

check "latency: figures that are not there are refused" refuses "FIGURES: \"idel\" is none of" latency FIGURES=idel
check "and subjects" refuses "no peer-other.sh; there are: shardtun" latency SUBJECTS=other
check "and builds that are none" refuses "is no NAME@BUILD_DIR" latency SUBJECTS="old@$dir"
check "it runs, two builds and the bare veth beside each other" bench_at_last latency \
	SUBJECTS="veth shardtun again@$BUILD" FIGURES="idle-1000 tcp-1-both other-1-down flood-up"
check "its result is whole" whole latency veth shardtun again
check "its table has each subject" grep -Eq "^tcp-1-both/p50/us( +[0-9.,]+){3}$" "$dir/latency.log"

check "fairness: it runs" bench_at_last fairness FIGURES="udp-down udp-up tcp-up" CLIENTS=2 SHARE=2000
check "its result is whole" whole fairness shardtun
check "its table has the index" grep -Eq "^udp-down-2/jain +[01]\.[0-9]+$" "$dir/fairness.log"
check "a tunnel that it cannot measure is refused" refuses "\"veth\" is no build of shardtun" fairness SUBJECTS=veth

check "idle: it runs" bench_at_last idle FIGURES="none talking" SESSIONS=20 EVERY=1
check "its result is whole" whole idle shardtun
check "its table has the wake-ups" grep -Eq "^talking/wakes +[0-9.]+$" "$dir/idle.log"

done_testing
