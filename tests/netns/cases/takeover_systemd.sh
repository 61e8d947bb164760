#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A machine with systemd: a reload of the same program reads the configuration, one of another program takes all sessions
# over, under pings and TCP. The new process is the unit's main one, with its watchdog and its store of descriptors.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/machine.sh
. "$(dirname "$0")/../lib/machine.sh"

times=3

### the machine ########################################################################################################

[[ $EUID -ne 0 || -x /lib/systemd/systemd ]] || skip_all "needs systemd"
topology_up
machine_up gateway
machine_install_gateway gateway
# Short, so that a watchdog that is not fed shows.
on gateway sh -c 'mkdir -p /etc/systemd/system/shardtund.service.d
	printf "[Service]\nWatchdogSec=4\n" >/etc/systemd/system/shardtund.service.d/watchdog.conf
	systemctl daemon-reload'

gateway_config "Workers = 2" "MetricsListen = off" "User = shardtun" "LogLevel = info" "Forward = yes" "Masquerade = eth1"
sed -i '/^ControlSocket/d; 0,/^PresharedKeyFile.*/s//&\nQuota = 1000G\/month/' "$dir/gateway.conf"
tar -C "$dir" -c gateway.conf gateway.key client.psk | on gateway tar -xo -C /etc/shardtun
on gateway sh -c 'cd /etc/shardtun && chgrp shardtun * && chmod 640 gateway.conf gateway.key client.psk'

pid() {
	main_pid gateway shardtund
}

said() { # PATTERN TIMES
	[[ $(journal gateway shardtund | grep -cE "$1") -eq $2 ]]
}

property() { # NAME
	on gateway systemctl show -P "$1" shardtund
}

gone_there() { # PID
	! on gateway test -e "/proc/$1"
}

started_again() { # OLD_PID
	local now
	now=$(pid) && [[ $now != "$1" ]] && on gateway systemctl is-active shardtund
}

one_table() {
	[[ $(nft_tables gateway | wc -l) -eq 1 ]]
}

# As a package does: another file under the same name.
new_program() {
	on gateway sh -c 'cp /usr/sbin/shardtund /usr/sbin/shardtund.new && mv /usr/sbin/shardtund.new /usr/sbin/shardtund'
}

### the same program ###################################################################################################

check "the gateway starts" on gateway systemctl start shardtund
client_config
client_start
traffic_serve host
start stream client "$tests_dir/tools/stream.py" 198.51.100.2 2000000
start pings client ping -n -i 0.05 -w 3600 10.8.0.1
check "the client is connected" wait_for 30 pings client 10.8.0.1
first=$(pid)
check "a reload passes" on gateway systemctl reload shardtund
check "the same program reads its configuration again" wait_for 30 said 'gateway.conf read again' 1
check "and goes on" test "$(pid)" -eq "$first"
check_fails "a take-over from outside of the unit is refused" on gateway shardtund -c /etc/shardtun/gateway.conf --takeover
check "with the reason" said 'a service manager runs this gateway' 1
check "and the gateway goes on" test "$(pid)" -eq "$first"

### another one ########################################################################################################

old=$first
for ((i = 1; i <= times; i++)); do
	new_program
	check "$i: a reload passes" on gateway systemctl reload shardtund
	now=$(pid)
	check "$i: another process is the main one" test "$now" -ne "$old"
	check "$i: the old one is gone" wait_for 30 gone_there "$old"
	check "$i: the unit is active" test "$(property ActiveState)" = active
	check "$i: nothing started it again" test "$(property NRestarts)" -eq 0
	check "$i: it says how many sessions it has" wait_for 30 said 'take-over: 1 sessions go on here' "$i"
	check "$i: shardtunctl answers" on gateway shardtunctl status
	old=$now
done
check "one table of rules is left" wait_for 30 one_table
sleep 10 # twice the watchdog's interval
check "the watchdog is fed" test "$(pid)" -eq "$old"
check "the sandbox refused nothing" said 'Operation not permitted|cannot keep|which is not our child' 0
kill -INT "${started[pings]}"
wait "${started[pings]}" || true
unset "started[pings]"
tail -n 3 "$dir/pings.log" | diagnose
check "no ping was lost" grep -q ' 0% packet loss' "$dir/pings.log"
check "the client heard nothing of it" test "$(grep -c 'info: connected' "$dir/client.log")" -eq 1

### one that cannot ####################################################################################################

on gateway cp /etc/shardtun/gateway.conf /root/right.conf
on gateway sh -c 'echo "Nonsense = 1" >>/etc/shardtun/gateway.conf'
new_program
check_fails "a reload with a wrong file fails" on gateway systemctl reload shardtund
check "the old process goes on" test "$(pid)" -eq "$old"
on gateway sh -c 'sed "s/^Workers = 2/Workers = 3/" /root/right.conf >/etc/shardtun/gateway.conf'
check_fails "another layout is no reload" on gateway systemctl reload shardtund
check "which both say" said 'layout is another one' 2
on gateway sh -c 'cat /root/right.conf >/etc/shardtun/gateway.conf'
check "the old process goes on still" test "$(pid)" -eq "$old"
check "packets pass" pings client 10.8.0.1

### the store, and the end #############################################################################################

on gateway kill -KILL "$old"
check "who was killed is started again" wait_for 30 started_again "$old"
check "with the interface from before" wait_for 30 said 'queues and the sockets are those from before the restart' 1
check "the client is back" wait_for 60 pings client 10.8.0.1
status=0
stop stream || status=$?
check "the masqueraded TCP connection lived through all of it" test "$status" -eq 0
stop client || true
check "a stop ends it" on gateway systemctl stop shardtund
check "and leaves no interface" test -z "$(ns gateway ip -o link show dev shardtun0 2>/dev/null)"
check "no rules" test -z "$(nft_tables gateway)"
check "and no socket" test -z "$(on gateway ls /run/shardtun)"
check "systemd keeps nothing" test "$(property NFileDescriptorStore)" -eq 0

done_testing
