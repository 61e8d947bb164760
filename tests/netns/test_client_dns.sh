#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The name servers that the gateway gives: set by resolvectl, by resolvconf, or in /etc/resolv.conf, whichever is there, and
# restored by down, by the next run after a client was killed, and not when somebody else has set others since. The tools
# are stand-ins that note what they are asked to do, and /etc is a copy in a mount namespace.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

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
	timeout 60 ip netns exec "st-$$-client" sh -c 'mount --bind "$1/etc" /etc && export PATH="$1/tools:/usr/bin:/bin" &&
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

# --- resolvectl ---
tool resolvectl
tool resolvconf
tun up "$dir/client.conf"
check "up with resolvectl" test "$status" -eq 0
check "a server that is not in AllowedIPs is not taken" grep -q "DNS: the gateway's server 192.0.2.53 is not in AllowedIPs" "$dir/said"
check "the others are" asked "resolvectl status" "resolvectl dns shardtun0 10.8.0.1 fd00:8::1" "resolvectl domain shardtun0 "
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

# --- resolvectl that does not work, resolvconf ---
tool resolvectl 'echo "Failed to connect to bus" >&2; exit 1'
tool resolvconf "cat >>$dir/asked"
rm "$dir/asked"
tun up "$dir/full.conf"
check "up with resolvconf" test "$status" -eq 0
check "it gets the servers" asked "resolvectl status" "resolvconf -a tun.shardtun0 -m 0 -x" "nameserver 10.8.0.1" "nameserver fd00:8::1" "nameserver 192.0.2.53"
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
echo "nameserver 192.0.2.98" >"$dir/etc/new" && mv "$dir/etc/new" "$dir/etc/resolv.conf"
tun down "$dir/client.conf"
check "what somebody else has set since stays" resolv_conf_is "nameserver 192.0.2.98"
check "and nothing of ours" test -z "$(find "$dir/etc" -name '*shardtun*')"
mkdir "$dir/etc/run"
echo "$original" >"$dir/etc/run/real"
ln -sf run/real "$dir/etc/resolv.conf"
tun up "$dir/full.conf"
check "a symbolic link is replaced" resolv_conf_is "$mine" "nameserver 10.8.0.1" "nameserver fd00:8::1" "nameserver 192.0.2.53"
check "and what it pointed to stays" test "$(<"$dir/etc/run/real")" = "$original"
tun down "$dir/full.conf"
check "the link is back" test "$(readlink "$dir/etc/resolv.conf")" = run/real
rm -r "$dir/etc/run" "$dir/etc/resolv.conf"
tun up "$dir/full.conf"
check "no /etc/resolv.conf: there is one now" grep -qx 'nameserver 10.8.0.1' "$dir/etc/resolv.conf"
tun down "$dir/full.conf"
check "and none again" test ! -e "$dir/etc/resolv.conf"

# A container's is mounted there by itself: it cannot be replaced.
echo "$original" >"$dir/etc/resolv.conf"
# shellcheck disable=SC2016 # the inner shell's arguments
timeout 60 ip netns exec "st-$$-client" sh -c 'mount --bind "$1/etc" /etc && mount --bind /etc/resolv.conf /etc/resolv.conf &&
	exec env PATH="$1/tools:/usr/bin:/bin" "$2" up "$1/full.conf"' sh "$dir" "$BUILD/shardtun" >"$dir/said" 2>&1 </dev/null ||
	not_ok "up all the same"
check "one that cannot be replaced is said, and what to do" \
	grep -q 'warning: DNS: /etc/resolv.conf: cannot be replaced (.*); set DNS = off .*; names are resolved as before' "$dir/said"
tun down "$dir/full.conf"
check "and nothing is left of the try" etc_is_clean
sed -i '/^Interface/a DNS = off' "$dir/full.conf"
tun up "$dir/full.conf"
check "DNS = off" etc_is_clean
tun down "$dir/full.conf"

stop gateway || true
check "the client leaves nothing behind" nothing_left client
done_testing
