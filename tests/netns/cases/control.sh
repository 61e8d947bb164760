#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The control commands of a running gateway: sessions, kick, peer, reload and SIGHUP, while a client that none of them is
# about goes on without losing a packet.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

# Of `sessions --json` with these arguments: what the Python expression over s, the list, and next says.
sessions_say() { # EXPRESSION [ARGUMENT...]
	local expression=$1
	shift
	ctl --json sessions "$@" | python3 -c '
import json, sys
answer = json.load(sys.stdin)
s, next = answer["sessions"], answer["next"]
result = eval(sys.argv[1])
print(result if result is not True else answer)
sys.exit(result is False)' "$expression"
}

# More clients, beside the host, that leave its routes alone.
other_start() { # NAME
	public_key "$1" >/dev/null
	preshared_key "$1"
	cat >"$dir/$1.conf" <<-END
		[Client]
		PrivateKeyFile = $1.key
		Interface = $1
		RouteTable = off
		ControlSocket = $1.sock
		[Gateway]
		PublicKey = $(public_key gateway)
		PresharedKeyFile = $1.psk
		Endpoint = 198.51.100.1:5555
		AllowedIPs = 10.8.0.0/16
	END
	: >"$dir/$1.log"
	start "$1" host "$BUILD/shardtun" run "$dir/$1.conf"
}

told() { # NAME REASON
	grep -q "the gateway ended the session: $2" "$dir/$1.log"
}

is_there() { # NAME
	sessions_say 'len(s) == 1 and s[0]["state"] == "active"' --peer "$(public_key "$1")"
}

not_there() { # NAME
	sessions_say 'len(s) == 0' --peer "$(public_key "$1")"
}

# All columns start, or end, where their titles do.
aligned() {
	ctl sessions | awk '
		NR == 1 { endpoint = index($0, "endpoint"); state = index($0, "state"); width = length($0) }
		NR > 1 && (substr($0, endpoint - 1, 1) != " " || substr($0, state, 6) != "active" || length($0) != width) { bad = 1 }
		{ print }
		END { exit bad || NR < 3 }'
}

topology_up
gateway_config "Workers = 2"
cp "$dir/gateway.conf" "$dir/base.conf"
add_peer gone
client_config
gateway_start
check "reload before anybody is there changes nothing" reload_says \
	"peers: 0 added, 0 removed, 0 changed, 2 as before; 0 sessions ended"
check "no sessions yet" grep -qx "no sessions" <(ctl sessions)
client_start
other_start gone
check "a second client connects" wait_for 30 is_there gone

# --- sessions ---
check "sessions, as a table" aligned
check "with the peers' keys" grep -q "$(public_key client) " <(ctl sessions)
check "sessions, as JSON" sessions_say 'len(s) == 2 and next is None and all(
	len(x["id"]) == 8 and x["state"] == "active" and x["epoch"] == 1 and x["worker"] in (0, 1) and x["rekeys"] == 0
	and 0 <= x["idle_seconds"] <= x["connected_seconds"] < 60 and x["addresses"][0].startswith("10.8.0.") for x in s)'
check "each where it is" sessions_say 's[0]["endpoint"].startswith("192.0.2.2:")' --peer "$(public_key client)"
check "or for an address" sessions_say 'len(s) == 1 and s[0]["peer"] == "'"$(public_key client)"'"' --address fd00:8::2
check "or a state" sessions_say 's == []' --state pending
first=$(sessions_say 's[0]["id"]' --count 1)
after=$(sessions_say 'next' --count 1)
check "in parts" sessions_say "len(s) == 1 and s[0]['id'] != '$first' and next is None" --from "$after"
check "packets are counted" sessions_say 's[0]["rx_packets"] > 0 and s[0]["tx_bytes"] > 0' --peer "$(public_key client)"
check "no such state" ctl_refuses "neither active nor pending" sessions --state odd

# --- reload ---
start stream client ping -n -i 0.02 10.8.0.1
steady=$(sessions_say 's[0]["id"]' --peer "$(public_key client)")
cp "$dir/base.conf" "$dir/gateway.conf"
add_peer new
check "reload: one goes, one comes" reload_says "peers: 1 added, 1 removed, 0 changed, 1 as before; 1 sessions ended"
check "the one that goes is told at once" wait_for 30 told gone "removed by the operator"
check "and is gone" wait_for 30 not_there gone
other_start new
check "the one that comes connects" wait_for 30 is_there new

cp "$dir/gateway.conf" "$dir/right.conf"
cp "$dir/base.conf" "$dir/gateway.conf"
echo "Nonsense = 5" >>"$dir/gateway.conf"
check "a file with an error" ctl_refuses "gateway.conf:$(wc -l <"$dir/gateway.conf"): Nonsense = 5: unknown key" reload
check "changes nothing" is_there new
kill -HUP "${started[gateway]}"
check "nor does it with SIGHUP" wait_for 30 grep -q "error: not read again: .*gateway.conf:[0-9]*: Nonsense" "$dir/gateway.log"
check "which is survived" is_there new
cp "$dir/right.conf" "$dir/gateway.conf"
add_peer gone "Address = 10.8.99.300"
check "a wrong address" ctl_refuses "Address = 10.8.99.300" reload
cp "$dir/right.conf" "$dir/gateway.conf"
add_peer gone "Address = 10.8.0.50"
mv "$dir/gone.psk" "$dir/moved.psk"
check "a missing pre-shared key" ctl_refuses "gone.psk" reload
mv "$dir/moved.psk" "$dir/gone.psk"
check "none of them changes anything" is_there new

