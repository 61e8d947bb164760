#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What WireGuard's own test of its kernel module does, third part, about addresses and routes outside: a gateway with several addresses,
# addresses and routes that change while there is a session, a client all of whose packets go through the tunnel, tunnels inside
# tunnels, loops, and a gateway under load.
#
#   client: wireguard-go "plain", 10.8.0.20, and "nested", 10.8.0.21   |   the Python probe, 10.8.0.22
#   A second link between client and gateway: eth1 203.0.113.2 == eth2 203.0.113.1
# run-tap: first
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/wireguard_go.sh
. "$(dirname "$0")/../lib/wireguard_go.sh"

wireguard_topology_up
for side in client gateway; do
	ns "$side" sysctl -qw net.ipv4.conf.all.promote_secondaries=1
done
ip link add eth2 netns "st-$$-gateway" type veth peer name eth1 netns "st-$$-client"
link_up gateway eth2 203.0.113.1/24 2001:db8:3::1/64
link_up client eth1 203.0.113.2/24 2001:db8:3::2/64
for side in client gateway; do
	ns "$side" sh -c 'for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >"$f"; done'
done
# Another address in each version of IP, and one of an interface that nothing is routed by.
ns gateway ip address add 192.0.2.77/24 dev eth0
ns gateway ip address add 2001:db8:1::77/64 dev eth0 nodad
ns gateway ip link add lone type veth peer name other
link_up gateway lone 192.88.99.1/32 2001:db8:5::1/128
ns gateway ip link set other up
ns client ip route add 192.88.99.1 via 192.0.2.1
ns client ip route add 2001:db8:5::1 via 2001:db8:1::1

wireguard_gateway_config "Workers = 2" "Handshakers = 2" "LogLevel = debug"
number=20
for name in plain nested probe; do
	wireguard_peer "$name" "Address = 10.8.0.$((number++))"
done
own=$(wireguard_interface plain)
wireguard_gateway_start
wireguard_plain_start
check "a client connects" wait_for 30 pings client 10.8.0.1

# The client would follow answers from elsewhere.
client_talks_to() { # ENDPOINT
	[[ $(wg show "$own" endpoints) == *$'\t'"$1" ]] || {
		wg show "$own" endpoints
		return 1
	}
}

gateway_talks_to() { # PATTERN
	local shown
	shown=$(wireguard_session plain endpoint)
	echo "$shown"
	# shellcheck disable=SC2053 # a pattern
	[[ $shown == $1 ]]
}

# --- answers come from the address that was asked ---
# wireguard-go may lose the first packet after a change of addresses or routes, since it sends from where it did before; and that of
# 2025 goes on with an IPv6 address from before. So what it asked is what it sent to.
start capture client tcpdump -i eth0 -n -l --immediate-mode udp port 5555
wait_for 30 grep -q listening "$dir/capture.log"
for address in 192.0.2.77 "[2001:db8:1::77]" 192.88.99.1 "[2001:db8:5::1]" 192.0.2.1 "[2001:db8:1::1]"; do
	wireguard_endpoint plain "$address:5555"
	check "$address of the gateway answers" wait_for 30 pings client 10.8.0.1
	check "and sends" answers gateway 10.8.0.20
done
stop capture || true
answered_from_there() {
	awk '$2 !~ /^IP6?$/ { next }
		{ from = $3; to = $5; sub(/:$/, "", to) }
		to ~ /\.5555$/ { asked = to; addresses += !seen[to]++; next }
		from != asked { print; bad = 1 }
		END { print addresses " addresses were asked"; exit bad || addresses < 4 }' "$dir/capture.log"
}
check "all of it comes from the address that the client asked" answered_from_there

