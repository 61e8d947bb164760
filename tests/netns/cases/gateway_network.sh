#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Forward and Masquerade: a client reaches hosts beyond the gateway that know no way back, in both families, and nobody
# gets packets that are another's. The rules are the gateway's own, go with it, and are replaced after it was killed.
#
# A namespace more, "beyond": behind the gateway's eth3, without a route to the pool. And "second", behind eth2, is where
# another client has its outer address.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
second_up
namespace_up beyond
ip link add eth3 netns "st-$$-gateway" type veth peer name eth0 netns "st-$$-beyond"
link_up gateway eth3 192.88.99.1/24 2001:db8:4::1/64
link_up beyond eth0 192.88.99.2/24 2001:db8:4::2/64
ns beyond ip address add 192.88.98.9/32 dev lo # as a host far beyond it
ns gateway ip route add 192.88.98.0/24 via 192.88.99.2
wait_for 30 pings beyond 192.88.99.1
wait_for 30 pings beyond 2001:db8:4::1

table() {
	ns gateway nft --stateless list table inet shardtun-shardtun0
}

tables() {
	ns gateway nft list tables
}

sysctl_is() { # NAME VALUE
	[[ $(ns gateway sysctl -n "$1") == "$2" ]]
}

# Sends one UDP datagram from NAMESPACE; with --claim from an address that is not its own.
datagram() { # NAMESPACE FROM PORT TO PORT [--claim]
	ns "$1" python3 -c '
import socket, sys
source, port, target, target_port = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if "--claim" in sys.argv:
    s.setsockopt(socket.IPPROTO_IP, 19, 1)  # IP_TRANSPARENT
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((source, port))
s.sendto(b"datagram", (target, target_port))' "${@:2}"
}

# Prints "FROM PORT" of each datagram that NAMESPACE gets on a UDP port.
receive() { # NAME NAMESPACE PORT
	start "$1" "$2" python3 -uc '
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", int(sys.argv[1])))
print("ready")
while True:
    print(*s.recvfrom(2000)[1])' "$3"
	wait_for 30 grep -qx ready "$dir/$1.log"
}

received() { # NAME PATTERN
	grep -q "$2" "$dir/$1.log"
}

reaches() { # ADDRESS
	traffic tcp "$1" 100000
}

# --- switched on, and only then ---
ns gateway sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
gateway_config
client_config
everything="10.8.0.0/16, fd00:8::/64, 198.51.100.0/24, 2001:db8:2::/64, 192.88.98.0/24, 192.88.99.0/24, 2001:db8:4::/64"
other_client_config client client 192.0.2.1:5555 "$everything"
gateway_start
check "without Forward the machine does not forward" sysctl_is net.ipv4.ip_forward 0
check "its table guards inner addresses alone" test "$(table | grep -c '^	chain')" = 1
stop gateway || true

gateway_config "Masquerade = eth3"
gateway_start
check "Masquerade on a machine that does not forward: a warning" wait_for 30 grep -q "warning: Masquerade: .* write Forward = yes" "$dir/gateway.log"
stop gateway || true

# A router's advertisement without options: it is the default route for half an hour.
ns beyond python3 -c '
import socket, struct
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
s.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0),
         ("ff02::1", 0, 0, socket.if_nametoindex("eth0")))'
advertised() {
	ns gateway ip -6 route show default | grep -q "dev eth3 .*proto ra"
}
wait_for 30 advertised || not_ok "the gateway has a default route from a router"
: >"$dir/gateway.log"
gateway_config "Forward = yes" "Masquerade = eth3, eth9" "ClientToClient = no"
gateway_start
check "a default route from a router's advertisement stays" advertised
check "which is said" wait_for 30 grep -q "Forward: eth3 has its IPv6 default route from a router" "$dir/gateway.log"
check "Forward switches IPv4 forwarding on" sysctl_is net.ipv4.ip_forward 1
check "and IPv6 forwarding" sysctl_is net.ipv6.conf.all.forwarding 1
check "an interface that is not there: a warning" wait_for 30 grep -q "warning: Masquerade = eth9: there is no such interface" "$dir/gateway.log"
check "no other warning" test "$(grep -c warning "$dir/gateway.log")" -eq 1
client_start
for namespace in host beyond; do
	traffic_serve "$namespace"
done

# --- beyond ---
beyond_sees() { # FAMILY ADDRESS TO
	start sniff beyond tcpdump -n -l -i eth0 -c 1 "$1 and src $2 and dst $3"
	wait_for 30 grep -q listening "$dir/sniff.log"
	reaches "$3"
	wait_for 30 gone "${started[sniff]}"
}
check "IPv4: a host without a way back is reached" reaches 192.88.99.2
check "one further away too" answers client 192.88.98.9
check "IPv6: the same" reaches 2001:db8:4::2
check "both see the gateway's address, IPv4" beyond_sees ip 192.88.99.1 192.88.99.2
check "and IPv6" beyond_sees ip6 2001:db8:4::1 2001:db8:4::2
check "what does not leave by that interface keeps its address" traffic udp 198.51.100.2 64 1000

