#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Several clients on one machine, each with a table of its own: none knows of the others, and each works as if alone.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
gateway_config
client_config "DNS = off"
sed -e 's/^ListenPort.*/ListenPort = 5556/' -e 's/^Interface.*/Interface = shardtun1/' -e 's/gateway.sock/gateway2.sock/' \
	-e 's|^Address.*|Address = 10.9.0.1/16, fd00:9::1/64|' -e '/^\[Gateway\]/a MetricsListen = off' \
	"$dir/gateway.conf" >"$dir/gateway2.conf"

second_config() { # ALLOWED_IPS OPTION...
	other_client_config two client 192.0.2.1:5556 "$1" "DNS = off" "${@:2}"
	sed -i 's/^Interface.*/Interface = shardtun1/' "$dir/two.conf"
}

second_start() {
	start two client "$BUILD/shardtun" run "$dir/two.conf"
	wait_for 30 pings client 10.9.0.1
}

rules() { # PRIORITY TABLE
	[[ $(ns client ip rule | grep -c "^$1:.*fwmark 0x55000000/0xff000000 lookup $2\( \|$\)") -eq 1 &&
		$(ns client ip -6 rule | grep -c "^$1:.*fwmark 0x55000000/0xff000000 lookup $2\( \|$\)") -eq 1 ]]
}

no_rules() { # TABLE
	local left
	left=$(ns client ip rule && ns client ip -6 rule)
	! grep -w "$1" <<<"$left"
}

leaves_by() { # INTERFACE ADDRESS
	[[ " $(ns client ip route get "$2") " == *" dev $1 "* ]]
}

sent() { # INTERFACE
	ns client cat "/sys/class/net/$1/statistics/tx_packets"
}

both_answer() {
	answers client 10.8.0.1 && answers client fd00:8::1 && answers client 10.9.0.1 && answers client fd00:9::1
}

gateway_start
start gateway2 gateway "$BUILD/shardtund" -c "$dir/gateway2.conf"
client_start
check "the first has table and priority 21845" wait_for 10 rules 21845 21845

# --- networks of their own, default options ---
second_config "10.9.0.0/16, fd00:9::/64"
second_start
check "the second takes the next table" wait_for 10 rules 21846 21846
check "both work" wait_for 30 both_answer

# --- a table that something uses ---
refused() { # TABLE PATTERN
	local status=0
	other_client_config three client 192.0.2.1:5556 10.9.0.0/16 "DNS = off" "RouteTable = $1"
	sed -i 's/^Interface.*/Interface = shardtun2/' "$dir/three.conf"
	ns client timeout 20 "$BUILD/shardtun" run "$dir/three.conf" >"$dir/three.log" 2>&1 || status=$?
	[[ $status -eq 1 && $(grep -c "^shardtun: RouteTable = $1: $2" "$dir/three.log") -eq 1 ]] || {
		echo "status $status: $(<"$dir/three.log")"
		return 1
	}
}

check "another client's table is refused" refused 21845 "another client looks it up already"
ns client ip rule add to 198.18.0.0/24 table 700
check "so is one that a policy rule leads to" refused 700 "a policy rule looks it up already"
ns client ip rule del to 198.18.0.0/24 table 700
ns client ip -6 route add 2001:db8:7::/48 dev eth0 table 701
check "and one that has routes" refused 701 "it has routes already"
check "which stay" grep -q 2001:db8:7 <(ns client ip -6 route show table 701)
check "both work on" both_answer

# --- each takes back its own ---
kill_hard two
check "of one that was killed the rules are left" wait_for 10 rules 21846 21846
check "the first goes on" answers client 10.8.0.1
second_start
check "its next start takes its table again" wait_for 10 rules 21846 21846
stop client || true
check "the first ends: its rules are gone" no_rules 21845
check "and the second's are not" wait_for 10 rules 21846 21846
check "it works on" answers client 10.9.0.1
client_start
check "the first is first again" wait_for 10 rules 21845 21845
stop two || true
check "the second ends: its rules are gone" no_rules 21846

# --- each with everything ---
sed -i 's|^AllowedIPs.*|AllowedIPs = 0.0.0.0/0, ::/0|' "$dir/client.conf"
stop client || true
client_start
second_config "0.0.0.0/0, ::/0" "RouteTable = 777"
second_start
check "a table of one's choice" wait_for 10 rules 21846 777
check "the networks of the second come before what the first has of everything" wait_for 10 rules 21844 777
check "both work" wait_for 30 both_answer
check "who was first has the rest" leaves_by shardtun0 203.0.113.9
check "and IPv6's" leaves_by shardtun0 2001:db8:99::9
before=$(sent shardtun0)
sleep 1
check "no packets circle" test $(($(sent shardtun0) - before)) -lt 50
stop client || true
check "once it ends the second has everything" wait_for 10 leaves_by shardtun1 203.0.113.9


# --- the second one's gateway has no IPv6 ---
client_start
stop two || true
stop gateway2 || true
sed -i 's|^Address.*|Address = 10.9.0.1/16|' "$dir/gateway2.conf"
start gateway2 gateway "$BUILD/shardtund" -c "$dir/gateway2.conf"
second_start
check "a second one that refuses IPv6 does not take it from the first" answers client fd00:8::1
check "its own network is reached" wait_for 30 pings client 10.9.0.1
stop client || true
check "alone it lets none leave beside the tunnel" grep -qE "unreachable|No route" \
	<(ns client ip route get 2001:db8:99::9 2>&1)
stop two || true
stop gateway2 || true
sed -i 's|^Address.*|Address = 10.9.0.1/16, fd00:9::1/64|' "$dir/gateway2.conf"
start gateway2 gateway "$BUILD/shardtund" -c "$dir/gateway2.conf"

# --- networks that overlap ---
cp "$dir/client.conf" "$dir/right.conf"
sed -i 's|^AllowedIPs.*|AllowedIPs = 10.8.0.0/15|' "$dir/client.conf"
client_start
start two client "$BUILD/shardtun" run "$dir/two.conf"
check "a network that another client has: a line says so" wait_for 20 grep -q \
	"warning: the gateway's inner address 10.9.0.1 is in 10.8.0.0/15, which another client reaches by shardtun0" "$dir/two.log"
stop client || true
stop two || true
cp "$dir/right.conf" "$dir/client.conf"

# --- each with a kill switch ---
sed -i 's/^DNS = off/&\nKillSwitch = yes/' "$dir/client.conf"
client_start
second_config "0.0.0.0/0, ::/0" "KillSwitch = yes"
second_start
check "two kill switches let each other's tunnels work" both_answer
check_fails "and nothing else" pings client 192.0.2.1 -I eth0

stop two || true
stop gateway2 || true
both_stop
done_testing
