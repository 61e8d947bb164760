#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: alone
# A client that wants far more than its worker can do costs another one of that worker nothing, though that one sends more
# than a sparse flow may: what is too much is dropped in front of the kernel's queues, or of the ring from a TUN reader.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

[[ $(cat /proc/sys/kernel/unprivileged_bpf_disabled) != 0 ]] || skip_all "this kernel lets everyone load BPF programs"
[[ -x $BUILD/bench/udp ]] || skip_all "make everything builds bench/udp"

topology_up
second_up

second_address() {
	ns second ip -4 -o address show dev shardtun0 | sed -n 's/.* inet \([0-9.]*\).*/\1/p'
}

# Of 20 Mbit/s, 1.5 times what a sparse flow may send, at most PERCENT get lost.
few_lost() { # FROM TO ADDRESS PERCENT
	local report
	start sink "$2" iperf3 --server --one-off
	wait_for 30 listens "$2" tcp 5201
	report=$(ns "$1" iperf3 --client "$3" --udp --bitrate 20M --length 1200 --time 4 --json) || true
	kill_hard sink
	python3 -c 'import json, sys
end = json.loads(sys.argv[1])["end"]["sum"]
print(end["packets"], "sent,", end["lost_packets"], "lost")
sys.exit(end["packets"] < 1000 or end["lost_packets"] > end["packets"] * float(sys.argv[2]) / 100)' "$report" "$4"
}

flood() { # FROM TO ADDRESS
	start flood "$1" "$BUILD/bench/udp" rate "/run/netns/st-$$-$2" "$3" 1200 60 0
	sleep 0.5
}

dropped_down() {
	echo $(($(figure gateway interface.tx_dropped) + $(figure gateway out_ring)))
}

dropped_up() {
	figure gateway udp.queue_overflows
}

# Else there was nothing to be divided.
was_dropped() { # up|down BEFORE
	local now
	now=$("dropped_$1")
	echo "dropped: $2, then $now"
	[[ $((now - $2)) -gt 1000 ]]
}

check_shares() { # WHAT
	local before
	before=$(dropped_down)
	flood gateway second "$(second_address)"
	check "$1: beside a flood to another client, down" few_lost gateway client 10.8.0.2 1
	running flood || not_ok "the flood ended before"
	check "$1: of the flood much was dropped" was_dropped down "$before"
	stop flood || true
	before=$(dropped_up)
	flood second gateway 10.8.0.1
	check "$1: beside a flood from another client, up" few_lost client gateway 10.8.0.1 1
	running flood || not_ok "the flood ended before"
	check "$1: of that flood too" was_dropped up "$before"
	stop flood || true
	check "$1: all is accounted for at the gateway" wait_for 30 accounted_for gateway
}

for readers in 0 1; do
	gateway_config "Workers = 1" "TunReaders = $readers"
	add_peer second
	client_config
	other_client_config second second 203.0.113.1:5555 "10.8.0.0/16"
	gateway_start
	client_start
	other_client_start second second
	check_fails "TunReaders = $readers: the queues are shared" grep -h "costs others packets" "$dir/gateway.log"
	check_shares "TunReaders = $readers"
	stop second || true
	both_stop
	rm -f "$dir"/*.log
done

: >"$dir/gateway.log"
start gateway gateway setpriv --bounding-set -bpf,-sys_admin "$BUILD/shardtund" -c "$dir/gateway.conf"
client_start
check "without CAP_BPF the log says that the queues are not shared, of each kind once" test \
	"$(grep -c 'costs others packets .*CAP_BPF' "$dir/gateway.log")" -eq 2
check "and packets pass" pings client 10.8.0.1
both_stop

done_testing
