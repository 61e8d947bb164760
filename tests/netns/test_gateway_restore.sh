#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the gateway sets up in the kernel, on machines where others have a say: IPv6 that is off for new interfaces.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

topology_up

# --- IPv6 is off for new interfaces, as in a container ---
ns gateway sysctl -qw net.ipv6.conf.default.disable_ipv6=1
gateway_config
client_config
gateway_start
client_start
check "IPv6 is off for new interfaces: ours has it all the same" answers client fd00:8::1
check "without a warning" test "$(grep -c warning "$dir/gateway.log")" -eq 0
both_stop

# It cannot be switched on: /proc/sys is read-only, as in a container without privileges.
: >"$dir/gateway.log"
gateway_config "Forward = yes"
add_peer other "AllowedIPs = 192.168.7.0/24, fd77::/64"
# shellcheck disable=SC2016 # the inner shell's arguments
start gateway gateway sh -c 'mount -o bind,ro /proc/sys /proc/sys && exec "$0" "$@"' "$BUILD/shardtund" -c "$dir/gateway.conf"
wait_for 30 status_json gateway
client_start
check "and cannot be switched on: IPv4 works" answers client 10.8.0.1
check "which one line says" test "$(grep -c "^warning: shardtun0: IPv6 is off on this machine .*default.disable_ipv6=0" "$dir/gateway.log")" -eq 1
check "and no other" test "$(grep -c warning "$dir/gateway.log")" -eq 1
check "clients get no IPv6 address" grep -q "event=connect .* addresses=10.8.0.2 " "$dir/gateway.log"
check "nor does status show one" test "$(status_json gateway | python3 -c 'import json, sys; print(*json.load(sys.stdin)["interface"]["addresses"])')" = "10.8.0.1/16"
check "the IPv4 route to a network behind a peer is there" grep -q shardtun0 <(ns gateway ip route show 192.168.7.0/24)
both_stop

gateway_config
sed -i 's|^Address = .*|Address = fd00:8::1/64|' "$dir/gateway.conf"
status=0
# shellcheck disable=SC2016
said=$(ns gateway timeout 60 sh -c 'mount -o bind,ro /proc/sys /proc/sys && exec "$0" "$@"' "$BUILD/shardtund" -c "$dir/gateway.conf" 2>&1) || status=$?
check "with IPv6 addresses alone it does not start, and says what to do" \
	grep -q "IPv6 is off on this machine (net.ipv6.conf.shardtun0.disable_ipv6) and cannot be switched on (Read-only file system); set net.ipv6.conf.default.disable_ipv6=0" <<<"$said"
check "with the status of a failure" test "$status" -eq 1
ns gateway sysctl -qw net.ipv6.conf.default.disable_ipv6=0

done_testing
