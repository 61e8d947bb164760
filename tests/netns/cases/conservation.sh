#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: first
# No packet is lost without a reason: after mixed traffic and garbage in both directions the sums hold exactly, at both
# ends, and where nothing is merged they are the kernel's own, of the interface and of UDP.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
traffic_serve gateway
traffic_serve host

# What moves though nothing comes: threads wake up by their timers.
restless='"(uptime_seconds|sleeps|empty_calls|system_calls|cpu_seconds|load)"'

# What stands still: everything is delivered, and what the status says belongs to one moment.
quiet() { # client|gateway
	local before
	before=$(status_json "$1" | grep -vE "$restless")
	sleep 0.5
	[[ $before == "$(status_json "$1" | grep -vE "$restless")" ]]
}

# Random datagrams of random sizes, some cut from trains, to a port that is bound.
garbage() { # NAMESPACE ADDRESS PORT
	ns "$1" python3 -c '
import os, random, socket, sys, time
udp = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
udp.connect((sys.argv[1], int(sys.argv[2])))
for i in range(500):
    udp.send(os.urandom(random.randrange(1473)))
    time.sleep(0.0005)
for i in range(50):
    size = random.randrange(1, 1400)
    udp.sendmsg([os.urandom(size * 20 + random.randrange(size))], [(socket.IPPROTO_UDP, 103, size.to_bytes(2, sys.byteorder))])
    time.sleep(0.002)
' "$2" "$3"
}

# UDP inside is IPv6 and ends at the host, so that IPv4 datagrams are the tunnel's own.
mixed() {
	local port first second
	port=$(status_json client | sed -n 's/^ *"\[::\]:\([0-9]*\)"$/\1/p')
	garbage client 192.0.2.1 5555 &
	first=$!
	garbage gateway 192.0.2.2 "$port" &
	second=$!
	iperf gateway client 10.8.0.1 -t 2 --bidir &&
		iperf host client 2001:db8:2::2 -t 1 -R -P 4 &&
		iperf host client 2001:db8:2::2 -u -b 300M -t 1 &&
		iperf host client 2001:db8:2::2 -u -b 300M -t 1 -l 80 -R &&
		wait "$first" && wait "$second" || return
	traffic gso 2001:db8:2::2 1372 40 20 + gso 2001:db8:2::2 20 64 20 + udp 2001:db8:2::2 0-200 4000 \
		+ tcp 10.8.0.1 2000000 || return
	ns client ping -q -i 0.002 -c 300 -s 1000 fd00:8::1 || return
	# No session has this address; and another client's is no source for us.
	ns gateway ping -q -c 3 -i 0.2 -W 1 10.8.77.77 || true
	ns client ip address add 10.8.66.66/32 dev shardtun0
	ns client ping -q -c 3 -i 0.2 -W 1 -I 10.8.66.66 10.8.0.1 || true
	ns client ip address delete 10.8.66.66/32 dev shardtun0
}

check_conserved() { # DESCRIPTION
	local side
	for side in gateway client; do
		check "$1: the $side comes to rest" wait_for 30 quiet "$side"
		check "$1: $side" wait_for 30 accounted_for "$side"
		check "$1: garbage was among it at the $side" test "$(figure "$side" type)" -gt 100
	done
	check "$1: so were packets without a session" test "$(figure gateway out_no_session)" -ge 3
	check "$1: and a foreign source" wait_for 30 figure_is gateway inner_source 3
}

link_counter() { # client|gateway rx|tx
	ns "$1" ip -json -statistics link show dev shardtun0 |
		python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["stats64"][sys.argv[1]]["packets"])' "$2"
}

udp_counter() { # client|gateway InDatagrams|OutDatagrams|...: of IPv4
	ns "$1" cat /proc/net/snmp | awk -v name="$2" '
		$1 == "Udp:" && !seen++ { for (i = 2; i <= NF; i++) column[$i] = i; next }
		$1 == "Udp:" { print $column[name] }'
}

# Both are looked at again while something moves.
read_what_the_kernel_gave() { # client|gateway
	figure_is "$1" tun_rx_packets "$(link_counter "$1" tx)"
}

wrote_what_the_kernel_took() { # client|gateway
	[[ $(link_counter "$1" rx) -eq $(($(figure "$1" tun_tx_packets) + $(figure "$1" tun_tx_icmp))) ]]
}

