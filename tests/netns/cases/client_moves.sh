#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The client's machine changes under it: another address, another link, a link that flaps, a smaller MTU on the way, sleep, a
# gateway that its name leads elsewhere. The client says so to the gateway at once, without a packet to send,
# and keeps its session.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
"${CC:-cc}" -shared -fPIC -o "$dir/wall_clock.so" "$tests_dir/tools/wall_clock.c"
echo 0 >"$dir/slept"
mkdir "$dir/etc"
cp -a /etc/passwd /etc/group /etc/nsswitch.conf /etc/ld.so.cache "$dir/etc/" 2>/dev/null || true
echo "192.0.2.1 gateway.test" >"$dir/etc/hosts"

# A second way to the gateway, by another link.
ip link add eth1 netns "st-$$-client" type veth peer name eth2 netns "st-$$-gateway"
link_up client eth1 203.0.113.2/24 2001:db8:3::2/64
link_up gateway eth2 203.0.113.1/24 2001:db8:3::1/64
ns client ip route add 198.18.0.1 via 192.0.2.1 metric 10
ns client ip route add 198.18.0.1 via 203.0.113.1 metric 20
ns gateway ip address add 198.18.0.1/32 dev lo

client_run() { # [VARIABLE=VALUE]
	# shellcheck disable=SC2016 # the inner shell's arguments
	start client client sh -c 'mount --bind "$1/etc" /etc && shift && exec "$@"' sh "$dir" \
		env LD_PRELOAD="$dir/wall_clock.so" SLEEP_FILE="$dir/slept" "$@" "$BUILD/shardtun" run "$dir/client.conf"
	wait_for 30 pings client 10.8.0.1
}

sessions() {
	ctl --json sessions
}

gateway_sees() { # ADDRESS
	sessions | grep "\"endpoint\": \"$1:" >/dev/null || {
		sessions
		return 1
	}
}

session_id() {
	sessions | grep -oE '"id": "[0-9a-f]{8}"'
}

interface_mtu_is() { # MTU
	[[ $(ns client cat /sys/class/net/shardtun0/mtu) -eq $1 ]]
}

gateway_config
# The preloaded clock opens a file in every thread, which seccomp would not let it.
endpoint=198.18.0.1:5555 client_config "Seccomp = no"
gateway_start
client_run
check "the gateway sees the client at its address" gateway_sees 192.0.2.2
session=$(session_id)

# --- addresses and links; nothing is sent through the tunnel meanwhile ---
ns client ip address add 192.0.2.3/24 dev eth0
ns client ip address delete 192.0.2.2/24 dev eth0
ns client ip address add 192.0.2.3/24 dev eth0 2>/dev/null || true
ns client ip route replace 198.18.0.1 via 192.0.2.1 metric 10
check "another address: the gateway knows at once" wait_for 30 gateway_sees 192.0.2.3
ns client ip link set eth0 down
check "the link goes down: it goes on by the other one" wait_for 30 gateway_sees 203.0.113.2
ns client ip link set eth0 up
ns client ip route replace 198.18.0.1 via 192.0.2.1 metric 10
check "it comes back: so does the client" wait_for 30 gateway_sees 192.0.2.3
ns client ip link set eth1 down
ns client ip link set eth0 down
check "no link at all is said" wait_for 30 grep -q 'warning: route to 198.18.0.1: .*; waiting for a network' "$dir/client.log"
ns client ip link set eth0 up
ns client ip route replace 198.18.0.1 via 192.0.2.1 metric 10
check "and the tunnel works as soon as there is one" wait_for 30 pings client 10.8.0.1
check "all of it is one session" test "$(session_id)" = "$session"
check "and one handshake, with the COOKIE of a gateway that started" wait_for 30 figure_is client tx_hello 2

