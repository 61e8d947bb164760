#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: alone
# The benchmark works: its quick form measures every figure of shardtun and the bare veth, says what it leaves out, and leaves
# nothing behind when it is stopped.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

bench=$tests_dir/../../perf/bench/compare/run

[[ $EUID -eq 0 ]] || skip_all "needs root"
[[ $(nproc) -ge 2 ]] || skip_all "needs two CPUs"
[[ -c /dev/net/tun ]] || skip_all "needs /dev/net/tun"
dir=$(mktemp -d)
trap cleanup EXIT

# As make would start it, with a time limit and a process group of its own.
quick() { # NAME=VALUE...
	env -u NETNS_LIMITED QUICK=yes UNAGGREGATED_SECONDS=0.1 RESULT="$dir/result.json" "$@" "$bench" "$BUILD" >"$dir/bench.log"
}

# Where a machine that is busy loses too much to measure anything, it says so and fails: it may try again.
quick_at_last() { # NAME=VALUE...
	quick "$@" || quick "$@" || quick "$@"
}

namespaces_left() { # PID
	ip netns list | grep "^st-$1-"
}

no_namespace_left() { # PID
	! namespaces_left "$1"
}

check "it says that a whole number of rounds is needed" \
	bash -c '! ROUNDS=many "$1" "$2" 2>"$3/log" && grep -q "^bench: ROUNDS.*whole.*many" "$3/log"' - "$bench" "$BUILD" "$dir"

check "the quick form runs" \
	quick_at_last SUBJECTS="shardtun wireguard-go veth" WIREGUARD_GO="$dir/absent"
check "it says that it is quick" grep -q "quick form" "$dir/bench.log"
check "it says which peer is missing, and which package has it" \
	grep -qx "wireguard-go: not installed, so not compared (Debian: wireguard-go .*)" "$dir/bench.log"
check "its result has every figure, and no impossible one" "$tests_dir/tools/bench.py" "$dir/result.json"
check "its table says of each must whether it is met" \
	grep -Eq "^connect/ms .*(met|MISSED)$" "$dir/bench.log"
check "a must without a peer to compare with is not called met" \
	grep -Eq "^tcp-1-up/gso/gbit .*unknown$" "$dir/bench.log"

env -u NETNS_LIMITED QUICK=yes SUBJECTS="shardtun veth" RESULT="$dir/stopped.json" "$bench" "$BUILD" >"$dir/stopped.log" 2>&1 &
started[bench]=$!
bench_pid() {
	pgrep -P "${started[bench]}"
}
wait_for 60 grep -q tcp-1-up "$dir/stopped.log" || true
pid=$(bench_pid)
check "it is under way" namespaces_left "$pid"
kill -TERM "${started[bench]}"
check "when it is stopped, no namespace is left" wait_for 30 no_namespace_left "$pid"
check "and no process" wait_for 30 gone "$pid"

done_testing