received_what_the_kernel_delivered() { # client|gateway
	figure_is "$1" udp_rx_packets $(($(udp_counter "$1" InDatagrams) - in_before[$1]))
}

# Besides, the sender of garbage in the same namespace did 550 sends.
sent_what_the_kernel_counts() { # client|gateway
	figure_is "$1" udp_tx_packets $(($(udp_counter "$1" OutDatagrams) - out_before[$1] - 550))
}

# Datagrams that are not segmented, faster than they can be read: the process is stopped meanwhile. Unread ones beyond the
# TUN's queue are the kernel's to count.
FLOOD=5000
floods() { # client|gateway ADDRESS PID
	local read_before dropped_before
	check "$1: quiet before the flood" wait_for 30 quiet "$1"
	read_before=$(figure "$1" tun_rx_packets)
	dropped_before=$(figure "$1" interface.tx_dropped)
	kill -STOP "$3"
	ns "$1" python3 -c '
import socket, sys
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(int(sys.argv[2])):
    udp.sendto(b"flood", (sys.argv[1], 9))
' "$2" "$FLOOD"
	kill -CONT "$3"
	sent_is_read_and_dropped() {
		local read dropped
		read=$(($(figure "$1" tun_rx_packets) - read_before))
		dropped=$(($(figure "$1" interface.tx_dropped) - dropped_before))
		echo "$read read, $dropped dropped by the kernel"
		((dropped > 100 && read > 100 && read + dropped == FLOOD))
	}
	check "$1: of a flood each packet was read or dropped by the kernel" wait_for 30 sent_is_read_and_dropped "$1"
	check "$1: as the interface has it" drops_are_the_kernels "$1"
	check "$1: and what was read is accounted for" wait_for 30 accounted_for "$1"
}

drops_are_the_kernels() { # client|gateway
	ns "$1" ip -json -statistics link show dev shardtun0 | python3 -c '
import json, sys
stats = json.load(sys.stdin)[0]["stats64"]
print(stats)
sys.exit([stats[way]["dropped"] for way in ("tx", "rx")] != [int(number) for number in sys.argv[1:]])
' "$(figure "$1" interface.tx_dropped)" "$(figure "$1" interface.rx_dropped)"
}

# The same in the metrics, and in words.
drops_are_said() { # client|gateway
	local drops
	drops=$(figure "$1" interface.tx_dropped)
	"$BUILD/shardtunctl" --socket "$dir/$1.sock" status | grep "packets dropped by the kernel before they could be read" &&
		ns "$1" "$tests_dir/tools/metrics.py" get http://127.0.0.1:9586/metrics |
		grep -x "shardtun_interface_tx_dropped_packets_total $drops"
}

# --- everything on ---
gateway_config "RekeyInterval = 10"
client_config
gateway_start
client_start
check "mixed traffic" mixed
renewed() {
	pings client 10.8.0.1
	[[ $(figure gateway rekeys) -gt 0 ]]
}
check "and new keys" wait_for 30 renewed
check_conserved "offloads on"
both_stop

# --- all off: the same packets as the kernel counts ---
off="DisableOffloads = tun-checksum, tun-tso, tun-uso, udp-gso, udp-gro"
gateway_config "RekeyInterval = 10" "$off"
client_config "$off" "MetricsListen = 127.0.0.1:9586"
declare -A in_before out_before
for side in gateway client; do
	in_before[$side]=$(udp_counter "$side" InDatagrams)
	out_before[$side]=$(udp_counter "$side" OutDatagrams)
done
gateway_start
client_start
check "mixed traffic without offloads" mixed
check_conserved "offloads off"
for side in gateway client; do
	check "$side: read from the TUN what the kernel gave" wait_for 30 read_what_the_kernel_gave "$side"
	check "$side: wrote to the TUN what the kernel took" wait_for 30 wrote_what_the_kernel_took "$side"
	check "$side: received what the kernel delivered" wait_for 30 received_what_the_kernel_delivered "$side"
	check "$side: sent what the kernel counts" wait_for 30 sent_what_the_kernel_counts "$side"
done
floods gateway 10.8.0.2 "${started[gateway]}"
floods client 10.8.0.1 "$(pid_of_client)"
for side in gateway client; do
	check "$side: status and metrics say it" drops_are_said "$side"
done
both_stop

done_testing
