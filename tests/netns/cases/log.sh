#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A log that is not read stops nothing: a pipe that is full, a journal that hangs, syslog that hangs. Traffic, new
# clients, the control socket, reload and the end go on, what was set up is taken back, and missing lines are counted.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

topology_up
gateway_config "MetricsListen = off" "LogLevel = debug"
client_config

# Runs a command whose standard error is a pipe that is full but for 100 bytes, or whose journal takes no message more.
# What it wrote until a signal USR1 stays in the pipe; then all is read and shown.
cat >"$dir/unread.py" <<-'END'
	import fcntl, os, signal, socket, subprocess, sys, threading

	kind, command = sys.argv[1], sys.argv[2:]
	reading, writing = os.pipe()
	fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
	environment = dict(os.environ)
	if kind == "journal":
	    os.makedirs("/run/systemd/journal", exist_ok=True)
	    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
	    journal.bind("/run/systemd/journal/socket")
	    filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
	    filler.setblocking(False)
	    try:
	        while True:
	            filler.sendto(b"MESSAGE=full\n", "/run/systemd/journal/socket")
	    except BlockingIOError:
	        pass
	    status = os.fstat(writing)
	    environment["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
	else:
	    os.set_blocking(writing, False)
	    try:
	        while True:
	            os.write(writing, b"full\n" * 16)
	    except BlockingIOError:
	        pass
	    os.set_blocking(writing, True)
	    os.read(reading, 100)
	child = subprocess.Popen(command, stdout=writing, stderr=writing, env=environment)
	os.close(writing)
	signal.signal(signal.SIGTERM, lambda *_: child.terminate())
	signal.signal(signal.SIGHUP, lambda *_: child.send_signal(signal.SIGHUP))
	signal.signal(signal.SIGUSR1, lambda *_: threading.Thread(target=show).start())


	def show():
	    for line in os.fdopen(reading, errors="replace"):
	        print(line, end="", flush=True)


	sys.exit(child.wait())
END

unread() { # NAME NAMESPACE KIND COMMAND...
	start "$1" "$2" unshare --mount sh -c 'mount -t tmpfs none /run && exec "$@"' sh python3 "$dir/unread.py" "${@:3}"
}

lines_flow() {
	sed '1,/are missing here/d' "$dir/gateway.log" | grep 'read again' >/dev/null
}

new_client() {
	start second client "$BUILD/shardtun" run "$dir/client.conf"
	wait_for 30 pings client 10.8.0.1
}

for kind in pipe journal; do
	unread gateway gateway "$kind" "$BUILD/shardtund" -c "$dir/gateway.conf"
	check "$kind: the gateway starts" wait_for 30 status_json gateway
	unread client client "$kind" "$BUILD/shardtun" run "$dir/client.conf"
	check "$kind: a client connects" wait_for 30 pings client 10.8.0.1
	for _ in 1 2 3 4 5 6 7 8; do
		kill -HUP "${started[client]}"
		ctl reload >/dev/null || not_ok "$kind: reload"
		sleep 0.05
	done
	check "$kind: traffic goes on" pings client 10.8.0.1 -c 3 -i 0.2
	check "$kind: and the control socket answers" status_json client
	check "$kind: nothing is dropped yet" figure_is gateway log.lines_dropped 0
	status=0
	stop client || status=$?
	check "$kind: the client ends with status 0" test "$status" -eq 0
	check "$kind: and leaves nothing behind" nothing_left client
	new_client
	check "$kind: a new client connects" pings client 10.8.0.1
	stop second || not_ok "$kind: the second client's end"
	if [[ $kind == pipe ]]; then
		# Each of them is a line, unless two come at once.
		python3 -c '
import os, signal, sys, time
for _ in range(5000):
    os.kill(int(sys.argv[1]), signal.SIGUSR2)
    time.sleep(0.0003)' "$(pgrep -P "${started[gateway]}")"
		check "$kind: lines beyond the queue are counted" wait_for 30 figure_at_least gateway log.lines_dropped 100
		kill -USR1 "${started[gateway]}"
		check "$kind: once it is read, a line says how many" wait_for 30 \
			logged gateway 'warning: [0-9]* lines of this log are missing here' 1
		ctl reload >/dev/null || not_ok "$kind: reload"
		check "$kind: and lines flow again" wait_for 30 lines_flow
	fi
	status=0
	stop gateway || status=$?
	check "$kind: the gateway ends with status 0" test "$status" -eq 0
	check "$kind: and leaves nothing behind" nothing_left gateway
	rm "$dir/gateway.log" "$dir/client.log"
done

# --- a start that fails ---
port_hold gateway 0.0.0.0 5555
unread gateway gateway pipe "$BUILD/shardtund" -c "$dir/gateway.conf"
status=0
wait_for 30 gone "${started[gateway]}" && wait "${started[gateway]}" || status=$?
unset "started[gateway]"
check "a start that fails ends although nobody reads why" test "$status" -eq 1

# --- syslog, which a client in the background has ---
cat >"$dir/syslog.py" <<-'END'
	# A /dev of our own whose log takes no message more; then the command.
	import os, socket, stat, subprocess, sys

	subprocess.run(["mount", "-t", "tmpfs", "none", "/dev"], check=True)
	os.mkdir("/dev/net")
	for name, major, minor in ("null", 1, 3), ("zero", 1, 5), ("random", 1, 8), ("urandom", 1, 9), ("net/tun", 10, 200):
	    os.mknod("/dev/" + name, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
	log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
	log.bind("/dev/log")
	filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
	filler.setblocking(False)
	try:
	    while True:
	        filler.sendto(b"<30>full", "/dev/log")
	except BlockingIOError:
	    pass
	os.set_inheritable(log.fileno(), True)  # so that it hangs, and is not gone
	os.execv(sys.argv[1], sys.argv[1:])
END
kill_hard other
gateway_config "MetricsListen = off"
gateway_start
status=0
ns client timeout 300 unshare --mount python3 "$dir/syslog.py" "$BUILD/shardtun" up "$dir/client.conf" >"$dir/up.log" 2>&1 || status=$?
check "syslog: up returns with status 0" test "$status" -eq 0
check "syslog: the tunnel works" pings client 10.8.0.1
for _ in 1 2 3 4 5 6 7 8; do
	kill -HUP "$(pid_of_client)"
	sleep 0.05
done
check "syslog: the control socket answers" status_json client
check "syslog: down ends it" ns client timeout 30 "$BUILD/shardtun" down "$dir/client.conf"
check "syslog: and leaves nothing behind" nothing_left client
stop gateway || not_ok "syslog: the gateway's end"

done_testing
