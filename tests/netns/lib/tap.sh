# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154 # lib.sh, which sources this, has dir; tests read the rest
# What a namespace test says: assertions in the Test Anything Protocol, and waiting for what has to come.

tests=0
failures=0
finished=

# --- TAP -------------------------------------------------------------------------------------------------------------

diagnose() { # text from standard input
	sed 's/^/# /'
}

ok() { # DESCRIPTION
	tests=$((tests + 1))
	echo "ok $tests - $1"
}

# Also shows the logs of everything that was started.
not_ok() { # DESCRIPTION
	tests=$((tests + 1))
	failures=$((failures + 1))
	echo "not ok $tests - $1"
	local log
	for log in "$dir"/*.log; do
		[[ -s $log ]] || continue
		echo "--- $(basename "$log" .log)" | diagnose
		tail -n 60 "$log" | diagnose
	done
}

# In CI, root has everything that a test may need: there a skipped test is a failed one.
skip() { # DESCRIPTION REASON
	if [[ ${CI:-} == true && $EUID -eq 0 ]]; then
		not_ok "$1: may not be skipped here ($2)"
	else
		tests=$((tests + 1))
		echo "ok $tests - $1 # SKIP $2"
	fi
}

# One assertion: the command's exit status. Its output is shown when it fails.
check() { # DESCRIPTION COMMAND...
	local description=$1 output
	shift
	if output=$("$@" 2>&1); then
		ok "$description"
	else
		not_ok "$description"
		printf '%s\n' "$*" "$output" | diagnose
	fi
}

# The opposite: the command has to fail.
check_fails() { # DESCRIPTION COMMAND...
	local description=$1 output
	shift
	if output=$("$@" 2>&1); then
		not_ok "$description"
		printf '%s\n' "$*" "$output" | diagnose
	else
		ok "$description"
	fi
}

done_testing() {
	finished=yes
	echo "1..$tests"
	[[ $failures -eq 0 ]]
}

skip_all() { # REASON
	if [[ ${CI:-} == true && $EUID -eq 0 ]]; then
		echo "Bail out! $1"
		exit 1
	fi
	echo "1..0 # SKIP $1"
	exit 0
}

# --- waiting ---------------------------------------------------------------------------------------------------------

# A limit of wait_for guards against what never comes; it is no promise. It says what an idle machine never takes, and a
# slow or busy one may take that many times as long.
patience=5

# How long the first client of this run took from its start to its first answer, in ms: the measure for promises.
connect_ms=0

# Until the command succeeds; fails when it did not in time, and shows what it said the last time.
wait_for() { # SECONDS COMMAND...
	wait_until $((${EPOCHREALTIME/[.,]/} + $1 * patience * 1000000)) "${@:2}"
}

# The same where the time is a promise: it is that of an idle machine, and what this one is slower is added.
within() { # SECONDS COMMAND...
	wait_until $((${EPOCHREALTIME/[.,]/} + $1 * 1000000 + $(slack_ms) * 1000)) "${@:2}"
}

# What a promise about time leaves to the machine, in ms: a process start, a handshake and a ping, four times over, as they
# took in this run.
slack_ms() {
	echo $((4 * connect_ms))
}

wait_until() { # MICROSECONDS SINCE 1970, COMMAND...
	local deadline=$1
	shift
	until "$@" >/dev/null 2>&1; do
		if ((${EPOCHREALTIME/[.,]/} >= deadline)); then
			"$@"
			return
		fi
		sleep 0.05
	done
}

gone() { # PID
	! kill -0 "$1" 2>/dev/null
}
