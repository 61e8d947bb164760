# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # lib.sh has dir
# Whether the machine stood still meanwhile: agents act within fractions of a second, and one that cannot run says nothing about
# them. Sourced after lib.sh.

# A process in that namespace that wants to run every 20 ms, from now on.
stall_begin() { # NAMESPACE
	: >"$dir/stall.log"
	start stall "$1" python3 -c 'import time
worst = 0
while True:
    began = time.monotonic()
    time.sleep(0.02)
    late = time.monotonic() - began - 0.02
    if late > worst:
        worst = late
        print(int(worst * 1000), flush=True)'
}

# Sets stalled to how late it was at most, in ms.
stall_end() {
	kill_hard stall
	stalled=$(tail -n 1 "$dir/stall.log")
	stalled=${stalled:-0}
}

# What the function does leaves all as it was: what the command `judge` says after. A machine that stood still is given two more
# chances, and is not judged in the end.
undisturbed() { # DESCRIPTION NAMESPACE STALL_MS FUNCTION JUDGE
	local stalled=0 try
	for try in 1 2 3; do
		stall_begin "$2"
		"$4"
		stall_end
		if "$5" >"$dir/judged"; then
			ok "$1"
			return
		fi
		[[ $stalled -ge $3 ]] || break
		echo "# $1: try $try, in which the machine stood still for $stalled ms"
	done
	if [[ $stalled -ge $3 ]]; then
		ok "$1 (not judged: the machine stood still for $stalled ms)"
	else
		not_ok "$1"
		echo "the machine stood still for $stalled ms at most" | diagnose
		diagnose <"$dir/judged"
	fi
}
