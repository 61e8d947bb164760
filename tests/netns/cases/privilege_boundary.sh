#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: first
# Users with fewer rights than root against what root's programs read, write, lock, believe and print: the gateway's user in an
# intruder's hand, a member of its group, any user of the machine; file by file and socket by socket.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up

# Numbers that this machine has no accounts for. In a room with mounts of its own, /etc knows the first, and /run is empty.
gateway_user=64042 member=64043 anybody=64044
mkdir "$dir/evil"
chmod 1777 "$dir/evil"
chmod 755 "$dir"
# shellcheck disable=SC2016 # the inner shell's arguments
start room gateway unshare --mount --propagation private sh -ec '
	mount -t tmpfs -o mode=755 tmpfs /run
	cp -a /etc /run/etc
	mount --bind /run/etc /etc
	sed -i /^shardtun:/d /etc/passwd /etc/group
	echo "shardtun:x:$1:$1::/nonexistent:/usr/sbin/nologin" >>/etc/passwd
	echo "shardtun:x:$1:" >>/etc/group
	rm -rf /etc/shardtun
	install -d -m 2750 -g shardtun /etc/shardtun /etc/shardtun/peers.d
	install -d -m 1775 -g shardtun /run/shardtun
	install -d -m 700 /run/shardtun-client
	touch /run/ready
	exec sleep 1000' sh $gateway_user
in_room() {
	nsenter --target "${started[room]}" --mount --net "$@"
}
wait_for 30 in_room test -e /run/ready

as() { # UID COMMAND...: in the gateway's group, unless it is anybody
	local groups=(--regid "$1" --clear-groups)
	[[ $1 == "$anybody" ]] || groups=(--regid "$gateway_user" --clear-groups)
	in_room setpriv --reuid "$1" "${groups[@]}" "${@:2}"
}

# By root, in the room; what it says is in $dir/said.
status=
tool() { # PROGRAM ARGUMENT...
	status=0
	in_room timeout 300 "$BUILD/$1" "${@:2}" >"$dir/said" 2>&1 </dev/null || status=$?
}

says() { # TEXT
	grep -qF -- "$1" "$dir/said" || {
		echo "status $status"
		cat -v "$dir/said"
		return 1
	}
}

