#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What it costs that all of a client's datagrams come to the wrong gateway, of which the kernel hands them on: TCP by way of the tunnel, directly and so, in turns.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/cluster.sh
. "$tests_dir/lib/cluster.sh"

rounds=${ROUNDS:-5}
cluster_up 1
nodes_up
client_add 1 "$(blocks_of 1 | head -n 1)"
wait_for 10 peers_known 1 1 2 3
client_node_start 1 "$shared4:5555"
wait_for 20 pings c1 198.51.100.2

declare -A rates=()
for way in "up" "down --reverse"; do
	read -ra words <<<"$way"
	for ((round = 0; round < rounds; round++)); do
		for gateway in 1 2; do
			lead 1 "$gateway"
			rates[${words[0]}$gateway]+=" $(iperf host c1 198.51.100.2 --time 3 --omit 1 "${words[@]:1}")"
		done
	done
done
for way in up down; do
	ratio=$(python3 -c 'import statistics, sys
direct, wrong = (statistics.median(map(float, text.split())) for text in sys.argv[1:])
print("%.3f %.3f %.2f" % (direct, wrong, wrong / direct))' "${rates[${way}1]}" "${rates[${way}2]}")
	read -r direct wrong ratio <<<"$ratio"
	echo "# $way: directly ${rates[${way}1]}, by the wrong gateway ${rates[${way}2]} Gbit/s"
	check "$way: $wrong Gbit/s by the wrong gateway, $direct directly: $ratio is at least 0.8" \
		python3 -c 'import sys; sys.exit(float(sys.argv[1]) < 0.8)' "$ratio"
done
check "the gateway itself saw none of it" test "$(node_dropped 2 foreign_block)" -eq 0
done_testing
