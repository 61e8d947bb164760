#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# wireguard-go behind a NAT that forgets a mapping after a few seconds of silence: PersistentKeepalive keeps it, set at the client or
# at the gateway; without, the gateway's packets find no mapping, and the client's next packet comes by another port, which the
# gateway follows.
#
#   inside: wireguard-go "phone", 10.8.0.20      router: masquerades          gateway
#   10.77.0.2 == eth1 10.77.0.1                  eth0 203.0.113.2 == eth2 203.0.113.1
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/wireguard_go.sh
. "$(dirname "$0")/../lib/wireguard_go.sh"

timeout=4 # s, of a mapping
interval=1

wireguard_topology_up
another_up router eth2 203.0.113 2001:db8:3
namespace_up inside
ip link add eth1 netns "st-$$-router" type veth peer name eth0 netns "st-$$-inside"
link_up router eth1 10.77.0.1/24 2001:db8:77::1/64
link_up inside eth0 10.77.0.2/24 2001:db8:77::2/64
ns inside ip route add default via 10.77.0.1
# A port of its own for each mapping, so that one that is made anew is another.
ns router nft -f - <<'END' || skip_all "needs nftables that masquerade"
table ip nat {
	chain postrouting {
		type nat hook postrouting priority srcnat
		oifname "eth0" udp dport 5555 masquerade fully-random
	}
}
END
ns router sysctl -qw net.ipv4.ip_forward=1 net.netfilter.nf_conntrack_udp_timeout=$timeout \
	net.netfilter.nf_conntrack_udp_timeout_stream=$timeout || skip_all "needs timeouts of its own for a namespace's mappings"

configure() { # OPTION...
	wireguard_gateway_config "Workers = 2"
	wireguard_peer phone "Address = 10.8.0.20" "$@"
}

endpoint_of_phone() {
	wireguard_session phone endpoint
}

# Three times as long as a mapping lasts.
silence() {
	sleep $((3 * timeout))
}

configure
wireguard_gateway_start
wireguard_start phone inside 203.0.113.1:5555 10.8.0.20 fd00:8::14
own=$(wireguard_interface phone)
phone_keepalive() { # SECONDS
	wg set "$own" peer "$(public_key wg-gateway)" persistent-keepalive "$1"
}
check "a client behind a NAT connects" wait_for 30 pings inside 10.8.0.1
mapped=$(endpoint_of_phone)
check "from the router's address" grep -q '^203\.0\.113\.2:' <<<"$mapped"

# --- PersistentKeepalive at the client ---
phone_keepalive $interval
silence
check "with PersistentKeepalive at the client it is reached after three timeouts" answers gateway 10.8.0.20
check "where it was" test "$(endpoint_of_phone)" = "$mapped"
received=$(figure gateway rx_keepalive)
check "its keepalives came ($received)" test "$received" -ge $((timeout * 3 / 2))

# --- without ---
phone_keepalive 0
silence
check_fails "without, it is not" pings gateway 10.8.0.20
id=$(wireguard_session phone id)
roams=$(wireguard_session phone roams)
check "its next packet comes through" answers inside 10.8.0.1
check "by another port" test "$(endpoint_of_phone)" != "$mapped"
check "of the same router" grep -q '^203\.0\.113\.2:' <<<"$(endpoint_of_phone)"
check "by which the same session has moved" test "$(wireguard_session phone id) $(wireguard_session phone roams)" = "$id $((roams + 1))"
check "and is reached again" answers gateway 10.8.0.20

# --- PersistentKeepalive at the gateway ---
configure "PersistentKeepalive = $interval"
check "PersistentKeepalive at the gateway" ctl reload
check "leaves the session as it is" test "$(wireguard_session phone id)" = "$id"
check "and is shown" dump_is "peers['$(public_key phone)']['keepalive'] == '$interval'"
mapped=$(endpoint_of_phone)
sent=$(figure gateway tx_keepalive)
silence
check "keeps the mapping as well: it is reached after three timeouts" answers gateway 10.8.0.20
check "at the same port" test "$(endpoint_of_phone)" = "$mapped"
check "by keepalives of the gateway's" test $(($(figure gateway tx_keepalive) - sent)) -ge $((timeout * 3 / 2))
check "wg set switches it off" wg_ set shardtun0 peer "$(public_key phone)" persistent-keepalive off
silence
check_fails "then it is not reached any more" pings gateway 10.8.0.20
check "until it sends" answers inside 10.8.0.1
check "from where it moves again" test "$(wireguard_session phone roams)" -eq $((roams + 2))

check "every datagram is accounted for" wait_for 30 accounted_for gateway
stop phone || true
status=0
stop gateway || status=$?
check "the gateway ends with status 0" test "$status" -eq 0
done_testing
