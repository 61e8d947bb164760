#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The name servers that the gateway gives: set by resolvectl, by resolvconf, or in /etc/resolv.conf, by whichever programs
# will really ask, put back when another program changes that, and restored by down or by the next run after a client was
# killed. The tools are stand-ins that note what they are asked to do, and /etc is a copy in a mount namespace.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
gateway_config "DNS = 10.8.0.1, fd00:8::1, 192.0.2.53"
client_config
gateway_start

mkdir "$dir/etc" "$dir/tools"
cp -a /etc/passwd /etc/group /etc/nsswitch.conf /etc/hosts /etc/ld.so.cache "$dir/etc/" 2>/dev/null || true
original="nameserver 192.0.2.99"
echo "$original" >"$dir/etc/resolv.conf"

# Runs in the client's namespaces with that /etc, and with the stand-ins before all other tools; leaves $status, $dir/said.
tun() { # ARGUMENT...
	status=0
	# shellcheck disable=SC2016 # the inner shell's arguments
	timeout 300 ip netns exec "st-$$-client" sh -c 'mount --bind "$1/etc" /etc && export PATH="$1/tools:/usr/bin:/bin" &&
		shift && exec "$@"' sh "$dir" "$BUILD/shardtun" "$@" >"$dir/said" 2>&1 </dev/null || status=$?
	cp "$dir/said" "$dir/tun.log"
}

tool() { # NAME [LINE...]: what it does besides noting its arguments and input
	{
		echo "#!/bin/sh"
		echo "echo \"$1 \$*\" >>$dir/asked"
		printf '%s\n' "${@:2}"
	} >"$dir/tools/$1"
	chmod +x "$dir/tools/$1"
}

asked() { # LINE...
	diff <(printf '%s\n' "$@") "$dir/asked"
}

# In that order, whatever else was asked between.
asked_among() { # LINE...
	diff <(printf '%s\n' "$@") <(grep -xF "$(printf '%s\n' "$@")" "$dir/asked")
}

resolv_conf_is() { # LINE...
	diff <(printf '%s\n' "$@") "$dir/etc/resolv.conf"
}

etc_is_clean() {
	resolv_conf_is "$original" && [[ -z $(find "$dir/etc" -name '*shardtun*') ]]
}

kill_client() {
	local pid
	pid=$(sed 's/.*"pid":\([0-9]*\).*/\1/' "$dir/client.state")
	kill -KILL "$pid"
	wait_for 30 not_locked
}

not_locked() {
	nobody_has_state
}

file_has() { # LINE
	grep -qxF "$1" "$dir/etc/resolv.conf"
}

# --- resolvectl ---
tool resolvectl
tool resolvconf
original="nameserver 127.0.0.53"
echo "$original" >"$dir/etc/resolv.conf"
tun up "$dir/client.conf"
check "up with resolvectl" test "$status" -eq 0
check "a server that is not in AllowedIPs is not taken" grep -q "DNS: the gateway's server 192.0.2.53 is not in AllowedIPs" "$dir/said"
check "the others are" asked "resolvectl status" "resolvectl dns shardtun0 10.8.0.1 fd00:8::1" "resolvectl domain shardtun0 " "resolvectl dns shardtun0"
tun status "$dir/client.conf"
check "status says so" grep -q 'DNS  *10.8.0.1, fd00:8::1 by resolvectl$' "$dir/said"
tun down "$dir/client.conf"
check "down" nothing_left client
check "neither touched a file" etc_is_clean

# Everything through the tunnel: all names too.
other_client_config full client 192.0.2.1:5555 "0.0.0.0/0, ::/0"
sed -i 's/full.sock/client.sock/' "$dir/full.conf"
rm "$dir/asked"
tun up "$dir/full.conf"
check "with 0.0.0.0/0 they are for all names" wait_for 30 asked_among "resolvectl domain shardtun0 ~."
tun status --json "$dir/full.conf"
check "status says so" grep -q '"all_names": true' "$dir/said"
tun down "$dir/full.conf"

