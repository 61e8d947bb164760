#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ECN through the tunnel as RFC 6040 has it: a sender's field goes out on the datagram, and what a router between the ends
# made of that is combined with the inner one, by the table below. Up and down, IPv4 and IPv6, in either family outside.
# nftables plays the router: it writes the outer field where the datagram comes in.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up

# By the number of the field: 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE. Rows: inner; columns: outer; x: dropped.
names=(not-ect ect1 ect0 ce)
table=("0 0 0 x"
	"1 1 1 3"
	"2 1 2 3"
	"3 3 3 3")

for namespace in client gateway; do
	ns "$namespace" nft add table inet router
	ns "$namespace" nft add chain inet router in "{ type filter hook prerouting priority raw; }"
	ns "$namespace" nft add chain inet router out "{ type filter hook postrouting priority 0; }"
	start "receiver-$namespace" "$namespace" "$tests_dir/tools/ecn.py" receive 7010
	wait_for 30 grep -qx ready "$dir/receiver-$namespace.log"
done

router_writes() { # NAMESPACE OUTER_FAMILY ECN
	ns "$1" nft flush chain inet router in
	ns "$1" nft add rule inet router in iifname eth0 meta l4proto udp udp "${port[$1]}" 5555 "$2" ecn set "${names[$3]}"
}
declare -A port=([gateway]=dport [client]=sport)

expected() { # WHAT: the lines that the receiver has to have, sorted
	local inner outer row
	for inner in 0 1 2 3; do
		read -ra row <<<"${table[inner]}"
		for outer in 0 1 2 3; do
			[[ ${row[outer]} == x ]] || echo "$1-$inner-$outer ${row[outer]}"
		done
	done
}

received() { # WHAT RECEIVER
	grep "^$1-" "$dir/receiver-$2.log" | sort -u
}

# That it may be lost on a busy machine is no matter: it is sent again.
all_received() { # WHAT SENDER RECEIVER ADDRESS OUTER_FAMILY
	local what=$1 sender=$2 receiver=$3 address=$4 family=$5 inner outer datagrams
	for outer in 0 1 2 3; do
		router_writes "$receiver" "$family" "$outer"
		datagrams=()
		for inner in 0 1 2 3; do
			datagrams+=("$inner" "$what-$inner-$outer")
		done
		ns "$sender" "$tests_dir/tools/ecn.py" send "$address" 7010 "${datagrams[@]}"
		within 2 grep -q "^$what-3-$outer " "$dir/receiver-$receiver.log" || true
	done
	[[ $(received "$what" "$receiver") == "$(expected "$what")" ]]
}

check_table() { # WHAT SENDER RECEIVER ADDRESS OUTER_FAMILY
	local before after
	before=$(figure "$3" ecn || echo 0)
	check "$1: each pair becomes what the table says" wait_for 60 all_received "$@"
	[[ $(received "$1" "$3") == "$(expected "$1")" ]] || { diff <(expected "$1") <(received "$1" "$3") || true; } | diagnose
	after=$(figure "$3" ecn || echo 0)
	check "$1: congestion that the inner transport would not understand is a counted drop" test "$after" -gt "$before"
	ns "$3" nft flush chain inet router in
}

# Outer fields as the sender makes them.
check_copied() { # WHAT SENDER ADDRESS OUTER_FAMILY
	local ecn
	for ecn in 0 1 2 3; do
		ns "$2" nft flush chain inet router out
		ns "$2" nft add rule inet router out oifname eth0 meta l4proto udp udp "${port[$([[ $2 == client ]] && echo gateway || echo client)]}" \
			5555 meta length gt 500 "$4" ecn "${names[ecn]}" counter
		copied() {
			ns "$1" "$tests_dir/tools/ecn.py" send "$2" 7010 "$3" "$(printf '%0600d' 0)"
			ns "$1" nft list chain inet router out | grep "packets [1-9]" >/dev/null
		}
		check "$1: ${names[ecn]} goes out on the datagram" wait_for 30 copied "$2" "$3" "$ecn"
	done
	ns "$2" nft flush chain inet router out
}

gateway_config "Workers = 2"
for outer in ip ip6; do
	endpoint=192.0.2.1:5555
	[[ $outer == ip ]] || endpoint="[2001:db8:1::1]:5555"
	client_config
	gateway_start
	client_start
	check_copied "up in $outer" client 10.8.0.1 "$outer"
	check_copied "down in $outer" gateway 10.8.0.2 "$outer"
	check_table "up-v4-in-$outer" client gateway 10.8.0.1 "$outer"
	check_table "up-v6-in-$outer" client gateway fd00:8::1 "$outer"
	check_table "down-v4-in-$outer" gateway client 10.8.0.2 "$outer"
	check_table "down-v6-in-$outer" gateway client fd00:8::2 "$outer"
	both_stop
done

done_testing
