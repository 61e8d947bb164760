#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What goes through the tunnel and what does not: routes that a hostile DHCP server pushes (option 121, TunnelVision), attached
# networks, networks that overlap AllowedIPs or have the gateway itself in them, networks behind the client, a family
# that the tunnel does not carry. The tunnel never swallows its own packets.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
gateway_config
ns client ip route add default via 192.0.2.1
ns client ip -6 route add default via 2001:db8:1::1

# Restarts the client with these networks.
client_with() { # ALLOWED_IPS [OPTION...]
	[[ -z ${started[client]:-} ]] || stop client || true
	other_client_config client client 192.0.2.1:5555 "$@"
	start client client "$BUILD/shardtun" run "$dir/client.conf"
	wait_for 30 grep -q connected: "$dir/client.log"
	rm "$dir/client.log"
	wait_for 30 leaves_by shardtun0 10.8.0.1
}

leaves_by() { # INTERFACE ADDRESS [ip-route ARGUMENTS...]
	local route
	route=$(ns client ip route get "${@:2}")
	[[ $route == *" dev $1 "* ]] || {
		echo "$route"
		return 1
	}
}

own_packets_leave() { # DESCRIPTION
	check "$1: the tunnel's own packets leave by eth0" leaves_by eth0 192.0.2.1 mark 0x55000000
	check "$1: it works" answers client 10.8.0.1
}

# A link more, side0, without addresses.
side_link() {
	ns client ip link add side0 type veth peer name side1
	ns client ip link set side0 up
	ns client ip link set side1 up
}

gateway_start

# --- everything ---
client_with "0.0.0.0/0, ::/0"
own_packets_leave "everything"
check "what is far goes through" leaves_by shardtun0 198.51.100.2
check "by IPv6 too" leaves_by shardtun0 2001:db8:2::2
check "a neighbour is reached directly" leaves_by eth0 192.0.2.1
check "by IPv6 too" leaves_by eth0 2001:db8:1::1
check "the gateway's inner address goes through" leaves_by shardtun0 10.8.0.1

# Option 121: with a gateway, on the link, half the Internet, a single host.
ns client ip route add 198.51.100.0/24 via 192.0.2.1 dev eth0 proto dhcp
ns client ip route add 198.51.100.2/32 dev eth0 proto dhcp scope link
ns client ip route add 0.0.0.0/1 via 192.0.2.1 dev eth0 proto dhcp
ns client ip route add 128.0.0.0/1 via 192.0.2.1 dev eth0
ns client ip -6 route add 2001:db8:2::/64 via 2001:db8:1::1 dev eth0 proto ra
ns client ip address add 203.0.113.1/1 dev eth0 # a wide net for an address
sleep 0.3
for address in 198.51.100.2 198.51.100.1 8.8.8.8 203.0.113.77 2001:db8:2::2; do
	check "pushed routes do not pull $address out of the tunnel" leaves_by shardtun0 "$address"
done
own_packets_leave "with pushed routes"
check "and the host is reached" answers client 198.51.100.2
ns client ip address delete 203.0.113.1/1 dev eth0
ns client ip route delete 198.51.100.0/24
ns client ip route delete 198.51.100.2/32
ns client ip route delete 0.0.0.0/1
ns client ip route delete 128.0.0.0/1
ns client ip -6 route delete 2001:db8:2::/64

# An attached network comes and goes.
side_link
check "not attached: through the tunnel" leaves_by shardtun0 172.16.9.9
ns client ip address add 172.16.9.1/24 dev side0
check "attached: directly" wait_for 30 leaves_by side0 172.16.9.9
ns client ip link delete side0
check "not any more: through the tunnel" wait_for 30 leaves_by shardtun0 172.16.9.9
# The tunnel's inner network is in use here.
side_link
ns client ip address add 10.8.0.200/24 dev side0
check "a local network over the tunnel's own" wait_for 30 leaves_by side0 10.8.0.77
own_packets_leave "but the gateway's address is its own"
ns client ip link delete side0

