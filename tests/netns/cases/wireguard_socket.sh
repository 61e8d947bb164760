#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# WireGuard's control socket of a running gateway, with Debian's wg: peers are shown, added, changed and removed; what cannot
# be is refused; other programs' sockets, and those that were left, are told apart; and another user removes it at the end.
# shellcheck source=tests/netns/lib/wireguard.sh
. "$(dirname "$0")/../lib/wireguard.sh"

socket=/run/wireguard/shardtun0.sock

has_route() { # NETWORK
	[[ -n $(ns gateway ip route show dev shardtun0 "$1") ]]
}

has_no_route() { # NETWORK
	! has_route "$1"
}

topology_up
own_run_up

# --- what is shown ---
public_key server >/dev/null
gateway_config "WireGuard = yes" "WireGuardPrivateKeyFile = server.key"
cp "$dir/gateway.conf" "$dir/base.conf"
alice=$(public_key alice) bob=$(public_key bob) carol=$(public_key carol)
preshared_key alice
wireguard_peer alice "Address = 10.8.0.9" "AllowedIPs = 192.168.7.0/24, fd00:7::/64" "PresharedKeyFile = alice.psk"
wireguard_peer bob "Endpoint = 192.0.2.9:51820" "PersistentKeepalive = 25" "Address = 10.8.0.10"
wireguard_gateway_start
check "the socket is for its owner alone" test "$(own_run stat -c %a $socket)" = 600
check "wg show finds the interface" wg_says '^interface: shardtun0$' show
check "with its port" wg_says '^  listening port: 5555$' show
check "and its peers, but not those of the own protocol" test "$(wg_ show shardtun0 peers | sort)" = "$(printf '%s\n' "$alice" "$bob" | sort)"
check "with what each has" dump_is "
	interface == ['shardtun0', '(none)', '(none)', '5555', 'off'] and
	peers['$alice'] == dict(psk='$(<"$dir/alice.psk")', endpoint='(none)', allowed='10.8.0.9/32,fd00:8::9/128,192.168.7.0/24,fd00:7::/64',
		handshake='0', rx='0', tx='0', keepalive='off') and
	peers['$bob'] == dict(psk='(none)', endpoint='192.0.2.9:51820', allowed='10.8.0.10/32,fd00:8::a/128',
		handshake='0', rx='0', tx='0', keepalive='25')"
check "the private key is not told" test "$(wg_ show shardtun0 private-key)" = "(none)"
check "the log says the public key" grep -q "info: WireGuard clients need the public key $(public_key server)$" "$dir/gateway.log"
check "identity does so, too" grep -qx "WireGuard's $(public_key server)" <(ctl identity)

# --- what is set ---
check "wg set adds a peer" wg_ set shardtun0 peer "$carol" preshared-key "$dir/alice.psk" endpoint 192.0.2.7:7 \
	persistent-keepalive 15 allowed-ips 10.8.0.77/32,10.99.0.0/16
check "which is there" dump_is "peers['$carol'] == dict(psk='$(<"$dir/alice.psk")', endpoint='192.0.2.7:7',
	allowed='10.8.0.77/32,fd00:8::4d/128,10.99.0.0/16', handshake='0', rx='0', tx='0', keepalive='15')"
check "with a route to what is behind it" wait_for 30 has_route 10.99.0.0/16
check "wg set changes it" wg_ set shardtun0 peer "$carol" persistent-keepalive off allowed-ips 10.8.0.77/32,10.98.0.0/16
check "and what it does not name stays" dump_is "peers['$carol']['keepalive'] == 'off' and peers['$carol']['endpoint'] == '192.0.2.7:7'
	and peers['$carol']['allowed'] == '10.8.0.77/32,fd00:8::4d/128,10.98.0.0/16'"
check "no address of another" wg_refuses "Address already in use" set shardtun0 peer "$carol" allowed-ips 10.8.0.9/32
check "no part of the pool" wg_refuses "Operation not supported" set shardtun0 peer "$carol" allowed-ips 10.8.4.0/24
check "not all networks" wg_refuses "Operation not supported" set shardtun0 peer "$carol" allowed-ips 0.0.0.0/0
check "no other port" wg_refuses "Operation not supported" set shardtun0 listen-port 51820
check "no other key" wg_refuses "Operation not supported" set shardtun0 private-key "$dir/alice.key"
check "no mark" wg_refuses "Operation not supported" set shardtun0 fwmark 5
check "not the key of a peer that speaks the own protocol" wg_refuses "File exists" set shardtun0 peer "$(public_key client)" persistent-keepalive 5
check "one mistake in a request" wg_refuses "Address already in use" set shardtun0 peer "$bob" remove peer "$carol" allowed-ips 10.8.0.9/32
check "and nothing of it is done" dump_is "'$bob' in peers and '10.98.0.0/16' in peers['$carol']['allowed']"
check "wg set removes a peer" wg_ set shardtun0 peer "$carol" remove
check "which is gone" dump_is "'$carol' not in peers and len(peers) == 2"
check "with its route" wait_for 30 has_no_route 10.98.0.0/16
check "the log says so" grep -q "WireGuard's control socket: peers: 0 added, 1 removed, 0 changed; 0 sessions ended" "$dir/gateway.log"

