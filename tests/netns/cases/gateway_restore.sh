#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the gateway sets up in the kernel, on machines where others have a say: IPv6 that is off for new interfaces; and
# whatever other programs change or remove is put back at once, with a line, an event and a counter.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

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
said=$(ns gateway timeout 300 sh -c 'mount -o bind,ro /proc/sys /proc/sys && exec "$0" "$@"' "$BUILD/shardtund" -c "$dir/gateway.conf" 2>&1) || status=$?
check "with IPv6 addresses alone it does not start, and says what to do" \
	grep -q "IPv6 is off on this machine (net.ipv6.conf.shardtun0.disable_ipv6) and cannot be switched on (Read-only file system); set net.ipv6.conf.default.disable_ipv6=0" <<<"$said"
check "with the status of a failure" test "$status" -eq 1
ns gateway sysctl -qw net.ipv6.conf.default.disable_ipv6=0

# --- put back what others change ---
restored() { # KIND
	figure gateway "kept.$1.restored" || echo 0
}

gw() {
	ns gateway "$@"
}

sysctl_is() { # NAME VALUE
	[[ $(gw sysctl -n "$1") == "$2" ]]
}

has_address() { # ADDRESS
	gw ip address show dev "$interface" | grep -qF " $1 "
}

has_route() { # NETWORK
	[[ -n $(gw ip route show "$1" dev "$interface")$(gw ip -6 route show "$1" dev "$interface" 2>/dev/null) ]]
}

is_up() {
	gw ip link show dev "$interface" up | grep -q "mtu $1 "
}

# Does it, and looks how long it takes until that is undone, counted and logged.
comes_back() { # DESCRIPTION KIND CHECK COMMAND...
	local description=$1 kind=$2 what=$3 before start
	shift 3
	before=$(restored "$kind")
	: >"$dir/gateway.log"
	start=${EPOCHREALTIME/[.,]/}
	"$@"
	check "$description: comes back" wait_for 30 eval "$what"
	echo "# after $(((${EPOCHREALTIME/[.,]/} - start) / 1000)) ms"
	check "$description: counted" wait_for 30 eval "[[ \$(restored $kind) -gt $before ]]"
	check "$description: an event" wait_for 30 grep -q "^info: event=restored what=$kind count=[0-9]* first=" "$dir/gateway.log"
	check "$description: a line" grep -q "^warning: .* was changed or removed by another program; put back" "$dir/gateway.log"
}

interface=shardtun0
gateway_config "Forward = yes" "Masquerade = eth1" "MetricsListen = 127.0.0.1:9586"
sed -i '0,/^PresharedKeyFile = client.psk/s||&\nAllowedIPs = 192.168.7.0/24, fd77::/64|' "$dir/gateway.conf"
gw sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1
gateway_start
client_start
check "the tunnel's reverse path filter is not strict where all others are" sysctl_is net.ipv4.conf.shardtun0.rp_filter 2
all_in_force() {
	! status_json gateway | python3 -c 'import json, sys
for kind, kept in json.load(sys.stdin)["kept"].items(): print(kind, kept)' | grep -v "'in_force': True"
}
check "all is in force" wait_for 30 all_in_force
check "and shown so" grep -q "set up *in force: interface\|set up *in force: link" <(ctl status)

comes_back "the link, set down" link 'is_up 1420' gw ip link set shardtun0 down
check "with it, routes to networks behind peers" wait_for 30 eval 'has_route 192.168.7.0/24 && has_route fd77::/64'
check "and IPv6 addresses" wait_for 30 has_address fd00:8::1/64
check "clients are reached" answers gateway 10.8.0.2
check "in IPv6, too" answers gateway fd00:8::2
comes_back "the MTU" mtu 'is_up 1420' gw ip link set shardtun0 mtu 1300
comes_back "an IPv4 address" address 'has_address 10.8.0.1/16' gw ip address delete 10.8.0.1/16 dev shardtun0
comes_back "an IPv6 address" address 'has_address fd00:8::1/64' gw ip address delete fd00:8::1/64 dev shardtun0
comes_back "all addresses" address 'has_address 10.8.0.1/16 && has_address fd00:8::1/64' gw ip address flush dev shardtun0
comes_back "IPv6 of the interface" address 'has_address fd00:8::1/64 && has_route fd77::/64' \
	gw sysctl -qw net.ipv6.conf.shardtun0.disable_ipv6=1
