#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Links with a smaller MTU than usual outside, forged messages about it, and sessions with a smaller MTU than the tunnel's
# inside: TCP and UDP get through in both directions, and hosts that send too much get ICMP, or their packets are fragmented.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
traffic_serve host
gateway_config "Workers = 2"

outer_mtu() { # MTU
	ns client ip link set eth0 mtu "$1"
	ns gateway ip link set eth0 mtu "$1"
	ns client ip -6 address replace 2001:db8:1::2/64 dev eth0 nodad
	ns gateway ip -6 address replace 2001:db8:1::1/64 dev eth0 nodad
}

# Fragments that came by the link between the two, in both families.
for namespace in client gateway; do
	ns "$namespace" nft -f - <<-'END'
		table netdev fragments {
			chain in {
				type filter hook ingress device eth0 priority 0;
				ip frag-off & 0x3fff != 0 counter
				ip6 nexthdr 44 counter
			}
		}
	END
done
fragments() {
	local namespace
	for namespace in client gateway; do
		ns "$namespace" nft list table netdev fragments
	done | awk '/packets/ { for (i = 1; i < NF; i++) if ($i == "packets") sum += $(i + 1) } END { print sum }'
}

# How many packets the kernel of a namespace had to fragment.
fragmented() { # NAMESPACE
	ns "$1" nstat -asz IpFragOKs Ip6FragOKs | awk '/FragOKs/ { sum += $2 } END { print sum }'
}

moves() { # TCP and UDP there and back
	check "$what: TCP both ways, IPv4" traffic tcp 198.51.100.2 3000000
	check "$what: TCP both ways, IPv6" traffic tcp 2001:db8:2::2 3000000
	check "$what: UDP of all sizes both ways" traffic udp 198.51.100.2 0 1 500 1100 1172-1200 1400 1470 3000
	check "$what: trains of datagrams" traffic gso 198.51.100.2 1000 20 5
}

# --- outer MTU ---
for mtu in 1492 1280; do
	outer_mtu "$mtu"
	for outer in IPv4 IPv6; do
		endpoint=192.0.2.1:5555
		[[ $outer == IPv4 ]] || endpoint="[2001:db8:1::1]:5555"
		for own in auto 1420; do
			what="outer MTU $mtu over $outer, MTU = $own"
			client_config "MTU = $own"
			gateway_start
			client_start
			before=$(fragments)
			[[ $own == auto && $mtu == 1280 ]] || moves
			if [[ $own == auto && $mtu == 1280 ]]; then
				# Less than 1280 is left, which is too little for IPv6 inside.
				check "$what: TCP both ways" traffic tcp 198.51.100.2 3000000
				check "$what: UDP of all sizes both ways" traffic udp 198.51.100.2 0 1 500 1100-1110 1172 1400
			fi
			after=$(fragments)
			if [[ $own == auto ]]; then
				check "$what: nothing is fragmented outside" test "$after" -eq "$before"
			elif [[ $mtu == 1280 ]]; then
				check "$what: what is too long is fragmented outside" test "$after" -gt "$before"
			fi
			check "$what: every datagram is accounted for" wait_for 30 accounted_for gateway
			both_stop
		done
	done
done
outer_mtu 1500

# --- forged ICMP too-big ---
believes() { # ADDRESS MTU: the gateway's kernel
	ns gateway ip route get "$1" | grep "mtu $2" >/dev/null
}

port_hold gateway :: 5556
for outer in IPv4 IPv6; do
	what="forged too-big over $outer"
	near=192.0.2.1 far=192.0.2.2 small=576
	[[ $outer == IPv4 ]] || near=2001:db8:1::1 far=2001:db8:1::2 small=1280
	endpoint=$near:5555
	[[ $outer == IPv4 ]] || endpoint="[$near]:5555"
	client_config "ListenPort = 6000"
	gateway_start
	client_start
	# The gateway's kernel does not take it for the gateway's sockets, but for another's, to the same address.
	for port in 5555 5556; do
		ns client "$tests_dir/tools/forge_too_big.py" "$near" "$port" "$far" 6000 "$small"
	done
	check "$what: the kernel takes it" wait_for 30 believes "$far" "$small"
	before=$(fragments)
	moves
	check "$what: and the gateway sends as before" test "$(fragments)" -eq "$before"
	both_stop
	ns gateway ip route flush cache
	ns gateway ip -6 route flush cache
done

# --- a session with a smaller MTU than the tunnel's ---
endpoint=
client_config "MTU = 1280"
gateway_start
client_start
traffic_serve client
what="session of MTU 1280"
start syn client tcpdump -n -v -l -i shardtun0 'src 198.51.100.2 and tcp[tcpflags] & tcp-syn != 0'
wait_for 30 grep -q listening "$dir/syn.log"
check "$what: TCP from the client" traffic tcp 198.51.100.2 1000000
check "$what: TCP from the host" ns host "$tests_dir/tools/traffic.py" tcp 10.8.0.2 1000000
both_clamped() {
	[[ $(grep -c "mss 1240" "$dir/syn.log") -ge 2 && $(grep -c "mss" "$dir/syn.log") -eq $(grep -c "mss 1240" "$dir/syn.log") ]]
}
check "$what: of the host's segments it is said what fits" wait_for 30 both_clamped
stop syn || true
told() { # MTU ADDRESS: the host, by a router's message
	local said
	said=$(ns host ping -n -c 3 -W 1 -i 0.2 -M "do" -s 1372 "$2" 2>&1) || true
	echo "$said"
	grep -qiE "mtu ?= ?$1" <<<"$said"
}
check "$what: a host that forbids fragments is told, IPv4" wait_for 30 told 1280 10.8.0.2
check "$what: and IPv6" wait_for 30 told 1280 fd00:8::2
unfragmented() { # Linux remembers what it was told for its other packets too
	ns host ip route flush cache
	ns host ping -n -c 1 -W 5 -M dont -s "$1" 10.8.0.2
}
before=$(fragmented host)
check "$what: one that does not forbid them gets its packet through" unfragmented 1372
check "$what: which the gateway fragments, not the host" test "$(fragmented host)" -eq "$before"
check "$what: and nothing is dropped for it" eval '[[ $(figure gateway out_too_big) -le 6 ]]'
# No DF at all, and "fragmentation needed" is ignored. What is longer than the tunnel's MTU is fragmented twice.
ns host sysctl -qw net.ipv4.ip_no_pmtu_disc=1
ns host ip route flush cache
check "$what: UDP without DF of the host's" ns host "$tests_dir/tools/traffic.py" udp 10.8.0.2 1200 1252 1253 1392 1450 3000
both_stop

done_testing
