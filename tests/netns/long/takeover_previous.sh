#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The program of a former commit and this one: where both have the same versions of messages and records, each takes the other's sessions
# over, under pings; where not, each is refused with one clear line, and the running one serves on. So is, always, a program whose records
# have another version. Builds from git two times, which takes minutes, so "make test" leaves it out; HEAD's parent, or another one:
# [PREVIOUS=REVISION] tests/netns/run build/gcc $PWD/tests/netns/long/takeover_previous.sh
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

previous=${PREVIOUS:-HEAD~}
root=$(realpath "$tests_dir/../..")
git -C "$root" rev-parse --quiet --verify "$previous^{commit}" >/dev/null 2>&1 ||
	skip_all "needs a git history with the commit $previous (a shallow clone has none)"

### three programs #####################################################################################################

topology_up

# Prints the words by which a program is refused: the version of the messages and that of the records.
versions() { # DIRECTORY
	sed -nE 's/.*\b(TAKEOVER_VERSION|HANDOVER_VERSION) = ([0-9]+).*/\1 \2/p' "$1/core/handover/takeover.h" "$1/core/handover/format.h" | sort
}

build() { # DIRECTORY
	make -C "$1" -j"$(nproc)" CC=gcc build/gcc/shardtund >"$dir/make.log" 2>&1
}

mkdir "$dir/previous" "$dir/other"
git -C "$root" archive "$previous" | tar -x -C "$dir/previous"
echo "# the former commit: $(git -C "$root" log -1 --format='%h %s' "$previous")"
check "the former commit builds" build "$dir/previous"
cp -r "$dir/previous/." "$dir/other"
sed -i -E 's/(HANDOVER_VERSION = )[0-9]+/\1900/' "$dir/other/core/handover/format.h"
check "so does one with records of another version" build "$dir/other"
[[ $failures -eq 0 ]] || { done_testing; exit 1; }
declare -A program=([this]=$BUILD/shardtund [former]=$dir/previous/build/gcc/shardtund [other]=$dir/other/build/gcc/shardtund)
ours=$(versions "$root") formers=$(versions "$dir/previous")
check "both say their versions ($(tr '\n' ' ' <<<"$ours"))" test "$(wc -l <<<"$ours") $(wc -l <<<"$formers")" = "2 2"

### from one to the other ##############################################################################################

gateway_config "MetricsListen = off" "Workers = 2" "LogLevel = info"
client_config
start gateway gateway "${program[former]}" -c "$dir/gateway.conf"
wait_for 30 status_json gateway
client_start
start pings client ping -n -i 0.05 -w 3600 10.8.0.1
old=gateway

taken() { # PROGRAM
	local status=0
	start "$1" gateway "${program[$1]}" -c "$dir/gateway.conf" --takeover
	wait_for 60 gone "${started[$old]}" || true
	gone "${started[$old]}" || status=other
	[[ $status == other ]] || wait "${started[$old]}" || status=$?
	check "$1: the one that ran ends" test "$status" = 1
	[[ $status == other ]] || unset "started[$old]"
	check "$1: it says how many sessions it has" wait_for 30 logged "$1" "take-over: 1 sessions go on here" 1
	check "$1: it answers shardtunctl" wait_for 30 status_json gateway
	old=$1
}

refused() { # PROGRAM
	local status=0 before
	before=$(grep -c "version.*serves on" "$dir/$old.log" || true)
	ns gateway "${program[$1]}" -c "$dir/gateway.conf" --takeover >"$dir/$1.log" 2>&1 || status=$?
	check "$1: it ends" test "$status" -eq 1
	check "$1: with one line" test "$(wc -l <"$dir/$1.log")" -eq 1
	diagnose <"$dir/$1.log"
	check "$1: which names both versions" grep -qE "take-over: .*version [0-9]+, this one .*version [0-9]+" "$dir/$1.log"
	check "$1: the one that runs says the same, and that it serves on" wait_for 30 logged "$old" "version.*serves on" $((before + 1))
	check "$1: it does" pings client 10.8.0.1
}

refused other
if [[ $ours == "$formers" ]]; then
	taken this
	refused other
	taken former
else
	echo "# the versions differ: $(tr '\n' ' ' <<<"$formers")"
	refused this
	status=0
	stop gateway || status=$?
	check "the former one ends well" test "$status" -eq 0
	start running gateway "${program[this]}" -c "$dir/gateway.conf"
	old=running
	check "this one starts" wait_for 30 status_json gateway
	check "the client is back" wait_for 60 pings client 10.8.0.1
	refused former
fi
kill -INT "${started[pings]}"
wait "${started[pings]}" || true
unset "started[pings]"
tail -n 3 "$dir/pings.log" | diagnose
if [[ $ours == "$formers" ]]; then
	check "no ping was lost" grep -q ' 0% packet loss' "$dir/pings.log"
	check "the client heard nothing of it" test "$(grep -c 'info: connected' "$dir/client.log")" -eq 1
fi
stop client || true
status=0
stop "$old" || status=$?
check "the last one ends well" test "$status" -eq 0
check "and leaves nothing behind" nothing_left gateway

done_testing
