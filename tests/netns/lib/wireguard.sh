# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A gateway that serves WireGuard clients, and wg(8) beside it. Needs topology_up.
#
# WireGuard's control sockets are in /run/wireguard by the names of interfaces, which are the same in all tests: so gateway
# and wg have a /run of their own, which is there as long as its holder.

# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

command -v wg >/dev/null || skip_all "needs wireguard-tools"

own_run_up() {
	start holder gateway sh -c 'mount -t tmpfs -o mode=755 none /run && echo ready && exec sleep 3600'
	wait_for 30 grep -q ready "$dir/holder.log"
}

own_run() { # COMMAND...
	nsenter --target "${started[holder]}" --mount "$@"
}

wg_() { # ARGUMENT...
	own_run wg "$@"
}

wg_says() { # PATTERN ARGUMENT...
	wg_ "${@:2}" | grep -qE -- "$1"
}

wg_refuses() { # TEXT ARGUMENT...
	local said
	if said=$(wg_ "${@:2}" 2>&1) || [[ $said != *"$1"* ]]; then
		echo "$said"
		return 1
	fi
}

# With the /run of its own; COMMAND runs it.
wireguard_gateway_start() { # [COMMAND...]
	: >"$dir/gateway.log"
	start gateway gateway nsenter --target "${started[holder]}" --mount "$@" "$BUILD/shardtund" -c "$dir/gateway.conf"
	wait_for 30 grep -q 'gateway on UDP' "$dir/gateway.log"
	wait_for 30 status_json gateway
}

# Adds a client to $dir/gateway.conf.
wireguard_peer() { # NAME OPTION...
	local option
	{
		echo
		echo "[Peer]"
		echo "Name = $1"
		echo "PublicKey = $(public_key "$1")"
		echo "Protocol = wireguard"
		for option in "${@:2}"; do
			echo "$option"
		done
	} >>"$dir/gateway.conf"
}

# What "wg show all dump" says, as exporters take it apart: tabs, one line for the interface, one for each peer.
dump_is() { # EXPRESSION over interface and peers, by their keys
	wg_ show all dump | python3 -c '
import sys
lines = [line.rstrip("\n").split("\t") for line in sys.stdin]
interface = lines[0]
assert len(interface) == 5 and all(len(line) == 9 for line in lines[1:]), lines
names = "psk endpoint allowed handshake rx tx keepalive".split()
peers = {line[1]: dict(zip(names, line[2:])) for line in lines[1:]}
result = eval("(" + sys.argv[1] + ")")
print(lines)
sys.exit(not result)' "$1"
}

# What programs that parse "wg show all dump" require of each line: as many fields as the interface's or a peer's line has, none of them
# empty; "(none)" or an address and port; networks with their lengths; whole numbers. Prints how many peers there are.
dump_is_parsed() {
	wg_ show all dump | python3 -c '
import base64, ipaddress, sys

def key(text, may_lack=False):
    assert may_lack and text == "(none)" or len(base64.b64decode(text, validate=True)) == 32, text

def interface(name, private, public, port, mark):
    key(private, True)
    key(public, True)
    assert 0 < int(port) < 65536 and (mark == "off" or int(mark, 0) > 0), (port, mark)

def peer(name, public, preshared, endpoint, allowed, handshake, rx, tx, keepalive):
    key(public)
    key(preshared, True)
    if endpoint != "(none)":
        host, _, port = endpoint.rpartition(":")
        assert 0 < int(port) < 65536 and ipaddress.ip_address(host.strip("[]")).version == (6 if host[0] == "[" else 4), endpoint
    for network in allowed.split(","):
        assert str(ipaddress.ip_network(network)) == network, network
    assert all(number.isdecimal() and int(number) < 2**64 for number in (handshake, rx, tx)), (handshake, rx, tx)
    assert keepalive == "off" or 0 < int(keepalive) < 65536, keepalive

lines = [line.split("\t") for line in sys.stdin.read().splitlines()]
assert len(lines[0]) == 5 and all(line[0] == lines[0][0] and all(line) for line in lines), lines[0]
interface(*lines[0])
for line in lines[1:]:
    assert len(line) == 9, line
    peer(*line)
assert len({line[1] for line in lines[1:]}) == len(lines) - 1
print(len(lines) - 1)'
}
