#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Reverse path filters, the kernel's (rp_filter = 1, as ufw sets it) and nftables' (fib, as firewalld sets it), beside a
# tunnel that carries everything, the gateway's own address included.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
gateway_config
gateway_start
filters_on() {
	ns client sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1 net.ipv4.conf.default.rp_filter=1
	ns client nft -f - <<-'END'
		table inet filters {
			chain in {
				type filter hook prerouting priority raw + 10;
				meta nfproto ipv6 icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept
				iif != lo fib saddr . mark . iif oif missing counter drop
			}
		}
	END
}

# Whole rows of packets: a filter that drops them all lets the handshake pass, which comes before the routes.
carries() {
	local address got
	for address in 10.8.0.1 fd00:8::1; do
		got=$(ns client ping -n -q -c 10 -i 0.02 -W 5 "$address" | sed -n 's/.* \([0-9]*\) received.*/\1/p')
		[[ $got -eq 10 ]] || {
			echo "$got of 10 from $address"
			return 1
		}
	done
}

client_with() { # ENDPOINT OPTION...
	! running client || stop client || true
	other_client_config client client "$1" "0.0.0.0/0, ::/0" "DNS = off" "LocalNetworks = no" "${@:2}"
	client_start
}

own_table() {
	ns client nft list tables | grep -x 'table inet shardtun-shardtun0' >/dev/null
}

filters_on
client_with 192.0.2.1:5555
check "an IPv4 gateway's packets pass the filters" carries
check "the kernel's looks at marks" test "$(ns client sysctl -n net.ipv4.conf.all.src_valid_mark)" -eq 1
client_with "[2001:db8:1::1]:5555"
check "an IPv6 gateway's pass too" carries
client_with "[2001:db8:1::1]:5555" "KillSwitch = yes"
check "and beside a kill switch" carries
check "the rule stands in a table of the client's" own_table
check_fails "a stranger's source address does not pass" pings gateway 192.0.2.2 -I 198.51.100.1
kill_hard client
check "down takes back what a killed one left" ns client "$BUILD/shardtun" down "$dir/client.conf"
check "nothing is left of it" test -z "$(ns client nft list tables | grep shardtun)"

# --- where the setting cannot be made ---
ns client nft delete table inet filters
ns client sysctl -qw net.ipv4.conf.all.src_valid_mark=0
other_client_config client client 192.0.2.1:5555 "0.0.0.0/0, ::/0" "DNS = off" "LocalNetworks = no"
start client client sh -c 'mount --bind -o ro /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec "$@"' sh \
	"$BUILD/shardtun" run "$dir/client.conf"
check "a line says what to do" wait_for 20 grep -q 'warning: eth0 filters reverse paths strictly .*set it, or net.ipv4.conf.eth0.rp_filter = 2' \
	"$dir/client.log"
ns client sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=2
check "doing so helps" wait_for 30 carries
stop client || true
stop gateway || true
check "nothing is left" nothing_left client
done_testing