harmless() {
	python3 -c '
import sys, unicodedata
text = open(sys.argv[1], "rb").read().decode()
bad = [c for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Co", "Cn")]
sys.exit("%r" % bad if bad else 0)' "$dir/said"
}

# Gone when the next one starts.
fake_start() { # UID SOCKET MODE [DIRECTORY [KEY]]
	[[ -z ${started[fake]:-} ]] || stop fake || true
	: >"$dir/fake.log"
	in_room rm -f "$2"
	local groups=(--regid "$1" --clear-groups)
	[[ $1 == "$anybody" ]] || groups=(--regid "$gateway_user" --clear-groups)
	start fake gateway nsenter --target "${started[room]}" --mount setpriv --reuid "$1" "${groups[@]}" \
		"$tests_dir/tools/fake_daemon.py" "${@:2}"
	wait_for 30 grep -q listening "$dir/fake.log"
}

(umask 077 && "$BUILD/shardtun" genkey >"$dir/gateway.key")
key=$(public_key gateway)
in_room install -m 640 -g shardtun "$dir/gateway.key" /etc/shardtun/gateway.key
in_room sh -c 'cat >/etc/shardtun/gateway.conf && chgrp shardtun /etc/shardtun/gateway.conf && chmod 640 /etc/shardtun/gateway.conf' <<END
[Gateway]
PrivateKeyFile = gateway.key
Address = 10.8.0.1/16
PublicEndpoint = 192.0.2.1:5555
PeersDirectory = peers.d
END
socket=/run/shardtun/shardtun0.sock

### the gateway's user, in an intruder's hand ##########################################################################

for mode in known unknown; do
	arguments=("$dir/evil" "$key")
	[[ $mode == known ]] || arguments=("$dir/evil")
	fake_start $gateway_user $socket lies "${arguments[@]}"
	tool shardtunctl peer add --new alice --save
	check "a daemon's directory is not written to ($mode key)" test -z "$(ls -A "$dir/evil")"
	check "what is printed has nothing that a terminal obeys ($mode key)" harmless
	check_fails "its endpoint is nobody's ($mode key)" grep -q 'evil.example\|6666' "$dir/said"
	if [[ $mode == known ]]; then
		check "peers go where root's configuration says" in_room test -s /etc/shardtun/peers.d/alice.conf
		check "for root and the gateway to read" test "$(in_room stat -c '%a %u %g' /etc/shardtun/peers.d/alice.conf)" = "640 0 $gateway_user"
		check "the client gets the key of root's configuration" says "PublicKey = $key"
		check "and its endpoint" says "Endpoint = 192.0.2.1:5555"
		in_room rm -f /etc/shardtun/peers.d/alice.conf
	else
		check "a daemon with another key is another one" says "has another key than this configuration"
		check "nothing is written for it" test -z "$(in_room ls -A /etc/shardtun/peers.d)"
	fi
done
fake_start $gateway_user $socket lies "$dir/evil" "$key"
for words in status identity sessions "top -b -n 1" "kick 00000001" reload "peer del $key" stages "record -n 1" \
	"--json status" "--json sessions" "--json top -b -n 1" "--json identity"; do
	read -ra arguments <<<"$words"
	tool shardtunctl "${arguments[@]}"
	check "shardtunctl $words: nothing that a terminal obeys" harmless
	[[ $words == stages || $words == record* ]] || check "shardtunctl $words: shown all the same" test "$status" -eq 0
done
tool shardtunctl stages --diff <(printf '{"stages":"\033[2J') <(printf '\033]0;x')
check "nor from a file" harmless

# A silent or slow server is left after ten seconds, which tests/unit/test_ctl_answer.c makes one.
for mode in endless deep many; do
	fake_start $gateway_user $socket $mode
	tool shardtunctl status
	check "an answer that is $mode is refused" test "$status" -eq 1
	check "with a reason" grep -q 'this is not shardtun\|something else than shardtun' "$dir/said"
done
fake_start $gateway_user $socket circle
tool shardtunctl sessions
check "pages without end come to an end" test "$status" -lt 124

# Clients are root's: the gateway's user cannot pose as one.
fake_start $gateway_user /run/shardtun/client.sock lies
tool shardtun status
check "the gateway's user is no client" says "no client is up"
check "and is asked nothing" test "$(grep -c "request: b'c" "$dir/fake.log")" -eq 0
client_config
sed -i 's|^ControlSocket = .*|ControlSocket = /run/shardtun/client.sock|' "$dir/client.conf"
tool shardtun status "$dir/client.conf"
check "not when it is asked for either" says "user ID $gateway_user answers there, who is neither root nor you"
fake_start 0 /run/shardtun/client.sock lies
for words in "status" "status $dir/client.conf" "status --json"; do
	read -ra arguments <<<"$words"
	tool shardtun "${arguments[@]}"
	check "shardtun ${words%% *}: nothing that a terminal obeys" harmless
	check "shardtun ${words%% *}: shown all the same" test "$status" -eq 0
done

### any user ###########################################################################################################

fake_start $anybody /tmp/shardtun-boundary-$$.sock lies "$dir/evil" "$key"
tool shardtunctl -s /tmp/shardtun-boundary-$$.sock status
check "anybody's socket is not asked" says "user ID $anybody answers there, who is neither root nor you nor the User of"
tool shardtunctl -s /tmp/shardtun-boundary-$$.sock peer add "$key" --name bob
check "nor told" says "not asked"
check "it hears nothing" test "$(grep -c "request: b'[^']" "$dir/fake.log")" -eq 0
stop fake || true
rm -f /tmp/shardtun-boundary-$$.sock
in_room rm -f /run/shardtun/client.sock

# --- whose files root goes by ---
refuses() { # WHAT TEXT PATH COMMAND-TO-SPOIL COMMAND-TO-MEND
	in_room sh -c "$4"
	tool shardtunctl peer add --new eve --save
	check "peer add refuses $1" says "$3: $2"
	check "and adds nobody ($1)" test -z "$(in_room find /etc/shardtun/peers.d "$dir/evil" -name '*.conf')"
	in_room sh -c "$5"
}
fake_start $gateway_user $socket lies "$dir/evil" "$key"
conf=/etc/shardtun/gateway.conf peers=/etc/shardtun/peers.d
refuses "a configuration that the group may write" "others than root may write to it" $conf "chmod 660 $conf" "chmod 640 $conf"
refuses "one that the gateway's user owns" "belongs to user ID $gateway_user" $conf "chown shardtun $conf" "chown root $conf"
refuses "one in a directory of his" "belongs to user ID $gateway_user" /etc/shardtun "chown shardtun /etc/shardtun" "chown root /etc/shardtun"
refuses "a directory of peers that the group may write" "others than root may write to it" $peers "chmod 2770 $peers" "chmod 2750 $peers"
refuses "one that is his" "belongs to user ID $gateway_user" $peers "chown shardtun $peers" "chown root $peers"
refuses "one that leads to his" "others than root may write to it" "$dir/evil" "rmdir $peers; ln -s $dir/evil $peers" \
	"rm $peers; install -d -m 2750 -g shardtun $peers"
stop fake || true
in_room rm -f $socket

### a real gateway and a real client in the room #######################################################################

