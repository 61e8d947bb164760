#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a client set up stays set up while others change the machine: rules, routes, addresses, the link and its name, MTU,
# firewall tables, settings. With KillSwitch nothing leaves in the clear meanwhile, as counted on the outer link. And a
# neighbour on that link reaches nothing at the inner addresses (CVE-2019-14899).
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
gateway_config
ns client ip route add default via 192.0.2.1
ns client ip -6 route add default via 2001:db8:1::1
# Only then does anything depend on src_valid_mark.
ns client sysctl -qw net.ipv4.conf.eth0.rp_filter=1

# Packets for the hosts beyond the gateway that come to it in the clear.
ns gateway nft -f - <<'END'
table inet watch {
	counter clear { }
	chain in {
		type filter hook prerouting priority -400
		iifname eth0 ip daddr 198.51.100.2 counter name clear
		iifname eth0 ip6 daddr 2001:db8:2::2 counter name clear
	}
}
END

in_the_clear() {
	ns gateway nft list counter inet watch clear | awk '/packets/ { print $2 }'
}

client_with() { # ALLOWED_IPS [OPTION...]
	[[ -z ${started[client]:-} ]] || stop client || true
	other_client_config client client 192.0.2.1:5555 "$@"
	start client client "$BUILD/shardtun" run "$dir/client.conf"
	wait_for 30 pings client 10.8.0.1
	wait_for 30 state_is connected
}

state_is() { # STATE
	local status
	status=$("$BUILD/shardtun" status --json "$dir/client.conf")
	[[ $status == *"\"state\": \"$1\""* ]] || {
		echo "$status"
		return 1
	}
}

nft_process() {
	pgrep -P "$(pid_of_client)" nftables
}

has() { # WORDS COMMAND... of ip, in the client
	local words=$1
	shift
	[[ $(ns client ip "$@" 2>/dev/null) == *"$words"* ]]
}

mtu_is() {
	[[ $(ns client cat /sys/class/net/shardtun0/mtu) -eq $1 ]]
}

mark_is_valid() {
	[[ $(ns client sysctl -n net.ipv4.conf.all.src_valid_mark) == 1 ]]
}

tables_are() { # COUNT
	[[ $(nft_tables client | wc -l) -eq $1 ]] && wait_for 30 state_is connected
}

both_owned() {
	[[ $(ns client nft list ruleset | grep -c 'flags owner') -eq 2 ]]
}

# Breaks something, and waits until it is as it was.
comes_back() { # DESCRIPTION BREAK CHECK...
	local description=$1 broken=$2 from
	shift 2
	ns client sh -c "$broken" 2>"$dir/broken.log" || true
	from=${EPOCHREALTIME/[.,]/}
	check "$description" wait_for 30 "$@"
	echo "# after $(((${EPOCHREALTIME/[.,]/} - from) / 1000)) ms: $description"
}

everything_comes_back() { # WHEN
	comes_back "$1: the IPv4 rule" 'ip rule del pref 21845' has 'lookup 21845' rule
	comes_back "$1: the IPv6 rule" 'ip -6 rule del pref 21845' has 'lookup 21845' -6 rule
	comes_back "$1: a rule of another mark in its place" \
		'ip rule del pref 21845; ip rule add pref 21845 not fwmark 7 lookup 21845' has '0x55000000/0xff000000 lookup 21845' rule
	comes_back "$1: IPv4 routes" 'ip route flush table 21845' has 'default dev shardtun0' route show table 21845
	comes_back "$1: IPv6 routes" 'ip -6 route flush table 21845' has 'default dev shardtun0' -6 route show table 21845
	comes_back "$1: a route that led elsewhere" 'ip route replace default via 192.0.2.1 dev eth0 table 21845' \
		has 'default dev shardtun0' route show table 21845
	comes_back "$1: the IPv4 address" 'ip address flush dev shardtun0' has '10.8.0.2/32' address show dev shardtun0
	comes_back "$1: the IPv6 address" 'ip -6 address flush dev shardtun0' has 'fd00:8::2/128' -6 address show dev shardtun0
	comes_back "$1: IPv6 that is switched off" 'sysctl -qw net.ipv6.conf.shardtun0.disable_ipv6=1' \
		has 'fd00:8::2/128' -6 address show dev shardtun0
	comes_back "$1: the link" 'ip link set shardtun0 down' has 'state UNKNOWN' link show shardtun0
	comes_back "$1: the group" 'ip link set shardtun0 group 0' has 'group 21845' link show shardtun0
	comes_back "$1: the MTU" 'ip link set shardtun0 mtu 1300' mtu_is 1420
	comes_back "$1: src_valid_mark" 'sysctl -qw net.ipv4.conf.all.src_valid_mark=0' mark_is_valid
	check "$1: status says that all is in force" wait_for 30 state_is connected
	check "$1: the host is reached" wait_for 30 pings client 198.51.100.2
	check "$1: by IPv6 too" wait_for 30 pings client 2001:db8:2::2
}

