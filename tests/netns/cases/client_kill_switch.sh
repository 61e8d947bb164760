#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The kill switch: nothing leaves the client but the tunnel's own packets, DHCP and neighbour discovery, while all is well,
# while the gateway is dead, and after the client itself was killed; down takes it away. Seen by a capture on the outer link.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
"${CC:-cc}" -shared -fPIC -o "$dir/wall_clock.so" "$tests_dir/tools/wall_clock.c"
traffic_serve host
gateway_config
client_config "KillSwitch = yes"
sed -i 's|^AllowedIPs.*|AllowedIPs = 0.0.0.0/0, ::/0|' "$dir/client.conf"
# Where packets would go by if there were no tunnel.
ns client ip route add default via 192.0.2.1
ns client ip -6 route add default via 2001:db8:1::1

tun() { # ARGUMENT...
	status=0
	timeout 300 ip netns exec "st-$$-client" "$@" >"$dir/said" 2>&1 </dev/null || status=$?
	cp "$dir/said" "$dir/tun.log"
}

capture_start() {
	start capture gateway tcpdump -i eth0 -n --immediate-mode -U -w "$dir/capture.pcap"
	wait_for 30 grep -q listening "$dir/capture.log"
}

# What the client sent and may not send. The marker shows that the capture is complete.
leaks() {
	ns client ping -n -q -c 1 -W 1 -m 1426063360 -p 7368617264 192.0.2.1 >/dev/null
	wait_for 30 captured shardshard icmp
	stop capture || true
	tcpdump -n -r "$dir/capture.pcap" 'ether src '"$mac"' and not arp and
		not (udp dst port 5555) and not (udp src port 68 and dst port 67) and not (udp src port 546 and dst port 547) and
		not (icmp[icmptype] == icmp-echo and dst host 192.0.2.1) and
		not (icmp6 and ip6[40] >= 133 and ip6[40] <= 136) and not (ip6[6] == 0 and ip6[48] == 143)' 2>/dev/null
	rm -f "$dir/capture.pcap" "$dir/capture.log"
}

captured() { # TEXT FILTER
	tcpdump -n -A -r "$dir/capture.pcap" "$2" 2>/dev/null | grep "$1" >/dev/null
}

client_is() { # STATE
	"$BUILD/shardtun" status --json "$dir/client.conf" | grep -q "\"state\": \"$1\""
}

no_leaks() { # DESCRIPTION
	local leaked
	leaked=$(leaks)
	check "$1" test -z "$leaked"
	[[ -z $leaked ]] || diagnose <<<"$leaked"
}

# Everything that programs do: all of it has to fail or to go through the tunnel.
chatter() {
	local address pinging=()
	{
		for address in 192.0.2.1 2001:db8:1::1 198.51.100.2 2001:db8:2::2; do
			pings client "$address" -W 0.2 &
			pinging+=($!)
			pings client "$address" -W 0.2 -I eth0 &
			pinging+=($!)
		done
		wait "${pinging[@]}"
		ns client python3 - <<-'END'
			import socket
			for family, host in (socket.AF_INET, "198.51.100.2"), (socket.AF_INET6, "2001:db8:2::2"), \
			        (socket.AF_INET, "192.0.2.1"), (socket.AF_INET, "255.255.255.255"), (socket.AF_INET, "224.0.0.251"):
			    for kind in socket.SOCK_DGRAM, socket.SOCK_STREAM:
			        with socket.socket(family, kind) as s:
			            s.setblocking(False)  # the SYN leaves all the same
			            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
			            for port in 53, 5555:
			                try:
			                    s.connect((host, port))
			                    s.send(b"secret")
			                except OSError:
			                    pass
		END
	} >/dev/null 2>&1 || true
}

mac=$(ns client cat /sys/class/net/eth0/address)
gateway_start
check "before: there is a way without the tunnel" answers client 198.51.100.1
# Of the seconds until it misses the gateway, five pass in one.
tun env LD_PRELOAD="$dir/wall_clock.so" CLOCK_SPEED=5 "$BUILD/shardtun" up "$dir/client.conf"
check "up" test "$status" -eq 0
check "its rules are there" grep -q shardtun-shardtun0 <(nft_tables client)
check "the host is reached through the tunnel" answers client 198.51.100.2
check "and by IPv6" answers client 2001:db8:2::2
tun "$BUILD/shardtun" status "$dir/client.conf"
check "status says so" grep -q 'kill switch in force' "$dir/said"
check_fails "a neighbour is not" pings client 192.0.2.1
check "but a route by way of one still finds its link" test \
	"$(ns client ip route get 192.0.2.1 | awk '{ print $3; exit }')" = eth0
check "loopback is" answers client 127.0.0.1

capture_start
chatter
no_leaks "while connected"
capture_start
ns client python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
s.bind(("", 68))
s.sendto(b"dhcp", ("192.0.2.1", 67))'
check "DHCP gets out" wait_for 30 captured dhcp 'udp dst port 67'
no_leaks "with DHCP"

capture_start
kill_hard gateway
chatter
check "the client notices" wait_for 40 client_is reconnecting
chatter
no_leaks "while the gateway is dead"
capture_start
ns client ip link set eth0 down
ns client ip link set eth0 up
ns client ip route replace default via 192.0.2.1 dev eth0
chatter
no_leaks "while the link comes and goes"
gateway_start
check "the gateway is back: the tunnel too" wait_for 40 pings client 198.51.100.2

# --- the client is killed ---
pid=$(pid_of_client)
kill -KILL "$pid"
wait_for 30 nobody_has_state
capture_start
chatter
no_leaks "after the client was killed"
check "the rules are still there" grep -q shardtun-shardtun0 <(nft_tables client)

# The name of the gateway cannot be looked up now: the address of the run before is used.
cp "$dir/client.conf" "$dir/right.conf"
sed -i 's/192.0.2.1:5555/gateway.invalid:5555/' "$dir/client.conf"
capture_start
tun "$BUILD/shardtun" up "$dir/client.conf"
check "up again, by the address of the run before" test "$status" -eq 0
check "the tunnel works" answers client 198.51.100.2
no_leaks "from the crash until then"
tun "$BUILD/shardtun" down "$dir/client.conf"
check "down takes the rules away" nothing_left client
check "and packets leave again" answers client 198.51.100.1
cp "$dir/right.conf" "$dir/client.conf"

tun "$BUILD/shardtun" up "$dir/client.conf"
kill -KILL "$(pid_of_client)"
wait_for 30 nobody_has_state
tun "$BUILD/shardtun" down "$dir/client.conf"
check "down takes those of a killed one away" nothing_left client

# --- what it needs ---
# shellcheck disable=SC2016 # the inner shell's arguments
tun setpriv --bounding-set -net_admin --inh-caps -net_admin "$BUILD/shardtun" up "$dir/client.conf"
check "without CAP_NET_ADMIN it does not start" test "$status" -eq 1
check "nothing is left then" nothing_left client
stop gateway || true
tun "$BUILD/shardtun" up -t 2 "$dir/client.conf"
check "an up that does not connect leaves no rules" nothing_left client
gateway_start
sed -i 's/^Interface = .*/Interface = bad"name/' "$dir/client.conf"
tun "$BUILD/shardtun" up "$dir/client.conf"
check "an interface that rules cannot name: status 3" test "$status" -eq 3
check "and says so" grep -q 'KillSwitch: Interface = bad"name: firewall rules cannot name it' "$dir/said"

stop gateway || true
done_testing