public_key client >/dev/null
in_room sh -c 'cat >/etc/shardtun/peers.d/c.conf && chgrp shardtun /etc/shardtun/peers.d/c.conf && chmod 640 /etc/shardtun/peers.d/c.conf' <<END
[Peer]
Name = alice-of-accounting
PublicKey = $(public_key client)
END
cannot() { # WHO UID WHAT COMMAND...
	check_fails "$1 cannot $3" as "$2" "${@:4}"
}
start gateway gateway nsenter --target "${started[room]}" --mount "$BUILD/shardtund" -c $conf
wait_for 30 grep -q 'gateway on UDP' "$dir/gateway.log"
check "the gateway runs as its user" grep -qx 'info: running as user shardtun' "$dir/gateway.log"
sed -i '/^PresharedKeyFile/d' "$dir/client.conf"
start client client nsenter --target "${started[room]}" --mount "$BUILD/shardtun" run "$dir/client.conf"
check "the client runs beside it" wait_for 30 pings client 10.8.0.1
state=/run/shardtun-client/client.state
check "its note is where only root makes names" in_room test -s $state
check "for root alone" test "$(in_room stat -c '%a %u' $state /run/shardtun-client | tr '\n' ,)" = "600 0,700 0,"
check "control sockets are for root, the user and the group" test \
	"$(in_room stat -c '%a %u %g' $socket /run/shardtun/client.sock | tr '\n' ,)" = \
	"660 $gateway_user $gateway_user,660 0 0,"
tool shardtunctl status
check "root asks the gateway, of which there are two sockets" says "there are several daemons"
tool shardtunctl -s $socket status
check "by its name it answers" says "shardtun0, MTU"
check "a member of the group asks the gateway" as $member "$BUILD/shardtunctl" -s $socket status
check "and administers it" as $member "$BUILD/shardtunctl" -s $socket peer add "$(public_key other)"
cannot "a member" $member "write its configuration" sh -c "echo >>$conf"
cannot "a member" $member "put peers there for good" touch $peers/m.conf
cannot "a member" $member "replace its key" sh -c "rm /etc/shardtun/gateway.key || mv /etc/shardtun/gateway.key /etc/shardtun/x"
for who in "a member $member" "anybody $anybody" "the gateway's user $gateway_user"; do
	number=${who##* } name=${who% *}
	cannot "$name" "$number" "read the client's note" cat $state
	cannot "$name" "$number" "make names beside it" touch /run/shardtun-client/x
	cannot "$name" "$number" "look into its directory" ls /run/shardtun-client
	cannot "$name" "$number" "remove the client's socket" rm -f /run/shardtun/client.sock
	cannot "$name" "$number" "rename it" mv /run/shardtun/client.sock /run/shardtun/x.sock
	cannot "$name" "$number" "ask the client" "$BUILD/shardtunctl" -s /run/shardtun/client.sock status
	cannot "$name" "$number" "end the client" "$BUILD/shardtun" down "$dir/client.conf"
done
cannot "anybody" $anybody "ask the gateway" "$BUILD/shardtunctl" -s $socket status
cannot "anybody" $anybody "read its key" cat /etc/shardtun/gateway.key
cannot "anybody" $anybody "list its peers" ls $peers
cannot "anybody" $anybody "make names beside the sockets" touch /run/shardtun/x

# What was said in the shared directory once counts no more.
start bystander gateway sleep 1000
as $gateway_user sh -c "echo '{\"pid\":${started[bystander]}}' >/run/shardtun/client.state"
check "down ends the client" in_room "$BUILD/shardtun" down "$dir/client.conf"
check "and nobody else" running bystander
tool shardtun down "$dir/client.conf"
check "a note in the shared directory is none" says "it is not up"
check "again nobody is ended" running bystander
stop client || true

# --- what the pages of metrics show any user ---
start client client nsenter --target "${started[room]}" --mount "$BUILD/shardtun" run "$dir/client.conf"
wait_for 30 pings client 10.8.0.1
address=$(in_room "$BUILD/shardtunctl" -s $socket --json sessions | sed -n 's/.*"addresses": \["\([^"]*\)".*/\1/p' | head -n 1)
check "there is somebody to tell of" test -n "$address"
for page in / /metrics /status.json /stages.json /healthz /readyz; do
	for where in gateway client; do
		ns $where setpriv --reuid $anybody --regid $anybody --clear-groups python3 -c '
import sys, urllib.request
sys.stdout.write(urllib.request.urlopen("http://127.0.0.1:9586" + sys.argv[1], timeout=30).read().decode())' $page >"$dir/said" 2>&1 || true
		check "$where: $page answers" test -s "$dir/said"
		check_fails "$where: $page says nothing of who is connected" grep -E \
			"alice-of|$(public_key client | sed 's/[+/]/./g')|192\.0\.2\.2|${address}[^0-9/]" "$dir/said"
	done
done
stop client || true
stop gateway || true
stop bystander || true
stop room || true

done_testing