# What programs send meanwhile.
send_start() {
	start send4 client ping -n -q -i 0.005 198.51.100.2
	start send6 client ping -n -q -i 0.005 2001:db8:2::2
}

send_stop() {
	stop send4 || true
	stop send6 || true
}

gateway_start

# --- everything, and the kill switch ---
client_with "0.0.0.0/0, ::/0" "KillSwitch = yes"
send_start
everything_comes_back "kill switch"
check "a line tells what was put back" grep -q 'policy rule: IPv4 rule 21845 for table 21845 .* put back' "$dir/client.log"
check "so do metrics' figures" grep -q '"restored": [1-9]' <(status_json client)

# A flush cannot touch tables that have an owner; without one they come back.
comes_back "firewall tables after a flush" 'nft flush ruleset' tables_are 2
# shellcheck disable=SC2046 # one number
kill -KILL $(nft_process)
check "the process that owns them ends: they come back" wait_for 30 tables_are 2
if [[ $(printf '%s\n' 6.9 "$(uname -r)" | sort -V | head -n 1) == 6.9 ]]; then
	check "with an owner again" wait_for 30 both_owned
fi

# Another program that removes it again and again.
for ((i = 0; i < 300; i++)); do
	ns client ip rule del pref 21845 2>/dev/null || sleep 0.02
	! state_is "connected, not in force: rule" >/dev/null || break
done
check "removed again and again: status says so" state_is "connected, not in force: rule"
check "and why" grep -q 'not in force: rule: .* removed by another program' <("$BUILD/shardtun" status "$dir/client.conf")
check "when they give up it comes back" wait_for 30 has 'lookup 21845' rule
check "which is seen" wait_for 30 state_is connected

# Another name.
ns client ip link set shardtun0 down
ns client ip link set shardtun0 name renamed0
ns client ip link set renamed0 up
check "another name: the host is reached" wait_for 30 pings client 198.51.100.2
check "status has it" grep -q '^renamed0: connected' <("$BUILD/shardtun" status "$dir/client.conf")
check "the firewall tables are there" tables_are 2
ns client ip link set renamed0 down
ns client ip link set renamed0 name shardtun0
ns client ip link set shardtun0 up
check "and back" wait_for 30 pings client 198.51.100.2

# Gone for good: the client cannot go on, and the kill switch stays.
ns client ip link delete shardtun0
check "the interface is deleted: the client ends" wait_for 30 gone "${started[client]}"
unset "started[client]"
check "which is said" grep -q 'interface shardtun0: another program removed it' "$dir/client.log"
check "the kill switch stays" grep -q kill-switch <(nft_tables client)
check_fails "a neighbour is out of reach" pings client 192.0.2.1
send_stop
check "with the kill switch nothing left in the clear meanwhile" test "$(in_the_clear)" -eq 0
check "down opens it" ip netns exec "st-$$-client" "$BUILD/shardtun" down "$dir/client.conf"
check "and nothing is left" nothing_left client

