#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A client on a machine where IPv6 is off for new links, as in Docker's containers: it is switched on for the tunnel's;
# where that cannot be, the rest works and no IPv6 leaves beside the tunnel.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
gateway_config
gateway_start
other_client_config client client 192.0.2.1:5555 "0.0.0.0/0, ::/0" "DNS = off"
ns client ip -6 route add default via 2001:db8:1::1

refused() { # ADDRESS
	local said
	said=$(ns client ip route get "$1" 2>&1) || true
	[[ $said == *unreachable* || $said == *"No route"* ]] || {
		echo "$said"
		return 1
	}
}

ns client sysctl -qw net.ipv6.conf.default.disable_ipv6=1
client_start
check "IPv6 off for new links: it is on for the tunnel's" wait_for 20 pings client fd00:8::1
check "and IPv4 works" answers client 10.8.0.1
check "what is for new links stays" test "$(ns client sysctl -n net.ipv6.conf.default.disable_ipv6)" -eq 1
stop client || true
rm -f "$dir/client.log"

start client client sh -c 'mount --bind -o ro /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec "$@"' sh \
	"$BUILD/shardtun" run "$dir/client.conf"
wait_for 30 pings client 10.8.0.1
check "it cannot be switched on: one line says so" wait_for 20 test \
	"$(grep -c 'warning: IPv6 is off on the tunnel' "$dir/client.log")" -eq 1
check "nothing else is a warning" test "$(grep -c warning: "$dir/client.log")" -eq 1
check "IPv4 works" answers client 10.8.0.1
check "no IPv6 leaves beside the tunnel" wait_for 20 refused 2001:db8:2::2

both_stop
done_testing
