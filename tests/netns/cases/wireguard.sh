#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# wireguard-go as a client of our gateway, beside one of ours on the same port: over IPv4 and IPv6, with and without a PSK, data
# both ways, roaming in mid-transfer, limits and isolation, and the gateway killed and started again.
#
#   client: wireguard-go "plain", 10.8.0.20   second: our client and wireguard-go "secret", 10.8.0.21, with a PSK, over IPv6
# run-tap: first
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/wireguard_go.sh
. "$(dirname "$0")/../lib/wireguard_go.sh"

wireguard_topology_up
second_up
ns second ip route add 2001:db8:1::/64 via 2001:db8:3::1
ns client ip address add 192.0.2.3/24 dev eth0
traffic_serve host

configure() { # OPTION...
	wireguard_gateway_config "Workers = 3" "Handshakers = 2" "$@"
	wireguard_peer plain "Address = 10.8.0.20"
	wireguard_peer secret "Address = 10.8.0.21" "PresharedKeyFile = secret.psk"
}

plain_event() { # KIND PATTERN
	grep "event=$1 .*peer=$(public_key plain) .*$2" "$dir/gateway.log"
}

preshared_key secret
configure
endpoint=203.0.113.1:5555
client_config
wireguard_gateway_start
check "the log says which public key such clients need" grep -q "WireGuard clients need the public key $(public_key wg-gateway)" "$dir/gateway.log"

# --- data both ways ---
wireguard_plain_start
check "it is wireguard-go's interface, not a kernel's" wireguard_is_tun plain
check "wireguard-go connects over IPv4" wait_for 30 pings client 10.8.0.1
check "with IPv6 inside" answers client fd00:8::1
check "the log says what it speaks" plain_event connect protocol=wireguard
check "so do its sessions" test "$(wireguard_session plain protocol)" = wireguard
check "and wg show at the gateway" dump_is "int(peers['$(public_key plain)']['handshake']) > 0 and
	peers['$(public_key plain)']['endpoint'].startswith('192.0.2.2:')"
check "the host behind the gateway is reached" answers client 198.51.100.2
check "by packets up to the MTU" answers client 198.51.100.2 -M "do" -s 1392
check "and reaches the client" answers host 10.8.0.20
check "up to the MTU too" answers host 10.8.0.20 -M "do" -s 1392
too_big() {
	local said
	said=$(ns host ping -n -c 2 -W 2 -M "do" -s 1393 10.8.0.20 2>&1) || true
	grep -i "mtu = 1420" <<<"$said"
}
check "and is told about what is longer" too_big

wireguard_start secret second "[2001:db8:1::1]:5555" 10.8.0.21 fd00:8::15
check "another one connects over IPv6, with a PSK" wait_for 30 pings second 10.8.0.1
check "and is reached" answers host 10.8.0.21
check "with IPv6 inside" answers host fd00:8::15

rate() { # DESCRIPTION NAMESPACE ARGUMENTS...
	local said status=0
	said=$(iperf host "$2" 198.51.100.2 -t 3 "${@:3}" 2>&1) || status=$?
	check "$1 ($said Gbit/s)" test "$status" -eq 0
}
rate "TCP up" client
rate "TCP down" client -R
rate "TCP both ways in four flows" client --bidir -P 4
rate "UDP down" client -u -b 50M -R
rate "TCP over IPv6 with a PSK" second

check "nothing is dropped as forged or a replay" test "$(figure gateway forged || echo 0) $(figure gateway replay || echo 0)" = "0 0"

# --- beside our own protocol on the same port ---
stop secret || true
check "a client that ends says nothing: its session is still there" test "$(wireguard_session secret state)" = active
other_client_config client client "$endpoint" "10.8.0.0/16, fd00:8::/64, 198.51.100.0/24"
other_client_start client second
check "our client on the same port" answers second 198.51.100.2
own=$(ns second ip -4 -o address show dev shardtun0 | sed -n 's/.* inet \([0-9.]*\).*/\1/p')
check "both at once" answers client 198.51.100.2
check_fails "neither reaches the other" pings client "$own"
check_fails "neither way" pings second 10.8.0.20
check "by a drop that is counted" figure_at_least gateway inner_destination 2

# --- roaming in mid-transfer ---
stream_start 198.51.100.2
sleep 1
roams() { # COUNT
	[[ $(wireguard_session plain roams) -ge $1 ]]
}
moved() { # DESCRIPTION COUNT
	check "$1: the session moves" wait_for 30 roams "$2"
	check "$1: no pause of 2 s in the TCP connection" stream_paused_less 2
	sleep 0.5
}
wireguard_port plain 40123
moved "another port" 1
check "the log says so" plain_event roam "endpoint=192.0.2.2:40123 "
ns client ip route replace 192.0.2.1 dev eth0 src 192.0.2.3
wireguard_port plain 40124
moved "another address and port" 2
# A client of WireGuard's follows the gateway's packets as well: those that come to its old address take it back there.
ns client ip -4 address flush dev eth0
wireguard_endpoint plain "[2001:db8:1::1]:5555"
moved "from IPv4 to IPv6" 3
ns client ip address add 192.0.2.3/24 dev eth0
ns client ip -6 address delete 2001:db8:1::2/64 dev eth0
wireguard_endpoint plain 192.0.2.1:5555
moved "from IPv6 to IPv4" 4
check "it is one session" test "$(grep -c "event=connect .*peer=$(public_key plain) " "$dir/gateway.log")" -eq 1

# --- the gateway is killed and started again ---
since=$(date +%s)
kill_hard gateway
sleep 0.5
wireguard_gateway_start
handshaken() {
	wireguard_shook_hands plain "$since" && pings client 10.8.0.1
}
check "a gateway that was killed is found again, by a handshake of the client's" wait_for 40 handshaken
check "with the address from before" test "$(wireguard_session plain endpoint)" = 192.0.2.3:40124
check "the TCP connection goes on" stream_paused_less 60
check "no RESET was sent to it" test "$(figure gateway tx_reset)" -le 2
status=0
stop stream || status=$?
check "the TCP connection lived through all of it" test "$status" -eq 0

# --- limits, and a peer that goes ---
configure "RateDown = 8M"
check "a reload with a limit" ctl reload
slow() {
	local said
	said=$(iperf host client 198.51.100.2 -t 3 -R) && echo "$said" && awk -v said="$said" 'BEGIN { exit !(said < 0.009 && said > 0.005) }'
}
check "holds for the session that is there" slow
{
	wireguard_gateway_config
	wireguard_peer secret "Address = 10.8.0.21" "PresharedKeyFile = secret.psk"
} >/dev/null
ctl reload >/dev/null
check_fails "a client that is taken off the list has no session" pings client 10.8.0.1
check "nor gets a new one" wait_for 30 grep -q "event=refused .*peer=$(public_key plain) .*reason=unknown_peer" "$dir/gateway.log"

check "every datagram is accounted for" wait_for 30 accounted_for gateway
status=0
stop plain || status=$?
check "wireguard-go ends with status 0" test "$status" -eq 0
both_stop
done_testing
