#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: first
# What keeps either program from starting is one clear line and an exit status, and leaves nothing behind: the mistakes
# that people make, and then every system call of the start made to fail, one after the other.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up

declare -A command=([gateway]="$BUILD/shardtund -c" [client]="$BUILD/shardtun run")

# Starts it by way of WRAPPER, in a shell with the file's name as $1, and expects it to fail.
refused() { # DESCRIPTION gateway|client STATUS PATTERN [WRAPPER]
	local status=0
	# shellcheck disable=SC2086 # the command is more than one word
	timeout 300 ip netns exec "st-$$-$2" sh -c "${5:-exec \"\$@\"}" sh ${command[$2]} "$dir/$2.conf" \
		>"$dir/out.log" 2>"$dir/failed.log" </dev/null || status=$?
	check "$1: status $3" test "$status" -eq "$3"
	check "$1: one line, and it tells" wait_for 30 grep -qE "^shardtund?: .*$4" "$dir/failed.log"
	check "$1: no other" test "$(wc -l <"$dir/failed.log")" -eq 1 -a ! -s "$dir/out.log"
	rm "$dir/failed.log"
}

refused_clean() { # as refused
	refused "$@"
	check "$1: nothing is left" nothing_left "$2"
}

# --- files ---
gateway_config
client_config
for side in gateway client; do
	chmod 644 "$dir/$side.key"
	refused_clean "$side: a key that others can read" "$side" 3 "$side\\.key: .*chmod"
	mv "$dir/$side.key" "$dir/away.key"
	refused_clean "$side: no key" "$side" 3 "$side\\.key: .*No such file"
	mv "$dir/away.key" "$dir/$side.key"
	chmod 600 "$dir/$side.key"
done

# --- addresses and ports ---
gateway_config "ListenAddress = 192.0.2.99"
refused_clean "ListenAddress of another machine" gateway 1 "ListenAddress 192.0.2.99: no interface of this machine has it"
gateway_config
port_hold gateway 0.0.0.0 5555
refused_clean "a port that another program has" gateway 1 "UDP port 5555: in use by another process"
kill_hard other

# --- another shardtund: the same port, interface, control socket ---
gateway_start
cp "$dir/gateway.conf" "$dir/first.conf"
second() { # sed script for its file
	sed -e "$1" "$dir/first.conf" >"$dir/gateway.conf"
}
second 's/shardtun0/shardtun1/; s/gateway.sock/second.sock/'
refused "the port of another shardtund" gateway 1 "UDP port 5555: in use by another process"
second 's/5555/5556/; s/gateway.sock/second.sock/; s/^ListenPort/MetricsListen = off\n&/'
refused "the interface of another shardtund" gateway 1 "interface shardtun0: .*another process holds"
second 's/5555/5556/; s/shardtun0/shardtun1/'
refused "the control socket of another shardtund" gateway 1 "control socket .*gateway.sock: another daemon answers"
second 's/5555/5556/; s/shardtun0/shardtun1/; s/gateway.sock/client.key/'
refused "a file in place of the control socket" gateway 1 "control socket .*client.key: something that is no socket"
check "that file is still there" "$BUILD/shardtun" pubkey <"$dir/client.key"
check "none of them left a socket or an interface" test ! -e "$dir/second.sock" -a -z "$(ns gateway ip -o link show dev shardtun1 2>/dev/null)"
check "the first one does not mind" wait_for 30 figure_is gateway sessions.active 0
status=0
stop gateway || status=$?
check "and ends well" test "$status" -eq 0
gateway_config

