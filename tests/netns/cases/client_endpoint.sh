#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# How the client finds its gateway: a name or a route that comes late, addresses that lead nowhere, a NAT that changes its mind
# under a download.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
mkdir "$dir/etc"
cp -a /etc/passwd /etc/group /etc/ld.so.cache "$dir/etc/" 2>/dev/null || true
echo "hosts: files dns" >"$dir/etc/nsswitch.conf"
echo "multi on" >"$dir/etc/host.conf"
echo "nameserver 192.0.2.1" >"$dir/etc/resolv.conf" # where nobody answers names
: >"$dir/etc/hosts"
gateway_config
gateway_start

# Runs in the client's namespaces with that /etc; leaves $status, $dir/said and how long it took in $took (ms).
tun() { # ARGUMENT...
	local start=${EPOCHREALTIME/[.,]/}
	status=0
	# shellcheck disable=SC2016 # the inner shell's arguments
	timeout 300 ip netns exec "st-$$-client" sh -c 'mount --bind "$1/etc" /etc && shift && exec "$@"' sh "$dir" \
		"$BUILD/shardtun" "$@" >"$dir/said" 2>&1 </dev/null || status=$?
	took=$(((${EPOCHREALTIME/[.,]/} - start) / 1000))
	cp "$dir/said" "$dir/tun.log"
}

gateway_sees() { # ADDRESS
	ctl --json sessions | grep "\"endpoint\": \"$1:" >/dev/null
}

tun_down() {
	tun down "$dir/client.conf"
	check "down" nothing_left client
}

# What the promises below are measured by.
client_config
tun up "$dir/client.conf"
check "up" test "$status" -eq 0
connect_ms=$took
tun_down

# --- late ---
endpoint=gateway.test:5555 client_config
(sleep 1.5 && echo "192.0.2.1 gateway.test" >"$dir/etc/hosts") &
tun up "$dir/client.conf"
check "a name that is known later: up waits for it" test "$status" -eq 0
check "and says why, once" test "$(grep -c 'warning: Endpoint gateway.test: .*; trying again' "$dir/said")" -eq 1
tun_down

endpoint=203.0.113.1:5555 client_config
ns gateway ip address add 203.0.113.1/32 dev lo
(sleep 1.5 && ns client ip route add 203.0.113.1 via 192.0.2.1) &
tun up "$dir/client.conf"
check "a route that is there later: up waits for it" test "$status" -eq 0
check "and says why, once" test "$(grep -c 'warning: route to 203.0.113.1: .*; trying again' "$dir/said")" -eq 1
check "and takes it when it comes, not at its next try" test "$took" -lt $((2500 + $(slack_ms)))
tun_down

# --- addresses that lead nowhere ---
ns client ip -6 route add default via 2001:db8:1::99
ns client ip -6 neighbour add 2001:db8:1::99 lladdr 02:00:00:00:00:99 dev eth0
endpoint=gateway.test:5555 client_config
printf '%s gateway.test\n' 2001:db8:dead::1 2001:db8:dead::2 192.0.2.1 >"$dir/etc/hosts"
tun up "$dir/client.conf"
check "IPv6 first, which goes nowhere: up" test "$status" -eq 0
check "families are tried in turn" grep -q 'handshake with \[2001:db8:dead::1\]:5555, 192.0.2.1:5555, \[2001:db8:dead::2\]:5555' "$dir/said"
diagnose <<<"up with one dead address before the one that works: $took ms"
check "within a second more than without it" test "$took" -lt $((1500 + $(slack_ms)))
tun status "$dir/client.conf"
check "status says which one it is" grep -q 'gateway.test port 5555, at 192.0.2.1:5555' "$dir/said"
tun_down
printf '%s gateway.test\n' 2001:db8:1::1 192.0.2.1 >"$dir/etc/hosts"
tun up "$dir/client.conf"
tun_up_took=$took
tun status "$dir/client.conf"
check "where both work, the first is taken" grep -q 'at \[2001:db8:1::1\]:5555' "$dir/said"
hellos=$(figure client tx_hello)
# After a second without an answer the next one has its turn.
check "and no other asked" test "$hellos" -eq 1 -o "$tun_up_took" -gt 1000

# The family that is in use goes away: the session goes on by the other one, without traffic.
ns client ip -6 address flush dev eth0 scope global
check "IPv6 is gone: the gateway sees it come by IPv4" wait_for 30 gateway_sees 192.0.2.2
check "the tunnel works" answers client 10.8.0.1
tun_down

# --- a NAT that changes under a download: the receiver has nothing to send once nothing comes ---
relay() { # COMMAND...
	"$tests_dir/tools/relay.py" tell "$dir/relay.sock" "$@" >/dev/null
}

start relay client "$tests_dir/tools/relay.py" run "$dir/relay.sock" one=6001/first first=192.0.2.2:40001/192.0.2.1:5555 second=192.0.2.2:40002/192.0.2.1:5555
wait_for 30 grep -q relays "$dir/relay.log"
endpoint=192.0.2.2:6001 client_config
client_start
downloads() {
	[[ $(grep -c 'bits/sec' "$dir/download.log") -ge 5 ]]
}

start server gateway iperf3 --server --one-off
wait_for 30 listens gateway tcp 5201
start download client iperf3 --client 10.8.0.1 --reverse --time 9 --interval 0.5 --forceflush
wait_for 30 downloads
# Nothing is under way any more that the receiver would acknowledge from its new address.
relay hold one
sleep 0.5
relay move one second
relay let one
wait "${started[download]}" || true
unset "started[download]"
silent=$(grep -c ' 0.00 bits/sec' "$dir/download.log" || true)
diagnose <<<"half seconds without a byte after the NAT changed: $silent"
check "a NAT that changes under a download: it goes on within seconds" test "$silent" -le 9
stop client || true
stop relay || true

stop gateway || true
check "the gateway leaves nothing behind" nothing_left gateway
done_testing