# --- the same without: some packets may leave in the clear until it is put back ---
client_with "0.0.0.0/0, ::/0"
send_start
ns client sh -c 'ip link set shardtun0 down; sleep 0.01; ip link set shardtun0 down'
check "without a kill switch: the link comes back" wait_for 30 has 'state UNKNOWN' link show shardtun0
check "and the routes" wait_for 30 has 'default dev shardtun0' -6 route show table 21845
everything_comes_back "no kill switch"
send_stop
echo "# packets in the clear without the kill switch: $(in_the_clear)"

# --- a route of table main that leads the tunnel's own packets into the tunnel ---
sent() {
	ns client cat /sys/class/net/shardtun0/statistics/tx_packets
}
before=$(sent)
ns client ip route add 192.0.2.1/32 dev shardtun0
pings client 198.51.100.2 || true
sleep 1
check "no packet goes round and round" test $(($(sent) - before)) -lt 1000
check "the log says which route it is" wait_for 30 grep -q 'route to 192.0.2.1: table main leads into the tunnel itself' "$dir/client.log"
ns client ip route delete 192.0.2.1/32 dev shardtun0
check "without it the host is reached again" wait_for 30 pings client 198.51.100.2

# --- a neighbour ---
namespace_up neighbour
ns gateway ip link add mv0 link eth0 type macvlan mode bridge
ns gateway ip link set mv0 netns "st-$$-neighbour"
link_up neighbour mv0 192.0.2.66/24 2001:db8:1::66/64
ns neighbour ip route add 10.8.0.0/16 via 192.0.2.2
ns neighbour ip -6 route add fd00:8::/64 via 2001:db8:1::2
for interface in all eth0; do
	ns client sysctl -qw "net.ipv4.conf.$interface.rp_filter=0"
done

# What a program gets that listens at every address.
listen() {
	rm -f "$dir/listener.log"
	start listener client python3 -u -c '
import socket
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
udp.bind(("::", 4242))
print("ready")
while True:
    print(udp.recv(100).decode())'
	wait_for 30 grep -q ready "$dir/listener.log"
}

forge() { # SOURCE DESTINATION TEXT
	ns neighbour python3 -c '
import socket, struct, sys
source, destination, text = sys.argv[1:]
udp = struct.pack("!HHHH", 53, 4242, 8 + len(text), 0) + text.encode()
ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(destination))
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.sendto(ip + udp, (destination, 0))' "$@"
}

guarded() { # WHEN
	check_fails "$1: a neighbour gets no answer at the inner address" pings neighbour 10.8.0.2
	check_fails "$1: nor by IPv6" pings neighbour fd00:8::2
	listen
	forge 198.51.100.2 10.8.0.2 inner
	forge 10.8.0.77 192.0.2.2 pool
	forge 192.0.2.66 192.0.2.2 honest
	check "$1: what a neighbour sends for itself arrives" wait_for 30 grep -q honest "$dir/listener.log"
	check_fails "$1: what it forges for the inner address does not" grep -q inner "$dir/listener.log"
	check_fails "$1: nor what seems to be from the tunnel" grep -q pool "$dir/listener.log"
	stop listener || true
	check "$1: the tunnel works" pings client 198.51.100.2 -W 20
	check "$1: neighbours too" pings neighbour 192.0.2.2 -W 20
}

guarded "everything"
client_with "10.8.0.0/16, fd00:8::/64, 198.51.100.0/24, 2001:db8:2::/64"
guarded "some networks"
client_with "10.8.0.0/16, fd00:8::/64, 192.0.2.1/32, 198.51.100.0/24, 2001:db8:2::/64" "KillSwitch = no"
check "the gateway itself in AllowedIPs" answers client 198.51.100.2
stop client || true
check "the guard goes with the client" test -z "$(nft_tables client)"

stop gateway || true
done_testing