# --- strict ---
client_with "0.0.0.0/0, ::/0" "LocalNetworks = no"
own_packets_leave "LocalNetworks = no"
check "a neighbour is reached through the tunnel" leaves_by shardtun0 192.0.2.1
check "by IPv6 too" leaves_by shardtun0 2001:db8:1::1

# --- networks that overlap ---
client_with "192.0.2.0/24, 2001:db8:1::/64, 10.8.0.0/16, fd00:8::/64"
own_packets_leave "the local network in AllowedIPs, and the gateway in it"
check "the local network is behind the gateway" leaves_by shardtun0 192.0.2.77
check "the gateway's outer address is reached through the tunnel" answers client 192.0.2.1
check "the rest of the world is not" leaves_by eth0 198.51.100.2
client_with "192.0.0.0/8, 10.8.0.0/16"
own_packets_leave "a network around the local one"
check "AllowedIPs that are not everything have priority" leaves_by shardtun0 192.0.2.77

# --- everything in parts ---
client_with "0.0.0.0/1, 128.0.0.0/2, 192.0.0.0/2, ::/1, 8000::/1"
check "everything in parts: a neighbour is reached directly" leaves_by eth0 192.0.2.77
check "by IPv6 too" leaves_by eth0 2001:db8:1::77
check "and what is far goes through" leaves_by shardtun0 203.0.113.1

# --- what the gateway gives ---
stop gateway || true
gateway_config "Routes = 192.0.2.0/24, 203.0.113.0/24" "DNS = 192.0.2.53"
gateway_start
client_with "0.0.0.0/0, ::/0" "DNS = off"
own_packets_leave "Routes of the gateway"
check "they have priority over attached networks" leaves_by shardtun0 192.0.2.77
client_with "10.8.0.0/16" "DNS = off"
check "but not outside AllowedIPs" leaves_by eth0 203.0.113.1

# --- networks behind the client ---
stop gateway || true
gateway_config
sed -i '0,/^PresharedKeyFile = client.psk/s||&\nAllowedIPs = 192.168.7.0/24|' "$dir/gateway.conf"
gateway_start
namespace_up lan
ip link add eth1 netns "st-$$-client" type veth peer name eth0 netns "st-$$-lan"
link_up client eth1 192.168.7.1/24 fd00:77::1/64
link_up lan eth0 192.168.7.2/24 fd00:77::2/64
ns lan ip route add default via 192.168.7.1
ns client sysctl -qw net.ipv4.ip_forward=1
ns host ip route add 192.168.7.0/24 via 198.51.100.1
client_with "0.0.0.0/0, ::/0" "LocalNetworks = no"
check_fails "without Networks packets for them are not taken" pings host 192.168.7.2
check "they are dropped for their destination" test "$(figure client inner_destination)" -ge 1
client_with "0.0.0.0/0, ::/0" "LocalNetworks = no" "Networks = 192.168.7.0/24"
check "with Networks a host beyond the gateway reaches one behind the client" wait_for 30 pings host 192.168.7.2
check "and the other way" answers lan 198.51.100.2
check "and the client's own address there" answers host 192.168.7.1
client_with "0.0.0.0/0, ::/0" "KillSwitch = yes" "Networks = 192.168.7.0/24"
check "with the kill switch too" wait_for 30 pings host 192.168.7.2
check "both ways" answers lan 198.51.100.2

# --- a family that the tunnel does not carry ---
stop client || true
stop gateway || true
sed -i 's|^Address = .*|Address = 10.8.0.1/16|' "$dir/gateway.conf"
gateway_start
client_with "0.0.0.0/0, ::/0"
check "a gateway with IPv4 alone: it works" answers client 198.51.100.2
check_fails "IPv6 does not leave beside the tunnel" leaves_by eth0 2001:db8:2::2
check "it is refused at once" grep -qE "unreachable|No route" <(ns client ip route get 2001:db8:2::2 2>&1)
check "neighbours are reached directly" leaves_by eth0 2001:db8:1::1
stop gateway || true
gateway_config
gateway_start
check "the gateway comes back with IPv6: now it goes through" wait_for 60 leaves_by shardtun0 2001:db8:2::2
check "both ways" wait_for 30 pings client 2001:db8:2::2

both_stop
done_testing