# --- a client's address is replaced ---
wireguard_endpoint plain 192.0.2.1:5555
check "IPv4" wait_for 30 pings client 10.8.0.1
ns client ip address add 192.0.2.10/24 dev eth0
ns client ip address delete 192.0.2.2/24 dev eth0
check "the client's address is replaced" wait_for 30 pings client fd00:8::1
check "which the gateway follows" gateway_talks_to "192.0.2.10:*"
wireguard_endpoint plain "[2001:db8:1::1]:5555"
check "IPv6" wait_for 30 pings client 10.8.0.1
ns client ip address add 2001:db8:1::10/64 dev eth0 nodad
ns client ip address delete 2001:db8:1::2/64 dev eth0
check "the client's address is replaced" wait_for 30 pings client fd00:8::1
check "which the gateway follows" gateway_talks_to "\[2001:db8:1::10\]:*"

# --- a better route ---
wireguard_endpoint plain 192.0.2.1:5555
check "IPv4 again" wait_for 30 pings client 10.8.0.1
ns client ip route add 192.0.2.1 via 203.0.113.1 src 203.0.113.2
check "there is a better route to the gateway" wait_for 30 pings client 10.8.0.1
check "by which the client comes now" gateway_talks_to "203.0.113.2:*"
check "and is answered by the address that it asks" client_talks_to 192.0.2.1:5555
ns client ip route delete 192.0.2.1
check "the route goes again" wait_for 30 pings client 10.8.0.1
check "and the gateway follows" gateway_talks_to "192.0.2.10:*"

# --- the gateway's address is replaced ---
ns gateway ip address delete 192.0.2.1/24 dev eth0
ns gateway ip address add 192.0.2.1/24 dev eth0
check "the gateway's address goes and comes" answers gateway 10.8.0.20
ns gateway ip address add 192.0.2.12/24 dev eth0
ns gateway ip address delete 192.0.2.1/24 dev eth0
wireguard_endpoint plain 192.0.2.12:5555
check "one that replaces it is served as soon as the client knows it" answers client 10.8.0.1
check "both ways" answers gateway 10.8.0.20
ns gateway ip address add 192.0.2.1/24 dev eth0
wireguard_endpoint plain 192.0.2.1:5555

# --- a tunnel inside the tunnel: another wireguard-go at a host behind the gateway, and our gateway itself ---
ns client ip route delete 198.51.100.0/24 dev "$own"
wireguard_run far host
wireguard_run near client
far=$(wireguard_interface far) near=$(wireguard_interface near)
wg set "$far" private-key <(public_key far >/dev/null && cat "$dir/far.key") listen-port 7000 peer "$(public_key near)" allowed-ips 10.9.0.2/32
wg set "$near" private-key "$dir/near.key" peer "$(public_key far)" allowed-ips 10.9.0.1/32 endpoint 198.51.100.2:7000
ns host ip address add 10.9.0.1/24 dev "$far"
ns client ip address add 10.9.0.2/24 dev "$near"
ns host ip link set "$far" mtu 1340 up
ns client ip link set "$near" mtu 1340 up
ns client ip route add 198.51.100.0/24 dev "$own"
check "a tunnel of others inside ours" wait_for 30 pings client 10.9.0.1
check "with packets as large as its MTU" answers client 10.9.0.1 -M "do" -s 1312
rate() { # DESCRIPTION SERVER_NAMESPACE ADDRESS ARGUMENTS...
	local said status=0
	said=$(iperf "$2" client "$3" -t 1 "${@:4}" 2>&1) || status=$?
	check "$1 ($said Gbit/s)" test "$status" -eq 0
}
rate "TCP in it" host 10.9.0.1
rate "TCP down in it" host 10.9.0.1 -R
stop near || true
stop far || true

wireguard_run nested client
inner=$(wireguard_interface nested)
wireguard_allowed=10.8.0.21/32 wireguard_configure nested 10.8.0.1:5555
wg set "$inner" peer "$(public_key wg-gateway)" allowed-ips 198.51.100.2/32
ns client ip address add 10.8.0.21/32 dev "$inner"
ns client ip link set "$inner" mtu 1340 up
ns client ip route add 198.51.100.2/32 dev "$inner" src 10.8.0.21
check "a session inside another one of the same gateway" wait_for 30 pings client 198.51.100.2
check "is known by its address inside" test "$(wireguard_session nested endpoint | cut -d: -f1)" = 10.8.0.20
check "with packets as large as its MTU" answers client 198.51.100.2 -M "do" -s 1312
rate "TCP in it" host 198.51.100.2
rate "TCP down in it" host 198.51.100.2 -R

