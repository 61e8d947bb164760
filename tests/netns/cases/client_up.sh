#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: first
# shardtun up, status and down: what each says, when it returns and with which status, and that nothing is left after down,
# after an up that could not, and after a client that was killed at any point of its start.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
gateway_config
client_config "PostUp = echo up %i >>$dir/commands" "PostDown = echo down %i >>$dir/commands"

# Runs shardtun in the client's namespace; leaves $status and $dir/said.
tun() { # ARGUMENT...
	status=0
	timeout 300 ip netns exec "st-$$-client" "$BUILD/shardtun" "$@" >"$dir/said" 2>&1 </dev/null || status=$?
	cp "$dir/said" "$dir/tun.log"
}

says() { # PATTERN
	grep -qE "$1" "$dir/said" || {
		cat "$dir/said"
		return 1
	}
}

fails() { # DESCRIPTION STATUS PATTERN ARGUMENT...
	local description=$1 expected=$2 pattern=$3
	shift 3
	tun "$@"
	check "$description: status $expected" test "$status" -eq "$expected"
	check "$description: one line says why" test "$(grep -c '^shardtun: ' "$dir/said")" -eq 1
	check "$description: $pattern" says "^shardtun: .*$pattern"
	check "$description: nothing is left" nothing_left client
}

# Or waits for init to reap it.
ended_process() { # PID
	! readlink "/proc/$1/exe"
}

commands_are() { # WORDS
	[[ $(paste -sd' ' "$dir/commands") == "$1" ]] || {
		cat "$dir/commands"
		return 1
	}
}

# --- what goes wrong ---
fails "no such file" 3 "nothing.conf: cannot be opened" up "$dir/nothing.conf"
fails "no such name" 3 "/etc/shardtun/no-such-name.conf: cannot be opened" up no-such-name
fails "down of what is not up" 1 "it is not up" down "$dir/client.conf"
fails "status of what is not up" 1 "client.sock: cannot connect" status "$dir/client.conf"
fails "a gateway that is not there" 1 "no answer from 192.0.2.1 within 2 s; is the gateway up" up -t 2 "$dir/client.conf"
cp "$dir/client.conf" "$dir/right.conf"
sed -i 's/192.0.2.1:5555/nowhere.invalid:5555/' "$dir/client.conf"
# The end of its time may come while it tries again.
fails "a name that nobody has" 1 "Endpoint nowhere.invalid: (.* \\(waited 2 s\\)|not resolved within 2 s)" up -t 2 "$dir/client.conf"
sed 's/192.0.2.1:5555/203.0.113.1:5555/' "$dir/right.conf" >"$dir/client.conf"
fails "no route" 1 "route to 203.0.113.1: Network is unreachable \\(waited 2 s\\)" up -t 2 "$dir/client.conf"
gateway_start
sed "s|^PublicKey = .*|PublicKey = $(public_key client)|" "$dir/right.conf" >"$dir/client.conf"
fails "a wrong key" 1 "our public key listed there" up --timeout=2 "$dir/client.conf"
cp "$dir/right.conf" "$dir/client.conf"
sed -i '/^Interface/a PostUp = echo no good >\&2; exit 3' "$dir/client.conf"
fails "PostUp that fails" 1 "PostUp = echo no good .*: no good" up "$dir/client.conf"
check "PostDown runs then" commands_are "down shardtun0"
rm "$dir/commands"
cp "$dir/right.conf" "$dir/client.conf"

# --- up, status, down ---
tun up "$dir/client.conf"
check "up returns with status 0" test "$status" -eq 0
check "and told what it did" says 'handshake with 192.0.2.1:5555'
check "and that it is connected, with address and suite" says 'connected: session [0-9a-f]{8}, (AES|ChaCha).*, addresses 10\.8\.'
check "the tunnel works at once" answers client 10.8.0.1
check "PostUp has run" commands_are "up shardtun0"
tun status "$dir/client.conf"
check "status" test "$status" -eq 0
check "its journal is for root alone" test "$(stat -c '%a %u' "$dir/client.state")" = "600 0"
check "status: state" says '^shardtun0: connected'
check "status: gateway" says 'gateway +192.0.2.1 port 5555, at 192.0.2.1:5555'
check "status: session, suite, MTU" says 'session +[0-9a-f]{8}, (AES|ChaCha).*, MTU 1420'
check "status: addresses" says 'addresses +10\.8\.[0-9.]+/16, fd00:8::'
check "status: times" says 'connected +for [0-9]+ s; handshake [0-9]+ s ago, heard [0-9]+ s ago'
check "status: traffic" says 'received +[0-9.]+ .?B in [1-9]'
tun status --json "$dir/client.conf"
check "status as JSON" python3 -c '
import json, sys
status = json.load(open(sys.argv[1]))
assert status["state"] == "connected" and status["endpoint"] == "192.0.2.1:5555", status
assert status["rx_packets"] >= 1 and status["tx_bytes"] >= 84, status
assert status["dns"] is None and status["kill_switch"] is False, status
' "$dir/said"
pid=$(pid_of_client)
tun up "$dir/client.conf"
check "a second up is refused" test "$status" -eq 1
check "and says who is up" says "^shardtun: .*it is up already \\(process $pid\\)"
check "the first one does not mind" answers client 10.8.0.1
tun down "$dir/client.conf"
check "down: status 0" test "$status" -eq 0
check "down: when it returns all is gone" nothing_left client
check "down: the process too" ended_process "$pid"
check "PostDown has run" commands_are "up shardtun0 down shardtun0"
check "the gateway heard it go" wait_for 30 figure_is gateway sessions.active 0
rm "$dir/commands"

