#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Letting clients in while the gateway runs: one command makes the keys and prints the client's file, with which the
# client is connected at once; the peer is kept in a directory, or until the next reload.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/qr.sh
. "$(dirname "$0")/../lib/qr.sh"

# Runs peer add --new with the file to $dir/NAME.conf, and what is said to $dir/NAME.said. The rest goes to both.
add_new() { # NAME ARGUMENT...
	(umask 077 && ctl peer add --new "$@" >"$dir/$1.conf" 2>"$dir/$1.said")
}

# The file as it is, but for where the control socket is.
connect_with() { # NAME NAMESPACE
	sed -i "s/^\[Client\]/&\nControlSocket = $1.sock\nRouteTable = ${3:-21845}/" "$dir/$1.conf"
	start "$1" "$2" "$BUILD/shardtun" run "$dir/$1.conf"
}

names_are() { # NAME...
	local names
	names=$(ctl --json sessions | sed -n 's/.*"name": "\([^"]*\)".*/\1/p' | sort | tr '\n' ' ')
	[[ $names == "$* " ]] || {
		echo "names: $names"
		return 1
	}
}

topology_up
mkdir "$dir/peers.d"
gateway_config "PeersDirectory = peers.d"
gateway_start
check "peer add --new has to be told where the gateway is" ctl_refuses "give --endpoint HOST, or PublicEndpoint" \
	peer add --new alice
sed -i 's/^Address = .*/&\nPublicEndpoint = 192.0.2.1:5555/' "$dir/gateway.conf"
check "which a reload tells" reload_says "0 changed, 1 as before"
check "identity shows it" grep -qx "endpoint    192.0.2.1:5555" <(ctl identity)

# --- a client from one command ---
check "peer add --new" add_new alice --save --qr
check "says that the peer is kept" grep -q "is added, and saved as $dir/peers.d/alice.conf$" "$dir/alice.said"
check "in a file that others may not read" test "$(stat -c %a "$dir/peers.d/alice.conf")" = 640
check "the QR code says what the file says" qr_says_the_file alice
check_fails "the gateway is not told the private key" grep -rqF "$(sed -n 's/^PrivateKey = //p' "$dir/alice.conf")" \
	"$dir/peers.d" "$dir/gateway.log"
connect_with alice client
check "the client connects with the file as it is" wait_for 30 pings client 10.8.0.1
check "IPv6 as well" wait_for 30 pings client fd00:8::1
check "the gateway knows its name" wait_for 30 names_are alice
check "and says it in its log" wait_for 30 grep -q "info: event=connect session=[0-9a-f]* peer=[A-Za-z0-9+/]*= name=alice endpoint=192.0.2.2:" "$dir/gateway.log"

# --- kept, and not kept ---
check "peer add --new, not kept" add_new bob --routes 10.8.0.0/16 --endpoint 198.51.100.1
check "which is said" grep -q "is added until the next reload; --save keeps it" "$dir/bob.said"
check "its routes are those asked for" grep -qx "AllowedIPs = 10.8.0.0/16" "$dir/bob.conf"
connect_with bob host off
check "it connects" wait_for 30 client_connected bob
check "both are there" wait_for 30 names_are alice bob
check "a reload removes one, and keeps the other" reload_says "1 removed, 0 changed, 2 as before; 1 sessions ended"
check "who is still there" wait_for 30 names_are alice
sed -i 's/^Name = alice/Name = alice2/' "$dir/peers.d/alice.conf"
check "a new name" reload_says "0 removed, 0 changed, 2 as before; 0 sessions ended"
check "ends no session" names_are alice2

# --- with a key that the client made ---
check "peer add, kept, of a key" grep -q "saved as $dir/peers.d/carol.conf" \
	<(ctl peer add "$(public_key carol)" --name carol --address 10.8.0.77 --save)
check "the next reload finds it as it is" reload_says "0 added, 0 removed, 0 changed, 3 as before"

# --- what goes wrong leaves nothing ---
check "a name that is taken" ctl_refuses "carol.conf: is there already" peer add --new carol --save
check "an address that is taken" ctl_refuses "Address = 10.8.0.77" peer add --new dave --save --address 10.8.0.77
check "a bad endpoint" ctl_refuses "--endpoint 1:2:3:" peer add --new dave --endpoint 1:2:3
check "bad routes" ctl_refuses "--routes 10.8.0.0/77: no IP network" peer add --new dave --routes 10.8.0.0/77
check "a bad name" ctl_refuses "../dave: no name" peer add --new ../dave --save
status=0
ctl peer add --new dave --save >/dev/full 2>"$dir/full.said" || status=$?
check "a full disk" grep -q "standard output cannot be written (No space left on device)" "$dir/full.said"
check "is a failure" test $status -eq 1
status=0
python3 -c '
import os, subprocess, sys
reading, writing = os.pipe()
os.close(reading)
sys.exit(subprocess.run(sys.argv[1:], stdout=writing).returncode)' "$BUILD/shardtunctl" --socket "$dir/gateway.sock" \
	--config "$dir/gateway.conf" peer add --new dave --save 2>"$dir/nobody.said" || status=$?
check "a pipe that nobody reads" grep -q "standard output cannot be written (Broken pipe)" "$dir/nobody.said"
check "is a failure as well" test $status -eq 1
check "nothing is left of any" test "$(ls -A "$dir/peers.d" | tr '\n' ' ')" = "alice.conf carol.conf "
check "nor in the gateway" reload_says "0 added, 0 removed, 0 changed, 3 as before"

# --- through the eyes of a program, and of a person ---
check "as JSON" python3 -c '
import json, sys
answer = json.load(sys.stdin)
assert answer["configuration"].startswith("# shardtun: eve\n[Client]\nPrivateKey = ") and len(answer["added"]) == 44' \
	< <(ctl --json peer add --new eve --endpoint 2001:db8:1::1 --routes all)
# shellcheck disable=SC2016 # for the shell in the terminal
check "in a terminal with its QR code" grep -q '^# █████' <(BUILD=$BUILD dir=$dir script -qec \
	'"$BUILD/shardtunctl" --socket "$dir/gateway.sock" --config "$dir/gateway.conf" peer add --new frank' /dev/null)
(umask 022 && ctl peer add --new grace >"$dir/grace.conf" 2>"$dir/grace.said")
check "a file for all eyes is warned of" grep -q "warning: the key goes to a file that others may read" "$dir/grace.said"
check "and refused by the client" grep -q "grace.conf:3: PrivateKey = (hidden): a secret in a file that others may access" \
	<("$BUILD/shardtun" run "$dir/grace.conf" 2>&1)

stop bob || true
stop alice
stop gateway

done_testing