kill -HUP "${started[gateway]}"
check "SIGHUP with the right file" wait_for 30 \
	grep -q "info: .*gateway.conf read again: peers: 1 added, 0 removed, 0 changed, 2 as before; 0 sessions ended" "$dir/gateway.log"
stop gone || true
other_start gone
check "lets in whom it adds, with the address for it" wait_for 30 client_connected gone "addresses 10.8.0.50 "

sed -i 's/10.8.0.50/10.8.0.51/; s/^\[Gateway\]/&\nMTU = 1400\nLogLevel = debug/; s/^Workers = 2/Workers = 3/' "$dir/gateway.conf"
said=$(ctl reload)
check "reload: another address for one" grep -q \
	"peers: 0 added, 0 removed, 1 changed, 2 as before; 1 sessions ended" <<<"$said"
check "and options that need a restart" grep -qx "needs a restart: MTU, Workers" <<<"$said"
check "that one is back soon, with it" wait_for 30 client_connected gone "addresses 10.8.0.51 "
sed -i 's/^LogLevel = debug/LogLevel = error/' "$dir/gateway.conf"
noted=$(grep -c "read again" "$dir/gateway.log")
ctl reload >/dev/null
check "LogLevel is followed: no more info" test "$(grep -c "read again" "$dir/gateway.log")" -eq "$noted"
sed -i '/^LogLevel = error/d' "$dir/gateway.conf"
ctl reload >/dev/null
check "and followed back" test "$(grep -c "read again" "$dir/gateway.log")" -eq $((noted + 1))

# --- kick ---
id=$(sessions_say 's[0]["id"]' --peer "$(public_key new)")
: >"$dir/new.log"
check "kick by ID" grep -qx "session $id is ended" <(ctl kick "$id")
check "ends the session" wait_for 30 not_there new
check "and says so" wait_for 30 told new "removed by the operator"
check "kick again: there is none" ctl_refuses "$id: there is no such session" kick "$id"
check "kick by key" grep -q "is ended" <(ctl kick "$(public_key gone)")
check "ends the session as well" wait_for 30 not_there gone
check "of a peer that is not connected" ctl_refuses "not connected" kick "$(public_key gone)"
check "kick nobody" ctl_refuses "no such peer" kick "$(public_key guest)"
check "kick nonsense" ctl_refuses "neither a session's ID nor a peer's public key" kick nonsense

# --- peer ---
preshared_key guest
check "peer add: no relative path" ctl_refuses "absolute path" peer add "$(public_key guest)" --psk-file guest.psk
check "peer add: no address of another" ctl_refuses "Address = 10.8.0.51" peer add "$(public_key guest)" --address 10.8.0.51
check "peer add: no network of the pool's" ctl_refuses "overlaps the pool" peer add "$(public_key guest)" --allowed-ips 10.8.5.0/24
check "peer add" grep -q "is added" <(ctl peer add "$(public_key guest)" --psk-file "$dir/guest.psk" --address 10.8.0.99 \
	--allowed-ips 192.168.77.0/24,fd77::/64)
check "a second time" ctl_refuses "there already" peer add "$(public_key guest)" --address 10.8.0.98
other_start guest
check "the peer connects" wait_for 30 client_connected guest "addresses 10.8.0.99 "
check "peer del" grep -q "is deleted" <(ctl peer del "$(public_key guest)")
check "ends its session" wait_for 30 told guest "removed by the operator"
check "peer del again: it is not there" ctl_refuses "no such peer" peer del "$(public_key guest)"
check "peer add once more" ctl peer add "$(public_key guest)"
check "peer del of one of the file's" ctl peer del "$(public_key gone)"
check "reload follows the file" reload_says "peers: 1 added, 1 removed, 0 changed, 2 as before; 0 sessions ended"

# --- the client that none of it was about ---
check "the steady client has its session" sessions_say "s[0]['id'] == '$steady'" --peer "$(public_key client)"
check "made by one handshake" wait_for 30 figure_is client rx_welcome 1
kill -INT "${started[stream]}"
wait "${started[stream]}" 2>/dev/null || true
unset "started[stream]"
# But the last, whose answer may have been on its way.
check "and lost no packet" awk -F 'icmp_seq=' '
	NF > 1 { came++; last = $2 + 0 }
	END { print came " of " last; exit !(came > 0 && came == last) }' "$dir/stream.log"
check "a kicked client comes back" wait_for 30 is_there new

for name in gone new guest; do
	stop "$name" || true
done
both_stop

done_testing