# --- hosts that know the way to the pool keep it ---
check "a host behind the gateway reaches the client" answers host 10.8.0.2
check "over IPv6 too" answers host fd00:8::2
ns beyond ip route add 10.8.0.0/16 via 192.88.99.1
check "so does one that is attached to the masqueraded interface" answers beyond 10.8.0.2

# --- hosts outside do not reach the inner addresses ---
check_fails "the gateway's inner address is not there for others" pings host 10.8.0.1
check_fails "over IPv6 neither" pings host fd00:8::1
ns second ip route add 10.8.0.1/32 via 203.0.113.1
check_fails "nor for a neighbour outside" pings second 10.8.0.1
ns second ip route delete 10.8.0.1/32
ns gateway sysctl -qw net.ipv4.conf.all.rp_filter=0
receive inner client 7007
datagram beyond 192.88.99.2 7100 10.8.0.2 7007
check "a neighbour's datagram arrives" wait_for 30 received inner "^192.88.99.2 7100"
datagram beyond 192.88.98.9 7101 10.8.0.2 7007
datagram beyond 203.0.113.9 7101 10.8.0.2 7007 --claim
datagram host 10.8.0.77 7101 10.8.0.2 7007 --claim
datagram beyond 192.88.99.2 7102 10.8.0.2 7007
check "so does the next" wait_for 30 received inner "^192.88.99.2 7102"
check_fails "but none between them from far away that answers nothing, or as a client" received inner " 7101$"

# --- port shadow: a client that sends from the gateway's own port to another client's outer address ---
# Unless that is prevented, the connection tracking gives the attacker what the other one sends to the gateway.
ns gateway nft add table ip careless "{ chain out { type nat hook postrouting priority srcnat - 1; oifname eth2 masquerade; }; }"
receive victim second 6000
add_peer second
other_client_config second second 203.0.113.1:5555 "10.8.0.0/16" "ListenPort = 6001"
ctl reload >/dev/null
ns client ip route add 203.0.113.2/32 dev shardtun0 table 21845
datagram client 10.8.0.2 5555 203.0.113.2 6001
datagram client 10.8.0.2 5556 203.0.113.2 6000
check "through somebody's own masquerading a datagram gets out" wait_for 30 received victim "^203.0.113.1 5556"
start second second "$BUILD/shardtun" run "$dir/second.conf"
check "the one whom it wanted to shadow connects" wait_for 30 pings second 10.8.0.1
stop second || true
receive far beyond 6002
for port in 5555 22 6000; do
	datagram client 10.8.0.2 "$port" 192.88.99.2 6002
done
arrived() {
	[[ $(grep -c "^192.88.99.1" "$dir/far.log") -eq 3 ]]
}
check "masqueraded datagrams arrive from whatever port" wait_for 30 arrived
check "none from where something may listen" awk '$1 == "192.88.99.1" && $2 < 32768 { bad = 1 } END { exit bad }' "$dir/far.log"

# --- the end ---
before=$(table)
ns gateway nft flush ruleset
check "somebody's flush of all rules leaves ours" test "$(table)" = "$before"
check "nor can anybody delete them" eval '! ns gateway nft delete table inet shardtun-shardtun0 2>/dev/null'
ns gateway nft add table ip careless
kill_hard gateway
check "the rules of a killed gateway go with it" wait_for 30 eval '! table 2>/dev/null'
wait_for 30 eval '! ns gateway ip link show shardtun0'
gateway_start
check "the next one lays them again" test "$(table)" = "$before"
kill_hard gateway
gateway_config
gateway_start
check "and none that are not wanted any more" test "$(table | grep -c '^	chain')" = 1
stop gateway || true
gateway_config "Forward = yes" "Masquerade = eth3"
gateway_start
check "there are rules again" table
both_stop
check "the end takes them away, and nothing else" test "$(tables)" = "table ip careless"
check "forwarding stays on" sysctl_is net.ipv4.ip_forward 1