# --- what it logs without a reader ---
mkdir -p "$dir/dev/net"
touch "$dir/dev/null" "$dir/dev/urandom" "$dir/dev/random" "$dir/dev/zero" "$dir/dev/net/tun"
start syslog client python3 -uc 'import socket, sys
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind(sys.argv[1])
print("ready")
while True:
    print(log.recv(4096).decode())' "$dir/dev/log"
wait_for 30 grep -q ready "$dir/syslog.log"
# shellcheck disable=SC2016 # the inner shell's arguments
ip netns exec "st-$$-client" sh -c 'for node in null urandom random zero net/tun; do mount --bind "/dev/$node" "$1/dev/$node"; done &&
	mount --rbind "$1/dev" /dev && exec "$2" up "$1/client.conf"' sh "$dir" "$BUILD/shardtun" >"$dir/said" 2>&1 </dev/null ||
	{ not_ok "up with a syslog"; diagnose <"$dir/said"; }
check "syslog has what up printed" wait_for 30 grep -q '<30>.* shardtun\[[0-9]*\]: connected: session' "$dir/syslog.log"
stop gateway || true
check "and what happens after it" wait_for 30 grep -q '<28>.* shardtun\[[0-9]*\]: reconnecting because the gateway ended the session' "$dir/syslog.log"
gateway_start
tun down "$dir/client.conf"
check "to the end" wait_for 30 grep -q 'shardtun\[[0-9]*\]: Terminated: ending' "$dir/syslog.log"
stop syslog || true
rm -f "$dir/commands"

# --- run and down ---
start client client "$BUILD/shardtun" run "$dir/client.conf"
wait_for 30 pings client 10.8.0.1
tun down "$dir/client.conf"
check "down ends one in the foreground too" test "$status" -eq 0
check "and all of it" nothing_left client
stop client || true

# --- interrupted ---
stop gateway || true
start up client "$BUILD/shardtun" up "$dir/client.conf"
wait_for 30 grep -q handshake "$dir/up.log"
status=0
kill -INT "${started[up]}"
wait "${started[up]}" || status=$?
unset "started[up]"
check "^C while up waits: status 1" test "$status" -eq 1
check "^C: it says so" wait_for 30 grep -q '^shardtun: interrupted' "$dir/up.log"
check "^C: nothing is left" nothing_left client
start up client "$BUILD/shardtun" up "$dir/client.conf"
wait_for 30 grep -q 'handshake.*' "$dir/up.log"
wait_for 30 test -e "$dir/client.sock"
kill_hard up
check "up is killed while it waits: the client goes too" wait_for 30 nothing_left client
gateway_start
rm -f "$dir/commands"

# --- killed ---
tun up "$dir/client.conf"
pid=$(pid_of_client)
kill -KILL "$pid"
wait_for 30 nobody_has_state
check_fails "a client that is killed leaves something" nothing_left client
tun down "$dir/client.conf"
check "down takes it back" test "$status" -eq 0
check "all of it" nothing_left client
check "and runs PostDown" commands_are "up shardtun0 down shardtun0"
rm "$dir/commands"
tun up "$dir/client.conf"
pid=$(pid_of_client)
kill -KILL "$pid"
wait_for 30 nobody_has_state
tun up "$dir/client.conf"
check "so does the next up" test "$status" -eq 0
check "which ran PostDown of the one before" commands_are "up shardtun0 down shardtun0 up shardtun0"
check "and works" answers client 10.8.0.1
tun down "$dir/client.conf"
check "and goes" nothing_left client

# Its process that owns the tables may take a moment longer than itself.
killed_before_its_process() { # SHARDTUN'S ARGUMENT...
	local process
	tun up "$dir/client.conf"
	pid=$(pid_of_client)
	process=$(pgrep -x -P "$pid" nftables)
	kill -STOP "$process"
	kill -KILL "$pid"
	wait_for 30 nobody_has_state
	(sleep 1 && kill -CONT "$process") &
	tun "$@"
	wait $!
}

