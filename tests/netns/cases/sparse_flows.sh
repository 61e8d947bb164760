#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: alone
# Flows that send little do not wait behind those that send much: pings beside a flood of small packets to another client
# of the same worker come through, and no flow is reordered when its rate changes.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/two_clients.sh
. "$(dirname "$0")/../lib/two_clients.sh"

[[ $(cat /proc/sys/kernel/unprivileged_bpf_disabled) != 0 ]] || skip_all "this kernel lets everyone load BPF programs"
[[ -x $BUILD/bench/udp ]] || skip_all "make everything builds bench/udp"

topology_up
second_up
# Of 400 pings at most PERCENT get lost.
few_pings_lost() { # PERCENT FROM TO
	local report
	report=$(ns "$2" ping -q -c 400 -i 0.005 -W 5 "$3") || true
	echo "$report"
	[[ $report =~ ([0-9.]+)%\ packet\ loss ]] && awk -v lost="${BASH_REMATCH[1]}" -v most="$1" 'BEGIN { exit !(lost <= most) }'
}

keeps_order() { # FROM TO ADDRESS
	local report
	start sink "$2" "$tests_dir/tools/order.py" sink
	wait_for 30 grep -q ready "$dir/sink.log"
	ns "$1" "$tests_dir/tools/order.py" send "$3" 5
	stop sink || true
	report=$(tail -n 1 "$dir/sink.log")
	rm -f "$dir/sink.log"
	echo "$report"
	[[ $report =~ ^([0-9]+)\ datagrams,\ 0\ overtaken$ && ${BASH_REMATCH[1]} -gt 1000 ]]
}

# Workers that read the TUN themselves, and one behind a reader.
for readers in 0 1; do
	two_clients_start 10.8.0.0/16 "Workers = 1" "TunReaders = $readers"
	check_fails "TunReaders = $readers: gateway and clients have a queue for sparse flows" grep -h "send little wait" "$dir"/*.log

	start flood gateway "$BUILD/bench/udp" rate "/run/netns/st-$$-second" "$(second_address)" 64 60 0
	sleep 0.5
	check "TunReaders = $readers: beside a flood to another client pings come through" few_pings_lost 1 gateway 10.8.0.2
	check "TunReaders = $readers: they are counted as sparse" test "$(figure gateway sparse_packets)" -ge 390
	running flood || not_ok "the flood ended before the pings"
	stop flood || true

	before=$(figure gateway sparse_datagrams)
	start flood second "$BUILD/bench/udp" rate "/run/netns/st-$$-gateway" 10.8.0.1 64 60 0
	sleep 0.5
	check "TunReaders = $readers: beside a flood from another client too" few_pings_lost 1 client 10.8.0.1
	check "TunReaders = $readers: their datagrams came by the second socket" test $(($(figure gateway sparse_datagrams) - before)) -ge 390
	running flood || not_ok "the flood ended before the pings"
	stop flood || true

	start server client iperf3 --server
	wait_for 30 listens client tcp 5201
	start load gateway iperf3 -c 10.8.0.2 -t 60 --bidir -C cubic
	check "TunReaders = $readers: beside TCP no flow of changing rate is reordered on its way down" \
		keeps_order gateway client 10.8.0.2
	check "TunReaders = $readers: nor up" keeps_order client gateway 10.8.0.1
	up=$(figure gateway sparse_datagrams) down=$(figure client sparse_datagrams)
	check "TunReaders = $readers: beside TCP of the same client pings come through" few_pings_lost 1 client 10.8.0.1
	check "TunReaders = $readers: they are marked, and come by the gateway's second socket" \
		test $(($(figure gateway sparse_datagrams) - up)) -ge 390
	check "TunReaders = $readers: and their answers by the client's" test $(($(figure client sparse_datagrams) - down)) -ge 390
	stop load || true
	stop server || true
	check "TunReaders = $readers: all is accounted for at the gateway" wait_for 30 accounted_for gateway
	check "TunReaders = $readers: and at the client" wait_for 30 accounted_for client
	two_clients_stop
	rm -f "$dir"/*.log
done

start client client setpriv --bounding-set -bpf,-sys_admin "$BUILD/shardtun" run "$dir/client.conf"
start gateway gateway "$BUILD/shardtund" -c "$dir/gateway.conf"
wait_for 30 pings client 10.8.0.1
check "a client without CAP_BPF says that it has no second socket" grep -q 'send little wait behind those of others .*CAP_BPF' "$dir/client.log"
before=$(figure client sparse_datagrams)
check "and gets packets without a mark" few_pings_lost 1 client 10.8.0.1
check "by the one that it has" test "$(figure client sparse_datagrams)" -eq "$before"
both_stop
rm -f "$dir"/*.log

: >"$dir/gateway.log"
start gateway gateway setpriv --bounding-set -bpf,-sys_admin "$BUILD/shardtund" -c "$dir/gateway.conf"
client_start
check "without CAP_BPF the log says that there is none, once for the TUN and once for the sockets" test \
	"$(grep -c 'send little wait behind those of others .*CAP_BPF' "$dir/gateway.log")" -eq 2
check "and packets pass" pings client 10.8.0.1
both_stop

done_testing