# --- whole files ---
(umask 077 && wg_ showconf shardtun0 >"$dir/shown.conf")
check "wg showconf has the peers" test "$(grep -c '^\[Peer\]$' "$dir/shown.conf")" -eq 2
# A file without the interface's key is one with another key.
(umask 077 && grep -v '^\[Interface\]' "$dir/shown.conf" | sed '/^ListenPort/d' >"$dir/peers.conf")
before=$(grep -c "control socket: peers" "$dir/gateway.log")
check "wg addconf of what is there" wg_ addconf shardtun0 "$dir/peers.conf"
check "changes nothing" test "$(grep -c "control socket: peers" "$dir/gateway.log")" -eq "$before"
sed "s|$bob|$carol|; s|10.8.0.10/32, fd00:8::a/128|10.8.0.11/32|" "$dir/peers.conf" >"$dir/more.conf"
check "wg addconf of a file with one peer more" wg_ addconf shardtun0 "$dir/more.conf"
check "adds it" dump_is "len(peers) == 3 and peers['$carol']['allowed'] == '10.8.0.11/32,fd00:8::b/128'"
sync_with() { # PEER_LINES...
	(umask 077 && printf '%s\n' "[Interface]" "PrivateKey = $(<"$dir/server.key")" "ListenPort = 5555" "$@" >"$dir/sync.conf")
	wg_ syncconf shardtun0 "$dir/sync.conf"
}
check "wg syncconf of all peers but one, as they are" sync_with "[Peer]" "PublicKey = $alice" "PresharedKey = $(<"$dir/alice.psk")" \
	"AllowedIPs = 10.8.0.9/32, fd00:8::9/128, 192.168.7.0/24, fd00:7::/64" "[Peer]" "PublicKey = $carol" "AllowedIPs = 10.8.0.12/32"
check "removes that one, and changes another" dump_is "set(peers) == {'$alice', '$carol'} and peers['$carol']['allowed'] == '10.8.0.12/32,fd00:8::c/128'"
check "and no more" grep -q "control socket: peers: 0 added, 1 removed, 1 changed; 0 sessions ended" "$dir/gateway.log"
check "a reload follows the configuration" reload_says "1 added, 1 removed, 0 changed, 2 as before"
check "and wg shows that" dump_is "len(peers) == 2"
check "shardtunctl peer add" ctl peer add "$carol"
check "adds one of the own protocol, which wg does not show" dump_is "len(peers) == 2"

# --- files in its way ---
stop gateway
check "the socket is removed at the end" test "$(own_run ls /run/wireguard)" = ""
start other gateway nsenter --target "${started[holder]}" --mount python3 -c '
import socket, sys, time
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen(5)
time.sleep(3600)' $socket
wait_for 30 own_run test -S $socket
status=0
nsenter --target "${started[holder]}" --mount --net "$BUILD/shardtund" -c "$dir/gateway.conf" 2>"$dir/refused" || status=$?
check "a socket that another daemon answers at is not taken" grep -q \
	"WireGuard's control socket /var$socket: another daemon answers there; stop it or choose another Interface$" "$dir/refused"
check "which is a failure" test $status -eq 1
kill_hard other
check "one that was left is there still" own_run test -S $socket
wireguard_gateway_start
check "it is replaced" wg_says '^interface: shardtun0$' show
stop gateway

# --- another user ---
id=64042
sed '/^shardtun:/d' /etc/passwd >"$dir/passwd"
echo "shardtun:x:$id:$id::/nonexistent:/usr/sbin/nologin" >>"$dir/passwd"
gateway_config "WireGuard = yes" "User = auto"
wireguard_peer alice
chown "root:$id" "$dir" "$dir"/*.{key,psk,conf}
chmod 1770 "$dir"
chmod 640 "$dir"/*.{key,psk,conf}
chmod 755 "$dir/passwd"
own_run rm -rf /run/wireguard
# shellcheck disable=SC2016 # the inner shell's arguments
wireguard_gateway_start unshare --mount sh -c 'mount --bind "$1" /etc/passwd && shift && exec "$@"' sh "$dir/passwd"
check "the socket is the user's" test "$(own_run stat -c %u:%g:%a $socket)" = "$id:$id:600"
check "root may use it" test "$(wg_ show shardtun0 peers)" = "$alice"
check "a client without an Address has one, which the log tells to write down" grep -q \
	"warning: 1 WireGuard clients have no Address" "$dir/gateway.log"
check "wg shows which" dump_is "peers['$alice']['allowed'].startswith('10.8.')"
check "a peer is set" wg_ set shardtun0 peer "$alice" persistent-keepalive 25
status=0
stop gateway || status=$?
check "it ends with status 0" test $status -eq 0
check "and removes the socket" test "$(own_run ls /run/wireguard)" = ""
check "all of it with the system calls that it may use" test "$(grep -c seccomp "$dir/gateway.log")" -eq 0

# --- many ---
many=10000
cp "$dir/base.conf" "$dir/gateway.conf"
python3 -c '
import base64, hashlib, sys
for number in range(int(sys.argv[1])):
    key = base64.b64encode(hashlib.sha256(b"peer %d" % number).digest()).decode()
    print("[Peer]\nPublicKey = %s\nProtocol = wireguard\nAddress = 10.8.%d.%d" % (key, 64 + number // 250, 1 + number % 250))' \
	$many >>"$dir/gateway.conf"
wireguard_gateway_start
check "ten thousand peers are shown" test "$(wg_ show shardtun0 dump | wc -l)" -eq $((many + 1))
start slow gateway nsenter --target "${started[holder]}" --mount python3 -c '
import socket, sys, time
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.sendall(b"get=1\n\n")
print("asked", flush=True)
time.sleep(3600)' $socket
wait_for 30 grep -q asked "$dir/slow.log"
check "a program that does not read on holds up nobody" test "$(wg_ show shardtun0 dump | wc -l)" -eq $((many + 1))
check "nor the other control socket" ctl identity
kill_hard slow
stop gateway
stop holder || true

done_testing
