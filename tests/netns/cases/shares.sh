#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: alone
# A client that wants far more than its worker can do costs another one of that worker nothing, though that one sends more
# than a sparse flow may: what is too much is dropped in front of the kernel's queues, or of the ring from a TUN reader.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/two_clients.sh
. "$(dirname "$0")/../lib/two_clients.sh"

[[ $(cat /proc/sys/kernel/unprivileged_bpf_disabled) != 0 ]] || skip_all "this kernel lets everyone load BPF programs"
[[ -x $BUILD/bench/udp ]] || skip_all "make everything builds bench/udp"

topology_up
second_up

# What passed the gateway of the first client's session so far.
passed() { # up|down
	ctl --json sessions --peer "$(public_key client)" | python3 -c "import json, sys
print(json.load(sys.stdin)['sessions'][0]['$([[ $1 == up ]] && echo rx_packets || echo tx_packets)'])"
}

# What the kernel lost of all that came to this machine's links, in third place for each CPU: none of the gateway's business.
lost_before_the_socket() {
	local sum=0 second rest
	while read -r rest second rest; do
		sum=$((sum + 16#$second))
	done </proc/net/softnet_stat
	echo "$sum"
}

# Of 20 Mbit/s, 1.5 times what a sparse flow may send, at most PERCENT get lost at the gateway.
few_lost() { # up|down FROM TO ADDRESS PERCENT
	local sent before now elsewhere rest
	before=$(passed "$1") elsewhere=$(lost_before_the_socket)
	read -r sent rest < <(ns "$2" "$BUILD/bench/udp" rate "/run/netns/st-$$-$3" "$4" 1200 4 2083)
	now=$(passed "$1") elsewhere=$(($(lost_before_the_socket) - elsewhere))
	[[ $1 == up ]] || elsewhere=0
	echo "$sent sent, $((now - before)) passed the gateway, $elsewhere lost before ($rest)"
	[[ $sent -gt 1000 && $((100 * (sent - (now - before) - elsewhere))) -le $(($5 * sent)) ]]
}

flood() { # FROM TO ADDRESS
	start flood "$1" "$BUILD/bench/udp" rate "/run/netns/st-$$-$2" "$3" 1200 60 0
	sleep 0.5
}

dropped() {
	echo $(($(figure gateway interface.tx_dropped) + $(figure gateway out_ring)))
}

# Else there was nothing to be divided. (Of a flood up it depends on the machine: its client may be slower than the gateway.)
was_dropped() { # BEFORE
	local now
	now=$(dropped)
	echo "dropped: $1, then $now"
	[[ $((now - $1)) -gt 1000 ]]
}

check_shares() { # WHAT
	local before
	before=$(dropped)
	flood gateway second "$(second_address)"
	check "$1: beside a flood to another client, down" few_lost down gateway client 10.8.0.2 1
	running flood || not_ok "the flood ended before"
	check "$1: of the flood much was dropped" was_dropped "$before"
	stop flood || true
	flood second host 198.51.100.2
	check "$1: beside a flood from another client, up" few_lost up client gateway 10.8.0.1 1
	running flood || not_ok "the flood ended before"
	stop flood || true
	check "$1: all is accounted for at the gateway" wait_for 30 accounted_for gateway
}

for readers in 0 1; do
	two_clients_start "10.8.0.0/16, 198.51.100.0/24" "Workers = 1" "TunReaders = $readers"
	check_fails "TunReaders = $readers: the queues are shared" grep -h "costs others packets" "$dir/gateway.log"
	check_shares "TunReaders = $readers"
	two_clients_stop
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
