#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A gateway with ClusterOutside and ClusterInterface, and the test in the place of its agent: the map that it is told is in force
# as rules of the kernel, and what it serves are routes that a routing daemon can announce.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

own() { # BLOCKS
	request "$dir/gateway.sock" cluster-own "$(python3 -c 'import time
print(time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 30 * 10**9)')" "$1"
}

says() { # TEXT WORD...
	local said
	said=$(request "$dir/gateway.sock" "${@:2}") || true
	[[ $said == *"$1"* ]] || {
		echo "$said"
		return 1
	}
}

rules() {
	ns gateway nft list table netdev shardtun-shardtun0
}

rules_have() { # TEXT
	grep -q "$1" <(rules)
}

no_table() {
	[[ -z $(ns gateway nft list tables netdev) ]]
}

shows() { # LINE
	grep -qxF "$1" <(ctl cluster) || {
		ctl cluster
		return 1
	}
}

routed() { # NUMBER
	[[ $(ns gateway ip route show proto 85 | wc -l) -eq $1 ]]
}

topology_up
ns gateway ip address add 203.0.113.1/32 dev lo
gateway_config "ClusterNode = gw1" "ClusterBlockSize = 16" "ClusterLink = 198.51.100.1:5556" "ClusterOutside = eth0" \
	"ClusterInterface = eth1" "ListenAddress = 203.0.113.1"
echo "Address = 10.8.0.5" >>"$dir/gateway.conf"
gateway_start
check "there are no rules before there is a map" test -z "$(ns gateway nft list tables netdev)"
check "a map is taken" says '"ipv4":2' cluster-map "7=198.51.100.2:5556,255=198.51.100.2"
check "and in force a moment later" wait_for 10 rules_have '0x0ff0 : 198.51.100.2\|4080 : 198.51.100.2'
check "and shown" shows "198.51.100.2:5556 owns 7"
check "with each owner" shows "198.51.100.2 owns 255"
check "the status has how many" figure_is gateway cluster.map_ipv4 2
ns gateway nft delete table netdev shardtun-shardtun0 2>/dev/null ||
	echo "# the kernel protects the table: $(ns gateway nft list tables | grep netdev)"
check "it stays, or is put back, when another program removes it" wait_for 10 rules_have '0x0ff0 : 198.51.100.2\|4080 : 198.51.100.2'
restored=$(figure gateway kept.nftables.restored)
check "an entry that points to this machine is left out" says '"ipv4":2,"ipv6":0,"left_out":1' \
	cluster-map "6=198.51.100.1:5557,7=198.51.100.2:5556,8=198.51.100.2"
check "which is counted" figure_is gateway cluster.map_left_out 1
check "and said" logged gateway "6=198.51.100.1:5557: the address is this machine's own" 1
check "the others are in force" wait_for 10 rules_have '0x0080 : 198.51.100.2\|128 : 198.51.100.2'
check "one that cannot be read is refused" says "blocks are 1 to 255" cluster-map "300=198.51.100.2"
check "and changes nothing" figure_is gateway cluster.map_ipv4 2
check "a part" says '"ipv4":2' cluster-map-part 1 1/2 "8=198.51.100.2"
check "and the other" says '"ipv4":2' cluster-map-part 1 2/2 "9=198.51.100.2"
check "without the first there is no second" says "does not follow" cluster-map-part 2 2/2 "9=198.51.100.2"
check "nothing is announced without a block" routed 0
own 1 >/dev/null
check "a block and the shared address are" wait_for 10 routed 2
check "the latter as a host" test -n "$(ns gateway ip route show 203.0.113.1 proto 85)"
request "$dir/gateway.sock" cluster-map "1=198.51.100.2,2=198.51.100.2" >/dev/null
check "a block that is served here is not handed on, whatever the map says" wait_for 10 rules_have '0x0020 : \|[{ ]32 : '
check_fails "only the other one is" rules_have '0x0010 : \|[{ ]16 : '
own - >/dev/null
check "until there is none" wait_for 10 routed 0
check "which is handed on from then on" wait_for 10 rules_have '0x0010 : \|[{ ]16 : '
check "an empty map leaves no rules" says '"ipv4":0' cluster-map -
check "none" wait_for 10 no_table
ns gateway nft add table inet other
ns gateway nft delete table inet other
sleep 1
check "nor are they put back when rules change" no_table
check "what the agent changes is not taken for another program's change" figure_is gateway kept.nftables.restored "$restored"
request "$dir/gateway.sock" cluster-map "7=198.51.100.2" >/dev/null
kill_hard gateway
gateway_start
check "one that is killed starts again at once" says '"ipv4":1' cluster-map "7=198.51.100.2"
check "and has rules again" wait_for 10 rules_have "198.51.100.2"
kill_hard gateway
check "rules go with the process" wait_for 30 no_table

# --- links over each other: what other gateways hand on would meet the rules again ---
refused() { # INTERFACE
	sed -i "s/^ClusterInterface = .*/ClusterInterface = $1/" "$dir/gateway.conf"
	! timeout 30 ip netns exec "st-$$-gateway" "$BUILD/shardtund" -c "$dir/gateway.conf" >"$dir/refused" 2>&1 &&
		grep "$1 lies on eth0" "$dir/refused"
}
ns gateway ip link add bridge0 type bridge
ns gateway ip link add bridge1 type bridge
ns gateway ip link set eth0 master bridge0
check "a bridge over the link outside is refused as the one inside" refused bridge0
if ns gateway ip link add link eth0 name eth0.100 type vlan id 100 2>/dev/null; then
	check "so is a VLAN over it" refused eth0.100
else
	echo "# the kernel has no VLANs"
fi
if ns gateway ip link add vxlan0 type vxlan id 7 dev eth0 remote 192.0.2.7 dstport 4789 2>/dev/null; then
	inside=vxlan0
else
	echo "# the kernel has no VXLAN"
	inside=bridge1
fi
sed -i "s/^ClusterInterface = .*/ClusterInterface = $inside/" "$dir/gateway.conf"
gateway_start
check "a VXLAN device over it is not, nor is another bridge" says '"ipv4":1' cluster-map "7=198.51.100.2"
kill_hard gateway
done_testing
