#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What came to the wrong gateway of a cluster is handed on by the kernel: real datagrams of both protocols and families.
# The two gateways are the namespaces "gateway" and "host", which share a link, and have one address in common.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

[[ -x $BUILD/cluster_node ]] || skip_all "make everything builds cluster_node"
topology_up

shared4=203.0.113.1
shared6=2001:db8:f::1
for namespace in gateway host; do
	ns "$namespace" ip address add "$shared4/32" dev lo
	ns "$namespace" ip address add "$shared6/128" dev lo nodad
	ns "$namespace" ip tuntap add dev shardtun0 mode tun
	ns "$namespace" ip link set shardtun0 up
	ns "$namespace" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
	start "receive-$namespace" "$namespace" "$tests_dir/tools/datagrams.py" receive 5555
	mkfifo "$dir/$namespace.fifo"
done
ns host ip link add spare0 type veth peer name spare1
ns host ip link set spare0 up
ns client ip route add "$shared4" via 192.0.2.1
ns client ip route add "$shared6" via 2001:db8:1::1
wait_for 30 grep -q ready "$dir/receive-gateway.log"
wait_for 30 grep -q ready "$dir/receive-host.log"

node_start() { # NAMESPACE OUTSIDE INSIDE [LISTEN...]
	: >"$dir/node-$1.log"
	start "node-$1" "$1" "$BUILD/cluster_node" "$dir/$1.fifo" shardtun0 "$2" "$3" 5555 "${@:4}"
	wait_for 30 grep -q '^0 ok' "$dir/node-$1.log"
	commands[$1]=0
}

# Its answer has this text.
declare -A commands=()
node() { # NAMESPACE TEXT COMMAND
	commands[$1]=$((${commands[$1]} + 1))
	echo "$3" >"$dir/$1.fifo"
	wait_for 30 grep -q "^${commands[$1]} " "$dir/node-$1.log"
	grep "^${commands[$1]} $2" "$dir/node-$1.log" || {
		tail -n 1 "$dir/node-$1.log"
		return 1
	}
}

# The same as an assertion. (Not by check: in a subshell the commands would not be counted.)
node_says() { # DESCRIPTION NAMESPACE TEXT COMMAND
	if node "$2" "$3" "$4" >"$dir/said"; then
		ok "$1"
	else
		not_ok "$1"
		diagnose <"$dir/said"
	fi
}

sent=0
# Sends one, which no other looks like, from the client.
send() { # ADDRESS HEX LENGTH [COUNT] [PORT]
	ns client "$tests_dir/tools/datagrams.py" send "$1" "${5:-5555}" "$2" "$3" "${4:-1}"
}

arrived() { # NAMESPACE LENGTH SEGMENT HEX TO
	grep -q "^$2 $3 $4[0-9a-f]* $5\$" "$dir/receive-$1.log"
}

# It arrives there once, whole, and not at the other.
arrives() { # gateway|host ADDRESS HEX [COUNT]
	local other=gateway length segment=0 count=${4:-1}
	sent=$((sent + 1))
	length=$((100 + sent))
	[[ $1 == host ]] || other=host
	[[ $count -eq 1 ]] || segment=1000 length=1000
	send "$2" "$3" "$length" "$count"
	length=$((length * count))
	wait_for 5 arrived "$1" "$length" "$segment" "$3" "$2" || {
		tail -n 3 "$dir"/receive-*.log
		return 1
	}
	# A second one, or one that went round, is not far behind.
	sleep 0.2
	[[ $(grep -c "^$length $segment $3[0-9a-f]* $2\$" "$dir/receive-$1.log") -eq 1 ]] || return 1
	! grep "^$length $segment $3[0-9a-f]* $2\$" "$dir/receive-$other.log"
}

# As assertions, in this shell, which counts what was sent.
expect() { # DESCRIPTION gateway|host ADDRESS HEX [COUNT]
	if arrives "${@:2}" >"$dir/said" 2>&1; then
		ok "$1"
	else
		not_ok "$1"
		diagnose <"$dir/said"
	fi
}