# systemd-resolved runs and takes them, but programs do not ask it.
original="nameserver 192.0.2.99"
echo "$original" >"$dir/etc/resolv.conf"
rm "$dir/asked"
tun up "$dir/full.conf"
check "a static resolv.conf that does not lead to systemd-resolved is set itself" file_has "nameserver 10.8.0.1"
tun status "$dir/full.conf"
check "status says by what" grep -q 'by /etc/resolv.conf, for all names$' "$dir/said"
tun down "$dir/full.conf"
check "and restored" etc_is_clean
echo "nameserver 127.0.0.53" >"$dir/etc/resolv.conf"
tool resolvectl "case \"\$*\" in 'dns shardtun0') echo 'Link 7 (shardtun0): 192.0.2.7';; esac"
tun up "$dir/full.conf"
check "one that has not got them is not believed" file_has "nameserver 10.8.0.1"
tun down "$dir/full.conf"
tool resolvectl "case \"\$*\" in 'dns shardtun0') echo 'Link 7 (shardtun0): 10.8.0.1 fd00:8:0::1#name 192.0.2.53';; esac"
tun up "$dir/full.conf"
check "one that has is" resolv_conf_is "nameserver 127.0.0.53"
echo "nameserver 192.0.2.98" >"$dir/etc/resolv.conf"
check "when programs do not ask it any more, the file is set" wait_for 30 file_has "nameserver 10.8.0.1"
tun down "$dir/full.conf"
check "and restored" resolv_conf_is "nameserver 192.0.2.98"
echo "$original" >"$dir/etc/resolv.conf"

# --- resolvectl that does not work, resolvconf, which writes the file as openresolv does ---
tool resolvectl 'echo "Failed to connect to bus" >&2; exit 1'
tool resolvconf "case \$1 in
-a) [ -e $dir/etc/before ] || mv $dir/etc/resolv.conf $dir/etc/before; tee -a $dir/asked >$dir/etc/resolv.conf ;;
-d) [ ! -e $dir/etc/before ] || mv $dir/etc/before $dir/etc/resolv.conf ;;
esac"
rm -f "$dir/asked"
tun up "$dir/full.conf"
check "up with resolvconf" test "$status" -eq 0
check "it gets the servers" asked "resolvconf -a tun.shardtun0 -m 0 -x" "nameserver 10.8.0.1" "nameserver fd00:8::1" "nameserver 192.0.2.53"
tun down "$dir/full.conf"
check "and is told to forget them" wait_for 30 asked_among "resolvconf -d tun.shardtun0 -f"
tun up "$dir/full.conf"
rm "$dir/asked"
kill_client
tun down "$dir/full.conf"
check "also after the client was killed" asked "resolvconf -d tun.shardtun0 -f"
tool resolvconf "case \$1 in -a) echo >&2 'resolvconf: no way'; exit 7; esac"
tun up "$dir/full.conf"
check "a resolvconf that fails is said" grep -q 'warning: DNS: resolvconf: resolvconf: no way; trying another way' "$dir/said"
check "and /etc/resolv.conf taken instead" grep -qx 'nameserver 10.8.0.1' "$dir/etc/resolv.conf"
tun down "$dir/full.conf"
check "and restored" etc_is_clean
tool resolvconf "case \$1 in -a) exec sleep 60; esac"
sed -i '/^Interface/a DNS = 9.9.9.9' "$dir/full.conf"
tun up -t 50 "$dir/full.conf"
check "one that hangs does not hang us" grep -q 'DNS: resolvconf: it did not end within 10 s' "$dir/said"
check "DNS = ADDRESS is taken as it is" grep -qx 'nameserver 9.9.9.9' "$dir/etc/resolv.conf"
tool resolvconf
tun down "$dir/full.conf"
check "and restored" etc_is_clean
rm "$dir/tools/"*
sed -i '/^DNS/d' "$dir/full.conf"

