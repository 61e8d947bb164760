#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What WireGuard's own test of its kernel module does, second part (the first is wireguard_versions.sh): the endpoint that is shown, the
# check of inner sources, keys that change, and long answers of the control socket.
#
#   client: wireguard-go "plain", 10.8.0.20 and 192.168.77.5, with a PSK
# run-tap: first
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/wireguard_go.sh
. "$(dirname "$0")/../lib/wireguard_go.sh"

wireguard_topology_up
ns client sysctl -qw net.ipv4.conf.all.promote_secondaries=1
preshared_key plain
plain=$(public_key plain)
own=$(wireguard_interface plain)

wireguard_gateway_config "Workers = 2"
wireguard_peer plain "Address = 10.8.0.20" "PresharedKeyFile = plain.psk" "AllowedIPs = 192.168.77.0/24"
wireguard_gateway_start
wireguard_plain_start
ns client ip address add 192.168.77.5/32 dev "$own"
ns client ip address add 192.168.77.6/32 dev "$own"
check "a client connects" wait_for 30 pings client 10.8.0.1

# --- roaming ---
shown_endpoint() { # ENDPOINT
	dump_is "peers['$plain']['endpoint'] == '$1'"
}
ns client ip address add 192.0.2.99/24 dev eth0
ns client ip address delete 192.0.2.2/24 dev eth0
wireguard_port plain 9999
check "from another address and port" answers client fd00:8::1
check "wg show at the gateway has it" shown_endpoint 192.0.2.99:9999
wireguard_port plain 9998
wireguard_endpoint plain "[2001:db8:1::1]:5555"
check "from an IPv6 address" wait_for 30 pings client 10.8.0.1
check "wg show at the gateway has it" shown_endpoint "[2001:db8:1::2]:9998"

check "what wg show all dump says is parsed" dump_is_parsed

# --- whose packets come from where ---
more=$(public_key more)
check "a network behind the client" answers client 10.8.0.1 -I 192.168.77.5
check "a part of it goes to another peer" wg_ set shardtun0 peer "$more" allowed-ips 192.168.77.5/32
wireguard_port plain 9997
is_no_source() {
	! pings client 10.8.0.1 -I 192.168.77.5 && figure_at_least gateway inner_source 1
}
check "so it is no source of the first one any more, by a drop that is counted" wait_for 30 is_no_source
check "though the packet has moved the endpoint" shown_endpoint "[2001:db8:1::2]:9997"
check "the rest of the network is as it was" answers client 10.8.0.1 -I 192.168.77.6
check "the other peer goes" wg_ set shardtun0 peer "$more" remove
check "and what was the first one's is again" answers client 10.8.0.1 -I 192.168.77.5

# --- in place, as with the kernel ---
session=$(wireguard_session plain id)
same_session() {
	[[ $(wireguard_session plain id) == "$session" ]]
}
ns client ip address add 192.168.78.5/32 dev "$own"
check "the client is to have another network behind it" wg_ set shardtun0 peer "$plain" allowed-ips 10.8.0.20/32,192.168.78.0/24
check "which is a source at once" answers client 10.8.0.1 -I 192.168.78.5
check "and is reached" wait_for 30 pings gateway 192.168.78.5
check_fails "the one before is none any more" pings client 10.8.0.1 -I 192.168.77.5
check "another PSK" wg_ set shardtun0 peer "$plain" preshared-key <(wg genpsk)
check "does not count before the next handshake" answers client 10.8.0.1
check "all that with the same session" same_session
check "it is to have what it had" wg_ set shardtun0 peer "$plain" preshared-key "$dir/plain.psk" allowed-ips 10.8.0.20/32,192.168.77.0/24
check "and has" answers client 10.8.0.1 -I 192.168.77.5
check "still with the same session" same_session

# --- keys that change ---
cp "$dir/plain.key" "$dir/first.key"
client_key() { # NAME
	wg set "$own" private-key "$dir/$1.key"
}
second=$(public_key second)
check "the gateway is given another key for the client in one request" wg_ set shardtun0 peer "$second" preshared-key \
	"$dir/plain.psk" allowed-ips 10.8.0.20/32 peer "$plain" remove