# --- loops ---
# The client's: what it sends to the gateway goes into its own tunnel.
wireguard_endpoint plain 10.8.0.1:5555
ns client ping -n -q -c 5 -i 0.1 -W 1 10.8.0.1 >"$dir/loop" || true
wireguard_endpoint plain 192.0.2.1:5555
check "a client that led its packets into its own tunnel is back" wait_for 30 pings client 10.8.0.1
stop nested || true
# The gateway's: it is told an address inside as the endpoint, by packets that it has to believe.
probe() { # ACTION...
	ns client "$tests_dir/../peer/wireguard_probe.py" --endpoint 192.0.2.1:5555 --key "$dir/probe.key" \
		--peer-key "$(public_key wg-gateway)" --to 10.8.0.1 --address 10.8.0.22 "$@"
}
sent=$(figure gateway udp_tx_data) before=$(figure gateway endpoint_loops)
check "a client that sends from inside its own tunnel is answered where it was before" probe connect ping loop
came_to_rest() {
	local before
	before=$(figure gateway udp_tx_data)
	sleep 0.5
	[[ $(figure gateway udp_tx_data) -le $((before + 2)) ]]
}
check "and nothing goes around" wait_for 30 came_to_rest
echo "$(($(figure gateway udp_tx_data) - sent)) datagrams until then" | diagnose
check "the client is served as before" probe connect ping
check "such an endpoint is not taken, and counted" test "$(figure gateway endpoint_loops)" -gt "$before"
check_fails "nor told as a move" grep "endpoint=10.8.0.22:" "$dir/gateway.log"
check "few datagrams went around" test $(($(figure gateway udp_tx_data) - sent)) -lt 100
check "the others are served as before" answers client 10.8.0.1

# --- all of the client's packets go through the tunnel, as wg-quick does it; its link has IPv6 as well ---
wg set "$own" fwmark 51820 peer "$(public_key wg-gateway)" allowed-ips 0.0.0.0/0,::/0
for version in -4 -6; do
	ns client ip $version route add default dev "$own" table 51820
	ns client ip $version rule add not fwmark 51820 table 51820
	ns client ip $version rule add table main suppress_prefixlength 0
done
ns client ip route delete 198.51.100.0/24 dev "$own"
ns client ip route delete 2001:db8:2::/64 dev "$own"
check "a host behind the gateway, by a default route through the tunnel" ns client ping -n -q -c 100 -i 0.002 -W 20 198.51.100.2
check "in IPv6" ns client ping -n -q -c 100 -i 0.002 -W 20 2001:db8:2::2
check "and the gateway is still reached outside" gateway_talks_to "192.0.2.10:*"

# --- under load ---
start flood host "$tests_dir/../peer/wireguard_probe.py" flood --endpoint 198.51.100.1:5555 \
	--peer-key "$(public_key wg-gateway)" --seconds 600 --burst 1200 --interval 0.05
wait_for 30 figure_is_at_least gateway tx_wg_cookie 100
handshakes=$(wireguard_session plain rekeys)
wireguard_configure plain 192.0.2.1:5555
wg set "$own" fwmark 51820
check "a client connects to a gateway that is flooded with initiations, and gives cookies" wait_for 40 pings client 10.8.0.1
check "by a handshake of its own" test "$(wireguard_session plain rekeys)" -gt "$handshakes"
stop flood
check "the flood ends well" grep -q '"event": "flooded"' "$dir/flood.log"

check "every datagram is accounted for" wait_for 30 accounted_for gateway
stop plain || true
status=0
stop gateway || status=$?
check "the gateway ends with status 0" test "$status" -eq 0
done_testing