# --- what it says when it cannot ---
gateway_fails() { # TEXT [COMMAND...]
	local text=$1 status=0 said
	shift
	said=$(ns gateway timeout 300 "$@" "$BUILD/shardtund" -c "$dir/gateway.conf" 2>&1) || status=$?
	[[ $status -ne 0 && $status -ne 124 && $said == *"$text"* ]] || {
		echo "status $status: $said"
		return 1
	}
}
# Stands in for such a kernel: socket(AF_NETLINK, …, NETLINK_NETFILTER) fails as it does there.
cat >"$dir/without_netfilter.py" <<-'END'
	import ctypes, os, struct, sys
	SOCKET, AF_NETLINK, NETLINK_NETFILTER, EPROTONOSUPPORT = {"x86_64": 41, "aarch64": 198}[os.uname().machine], 16, 12, 93
	LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
	program = b"".join(struct.pack("HBBI", *instruction) for instruction in (
	    (LOAD, 0, 0, 0), (EQUAL, 0, 5, SOCKET),  # seccomp_data.nr
	    (LOAD, 0, 0, 16), (EQUAL, 0, 3, AF_NETLINK),  # args[0]
	    (LOAD, 0, 0, 32), (EQUAL, 0, 1, NETLINK_NETFILTER),  # args[2]
	    (RETURN, 0, 0, 0x00050000 | EPROTONOSUPPORT), (RETURN, 0, 0, 0x7fff0000)))
	buffer = ctypes.create_string_buffer(program)
	fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer)))
	prctl = ctypes.CDLL(None, use_errno=True).prctl
	if prctl(38, 1, 0, 0, 0) or prctl(22, 2, fprog, 0, 0):  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP: filter
	    sys.exit(os.strerror(ctypes.get_errno()))
	os.execv(sys.argv[1], sys.argv[1:])
END
check "a kernel without nf_tables: it says so" gateway_fails "Masquerade: this kernel has no nf_tables; load it" \
	python3 "$dir/without_netfilter.py"
cp "$dir/gateway.conf" "$dir/whole.conf"
gateway_config
start bare gateway python3 "$dir/without_netfilter.py" "$BUILD/shardtund" -c "$dir/gateway.conf"
check "who does not need any starts without" wait_for 30 listens gateway udp 5555
check "and is told what is missing" wait_for 30 grep -q "^warning: guard of inner addresses: this kernel has no nf_tables; .* neighbours" "$dir/bare.log"
stop bare || true
mv "$dir/whole.conf" "$dir/gateway.conf"
ns gateway sysctl -qw net.ipv4.ip_forward=0
ns gateway sysctl -qw net.ipv6.conf.all.forwarding=0
check "a read-only /proc/sys: it says so" gateway_fails "Forward: net.ipv4.ip_forward: Read-only file system; set it to 1" \
	sh -c 'mount -o bind,ro /proc/sys /proc/sys && exec "$0" "$@"'
check "and no rule is left" test "$(tables)" = "table ip careless"
check "nor an interface" nothing_left gateway

# --- advice: two gateway addresses, the default route elsewhere, and a strict reverse path filter ---
ns gateway ip route add default via 192.88.99.2
ns gateway sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=1
gateway_config "ListenAddress = 192.0.2.1"
: >"$dir/gateway.log"
gateway_start
check "a strict reverse path filter in the way: one warning says what to do" \
	wait_for 30 grep -q "warning: ListenAddress on eth0: its rp_filter is strict .* sysctl -w net.ipv4.conf.all.rp_filter=2" "$dir/gateway.log"
stop gateway || true
ns gateway sysctl -qw net.ipv4.conf.all.rp_filter=2
: >"$dir/gateway.log"
gateway_start
check "a loose one is none" test "$(grep -c warning "$dir/gateway.log")" -eq 0
stop gateway || true

# --- the kernel's routes to networks behind peers ---
routed() { # NETWORK...: what there is a route to by way of the tunnel, and nothing else
	diff <(printf '%s\n' "$@" | sort) <({
		ns gateway ip route show dev shardtun0 proto 85
		ns gateway ip -6 route show dev shardtun0 proto 85
	} | awk '{ print $1 }' | sort)
}

key=$("$BUILD/shardtun" genkey | "$BUILD/shardtun" pubkey)
gateway_config
sed -i '0,/^PresharedKeyFile = client.psk/s||&\nAllowedIPs = 192.168.7.0/24, fd77::/64, 192.168.9.0/24|' "$dir/gateway.conf"
ns gateway ip route add 192.168.9.0/24 via 192.88.99.2 # the operator's own
: >"$dir/gateway.log"
gateway_start
check "the kernel knows the networks behind peers" wait_for 30 routed 192.168.7.0/24 fd77::/64 192.168.9.0/24
check "a route of somebody else's to the same network stays, and wins" \
	grep -q "dev eth3" <(ns gateway ip route get 192.168.9.1)
check "a peer is added with a network" ctl peer add "$key" --allowed-ips 192.168.8.0/24
check "its route comes" routed 192.168.7.0/24 fd77::/64 192.168.9.0/24 192.168.8.0/24
check "the peer goes" ctl peer del "$key"
check "and its route" routed 192.168.7.0/24 fd77::/64 192.168.9.0/24
sed -i 's|^AllowedIPs = .*|AllowedIPs = fd77::/64, 192.168.6.0/24|' "$dir/gateway.conf"
check "a reload changes the networks" ctl reload
check "and the routes" routed fd77::/64 192.168.6.0/24
check "without a warning" test "$(grep -c warning "$dir/gateway.log")" -eq 0
stop gateway || true
check "they go with the interface" grep -q "via 192.88.99.2" <(ns gateway ip route show 192.168.9.0/24)

done_testing