# --- the map ---
node_start gateway eth0 eth1 "$shared4" "$shared6"
expect "without a map all stays where it arrives" gateway "$shared4" 1400500003
check "and there is no table" test -z "$(ns gateway nft list tables | grep netdev)"
node_says "a map is taken" gateway ok "map 5=198.51.100.2:5556,5=[2001:db8:2::2]:5556,255=198.51.100.2"
node_says "the rules are as they were laid" gateway ok check
for address in "$shared4" "$shared6"; do
	expect "$address: data of another gateway's block arrives there" host "$address" 1400500003
	expect "$address: so does a keepalive" host "$address" 3600500004
	expect "$address: so does a HELLO that names its last session" host "$address" 1100500005
	expect "$address: so does a HELLO whose ID has more bits than are used" host "$address" 11f0500006
	expect "$address: WireGuard's data" host "$address" 0400000030500007
	expect "$address: WireGuard's response" host "$address" 020000000000000020500008
	expect "$address: WireGuard's cookie reply" host "$address" 0300000020500009
	expect "$address: a train of 44 is handed on as one" host "$address" 1400500044 44
	expect "$address: a HELLO without a session stays" gateway "$address" 110000000a
	expect "$address: a block that no one else has stays" gateway "$address" 140060000b
	expect "$address: block 0 stays, whatever its session" gateway "$address" 14000fffff
	expect "$address: WireGuard's initiation stays" gateway "$address" 0100000050500005
	expect "$address: what is neither protocol's stays" gateway "$address" 0400000150500005
done
expect "the last block arrives" host "$shared4" 140ff0000c
expect "where its owner has no address of the family, it stays" gateway "$shared6" 140ff0000d
expect "what is not for the shared address stays" gateway 192.0.2.1 140050000e
send "$shared4" "14" 1
check "a datagram of one byte stays" wait_for 5 arrived gateway 1 0 14 "$shared4"
start receive-port host "$tests_dir/tools/datagrams.py" receive 5557
wait_for 30 grep -q ready "$dir/receive-port.log"
send "$shared4" 1400500003 77 1 5557
sleep 0.2
check_fails "another port is none of its business" grep -q "^77 " "$dir/receive-port.log"

# --- no circle: both gateways are sure that it is the other's ---
node_start host spare0 eth0 "$shared4" "$shared6"
node_says "a map that contradicts" host ok "map 5=198.51.100.1,5=2001:db8:2::1"
expect "it is handed on once" host "$shared4" 140050000f
expect "in IPv6 as well" host "$shared6" 1400500010

# --- what a map may not have ---
node_says "an entry that points to oneself is left out" gateway "left out: 6=198.51.100.1: the address is this machine" \
	"map 5=198.51.100.2,6=198.51.100.1"
node_says "also by the address outside" gateway "left out: 6=192.0.2.1: the address is this machine" "map 5=198.51.100.2,6=192.0.2.1"
node_says "also in IPv6" gateway "left out: 6=2001:db8:f::1: the address is this machine" "map 5=198.51.100.2,6=2001:db8:f::1"
expect "and the others are in force" host "$shared4" 1400500011
stop node-host || true
start same host "$BUILD/cluster_node" "$dir/host.fifo" shardtun0 eth0 eth0 5555
check "the same link outside and inside is refused" wait_for 30 grep -q "eth0 is the link outside and inside" "$dir/same.log"

# --- changes ---
node_says "another map" gateway ok "map 6=198.51.100.2"
expect "what is no longer in it stays" gateway "$shared4" 1400500012
expect "what is new in it arrives" host "$shared4" 1400600013
ns gateway nft delete table netdev shardtun-shardtun0 2>/dev/null ||
	echo "# the kernel protects the table: $(ns gateway nft list tables | grep netdev)"
node_says "a table that is removed is put back, or was protected" gateway "\(ok\|put back\)" check
expect "and works" host "$shared4" 1400600014
node_says "the map of a large cluster" gateway ok "map $(printf '%s=198.51.100.2,' {1..254})255=198.51.100.2"
expect "is in force" host "$shared4" 140fe00015
node_says "an empty map" gateway ok "map -"
expect "lets all stay" gateway "$shared4" 140fe00016
check "and leaves no table" test -z "$(ns gateway nft list tables | grep netdev)"

# --- the end ---
node_says "a last map" gateway ok "map 5=198.51.100.2"
kill_hard node-gateway
no_table() {
	! ns gateway nft list tables | grep netdev
}
check "the rules go with the process" wait_for 30 no_table
expect "and with them what they did" gateway "$shared4" 1400500017
node_start gateway eth0 eth1 # all addresses of this machine
node_says "without an address of its own to listen on" gateway ok "map 5=198.51.100.2,5=2001:db8:2::2"
expect "all addresses count" host "$shared4" 1400500018
expect "in IPv6 as well" host "$shared6" 1400500019
node_says "orderly" gateway ok close
check "nothing is left" no_table
done_testing
