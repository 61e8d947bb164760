#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# With Forward = yes the gateway sees whether another firewall drops what it forwards, and says whose: as the rules are
# at the start, by what it counts, and when they change. What an operator refuses on purpose is no alarm.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up

nft() {
	ns gateway nft "$@"
}

blocked_by() { # TEXT
	local by
	by=$(figure gateway forward.blocked_by || true)
	[[ $by == "$1" ]] || {
		echo "blocked by '$by'"
		return 1
	}
}

warned() { # TIMES PATTERN
	[[ $(grep -c "^warning: Forward: $2" "$dir/gateway.log") -eq $1 ]]
}

sends() { # PACKETS
	pings client 198.51.100.2 -c "$1" -i 0.01 -W 0.5
}

# --- as Docker has it ---
nft add table ip filter
nft "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"
nft add chain ip filter DOCKER-USER
nft add rule ip filter FORWARD jump DOCKER-USER
nft add rule ip filter FORWARD iifname docker0 accept
gateway_config "Forward = yes" "MetricsListen = 127.0.0.1:9586"
client_config
gateway_start
check "a firewall that drops what is forwarded is known before there is a packet" \
	warned 1 "table ip filter drops what clients send beyond the gateway, IPv4: its chain FORWARD has the policy drop.* do: nft insert rule ip filter DOCKER-USER iifname shardtun0 accept"
check "status says whose it is" blocked_by "ip filter FORWARD"
client_start
check_fails "packets do not pass" sends 10
check "they are counted" wait_for 30 figure_is_at_least gateway forward.dropped_packets 10
check "metrics have it" grep -qx "shardtun_forward_blocked 1" <(ns gateway curl -s http://127.0.0.1:9586/metrics)
check "IPv6 passes" answers client 2001:db8:2::2
check "which is not said of it" warned 0 ".*IPv6"

# --- half a remedy: the answers are dropped ---
nft insert rule ip filter DOCKER-USER iifname shardtun0 accept
check_fails "with the half of the advice" sends 30
check "the answers are dropped, which is said" wait_for 30 warned 1 "table ip filter drops the answers to clients, IPv4"
nft insert rule ip filter DOCKER-USER oifname shardtun0 ct state established,related accept
check "with all of it packets pass" sends 30
check "and nothing is blocked" wait_for 30 blocked_by null
check "which is said" grep -q "^info: Forward: what answers them passes again, IPv4" "$dir/gateway.log"

# --- what an operator refuses on purpose ---
nft "add table inet mine; add chain inet mine forward { type filter hook forward priority 10; }"
nft add rule inet mine forward udp dport 9 drop
before=$(grep -c "^warning" "$dir/gateway.log")
traffic udp 198.51.100.2 64 10 || true
ns client bash -c 'for i in 1 2 3 4 5; do echo >/dev/udp/198.51.100.2/9; done'
check "other packets pass" sends 10
sleep 6
check "a filter for some packets is no alarm" test "$(grep -c "^warning" "$dir/gateway.log")" -eq "$before"

# --- by counting alone: a rule that says nothing of interfaces or states ---
nft insert rule inet mine forward meta length gt 20 drop
check_fails "nothing passes any more" sends 40
sends_and_warned() {
	sends 20 >/dev/null || true
	warned "$@"
}
check "what cannot be read from the rules is counted" wait_for 30 sends_and_warned 1 "what clients send beyond the gateway is dropped, IPv4 ([0-9]* of [0-9]* packets), and not by us"
check "status says that it is not known whose it is" blocked_by unknown
nft delete table inet mine
sends_and_blocked_by() {
	sends 20 >/dev/null || true
	blocked_by "$@"
}
check "it passes again" sends 40
check "and status says so" wait_for 30 sends_and_blocked_by null
both_stop

done_testing
