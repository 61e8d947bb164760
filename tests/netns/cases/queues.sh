#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Who reads the TUN: workers, each its own queue; or, where the kernel may not steer packets to these, a TUN reader, which
# the log says once. The same traffic passes either way, to a network behind the client too.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

command -v setpriv >/dev/null || skip_all "needs setpriv"
[[ $(cat /proc/sys/kernel/unprivileged_bpf_disabled) != 0 ]] || skip_all "this kernel lets everyone load BPF programs"

topology_up
traffic_serve gateway

threads() {
	status_json gateway | python3 -c 'import json, sys; print(*(thread["name"] for thread in json.load(sys.stdin)["threads"]))'
}

has_threads() { # NAME...
	local name all
	all=" $(threads) "
	echo "$all"
	for name in "$@"; do
		[[ $all == *" $name "* ]] || return 1
	done
}

passes() { # WHAT
	client_start
	check "$1: pings" pings client 10.8.0.1
	check "$1: over IPv6" pings client fd00:8::1
	check "$1: TCP, down" iperf gateway client 10.8.0.1 -t 1 -R
	check "$1: super-datagrams" traffic gso 10.8.0.1 1200 20 20
	# From the gateway: to the client's address, and to the network behind it, which the kernel does not steer by.
	check "$1: pings from the gateway" wait_for 30 ns gateway ping -q -c 5 -i 0.1 -W 2 10.8.0.2
	check "$1: and to many addresses behind the client" pings_network
	stop client
	check "$1: all that was read is accounted for" wait_for 30 accounted_for gateway
	stop gateway
}

pings_network() {
	local host
	for host in 1 2 3 4 5 6 7; do
		ns gateway ping -q -c 1 -W 5 "192.168.77.$host" || return
	done
}

client_config "Networks = 192.168.77.0/24"
gateway_config "Workers = 4" "TunReaders = 0"
echo "AllowedIPs = 192.168.77.0/24" >>"$dir/gateway.conf"
for host in 1 2 3 4 5 6 7; do
	ns client ip address add "192.168.77.$host/32" dev lo
done

gateway_start
check "each worker reads" has_threads "worker 0" "worker 3"
check_fails "and no TUN reader does" has_threads "reader 0"
passes "workers"

: >"$dir/gateway.log"
start gateway gateway setpriv --bounding-set -bpf,-sys_admin "$BUILD/shardtund" -c "$dir/gateway.conf"
wait_for 30 status_json gateway >/dev/null
check "without CAP_BPF there is a TUN reader" has_threads "worker 0" "worker 3" "reader 0"
check "the log says why, once" test "$(grep -c 'does not steer.*CAP_BPF at the start): a TUN reader passes them on' "$dir/gateway.log")" -eq 1
passes "a reader"

done_testing
