# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the benchmarks with two real clients have in common; sourced after tests/netns/lib/lib.sh.
# shellcheck disable=SC2154 # dir is the library's

two_clients_up() {
	topology_up
	second_up
	# shellcheck disable=SC2119 # the options are optional
	client_config
	other_client_config second second 203.0.113.1:5555 "10.8.0.0/16, fd00:8::/64"
}

# One stream of TCP of each client at once, for SECONDS. Prints the sum in Gbit/s.
both_clients() { # SECONDS IPERF_ARGS...
	local port seconds=$1 pids=()
	shift
	for port in 5301 5302; do
		ns gateway iperf3 --server --one-off --port "$port" >/dev/null 2>&1 &
		pids+=($!)
		wait_for 5 listens gateway tcp "$port"
	done
	ns client iperf3 --client 10.8.0.1 --port 5301 --json --time "$seconds" "$@" >"$dir/one.json" &
	pids+=($!)
	ns second iperf3 --client 10.8.0.1 --port 5302 --json --time "$seconds" "$@" >"$dir/two.json" || true
	wait "${pids[@]}" || true
	python3 -c '
import json, sys
print("%.2f" % (sum(json.load(open(name))["end"]["sum_received"]["bits_per_second"] for name in sys.argv[1:]) / 1e9))
' "$dir/one.json" "$dir/two.json"
}
