# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the benchmarks have in common that compare several builds of shardtun, and other tunnels, one at a time in the namespaces of one
# run; sourced after tests/netns/lib/lib.sh and perf/bench/compare/{peers,measure}.sh.
# shellcheck disable=SC2034,SC2154 # variables of those and of the scripts that source this: rounds, seconds
subjects=()
samples_file=

usage_error() { # TEXT
	echo "bench: $1" >&2
	exit 2
}

bench_machine() { # PROGRAM...
	local number program
	for number in "$rounds" "$seconds"; do
		[[ $number =~ ^[1-9][0-9]*$ ]] || usage_error "ROUNDS and SECONDS_EACH are whole numbers, not \"$number\""
	done
	for program in ip ss python3 iperf3 "$@" "$BUILD/bench/udp" "$BUILD/stgun"; do
		command -v "$program" >/dev/null || {
			echo "bench: no $program here (config/install-packages test bench, make everything): skipped"
			exit 0
		}
	done
	[[ $EUID -eq 0 ]] || {
		echo "bench: needs root, for network namespaces and TUN devices: skipped"
		exit 0
	}
}

# NAME@BUILD_DIR is a build of shardtun. Into $dir/versions goes "NAME VERSION", into $dir/builds "NAME BUILD_DIR".
choose_subjects() {
	local wanted name why
	samples_file=$dir/samples
	touch "$samples_file" "$dir/builds"
	for wanted in ${SUBJECTS:-$(peers_all)}; do
		name=${wanted%%@*}
		if [[ $wanted == *@* ]]; then
			[[ $name =~ ^[a-z0-9-]+$ && -x ${wanted#*@}/shardtund ]] || usage_error "\"$wanted\" is no NAME@BUILD_DIR"
			build_of[$name]=$(realpath "${wanted#*@}")
		fi
		peer_exists "$name" || usage_error "no peer-$name.sh; there are: $(peers_all | xargs)"
		[[ " ${subjects[*]} " != *" $name "* ]] || usage_error "\"$name\" is among the subjects twice"
		if why=$(peer "$name" available); then
			subjects+=("$name")
			echo "$name $(peer "$name" version)" >>"$dir/versions"
			[[ $name != shardtun && -z ${build_of[$name]:-} ]] || echo "$name ${build_of[$name]:-$BUILD}" >>"$dir/builds"
		else
			echo "$name: $why"
		fi
	done
	[[ ${#subjects[@]} -gt 0 ]] || usage_error "there is nothing to measure"
}

# Where other tunnels cannot be measured.
choose_builds() {
	local name
	SUBJECTS=${SUBJECTS:-shardtun}
	choose_subjects
	for name in "${subjects[@]}"; do
		[[ $name == shardtun || -n ${build_of[$name]:-} ]] || usage_error "\"$name\" is no build of shardtun"
	done
}

subject_start() { # NAME [second]
	peer_start "$1" && { [[ -z ${2:-} ]] || peer_second_start "$1"; }
}

round_begins() {
	cut -d ' ' -f 1-3 /proc/loadavg >>"$dir/loads"
	echo "round $round of $rounds, load average $(tail -n 1 "$dir/loads")" >&2
}

# What PROGRAM prints of $dir, which it writes as JSON to $RESULT, if that is set. The status says whether samples are missing.
bench_report() { # PROGRAM ARGUMENTS...
	"$@" "$dir" "$rounds" "$seconds" ${RESULT:+"$RESULT"}
	[[ $failed -eq 0 ]] || {
		echo "bench: $failed samples are missing: see above" >&2
		finished=yes
		exit 1
	}
}