# --- the machine ---
for side in gateway client; do
	ns "$side" ip link add shardtun0 type veth peer name other
	refused "$side: an interface of another kind has the name" "$side" 1 "interface shardtun0: .*another kind"
	check "$side: and keeps it" ns "$side" ip link delete shardtun0
	# shellcheck disable=SC2016 # the inner shell's arguments
	refused_clean "$side: no /dev/net/tun" "$side" 1 "/dev/net/tun: No such file.*modprobe tun" \
		'exec unshare --mount sh -c "mount -t tmpfs none /dev/net && exec \"\$@\"" sh "$@"'
	# The files of root's directory, for the user "nobody".
	chmod 711 "$dir"
	mkdir -m 700 "$dir/nobody"
	cp "$dir"/*.key "$dir"/*.psk "$dir/nobody/"
	cp "$dir/$side.conf" "$dir/root.conf"
	sed -E "s|= (.*\\.(key\|psk\|sock))|= $dir/nobody/\\1|" "$dir/root.conf" >"$dir/$side.conf"
	chown -R nobody "$dir/nobody"
	chmod 644 "$dir/$side.conf"
	# shellcheck disable=SC2016 # the inner shell's arguments
	refused_clean "$side: nobody's rights" "$side" 1 "(as root|CAP_NET_ADMIN)" \
		'exec setpriv --reuid nobody --clear-groups "$@"'
	check "$side: no socket in nobody's directory" test ! -e "$dir/nobody/$side.sock"
	mv "$dir/root.conf" "$dir/$side.conf"
	rm -r "$dir/nobody"
done

# --- every system call, one after the other ---
ended() { # LOG PID
	gone "$2" || [[ $(<"$1") =~ info:\ (gateway\ on\ UDP|connected:) ]]
}

# Leaves in $like how many lines are like PATTERN, and in $other how many are not. Without a process: a thousand files are
# counted.
count_lines() { # PATTERN FILE
	local line
	like=0 other=0
	while read -r line || [[ -n $line ]]; do
		# shellcheck disable=SC2053 # it is a pattern
		if [[ $line == $1 ]]; then
			like=$((like + 1))
		else
			other=$((other + 1))
		fi
	done <"$2"
}

# Starts it with the Nth CALL failing: prints nothing when all is well, else what is wrong. Status 9: there is no Nth.
fails_once() { # gateway|client NAMESPACE CALL ERROR N
	local log=$dir/$2-$3-$5.out trace=$dir/$2-$3-$5.trace pid status=0 own like other
	tee "$log" "$trace" </dev/null # they are looked into at once
	# shellcheck disable=SC2086 # the command is more than one word
	ip netns exec "st-$$-$2" strace -D -f --seccomp-bpf -qq -o "$trace" -e "trace=$3" -e "inject=$3:error=$4:when=$5" \
		${command[$1]} "$dir/$2-injured.conf" </dev/null >"$log" 2>&1 &
	pid=$!
	if ! wait_for 30 ended "$log" "$pid"; then
		echo "$3 $5 $4: neither up nor ended within 30 s"
		kill -KILL "$pid"
	elif ! gone "$pid"; then
		kill -TERM "$pid"
		wait_for 30 gone "$pid" || kill -KILL "$pid"
		wait "$pid" || status=$?
		[[ $status -eq 0 ]] || echo "$3 $5 $4: it started, and ended with status $status"
	else
		wait "$pid" || status=$?
		# What was done before the failure may be logged: "info:". The Nth of each process fails, so there may be two.
		[[ $status -ne 0 && $status -lt 128 ]] || echo "$3 $5 $4: status $status"
		count_lines 'info: *' "$log"
		own=$other
		count_lines '*INJECTED*' "$trace"
		[[ $own -ge 1 && $own -le $like ]] || echo "$3 $5 $4: $own lines: $(cat "$log")"
	fi
	nothing_left "$2" || echo "... after $3 $5 $4"
	[[ ! -e $dir/$1/$2-injured.sock ]] || echo "$3 $5 $4: the control socket is left"
	count_lines '*INJECTED*' "$trace"
	[[ $like -gt 0 ]] || return 9
}

# In namespaces of that name, each with a part of the calls; leaves NAME-count and NAME-failures for each.
fail_all() { # gateway|client NAMESPACE CALL:ERROR...
	local which=$1 namespace=$2 call n step status count=0 libraries configuration=$dir/$1.conf
	libraries=$(ldd "${command[$1]%% *}" | grep -c '=> /')
	shift 2
	[[ ! -e $dir/$namespace.conf ]] || configuration=$dir/$namespace.conf
	sed "s|ControlSocket = .*|ControlSocket = $which/$namespace-injured.sock|" "$configuration" >"$dir/$namespace-injured.conf"
	: >"$dir/$namespace-failures"
	for call in "$@"; do
		# Netlink's messages go through the same few functions: after the first ten every third.
		step=1
		for ((n = 1; n <= 100; n += step)); do
			[[ $call != @(recvmsg|sendto):* || $n -lt 10 ]] || step=3
			# One for each capability of the bounding set, and one for each library, which are not ours: one is like the other.
			[[ $call != prctl:* || $n -ne 5 ]] || n=42
			[[ $call != openat:* || $n -ne 3 ]] || n=$libraries
			status=0
			fails_once "$which" "$namespace" "${call%:*}" "${call#*:}" $n >>"$dir/$namespace-failures" || status=$?
			[[ $status -eq 0 ]] || break
			count=$((count + 1))
		done
	done
	echo "$count" >"$dir/$namespace-count"
}

empty() { # FILE
	cat "$1"
	[[ ! -s $1 ]]
}

if strace -qq -f --seccomp-bpf -e trace=none true 2>/dev/null; then
	# A client whose netlink calls fail has a second to wait at times: others do that.
	calls=(recvmsg:ENOMEM sendto:ENOBUFS socket:ENOMEM bind:EACCES ioctl:EPERM openat:EMFILE setsockopt:ENOPROTOOPT
		epoll_create1:EMFILE epoll_ctl:ENOSPC eventfd2:EMFILE timerfd_create:EMFILE signalfd4:EMFILE clone3:EAGAIN
		listen:EADDRINUSE chmod:EROFS fchmod:EPERM mkdir:EROFS getsockname:ENOBUFS mlock:ENOMEM capset:EPERM
		seccomp:EINVAL bpf:EPERM)
	gateway_calls=(lchown:EPERM setgroups:EPERM setresgid:EPERM setresuid:EAGAIN prctl:EPERM capget:EPERM connect:ECONNREFUSED
		pipe2:EMFILE clone:EAGAIN)
	# The gateways with injected errors have no clients, and become the user "nobody"; the clients have a gateway without.
	second_up
	namespace_up third
	ip link add eth3 netns "st-$$-gateway" type veth peer name eth0 netns "st-$$-third"
	link_up gateway eth3 192.88.99.1/24 2001:db8:4::1/64
	link_up third eth0 192.88.99.2/24 2001:db8:4::2/64
	gateway_config "User = nobody" "Forward = yes" "Masquerade = lo"
	add_peer second
	add_peer third
	client_config
	other_client_config second second 203.0.113.1:5555 "10.8.0.0/16, fd00:8::/64"
	other_client_config third third 192.88.99.1:5555 "10.8.0.0/16, fd00:8::/64"
	# A gateway as "nobody" removes its socket at the end; a client's directory is root's alone.
	chmod 711 "$dir"
	mkdir "$dir/gateway" "$dir/client"
	chown nobody:nogroup "$dir/gateway"
	namespace_up spare
	start manager host "$tests_dir/tools/notify_listener.py" "$dir/notify"
	wait_for 30 grep -q listening "$dir/manager.log"
	gateway_start
	# All in the background: a shell that starts hundreds forgets those that ended long ago.
	NOTIFY_SOCKET=$dir/notify fail_all gateway host "${calls[@]:0:5}" &
	injured=($!)
	NOTIFY_SOCKET=$dir/notify fail_all gateway spare "${calls[@]:5}" "${gateway_calls[@]}" &
	injured+=($!)
	fail_all client second "${calls[0]}" &
	injured+=($!)
	fail_all client third "${calls[1]}" &
	injured+=($!)
	fail_all client client "${calls[@]:2}" &
	injured+=($!)
	wait "${injured[@]}"
	for namespace in host spare second third client; do
		check "$namespace: each of $(cat "$dir/$namespace-count") system calls that failed was an error or no matter" \
			empty "$dir/$namespace-failures"
		check "$namespace: they were many" test "$(cat "$dir/$namespace-count")" -gt 20
	done
else
	skip "every system call of the start made to fail" "no strace with --seccomp-bpf"
fi

done_testing
