#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A client that carries everything beside another program's tunnel that does so too, with rules as wg-quick makes them: the one
# goes through the other, and no packets circle.
#
#   client: shardtun0 in other0 in eth0       gateway: other0 is 10.77.0.1, all on 198.51.100.1
#
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
gateway_config
gateway_start
other_client_config client client 198.51.100.1:5555 "0.0.0.0/0, ::/0" "DNS = off"
ns client ip route add default via 192.0.2.1
start far gateway "$tests_dir/tools/other_tunnel.py" other0 7777
wait_for 20 grep -qx ready "$dir/far.log"
link_up gateway other0 10.77.0.1/24 fd00:77::1/64

# As wg-quick does.
other_up() { # [MARK]
	start other client "$tests_dir/tools/other_tunnel.py" other0 7778 198.51.100.1:7777 51820
	wait_for 20 ns client ip link show dev other0
	link_up client other0 10.77.0.2/24 fd00:77::2/64
	ns client ip link set other0 mtu 1420
	ns client ip route add default dev other0 table 51820
	ns client ip rule add not fwmark 51820 table 51820
	ns client ip rule add table main suppress_prefixlength 0
}

other_down() {
	stop other || true
	ns client ip rule del table 51820
	ns client ip rule del table main suppress_prefixlength 0
}

leaves_by() { # INTERFACE ADDRESS [ip-route ARGUMENTS...]
	local route
	route=$(ns client ip route get "${@:2}")
	[[ $route == *" dev $1 "* ]] || {
		echo "$route"
		return 1
	}
}

# Packets that leave by eth0 in a second without traffic.
calm() {
	local before
	before=$(ns client cat /sys/class/net/eth0/statistics/tx_packets)
	sleep 1
	[[ $(($(ns client cat /sys/class/net/eth0/statistics/tx_packets) - before)) -lt 50 ]]
}

passes() {
	[[ $(ns client ip rule | grep -c '^20821:.*from all fwmark 0xca6c lookup main') -eq 1 ]]
}

both_work() {
	answers client 10.8.0.1 && answers client 10.77.0.1
}

# --- it is there first ---
other_up
check "the other tunnel works" wait_for 20 pings client 10.77.0.1
client_start
check "ours goes through it" leaves_by other0 198.51.100.1 mark 0x55000000
check "its packets pass ours" wait_for 20 passes
check "both work" both_work
check "what is far goes through ours" leaves_by shardtun0 203.0.113.9
check "no packets circle" calm

# --- it goes ---
other_down
check "it goes: ours finds its way" wait_for 30 pings client 10.8.0.1
no_passing() {
	[[ -z $(ns client ip rule | grep '^20821:' || true) ]]
}
check "and lets nobody else's packets pass" wait_for 20 no_passing

# --- it comes second ---
other_up
check "it comes second: its packets pass ours" wait_for 20 passes
check "both work" wait_for 30 both_work
check "no packets circle" calm
check "it has what our networks leave over" leaves_by other0 203.0.113.9
check "a line says that ours goes through it" grep -q 'leads through another tunnel, whose packets carry the mark 0xca6c' \
	"$dir/client.log"
kill_hard client
check "down takes the rules of a killed one back" ns client "$BUILD/shardtun" down "$dir/client.conf"
check "all of them" no_passing
client_start
check "it starts beside the other one" wait_for 20 passes
stop client || true
check "its end takes them back" no_passing
other_down

# --- one without rules and marks, as OpenVPN does: it cannot be recognized ---
start other client "$tests_dir/tools/other_tunnel.py" other0 7778 198.51.100.1:7777
wait_for 20 ns client ip link show dev other0
link_up client other0 10.77.0.2/24 fd00:77::2/64
ns client ip route add 198.51.100.1/32 via 192.0.2.1
ns client ip route add 0.0.0.0/1 dev other0
ns client ip route add 128.0.0.0/1 dev other0
sed -i 's/^Endpoint.*/Endpoint = 198.51.100.2:5555/' "$dir/client.conf"
status=0
said=$(ns client timeout 20 "$BUILD/shardtun" run "$dir/client.conf" 2>&1) || status=$?
check "a tunnel without mark that would circle: status 1" test "$status" -eq 1
check "and one line says why and what to do" test "$(grep -c '^shardtun: .*leads through other0, .* leave 198.51.100.1 out of AllowedIPs' \
	<<<"$said")" -eq 1
check "nothing is left of it" nothing_left client
sed -i 's/^AllowedIPs.*/AllowedIPs = 10.8.0.0\/16/' "$dir/client.conf"
start client client "$BUILD/shardtun" run "$dir/client.conf"
check "with AllowedIPs that leave its server out ours is tried through it" wait_for 20 grep -q 'handshake with 198.51.100.2' \
	"$dir/client.log"
stop client || true
stop other || true
stop far || true
stop gateway || true
check "nothing is left" nothing_left client
done_testing