client_key second
check "which the client takes: it is back at once" answers client 10.8.0.1
check "as the new peer" dump_is "len(peers) == 1 and int(peers['$second']['rx']) > 0"
client_key first
check_fails "with the old key it has no session" pings client 10.8.0.1
check "it is refused" wait_for 30 grep -q "event=refused .*peer=$plain .*reason=unknown_peer" "$dir/gateway.log"
cp "$dir/second.key" "$dir/plain.key"
check "another PSK" wg_ set shardtun0 peer "$second" preshared-key <(wg genpsk | tee "$dir/another.psk")
wireguard_configure plain 192.0.2.1:5555
check_fails "is needed then" pings client 10.8.0.1
cp "$dir/another.psk" "$dir/plain.psk"
wireguard_configure plain 192.0.2.1:5555
check "and suffices" answers client 10.8.0.1
check "none" wg_ set shardtun0 peer "$second" preshared-key /dev/null
check "is shown as none" dump_is "peers['$second']['psk'] == '(none)'"
rm "$dir/plain.psk"
wireguard_configure plain 192.0.2.1:5555
check "and needs none" answers client 10.8.0.1
check "the gateway's own key is no peer's" wg_refuses "Invalid argument" set shardtun0 peer "$(public_key wg-gateway)"

# --- long answers ---
wg_refuses_interface() {
	! wg_ show doesnotexist 2>/dev/null
}
check "there is no other interface" wg_refuses_interface
many_networks() {
	python3 -c '
import base64, hashlib
def peer(name):
    print("[Peer]\nPublicKey = " + base64.b64encode(hashlib.sha256(name.encode()).digest()).decode())
for number in range(40):
    peer("of 52 %d" % number)
    for network in range(52):
        print("AllowedIPs = %d.%d.0.0/16" % (131 + number, network))
peer("of 197")
print("AllowedIPs = " + ", ".join("fd77::%x" % (number + 1) for number in range(197)))
peer("of 2000")
print("AllowedIPs = " + ", ".join("172.%d.%d.0/24" % (16 + number // 256, number % 256) for number in range(2000)))
for number in range(29):
    peer("of none %d" % number)'
}
many_networks >"$dir/networks.conf"
check "peers with many networks are added" wg_ addconf shardtun0 "$dir/networks.conf"
# Each has two addresses besides.
networks_are() {
	wg_ show shardtun0 allowed-ips | awk '{ count[NF - 1]++ }
		END { for (n in count) printf "%d:%d\n", n, count[n] }' | sort | xargs
}
check "and all of them shown" test "$(networks_are)" = "199:1 2002:1 2:30 54:40"

check "and parsed by programs that read a dump" test "$(dump_is_parsed)" -eq 72
# --- keys that no peer can have: none of them is ever sent anything ---
ns client nft 'add table ip weak; add chain ip weak input { type filter hook input priority 0; }; add rule ip weak input udp dport 1111 counter'
python3 -c '
import base64
p = 2**255 - 19
for number in (0, 1, 325606250916557431795983626356110631294008115727848805560023387167927233504,
               39382357235489614581723060781553021112529911719440698176882885853963445705823, p - 1, p, p + 1):
    print(base64.b64encode(number.to_bytes(32, "little")).decode())' >"$dir/weak"
while read -r key; do
	wg_ set shardtun0 peer "$key" persistent-keepalive 1 endpoint 192.0.2.99:1111 2>>"$dir/weak.refused" || true
done <"$dir/weak"
sleep 2.5
check "nothing was sent to peers whose keys are of low order" ns client sh -c 'nft list table ip weak | grep "packets 0 bytes 0"'
check "the client is served as before" answers client 10.8.0.1

# --- its interface in another namespace than its socket ---
namespace_up away
ns client ip link set "$own" netns "st-$$-away"
wireguard_up plain away 10.8.0.20 fd00:8::14
check "a client whose interface is in another namespace" answers away 10.8.0.1
check "and is reached there" answers gateway 10.8.0.20

check "every datagram is accounted for" wait_for 30 accounted_for gateway
stop plain || true
status=0
stop gateway || status=$?
check "the gateway ends with status 0" test "$status" -eq 0
done_testing