# --- neither ---
mine="# Written by shardtun for shardtun0; what was there before is in /etc/resolv.conf.shardtun-saved"
tun up "$dir/full.conf"
check "up with /etc/resolv.conf" resolv_conf_is "$mine" "nameserver 10.8.0.1" "nameserver fd00:8::1" "nameserver 192.0.2.53"
tun status "$dir/full.conf"
check "status says so" grep -q 'by /etc/resolv.conf, for all names' "$dir/said"
tun down "$dir/full.conf"
check "down restores it" etc_is_clean
tun up "$dir/client.conf"
check "not everything through the tunnel: the old ones stay, after ours" \
	resolv_conf_is "$mine" "nameserver 10.8.0.1" "nameserver fd00:8::1" "$original"
kill_client
tun down "$dir/client.conf"
check "down restores it after the client was killed" etc_is_clean
tun up "$dir/full.conf"
kill_client
tun up "$dir/client.conf"
check "so does the next up, before it sets its own" \
	resolv_conf_is "$mine" "nameserver 10.8.0.1" "nameserver fd00:8::1" "$original"

# --- other programs change it ---
put_back() {
	file_has "nameserver 10.8.0.1"
}

# Once a change is seen: ms until ours are there again.
until_put_back() {
	local start=${EPOCHREALTIME/[.,]/}
	wait_for 30 put_back && diagnose <<<"put back after $(((${EPOCHREALTIME/[.,]/} - start) / 1000)) ms"
}

echo "nameserver 192.0.2.98" >"$dir/etc/new" && mv "$dir/etc/new" "$dir/etc/resolv.conf"
check "another program's file takes its place: ours is put back" until_put_back
check "with what that one said after ours" resolv_conf_is "$mine" "nameserver 10.8.0.1" "nameserver fd00:8::1" "nameserver 192.0.2.98"
check "which is counted" wait_for 30 figure_is client kept.dns.restored 1
echo "nameserver 192.0.2.97" >"$dir/etc/resolv.conf"
check "another program writes into it: ours is put back" until_put_back
rm "$dir/etc/resolv.conf"
check "it is removed: ours is put back" until_put_back
tun down "$dir/client.conf"
check "down restores what another program said last" resolv_conf_is "nameserver 192.0.2.97"
check "and nothing of ours" test -z "$(find "$dir/etc" -name '*shardtun*')"
echo "$original" >"$dir/etc/resolv.conf"
tun up "$dir/full.conf"
let_be() {
	! put_back || echo "nameserver 192.0.2.94" >"$dir/etc/resolv.conf"
	sleep 0.1
	tun status "$dir/full.conf"
	grep -q 'DNS  *10.8.0.1, .* not in force: .*another program' "$dir/said"
}
check "who does not stop is let, and that is said" wait_for 60 let_be
tun down "$dir/full.conf"
check "and down leaves what is there" resolv_conf_is "nameserver 192.0.2.94"
mkdir "$dir/etc/run"
echo "$original" >"$dir/etc/run/real"
ln -sf run/real "$dir/etc/resolv.conf"
tun up "$dir/full.conf"
check "a symbolic link is replaced" resolv_conf_is "$mine" "nameserver 10.8.0.1" "nameserver fd00:8::1" "nameserver 192.0.2.53"
check "and what it pointed to stays" test "$(<"$dir/etc/run/real")" = "$original"
echo "nameserver 192.0.2.96" >"$dir/etc/resolv.conf"
check "another program writes where the link was: ours is put back" until_put_back
check "what it wrote went where it would have gone" test "$(<"$dir/etc/run/real")" = "nameserver 192.0.2.96"
tun down "$dir/full.conf"
check "the link is back" test "$(readlink "$dir/etc/resolv.conf")" = run/real
check "and leads to that" resolv_conf_is "nameserver 192.0.2.96"
ln -sf run/nowhere "$dir/etc/resolv.conf"
tun up "$dir/full.conf"
check "a link that leads nowhere is replaced" put_back
kill_client
tun down "$dir/full.conf"
check "and back" test "$(readlink "$dir/etc/resolv.conf")" = run/nowhere
rm "$dir/etc/resolv.conf"
printf '%s\n' "nameserver 192.0.2.99" "search corp.test" "options ndots:2" >"$dir/etc/resolv.conf"
for ((n = 0; n < 2000; n++)); do echo "# a comment, the ${n}th of many"; done >>"$dir/etc/resolv.conf"
echo "search end.test" >>"$dir/etc/resolv.conf"
cp "$dir/etc/resolv.conf" "$dir/large"
tun up "$dir/full.conf"
check "search domains and options stay" resolv_conf_is "$mine" "nameserver 10.8.0.1" "nameserver fd00:8::1" "nameserver 192.0.2.53" \
	"search corp.test" "options ndots:2" "search end.test"