for tables in 1 2; do
	option=$([[ $tables -eq 1 ]] || echo "KillSwitch = yes")
	sed "s/^Interface.*/&\n$option/" "$dir/right.conf" >"$dir/client.conf"
	killed_before_its_process down "$dir/client.conf"
	check "down waits for the process that owns the tables: $option" test "$status" -eq 0
	check "and nothing is left" nothing_left client
	killed_before_its_process up "$dir/client.conf"
	check "up waits for it: $option" test "$status" -eq 0
	check "and has the tables" test "$(nft_tables client | wc -l)" -eq "$tables"
	check_fails "and nothing to warn of" says warning
	tun down "$dir/client.conf"
	check "and goes" nothing_left client
done
cp "$dir/right.conf" "$dir/client.conf"

# --- killed at each system call that may leave something ---
injured() { # CALL N
	local log=$dir/injured pid
	# Here already: the process in the background may take a moment to come to it, and the log before says "connected".
	: >"$log"
	timeout 300 ip netns exec "st-$$-client" strace -f -q -o "$dir/trace" -e "trace=$1" \
		-e "inject=$1:signal=SIGKILL:when=$2" "$BUILD/shardtun" run "$dir/client.conf" >"$log" 2>&1 </dev/null &
	pid=$!
	wait_for 30 ended "$log" "$pid" || echo "$1 $2: neither up nor ended"
	kill -TERM "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	# strace has ended; a client that it did not kill is still about to.
	tun down "$dir/client.conf"
	# That there is nothing to take back is a message of its own.
	[[ $status -eq 0 || $(<"$dir/said") =~ "it is not up" ]] || echo "$1 $2: down: $(<"$dir/said")"
	nothing_left client || echo "... after $1 $2"
	grep -q 'killed by SIGKILL' "$dir/trace" || return 9
}

ended() { # LOG PID
	gone "$2" || grep -q 'connected:' "$1"
}

if strace -qq -f -e trace=none true 2>/dev/null; then
	count=0
	for call in sendto pwrite64 ioctl bind; do
		for ((n = 1; n <= 60; n++)); do
			injured "$call" "$n" >>"$dir/failures" || break
			count=$((count + 1))
		done
	done
	check "killed at $count system calls: down took back what was left" test "$count" -gt 15 -a ! -s "$dir/failures"
	[[ ! -s $dir/failures ]] || diagnose <"$dir/failures"
else
	skip "killed at each system call" "no strace that may trace"
fi

# --- a forged pid: root must not end another process ---
start bystander client sleep 100
# shellcheck disable=SC2016 # Python's
hold='import fcntl, sys, time
file = open(sys.argv[1], "r+")
fcntl.lockf(file, fcntl.LOCK_EX)
time.sleep(100)'
locked() {
	! nobody_has_state
}
does_not_believe() { # WHAT TEXT
	local command
	for command in "down $dir/client.conf" "up -t 2 $dir/client.conf"; do
		# shellcheck disable=SC2086 # two words and more
		tun $command
		check "$1: ${command%% *} does not believe it" says "$2"
		check "$1: status 1" test "$status" -eq 1
	done
	check "$1: nobody was ended" running bystander
}
echo "{\"pid\":${started[bystander]},\"interface\":\"shardtun0\"}" >"$dir/client.state"
tun down "$dir/client.conf"
check "a process that the file names, and that has no lock, is none of ours" says "it is not up"
check "and lives on" running bystander
echo "{\"pid\":${started[bystander]},\"interface\":\"shardtun0\"}" >"$dir/client.state"
start holder client python3 -c "$hold" "$dir/client.state"
wait_for 30 locked
tun down "$dir/client.conf"
check "who has the lock is ended, whatever the file says" wait_for 30 gone "${started[holder]}"
check "and not whom it names" running bystander
stop holder || true

echo "{\"pid\":${started[bystander]},\"interface\":\"shardtun0\"}" >"$dir/client.state"
chown nobody "$dir/client.state"
does_not_believe "a file of somebody else's" "client.state: no file of ours, but user ID"
rm -f "$dir/client.state"
ln -s /etc/passwd "$dir/client.state"
does_not_believe "a symbolic link" "client.state: Too many levels of symbolic links"
rm -f "$dir/client.state"
chmod 1777 "$dir"
does_not_believe "a directory that others may write to" "$dir: others than root may write to it"
chown nobody "$dir"
chmod 755 "$dir"
does_not_believe "a directory of somebody else's" "$dir: belongs to user ID"
chown root "$dir"
stop bystander || true

stop gateway || true
done_testing
