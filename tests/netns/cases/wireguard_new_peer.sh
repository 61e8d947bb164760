#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Letting WireGuard clients in while the gateway runs: one command makes the keys, reserves an address and prints a file that
# wg-quick and wg take as it is, and its QR code; the address stays the client's.
# shellcheck source=tests/netns/lib/wireguard.sh
. "$(dirname "$0")/../lib/wireguard.sh"
# shellcheck source=tests/netns/lib/qr.sh
. "$(dirname "$0")/../lib/qr.sh"

# The file to $dir/NAME.conf, and what is said to $dir/NAME.said.
add_new() { # NAME ARGUMENT...
	(umask 077 && ctl peer add --new --wireguard "$@" >"$dir/$1.conf" 2>"$dir/$1.said")
}

has_line() { # NAME LINE
	grep -qx -- "$2" "$dir/$1.conf" || {
		cat "$dir/$1.conf"
		return 1
	}
}

address_of() { # NAME
	sed -n 's|^Address = \([0-9.]*\)/32.*|\1|p' "$dir/$1.conf"
}

# The part that wg sees goes to a program that answers as a kernel would, and prints what it was sent.
wg_takes() { # NAME
	wg-quick strip "$dir/$1.conf" >"$dir/$1.stripped" || return 1
	start "kernel-$1" gateway nsenter --target "${started[holder]}" --mount python3 -c '
import os, socket, sys
os.makedirs("/run/wireguard", exist_ok=True)
server = socket.socket(socket.AF_UNIX)
server.bind("/run/wireguard/other.sock")
server.listen(5)
while True:
    client = server.accept()[0]
    text = b""
    while not text.endswith(b"\n\n") and (more := client.recv(65536)):
        text += more
    if text:
        print(text.decode(), flush=True)
        client.sendall(b"errno=0\n\n")
        break
os.remove("/run/wireguard/other.sock")'
	wait_for 30 own_run test -S /run/wireguard/other.sock || return 1
	own_run wg setconf other "$dir/$1.stripped"
}

topology_up
own_run_up
mkdir "$dir/peers.d"
gateway_config "PeersDirectory = peers.d" "PublicEndpoint = 192.0.2.1:5555"
wireguard_gateway_start
check "a gateway that does not serve WireGuard" ctl_refuses "the gateway has WireGuard = no" peer add --new --wireguard alice
check "says so for a key, too" ctl_refuses "the gateway does not serve WireGuard" peer add "$(public_key bob)" --wireguard
stop gateway

gateway_config "PeersDirectory = peers.d" "PublicEndpoint = 192.0.2.1:5555" "WireGuard = yes" "DNS = 10.8.0.1" "Routes = 198.51.100.0/24" "MTU = 1400"
wireguard_gateway_start
key=$(ctl --json identity | sed -n 's/.*"wireguard_public_key": "\(.*\)".*/\1/p')

# --- a client from one command ---
check "peer add --new --wireguard" add_new alice --save --qr
alice=$(address_of alice)
check "the file has an address of the pool" test "${alice%.*.*}" = 10.8
check "in both families" grep -q "^Address = $alice/32, fd00:8::[0-9a-f:]*/128$" "$dir/alice.conf"
check "name servers" has_line alice "DNS = 10.8.0.1"
check "the MTU" has_line alice "MTU = 1400"
check "the gateway's other key" has_line alice "PublicKey = $key"
check "where it is" has_line alice "Endpoint = 192.0.2.1:5555"
check "and what is reached through it" has_line alice "AllowedIPs = 10.8.0.0/16, fd00:8::/64, 198.51.100.0/24"
check_fails "no keepalive is needed" grep -q PersistentKeepalive "$dir/alice.conf"
check "its QR code says what the file says" qr_says_the_file alice
check "wg-quick strip and wg setconf take it" wg_takes alice
check "with what is in it" wait_for 30 grep -q "^allowed_ip=198.51.100.0/24$" "$dir/kernel-alice.log"
check "the peer is kept with its address" grep -q "^Address = $alice," "$dir/peers.d/alice.conf"
check "and its protocol" grep -qx "Protocol = wireguard" "$dir/peers.d/alice.conf"
check_fails "the gateway is not told the private key" grep -rqF "$(sed -n 's/^PrivateKey = //p' "$dir/alice.conf")" \
	"$dir/peers.d" "$dir/gateway.log"
public=$(sed -n 's/^PrivateKey = //p' "$dir/alice.conf" | wg pubkey)
check "wg shows it" dump_is "peers['$public']['allowed'].startswith('$alice/32,fd00:8::') and
	peers['$public']['psk'] == '$(sed -n 's/^PresharedKey = //p' "$dir/alice.conf")'"
check "a reload finds it as it is" reload_says "0 added, 0 removed, 0 changed, 2 as before"

# --- more of them ---
check "one with networks behind it" add_new branch --save --address 10.8.0.44 --allowed-ips 192.168.7.0/24 --routes all
check "has the address that was asked for" test "$(address_of branch)" = 10.8.0.44
check "and can be reached while it is silent" has_line branch "PersistentKeepalive = 25"
check "its routes are those asked for" has_line branch "AllowedIPs = 0.0.0.0/0, ::/0"
check "wg takes it, too" wg_takes branch
check "peer add of a key" grep -qE '^its address is 10\.8\.' <(ctl peer add "$(public_key carol)" --wireguard)
check "which wg shows" dump_is "len(peers) == 3"
check "as JSON" python3 -c '
import json, sys
answer = json.load(sys.stdin)
assert answer["configuration"].startswith("# shardtun: eve\n[Interface]\nPrivateKey = "), answer
assert "Address = " + answer["addresses"][0] + "/32" in answer["configuration"], answer' < <(ctl --json peer add --wireguard --new eve)
check "a reload follows the files" reload_says "0 added, 2 removed, 0 changed, 3 as before"

# --- what goes wrong leaves nothing ---
check "a name that is taken" ctl_refuses "alice.conf: is there already" peer add --new alice --wireguard --save
check "an address that is taken" ctl_refuses "Address = 10.8.0.44" peer add --new --wireguard dave --save --address 10.8.0.44
check "a bad endpoint" ctl_refuses "--endpoint 1:2:3:" peer add --new --wireguard dave --endpoint 1:2:3
status=0
ctl peer add --new --wireguard dave --save >/dev/full 2>"$dir/full.said" || status=$?
check "a full disk" grep -q "standard output cannot be written (No space left on device)" "$dir/full.said"
check "is a failure" test $status -eq 1
check "nothing is left of any" test "$(ls -A "$dir/peers.d" | tr '\n' ' ')" = "alice.conf branch.conf "
check "nor in the gateway" dump_is "len(peers) == 2"

# --- after a restart ---
stop gateway
wireguard_gateway_start
check "the addresses are the same after a restart" dump_is "peers['$public']['allowed'].startswith('$alice/32,')"
stop gateway
stop holder || true

done_testing
