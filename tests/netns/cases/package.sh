#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: first
# Two machines with systemd; the packages are installed by the commands of the README: from package to
# connected client. Then what happens to packages: reload, restart, crash, upgrade, by which a gateway loses no packet and
# no session, removal under a running program, purge.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/machine.sh
. "$(dirname "$0")/../lib/machine.sh"

readme=$tests_dir/../../README.md

# What the packages depend on is here already.
install() { # MACHINE PACKAGE...
	on "$1" apt-get -qq -o Dpkg::Use-Pty=0 install -y --reinstall "${@:2}"
}

copy_packages() { # MACHINE
	tar -C "$dir/deb" -c . | on "$1" tar -xo
}

### what the user types ################################################################################################

# The Nth command block of the README's section.
block() { # SECTION N
	awk -v section="## $1" -v wanted="$2" '
		/^## / { inside = $0 == section }
		inside && /^```/ { fence = !fence; blocks += fence; next }
		inside && fence && blocks == wanted' "$readme"
}

# Typed by root, a shell for each block. Standard output is the block's.
type_block() { # MACHINE SECTION N
	local text
	text=$(block "$2" "$3")
	[[ -n $text ]] || return
	text=${text//apt install/apt-get -qq -o Dpkg::Use-Pty=0 -y install}
	on "$1" sh -ec "$text" 2>"$dir/typed.log"
}

### what is looked at ##################################################################################################

service_is() { # MACHINE UNIT STATE
	[[ $(on "$1" systemctl is-active "$2") == "$3" ]]
}

link_is_there() { # MACHINE
	on "$1" ip link show dev shardtun0
}

all_threads_have() { # MACHINE PID FIELD VALUE
	local values
	values=$(on "$1" sh -c "awk '\$1 == \"$3:\" { print \$2 }' /proc/$2/task/*/status" | sort -u)
	[[ $values == "$4" ]] || {
		echo "$3: $values"
		return 1
	}
}

restarted() { # MACHINE UNIT OLD_PID
	local pid
	pid=$(main_pid "$1" "$2") && [[ $pid != "$3" ]]
}

connected() {
	on client ping -n -q -c 1 -W 1 10.8.0.1 && on client ping -n -q -c 1 -W 1 fd00:8::1
}

no_complaints() { # MACHINE UNIT
	! journal "$1" "$2" | grep -E 'error|warning|Operation not permitted|status=|signal'
}

# All files, but for the account and what apt and dpkg keep books in; and the directory that wireguard-go makes in other tests.
files_of() { # MACHINE
	on "$1" find /etc /usr /var /run -xdev \( -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/systemd \
		-o -path /var/log -o -path /var/cache -o -path /run/log -o -path /run/systemd -o -path /run/wireguard \) -prune -o -print |
		grep -vE '^/etc/(passwd|group|shadow|gshadow|subuid|subgid|\.pwd\.lock|ld\.so\.cache)-?$' | sort
}

left_behind() { # MACHINE
	diff "$dir/files-$1" <(files_of "$1")
}

### the machines #######################################################################################################

[[ $EUID -ne 0 || -x /lib/systemd/systemd ]] || skip_all "needs systemd"
command -v dh >/dev/null || skip_all "needs debhelper"
topology_up
packaging=$tests_dir/../../config/packaging
"$packaging/build-deb" "$dir/deb" >"$dir/build.out" 2>&1 || true
check "the packages build" ls "$dir"/deb/shardtun_*.deb "$dir"/deb/shardtun-gateway_*.deb
[[ $failures -eq 0 ]] || { done_testing; exit 1; }
if command -v lintian >/dev/null; then
	status=0
	report=$("$packaging/judge" "$dir/deb") || status=$?
	check "lintian has nothing to say but what is known" test "$status" -eq 0
	known=$(<"$packaging/LINTIAN.txt")
	[[ ${report%%$'\n'*} != "${known%%$'\n'*}" ]] ||
		check "config/packaging/LINTIAN.txt is what make reports writes" test "$report" = "$known"
else
	skip "lintian has nothing to say" "no lintian here"
fi
rm "$dir"/deb/*-dbgsym_*
machine_up gateway
machine_up client
for machine in gateway client; do
	copy_packages "$machine"
	files_of "$machine" >"$dir/files-$machine"
done
on client sh -c 'echo "192.0.2.1 vpn.example.net" >>/etc/hosts'

### from package to connected client ###################################################################################

before=$SECONDS
check "the gateway is installed, starts and lets a client in" type_block gateway Install 1
check "it runs" service_is gateway shardtund active
on gateway cat laptop.conf | on client sh -c 'cat >laptop.conf'
check "the client is installed, connects, and pings the gateway" wait_for 60 type_block client Install 2
check "from package to connected client in less than two minutes ($((SECONDS - before)) s)" \
	test $((SECONDS - before)) -lt 120
check "in IPv6 too" wait_for 30 connected
[[ $failures -eq 0 ]] || { done_testing; exit 1; }
check "both will be there after the next boot" \
	test "$(on gateway systemctl is-enabled shardtund) $(on client systemctl is-enabled shardtun@laptop)" = "enabled enabled"
check "the gateway's manual is there" on gateway test -s /usr/share/man/man8/shardtund.8.gz

### what the sandbox leaves ############################################################################################

pid=$(main_pid gateway shardtund) || pid=none
user=$(on gateway id -u shardtun)
check "the gateway is not root" all_threads_have gateway "$pid" Uid "$user"
# CAP_NET_ADMIN, CAP_NET_BIND_SERVICE and CAP_BPF, as in the unit; what threads hold is less (privileges.sh).
check "it can do no more than networks and BPF" all_threads_have gateway "$pid" CapBnd 0000008000001400
check "it can get no more" all_threads_have gateway "$pid" NoNewPrivs 1
check "it runs under seccomp" all_threads_have gateway "$pid" Seccomp 2
check "the sandbox hid nothing that it wanted" no_complaints gateway shardtund
check "nor from the client" no_complaints client shardtun@laptop
check "key, configuration and clients are for root and the gateway" test \
	"$(on gateway sh -c "cd /etc/shardtun && stat -c '%a %U %G' . peers.d gateway.key gateway.conf peers.d/laptop.conf" | tr '\n' ,)" = \
	"2750 root shardtun,2750 root shardtun,640 root shardtun,640 root shardtun,640 root shardtun,"
check "shardtunctl finds the gateway" on gateway shardtunctl status
check "members of the group may use it" on gateway setpriv --reuid nobody --regid nogroup --groups "$(on gateway id -g shardtun)" \
	shardtunctl status
check_fails "others may not" on gateway setpriv --reuid nobody --regid nogroup --clear-groups shardtunctl status

### reload, restart, crash #############################################################################################

on gateway sh -c 'cp -p /etc/shardtun/gateway.conf /root/good.conf; echo "Nonsense = 1" >>/etc/shardtun/gateway.conf'
check_fails "a reload of a wrong file fails" on gateway systemctl reload shardtund
check "its journal says why" wait_for 30 eval 'journal gateway shardtund | grep "gateway.conf:.*Nonsense = 1"'
check "the gateway goes on" connected
on gateway cp /root/good.conf /etc/shardtun/gateway.conf
check "with the mistake mended a reload passes" on gateway systemctl reload shardtund
check "it is the same process as before" test "$(main_pid gateway shardtund || true)" = "$pid"

kept=/var/lib/shardtun/quota-shardtun0
on gateway sh -c 'echo "Quota = 1G/month" >>/etc/shardtun/gateway.conf'
check "a reload may bring a quota" on gateway systemctl reload shardtund
check "whose file is the gateway's alone, in a directory of its own" test \
	"$(on gateway stat -c '%U %a' "$kept" "${kept%/*}" | tr '\n' ,)" = "shardtun 600,shardtun 700,"
check "packets pass" connected
check "and are counted in it" wait_for 30 on gateway grep -qE ' month .* 0*[1-9][0-9]*$' "$kept"

check "the units have more weight than others" test "$(on gateway systemctl show -P CPUWeight shardtund) $(on client \
	systemctl show -P CPUWeight shardtun@laptop)" = "400 400"
# 20 - 30 is a nice value of -10. A container may not let systemd set the limit itself.
check "and the limit that CpuPriority = high takes" test "$(on gateway systemctl show -P LimitNICE shardtund)" = 30
on gateway sh -c 'echo "CpuPriority = high" >>/etc/shardtun/gateway.conf'
check "a restart" on gateway systemctl restart shardtund
check "the sandbox lets CpuPriority set what the kernel has" wait_for 30 eval \
	'journal gateway shardtund | grep -E "CpuPriority = high: .*(slices of 0.1 ms|no slices in this kernel)"'
check "the client is back" wait_for 30 connected
pid=$(main_pid gateway shardtund) || pid=none
on gateway kill -KILL "$pid" || true
check "who crashes is started again" wait_for 30 restarted gateway shardtund "$pid"
check "the client is back after that too" wait_for 30 connected

on gateway mkdir -p /run/systemd/system/shardtund.service.d
on gateway sh -c 'printf "[Service]\nWatchdogSec=2\n" >/run/systemd/system/shardtund.service.d/quick.conf'
on gateway systemctl daemon-reload
on gateway systemctl restart shardtund
pid=$(main_pid gateway shardtund) || pid=none
on gateway kill -STOP "$pid" || true
check "who hangs is started again" wait_for 30 restarted gateway shardtund "$pid"
check "and that is told" eval 'journal gateway shardtund | grep "Watchdog timeout" >/dev/null'
on gateway rm -r /run/systemd/system/shardtund.service.d
on gateway systemctl daemon-reload

on gateway sh -c 'echo "Nonsense = 1" >>/etc/shardtun/gateway.conf'
on gateway systemctl restart shardtund || true
check "who cannot start is not tried for ever" wait_for 30 service_is gateway shardtund failed
on gateway cp /root/good.conf /etc/shardtun/gateway.conf
check "and starts when that is mended" on gateway systemctl start shardtund
check "the client is back once more" wait_for 30 connected

### an upgrade #########################################################################################################

# The same files in packages of a newer version.
newer_packages() { # VERSION
	on gateway sh -ec 'mkdir /root/newer
		for file in ./shardtun_0.1.0_*.deb ./shardtun-gateway_0.1.0_*.deb; do
			dpkg-deb -R "$file" /root/files
			sed -i -E "s/^Version: .*/Version: $0/; s/(shardtun \(= )[^)]*/\1$0/" /root/files/DEBIAN/control
			dpkg-deb -Zgzip -z1 -b /root/files /root/newer
			rm -r /root/files
		done' "$1" >"$dir/newer.log"
}

upgrade() {
	on gateway sh -c 'apt-get -qq -o Dpkg::Use-Pty=0 -y install /root/newer/*.deb 2>&1; status=$?; rm -r /root/newer; exit $status'
}

installed_are() { # VERSION
	[[ $(on gateway dpkg-query -W -f '${db:Status-Abbrev}${Version},' shardtun shardtun-gateway) == "ii $1,ii $1," ]]
}

runs_installed_program() {
	local pid
	pid=$(main_pid gateway shardtund) && [[ $(on gateway readlink "/proc/$pid/exe") == /usr/sbin/shardtund ]]
}

said_connected() {
	journal client shardtun@laptop | grep -c '^connected: '
}

pings_start() {
	: >"$dir/pings.log"
	start pings client ping -n -i 0.05 -w 3600 10.8.0.1
	wait_for 30 grep -q 'bytes from' "$dir/pings.log"
}

pings_end() {
	kill -INT "${started[pings]}"
	wait "${started[pings]}" || true
	unset "started[pings]"
	tail -n 3 "$dir/pings.log" | diagnose
}

still_before="the running gateway is still the program from before"

pid=$(main_pid gateway shardtund) || pid=none
times=$(said_connected)
pings_start
newer_packages 0.1.1
status=0
upgrade >"$dir/upgrade.log" || status=$?
check "the gateway's packages are upgraded while it runs" test "$status" -eq 0
check "to the newer version" installed_are 0.1.1
check_fails "with nothing to be said" grep -q "$still_before" "$dir/upgrade.log"
check "its main process is another one" restarted gateway shardtund "$pid"
check "which runs the program that is installed" runs_installed_program
check "and has the sessions" eval 'journal gateway shardtund | grep "take-over: 1 sessions go on here"'
check "nothing started the unit again" test "$(on gateway systemctl show -P NRestarts shardtund)" -eq 0
pings_end
check "no ping was lost" grep -q ' 0% packet loss' "$dir/pings.log"
check "the client did not connect again" test "$(said_connected)" -eq "$times"

on gateway sh -c 'cp -p /etc/shardtun/gateway.conf /root/good.conf; echo "Nonsense = 1" >>/etc/shardtun/gateway.conf'
pid=$(main_pid gateway shardtund) || pid=none
pings_start
newer_packages 0.1.2
status=0
upgrade >"$dir/upgrade.log" || status=$?
check "a configuration that the new program does not take is no failure of the upgrade" test "$status" -eq 0
check "it is complete" installed_are 0.1.2
check "and says in one line that the old program goes on" test "$(grep -c "$still_before" "$dir/upgrade.log")" -eq 1
check "the journal has the reason" eval 'journal gateway shardtund | tail -n 20 | grep "gateway.conf:.*Nonsense = 1"'
check "the process is the one from before" test "$(main_pid gateway shardtund || true)" = "$pid"
on gateway cp /root/good.conf /etc/shardtun/gateway.conf
check "with the mistake mended a reload brings the new program" on gateway systemctl reload shardtund
check "in another process" restarted gateway shardtund "$pid"
check "which runs the program that is installed" runs_installed_program
pings_end
check "no ping was lost" grep -q ' 0% packet loss' "$dir/pings.log"
check "the client did not connect again" test "$(said_connected)" -eq "$times"

### packages come and go ###############################################################################################

pid=$(main_pid gateway shardtund) || pid=none
other=$(main_pid client shardtun@laptop) || other=none
sum=$(on gateway md5sum /etc/shardtun/gateway.key)
check "the gateway's packages once more, as in an upgrade" on gateway sh -c 'dpkg -i ./*.deb'
check "the client's" on client sh -c 'dpkg -i ./shardtun_*.deb'
check "the new gateway runs" wait_for 30 restarted gateway shardtund "$pid"
check "the new client too" wait_for 30 restarted client shardtun@laptop "$other"
check "they are connected" wait_for 30 connected
check "the gateway's key is the old one" test "$(on gateway md5sum /etc/shardtun/gateway.key)" = "$sum"

check "the running gateway is removed" on gateway dpkg -r shardtun-gateway
check_fails "it has ended" on gateway pgrep -x shardtund
check "in order: it took its interface and its socket along" test -z \
	"$(link_is_there gateway 2>/dev/null; on gateway find /run/shardtun -type s)"
check "what the user wrote is still there" on gateway test -s /etc/shardtun/gateway.conf -a -s /etc/shardtun/gateway.key
check "the client waits for it" service_is client shardtun@laptop active
check "installed again it starts again" install gateway ./shardtun-gateway_0.1.0_amd64.deb
check "and the client is back" wait_for 30 connected

# By hand, so that systemd does not end it: it runs on from files that are not there any more.
on client systemctl stop shardtun@laptop
check_fails "a client that is stopped takes its interface along" link_is_there client
start by-hand client nsenter --target "$(init_of client)" --mount --pid --net -- shardtun run /etc/shardtun/laptop.conf
check "a client that was started by hand" wait_for 30 connected
check "its package is removed" on client dpkg -r shardtun
check_fails "and is gone" on client test -e /usr/bin/shardtun
check "the client goes on" connected
on client pkill -TERM -x shardtun
status=0
wait "${started[by-hand]}" || status=$?
unset "started[by-hand]"
check "it ends in order" test "$status" -eq 0
check_fails "and takes its interface along" link_is_there client

### each package keeps the other's files, and keys are whole ###########################################################

# What the gateway's package made or shardtunctl wrote for it, and what a user wrote for a client.
on gateway sh -c 'echo "# by hand" >/etc/shardtun/home.conf; cp /etc/shardtun/gateway.key /etc/shardtun/home.key'
of_gateway="gateway.conf gateway.key peers.d/laptop.conf"
sums() { # FILE...
	on gateway sh -c "cd /etc/shardtun && md5sum $*"
}
before=$(sums "$of_gateway" home.conf home.key)
on gateway dpkg -r shardtun-gateway
check "the other package is purged while the gateway's is only removed" on gateway dpkg -P shardtun
check "all its files are there as before" test "$(sums "$of_gateway" home.conf home.key)" = "$before"
check "both are installed again" install gateway ./shardtun_0.1.0_amd64.deb ./shardtun-gateway_0.1.0_amd64.deb
check "with the same key" test "$(sums "$of_gateway" home.conf home.key)" = "$before"
check "the gateway's is purged alone" on gateway dpkg -P shardtun-gateway
check "what is somebody's for a client stays" test "$(sums home.conf home.key)" = "$(tail -n 2 <<<"$before")"
check_fails "what was its own is gone" on gateway ls /etc/shardtun/gateway.conf /etc/shardtun/gateway.key /etc/shardtun/peers.d
check "installed once more it has a new key" install gateway ./shardtun-gateway_0.1.0_amd64.deb
check "a whole one, for root and the gateway" test "$(on gateway stat -c '%s %a %U %G' /etc/shardtun/gateway.key)" = "45 640 root shardtun"
on gateway sh -c ': >/etc/shardtun/gateway.key'
check "an empty key is none" on gateway sh -c '/var/lib/dpkg/info/shardtun-gateway.postinst configure 0.1.0 && test -s /etc/shardtun/gateway.key'
on gateway sh -c 'rm /etc/shardtun/gateway.key; mkdir /root/half; printf "#!/bin/sh\nprintf half; exit 1\n" >/root/half/shardtun; chmod +x /root/half/shardtun'
check_fails "a key that cannot be made is a failure" on gateway sh -c 'PATH=/root/half:$PATH /var/lib/dpkg/info/shardtun-gateway.postinst configure ""'
check "and leaves nothing" test -z "$(on gateway find /etc/shardtun -name '*gateway.key*')"
on gateway rm -r /root/half
check "the next one makes it" on gateway /var/lib/dpkg/info/shardtun-gateway.postinst configure ""

check "the gateway's packages are purged" on gateway dpkg -P shardtun-gateway shardtun
check "the client's is purged" on client dpkg -P shardtun
check "the client's own file, with its key, is still there" on client test -s /etc/shardtun/laptop.conf
on client rm -r /etc/shardtun
check "so are those by hand" on gateway test -s /etc/shardtun/home.conf -a -s /etc/shardtun/home.key
on gateway rm -r /etc/shardtun
on client sed -i '/vpn.example.net/d' /etc/hosts
check "nothing is left of the gateway" left_behind gateway
check "nothing is left of the client" left_behind client

done_testing