# --- MTU of the way ---
ns client ip link set eth0 mtu 1400
check "a smaller MTU on the way: a handshake agrees on what fits" wait_for 30 interface_mtu_is 1347
ns client ip link set eth0 mtu 1500
check "and back" wait_for 30 interface_mtu_is 1420

# --- sleep ---
hellos=$(figure client tx_hello)
echo 600 >"$dir/slept.new"
mv "$dir/slept.new" "$dir/slept"
check "after sleep there is a handshake" wait_for 30 figure_at_least client tx_hello $((hellos + 1))
check "which is said" wait_for 30 grep -q 'info: the machine has slept; handshake' "$dir/client.log"
check "and not another one" wait_for 30 figure_is client tx_hello $((hellos + 1))
check "the tunnel works" answers client 10.8.0.1
check "it is still one session" test "$(session_id)" = "$session"
stop client || true

# --- the name leads elsewhere; of the seconds until the client misses the gateway, five pass in one ---
ns client ip route flush 198.18.0.1
endpoint=gateway.test:5555 client_config "Seccomp = no"
client_run CLOCK_SPEED=5
check "the name is looked up, which is said" wait_for 30 grep -q 'info: resolving gateway.test' "$dir/client.log"
ns gateway ip address delete 192.0.2.1/24 dev eth0
ns gateway ip address add 192.0.2.9/24 dev eth0
echo "192.0.2.9 gateway.test" >"$dir/etc/hosts"
start pings client ping -n -q -i 0.2 10.8.0.1
check "the gateway moves, and its name with it: the client finds it" wait_for 60 grep -q 'handshake with 192.0.2.9:5555' "$dir/client.log"
check "and works" wait_for 30 pings client 10.8.0.1
stop pings || true

stop client || true

# --- the same with everything through the tunnel: its name server is as dead as the gateway, the one from before is not ---
cat >"$dir/dns.py" <<'END'
import socket, struct, sys
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((sys.argv[1], 53))
print("ready", flush=True)
while True:
    query, whom = udp.recvfrom(512)
    end = query.index(0, 12) + 5
    answer = b""
    if struct.unpack(">H", query[end - 4:end - 2])[0] == 1:  # A
        address = socket.inet_aton(open(sys.argv[2]).read().strip())
        answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04" + address
    udp.sendto(query[:2] + b"\x81\x80\x00\x01" + struct.pack(">H", bool(answer)) + bytes(4) + query[12:end] + answer, whom)
END
ns gateway ip address add 192.0.2.10/24 dev eth0
: >"$dir/etc/hosts"
echo "hosts: files dns" >"$dir/etc/nsswitch.conf"
echo "nameserver 192.0.2.10" >"$dir/etc/resolv.conf"
echo 192.0.2.9 >"$dir/zone"
start dns gateway python3 "$dir/dns.py" 192.0.2.10 "$dir/zone"
wait_for 30 grep -q ready "$dir/dns.log"
other_client_config client client gateway.test:5555 "0.0.0.0/0, ::/0" "Seccomp = no" "DNS = 10.8.0.1" "LocalNetworks = no" "KillSwitch = yes"
client_run CLOCK_SPEED=5
check "the tunnel's name server is set" wait_for 30 grep -qx 'nameserver 10.8.0.1' "$dir/etc/resolv.conf"
ns gateway ip address delete 192.0.2.9/24 dev eth0
ns gateway ip address add 192.0.2.11/24 dev eth0 2>/dev/null || true
ns gateway ip address add 192.0.2.10/24 dev eth0 2>/dev/null || true
check_fails "through the dead tunnel nobody reaches the one from before" pings client 192.0.2.10
echo 192.0.2.11 >"$dir/zone"
start pings client ping -n -q -i 0.2 10.8.0.1
check "the gateway moves: its name is asked past the tunnel" wait_for 60 grep -q 'handshake with 192.0.2.11:5555' "$dir/client.log"
check "and the client finds it" wait_for 30 pings client 10.8.0.1
stop pings || true
stop dns || true

both_stop
done_testing