comes_back "a route to a network behind a peer" route 'has_route 192.168.7.0/24' gw ip route delete 192.168.7.0/24
comes_back "one of IPv6" route 'has_route fd77::/64' gw ip -6 route delete fd77::/64
comes_back "the pool's route" route 'has_route 10.8.0.0/16' gw ip route delete 10.8.0.0/16 dev shardtun0
check "clients are reached by it" answers gateway 10.8.0.2
comes_back "IPv4 forwarding" sysctl 'sysctl_is net.ipv4.ip_forward 1' gw sysctl -qw net.ipv4.ip_forward=0
comes_back "IPv6 forwarding" sysctl 'sysctl_is net.ipv6.conf.all.forwarding 1' gw sysctl -qw net.ipv6.conf.all.forwarding=0
comes_back "forwarding of the tunnel's interface" sysctl 'sysctl_is net.ipv4.conf.shardtun0.forwarding 1' \
	gw sysctl -qw net.ipv4.conf.shardtun0.forwarding=0
comes_back "the tunnel's reverse path filter" sysctl 'sysctl_is net.ipv4.conf.shardtun0.rp_filter 2' \
	gw sysctl -qw net.ipv4.conf.shardtun0.rp_filter=1
gw nft flush ruleset
check "a flush of all rules leaves ours" gw nft list chain inet shardtun-shardtun0 outgoing
check "the client reaches what is beyond" answers client 198.51.100.2
check "metrics count what was put back" grep -q '^shardtun_restored_total{what="route"} [1-9]' <(gw curl -s http://127.0.0.1:9586/metrics)
check "and say what is in force" grep -q '^shardtun_in_force{what="nftables"} 1' <(gw curl -s http://127.0.0.1:9586/metrics)
check "all is in force again" wait_for 30 all_in_force

# --- another name ---
gw ip link set shardtun0 down
gw ip link set shardtun0 name tun-of-ours
interface=tun-of-ours
check "renamed: said once" wait_for 30 logged gateway "^info: interface shardtun0 is called tun-of-ours now" 1
check "renamed: status has the new name" wait_for 30 figure_is gateway interface.name tun-of-ours
check "renamed: it is up" wait_for 30 is_up 1420
check "renamed: the client reaches what is beyond" wait_for 30 pings client 198.51.100.2
check "renamed: its routes are there" wait_for 30 has_route 192.168.7.0/24
comes_back "renamed: a route" route 'has_route 192.168.7.0/24' gw ip route delete 192.168.7.0/24
check_fails "renamed: neighbours do not reach inner addresses" pings host 10.8.0.1 -W 0.5

# --- removed again and again: left alone for a while, and said so; a reload puts it back ---
: >"$dir/gateway.log"
for ((i = 0; i < 300; i++)); do
	gw ip route delete 192.168.7.0/24 2>/dev/null || true
	! grep -q 'event=not_in_force what=route' "$dir/gateway.log" || break
	sleep 0.05
done
check "again and again: it is left alone" grep -q "^warning: event=not_in_force what=route first=\"route 192.168.7.0/24\" retry=" "$dir/gateway.log"
check "again and again: status says so" grep -q "route NOT in force: .* removed it" <(ctl status)
check "again and again: metrics, too" grep -q '^shardtun_in_force{what="route"} 0' <(gw curl -s http://127.0.0.1:9586/metrics)
check "a reload" ctl reload
check "puts it back at once" within 1 has_route 192.168.7.0/24
check "which is seen" wait_for 30 all_in_force
check "no system call was refused" test "$(grep -c seccomp "$dir/gateway.log")" -eq 0
both_stop

done_testing