tun down "$dir/full.conf"
check "a large file comes back whole" cmp "$dir/large" "$dir/etc/resolv.conf"
tun up "$dir/client.conf"
check "and stays whole after our servers" cmp <(tail -n +4 "$dir/etc/resolv.conf") "$dir/large"
tun down "$dir/client.conf"
rm -r "$dir/etc/run" "$dir/etc/resolv.conf"
tun up "$dir/full.conf"
check "no /etc/resolv.conf: there is one now" grep -qx 'nameserver 10.8.0.1' "$dir/etc/resolv.conf"
tun down "$dir/full.conf"
check "and none again" test ! -e "$dir/etc/resolv.conf"

# --- where it cannot be replaced ---
# A container's is mounted there by itself.
tun_mounted() { # MOUNT OPTIONS of it; of /etc; ARGUMENT...
	status=0
	# shellcheck disable=SC2016 # the inner shell's arguments
	timeout 300 ip netns exec "st-$$-client" sh -c 'mount --bind "$1/etc" /etc && mount --bind "$1/mounted" /etc/resolv.conf &&
		mount -o "remount,bind,$2" /etc/resolv.conf && mount -o "remount,bind,$3" /etc && export PATH="$1/tools:/usr/bin:/bin" && shift 3 &&
		exec "$@"' sh "$dir" "$1" "$2" "$BUILD/shardtun" "${@:3}" >"$dir/said" 2>&1 </dev/null || status=$?
	cp "$dir/said" "$dir/tun.log"
}

mounted_is() { # LINE...
	diff <(printf '%s\n' "$@") <(grep -v '^#' "$dir/mounted")
}

echo "$original" >"$dir/etc/resolv.conf"
printf '%s\n%s\n# no newline at the end' "$original" "search corp.test" >"$dir/mounted"
cp "$dir/mounted" "$dir/former"
for how in rw ro; do
	tun_mounted rw "$how" up "$dir/full.conf"
	check "a mount, /etc $how: written in place" mounted_is "nameserver 10.8.0.1" "nameserver fd00:8::1" "nameserver 192.0.2.53" "search corp.test"
	tun status "$dir/full.conf"
	check "a mount, /etc $how: in force" grep -q 'by /etc/resolv.conf, for all names$' "$dir/said"
	[[ $how == rw ]] || kill_client
	tun_mounted rw "$how" down "$dir/full.conf"
	check "a mount, /etc $how: restored" cmp "$dir/mounted" "$dir/former"
done
tun_mounted rw rw up "$dir/full.conf"
echo "nameserver 192.0.2.95" >"$dir/mounted"
check "a mount is written by another program: ours is put back" wait_for 30 mounted_is "nameserver 10.8.0.1" "nameserver fd00:8::1" "nameserver 192.0.2.53"
tun_mounted rw rw down "$dir/full.conf"
check "and what it wrote restored" mounted_is "nameserver 192.0.2.95"
tun_mounted ro ro up "$dir/full.conf"
check "one that cannot be written is said, and what to do" \
	grep -q 'warning: DNS: not in force, names are resolved as before: /etc/resolv.conf: cannot be changed (.*); mount it writable, .* or set DNS = off' "$dir/said"
tun status "$dir/full.conf"
check "by status too" grep -q 'not in force: .*cannot be changed' "$dir/said"
tun_mounted ro ro down "$dir/full.conf"
check "and nothing is left of the try" etc_is_clean
sed -i '/^Interface/a DNS = off' "$dir/full.conf"
tun up "$dir/full.conf"
check "DNS = off" etc_is_clean
tun down "$dir/full.conf"

stop gateway || true
check "the client leaves nothing behind" nothing_left client
done_testing
