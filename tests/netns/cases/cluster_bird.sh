#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The examples for bird and etcd, as they are but for addresses and paths: routes of the number that the gateway gives its own
# are announced to the router at once and no others, and are withdrawn when they go, whichever way; a dead machine is
# noticed; etcd bears the loss of a member, and answers nobody without a certificate.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/cluster.sh
. "$tests_dir/lib/cluster.sh"

cluster_up 1
bird_up
ok "the gateways' sessions with the router are established, with BFD"

# Routes as the gateway has them: to its interface, with its number and metric.
routes() { # add|del GATEWAY NETWORK...
	printf "route $1 %s dev shardtun0 proto 85 metric 21845\n" "${@:3}" | ns "$2" ip -force -batch -
}

# Runs the change, and says how long the router takes for what has to follow, in ms. A scan of the routes would take as long as
# a second, BGP's hold time nine.
took=0
follows() { # DESCRIPTION CHANGE COMMAND...
	local began
	began=${EPOCHREALTIME/[.,]/}
	eval "$2"
	check "$1" wait_for 5 "${@:3}"
	took=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
	echo "# $took ms"
}

learned() { # NUMBER
	[[ $(ns router ip -4 route show proto bird | grep -c '^10\.8\.') -eq $1 ]]
}

for gateway in "${gateways[@]}"; do
	ns "$gateway" ip link add shardtun0 type veth peer name shardtun1
	ns "$gateway" ip link set shardtun1 up
	ns "$gateway" ip link set shardtun0 up
done
follows "a block is announced" 'routes add g1 10.8.0.0/20' ways 10.8.0.0/20 1
follows "in IPv6 as well" 'routes add g1 fd00:8::/116' ways fd00:8::/116 1
follows "a shared address" "routes add g1 $shared4 $shared6" ways "$shared4" 1
routes add g2 "$shared4" "$shared6" 10.8.16.0/20
routes add g3 "$shared4" "$shared6" 10.8.32.0/20
follows "has as many ways as gateways" true ways "$shared4" 3
follows "in IPv6 as well" true ways "$shared6" 3
check "a client reaches it" wait_for 5 pings c1 "$shared4"
check "in IPv6 as well" wait_for 5 pings c1 "$shared6"
check "a gateway's other routes are not announced" test -z "$(ns router ip route show 10.9.0.0/24)"
ns g1 ip route add 10.99.0.0/24 dev shardtun0 proto 4 metric 21845
ns g1 ip route add 10.98.0.0/24 dev shardtun0 proto 86
sleep 0.5
check "nor are those of other programs by the same interface" ways 10.99.0.0/24 0
check "or of another number" ways 10.98.0.0/24 0

# --- changes ---
moved() { # NETWORK GATEWAY
	[[ $(ns router ip -o route show "$1" | grep -o 'dev g[0-9]') == "dev $2" ]]
}
follows "a block that moves leads to its new owner" 'routes del g1 10.8.0.0/20; routes add g2 10.8.0.0/20' moved 10.8.0.0/20 g2
read -ra many < <(printf '10.8.%d.0/28 ' {1..15} {100..255} && echo)
follows "171 blocks are announced" "routes add g1 ${many[*]}" learned 174
follows "and withdrawn" "routes del g1 ${many[*]}" learned 3
follows "a gateway without blocks has no shared address" "routes del g1 $shared4 $shared6" ways "$shared4" 2

# --- failures ---
routes add g1 10.8.48.0/20
wait_for 5 ways 10.8.48.0/20 1
follows "routes go with the interface" 'ns g1 ip link delete shardtun0' ways 10.8.48.0/20 0
follows "a machine that says nothing any more is noticed by BFD" 'silence_link g3 eth0' ways 10.8.32.0/20 0
check "before BGP's hold time" test "$took" -lt 8000
follows "and is back when it says something" 'restore_link g3 eth0' wait_for 10 ways 10.8.32.0/20 1

# --- etcd ---
etcd_up
check "etcd takes a write" etcdctl put /shardtun/test value
stop etcd1 || true
endpoints=https://10.7.0.102:2379,https://10.7.0.103:2379
check "also with two of three" wait_for 30 etcdctl put /shardtun/test other
endpoints=
etcd_start 1
check "and all are back" wait_for 60 etcdctl endpoint health
check "with what was written" grep -q other <(etcdctl get /shardtun/test)
check_fails "without a certificate there is no answer" ns g1 curl -sf --cacert "$dir/ca.crt" https://10.7.0.102:2379/health
check "with one there is" ns g1 curl -sf --cacert "$dir/ca.crt" --cert "$dir/g1.crt" --key "$dir/g1.key" https://10.7.0.102:2379/health
done_testing
