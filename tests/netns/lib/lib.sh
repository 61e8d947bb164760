# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The library of the namespace tests. A test is an executable script that sources this file, calls topology_up, asserts
# with ok, not_ok or check, and ends with done_testing. It takes the build directory from $BUILD and may run for
# $NETNS_TIMEOUT seconds. Benchmarks use it too, without the assertions.
#
#    st-PID-client                 st-PID-gateway                             st-PID-host
#   +------------------+          +---------------------------------+        +-------------------+
#   |             eth0 |== veth ==| eth0      forwards         eth1 |== veth =| eth0             |
#   |        192.0.2.2 |          | 192.0.2.1          198.51.100.1 |        | 198.51.100.2      |
#   |  2001:db8:1::2   |          | 2001:db8:1::1     2001:db8:2::1 |        | 2001:db8:2::2     |
#   +------------------+          +---------------------------------+        +-------------------+
#      /24, /64, MTU 1500 throughout                                  routes to 10.8.0.0/16 and fd00:8::/64
#                                                                     by way of the gateway
#
# The client has no route to the host's networks: what reaches the host went through a tunnel.
set -euo pipefail

# A signal reaches bash only once its foreground command has ended. timeout hands it to the whole process group, so that
# the trap below runs at once, and bounds a script that is run by hand. At a terminal, ^C goes to the foreground group: there
# timeout has to stay in it.
if [[ -z ${NETNS_LIMITED:-} && ${BASH_SOURCE[0]} != "$0" && -x $0 ]]; then
	limit=(timeout --kill-after=30)
	[[ ! -t 0 ]] || limit+=(--foreground)
	NETNS_LIMITED=1 exec "${limit[@]}" "${NETNS_TIMEOUT:-1800}" "$0" "$@"
fi

# Debian's python3 has the modules of Debian's packages, and starts at once; another one first in PATH may do neither.
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH

tests_dir=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")

BUILD=$(realpath "${BUILD:-$tests_dir/../../build/gcc}")
dir=                        # temporary: logs, keys, configuration
declare -A started=()       # name -> pid
namespaces=()               # what was made, to be removed

# shellcheck source=tests/netns/lib/tap.sh
. "$tests_dir/lib/tap.sh"

# --- namespaces and processes ----------------------------------------------------------------------------------------

# Runs in the foreground in the namespace client, gateway or host.
ns() { # NAMESPACE COMMAND...
	local namespace=st-$$-$1
	shift
	ip netns exec "$namespace" "$@"
}

# Runs in the background, with its output in $dir/NAME.log.
start() { # NAME NAMESPACE COMMAND...
	local name=$1 namespace=st-$$-$2
	shift 2
	# No function in between: $! has to be the command's own pid.
	ip netns exec "$namespace" "$@" </dev/null >>"$dir/$name.log" 2>&1 &
	started[$name]=$!
}

running() { # NAME
	[[ -n ${started[$1]:-} ]] && ! gone "${started[$1]}"
}

nothing_runs() {
	local name
	for name in "${!started[@]}"; do
		! running "$name" || return 1
	done
}

# Returns the exit status of what was stopped; 137 when it had to be killed after thirty seconds.
stop() { # NAME
	local pid=${started[$1]}
	unset "started[$1]"
	kill -TERM "$pid" 2>/dev/null || true
	wait_for 30 gone "$pid" || kill -KILL "$pid"
	wait "$pid"
}

kill_hard() { # NAME
	local pid=${started[$1]}
	unset "started[$1]"
	kill -KILL "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
}

cleanup() {
	local status=$? name namespace pid
	trap '' INT TERM
	trap - EXIT
	[[ -n $finished || $tests -eq 0 && ($status -eq 0 || $status -eq 130 || $status -eq 143) ]] || {
		not_ok "the script came to its end (it stopped with status $status)"
		echo "1..$tests"
	}
	for name in "${!started[@]}"; do
		kill -TERM "${started[$name]}" 2>/dev/null || true
	done
	wait_for 1 nothing_runs || true
	for namespace in "${namespaces[@]}"; do
		# The namespaces are ours alone, so what is left in them is too, forgotten daemons included.
		for pid in $(ip netns pids "st-$$-$namespace" 2>/dev/null); do
			kill -KILL "$pid" 2>/dev/null || true
		done
		ip netns delete "st-$$-$namespace" 2>/dev/null || true
	done
	[[ -z $dir ]] || rm -rf "$dir"
	[[ $status -ne 0 || $failures -eq 0 ]] || status=1
	exit "$status"
}

namespace_up() { # NAMESPACE
	namespaces+=("$1")
	ip netns add "st-$$-$1"
	# Before the links come, which inherit it: addresses are to be ready at once.
	ns "$1" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
	ns "$1" ip link set lo up
}

link_up() { # NAMESPACE INTERFACE IPV4 IPV6
	ns "$1" ip address add "$3" dev "$2"
	ns "$1" ip address add "$4" dev "$2" nodad
	ns "$1" ip link set "$2" up
}

# Before the first namespace: $dir, and that all is removed in the end.
testbed_up() {
	[[ $EUID -eq 0 ]] || skip_all "needs root"
	unshare --net true 2>/dev/null || skip_all "needs the right to make network namespaces"
	[[ -c /dev/net/tun ]] || skip_all "needs /dev/net/tun"

	dir=$(mktemp -d)
	# A signal ends the script, and with it EXIT runs cleanup.
	trap cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
}

topology_up() {
	local namespace
	testbed_up
	for namespace in client gateway host; do
		namespace_up "$namespace"
	done
	ns gateway sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	ip link add eth0 netns "st-$$-client" type veth peer name eth0 netns "st-$$-gateway"
	ip link add eth1 netns "st-$$-gateway" type veth peer name eth0 netns "st-$$-host"
	link_up client eth0 192.0.2.2/24 2001:db8:1::2/64
	link_up gateway eth0 192.0.2.1/24 2001:db8:1::1/64
	link_up gateway eth1 198.51.100.1/24 2001:db8:2::1/64
	link_up host eth0 198.51.100.2/24 2001:db8:2::2/64
	ns host ip route add 10.8.0.0/16 via 198.51.100.1
	ns host ip route add fd00:8::/64 via 2001:db8:2::1

	wait_for 30 pings client 192.0.2.1
	wait_for 30 pings client 2001:db8:1::1
	wait_for 30 pings gateway 198.51.100.2
	wait_for 30 pings gateway 2001:db8:2::2
}

# A namespace more for another client, with the gateway as its router.
another_up() { # NAMESPACE GATEWAY_INTERFACE IPV4_PREFIX IPV6_PREFIX
	namespace_up "$1"
	ip link add "$2" netns "st-$$-gateway" type veth peer name eth0 netns "st-$$-$1"
	link_up gateway "$2" "$3.1/24" "$4::1/64"
	link_up "$1" eth0 "$3.2/24" "$4::2/64"
	ns "$1" ip route add 192.0.2.0/24 via "$3.1"
	ns client ip route add "$3.0/24" via 192.0.2.1
	wait_for 30 pings "$1" 192.0.2.2
}

# The first of them: 203.0.113.2 and 2001:db8:3::2.
second_up() {
	another_up second eth2 203.0.113 2001:db8:3
}

pings() { # NAMESPACE ADDRESS [PING ARGUMENTS...]
	local namespace=$1 address=$2
	shift 2
	ns "$namespace" ping -n -q -c 1 -W 1 "$@" "$address"
}

# One packet and its answer, which may take its time on a busy machine, but not a second packet.
answers() { # NAMESPACE ADDRESS [PING ARGUMENTS...]
	pings "$@" -W 20
}

listens() { # NAMESPACE tcp|udp PORT
	[[ -n $(ns "$1" ss -Hln "--$2" "sport = :$3") ]]
}

# Another program that has this UDP port; "other" stops it.
port_hold() { # NAMESPACE ADDRESS PORT
	start other "$1" python3 -c '
import ipaddress, socket, sys, time
family = socket.AF_INET6 if ipaddress.ip_address(sys.argv[1]).version == 6 else socket.AF_INET
udp = socket.socket(family, socket.SOCK_DGRAM)
udp.bind((sys.argv[1], int(sys.argv[2])))
time.sleep(1000)' "$2" "$3"
	wait_for 30 listens "$1" udp "$3"
}

# --- traffic ---------------------------------------------------------------------------------------------------------

# Starts what answers traffic in that namespace.
traffic_serve() { # NAMESPACE
	start "traffic-$1" "$1" "$tests_dir/tools/traffic.py" serve
	wait_for 30 grep -qx ready "$dir/traffic-$1.log"
}

# From the client; traffic.py says what there is.
traffic() { # KIND ADDRESS ARGUMENTS...
	ns client "$tests_dir/tools/traffic.py" "$@"
}

# Starts a TCP connection of the client that is busy both ways, to where traffic_serve answers.
stream_start() { # ADDRESS
	start stream client "$tests_dir/tools/stream.py" "$1"
	wait_for 30 grep -q streams "$dir/stream.log"
}

stream_said() { # NAME TIMES
	[[ $(grep -c '^silence' "$dir/$1.log") -gt $2 ]]
}

# The longest pause of the connection of the stream.py with that name since it was last asked, in seconds, once it goes on.
stream_tells() { # NAME
	local before
	before=$(grep -c '^silence' "$dir/$1.log" || true)
	kill -USR1 "${started[$1]}"
	wait_for 90 stream_said "$1" "$before" && awk '$1 == "silence" { last = $2 } END { print last }' "$dir/$1.log"
}

# Fails when that of "stream" is not below the limit, which is a promise as in within().
stream_paused_less() { # SECONDS
	stream_tells stream | awk -v limit="$1" -v slack="$(slack_ms)" '{ print; late = !($1 < limit + slack / 1000) } END { exit late || NR == 0 }'
}

# --- measuring -------------------------------------------------------------------------------------------------------

# Prints what arrived, in Gbit/s, of an iperf3 run that is given ARGS (-t 5, -R, -P 8, -u ...).
iperf() { # SERVER_NAMESPACE CLIENT_NAMESPACE ADDRESS ARGS...
	local server=$1 client=$2 address=$3 pid result status=0
	shift 3
	ip netns exec "st-$$-$server" iperf3 --server --one-off >/dev/null 2>&1 &
	pid=$!
	if wait_for 30 listens "$server" tcp 5201; then
		result=$(ns "$client" iperf3 --client "$address" --json --connect-timeout 30000 "$@") || status=$?
	else
		result='{"error": "the server does not listen"}'
	fi
	kill "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	# iperf3 fails too when only its last message is lost: what it measured counts.
	python3 -c '
import json, sys
try:
    result = json.load(sys.stdin)
except ValueError:
    sys.exit("iperf3: no result (exit status %s)" % sys.argv[1])
if "error" in result:
    sys.exit("iperf3: " + result["error"])
end = result["end"]
print("%.3f" % (end.get("sum_received", end.get("sum"))["bits_per_second"] / 1e9))
' "$status" <<<"$result"
}

# --- shardtun --------------------------------------------------------------------------------------------------------

# Makes $dir/NAME.key if it is not there; prints the public key.
public_key() { # NAME
	[[ -e $dir/$1.key ]] || (umask 077 && "$BUILD/shardtun" genkey >"$dir/$1.key")
	"$BUILD/shardtun" pubkey <"$dir/$1.key"
}

preshared_key() { # NAME
	[[ -e $dir/$1.psk ]] || (umask 077 && "$BUILD/shardtun" genpsk >"$dir/$1.psk")
}

# Writes $dir/gateway.conf with the client as its peer. OPTIONs ("MTU = 1400") go into [Gateway]. Without "User =", the
# gateway stays root: there are machines with a user "shardtun", and $dir is root's.
gateway_config() { # OPTION...
	local option
	public_key gateway >/dev/null
	preshared_key client
	{
		echo "[Gateway]"
		echo "PrivateKeyFile = gateway.key"
		echo "ListenPort = 5555"
		echo "Interface = shardtun0"
		echo "Address = 10.8.0.1/16, fd00:8::1/64"
		echo "ControlSocket = gateway.sock"
		for option in "$@"; do
			echo "$option"
		done
		[[ $* == *"User ="* ]] || echo "User = root"
		echo
		echo "[Peer]"
		echo "PublicKey = $(public_key client)"
		echo "PresharedKeyFile = client.psk"
	} >"$dir/gateway.conf"
}

# Writes $dir/client.conf. OPTIONs go into [Client]; $endpoint is the gateway's address and port.
client_config() { # OPTION...
	other_client_config client client "${endpoint:-192.0.2.1:5555}" \
		"10.8.0.0/16, fd00:8::/64, 198.51.100.0/24, 2001:db8:2::/64" "$@"
}

# The same for any client, as $dir/NAME.conf, with the keys of the peer KEY.
other_client_config() { # NAME KEY ENDPOINT ALLOWED_IPS OPTION...
	local name=$1 key=$2 to=$3 allowed=$4 option
	shift 4
	public_key "$key" >/dev/null
	preshared_key "$key"
	{
		echo "[Client]"
		echo "PrivateKeyFile = $key.key"
		echo "Interface = shardtun0"
		echo "ControlSocket = $name.sock"
		for option in "$@"; do
			echo "$option"
		done
		echo
		echo "[Gateway]"
		echo "PublicKey = $(public_key gateway)"
		echo "PresharedKeyFile = $key.psk"
		echo "Endpoint = $to"
		echo "AllowedIPs = $allowed"
	} >"$dir/$name.conf"
}

gateway_start() {
	start gateway gateway "$BUILD/shardtund" -c "$dir/gateway.conf"
	# It listens before its threads run, and answers after.
	wait_for 30 status_json gateway
}

client_start() {
	other_client_start client client
}

# The configuration is in $dir/NAME.conf.
other_client_start() { # NAME NAMESPACE
	local began=${EPOCHREALTIME/[.,]/}
	start "$1" "$2" "$BUILD/shardtun" run "$dir/$1.conf"
	wait_for 30 pings "$2" 10.8.0.1
	[[ $connect_ms -gt 0 ]] || connect_ms=$(((${EPOCHREALTIME/[.,]/} - began) / 1000))
}

# Ends both and checks how. (Not by check: its subshell cannot wait for them.)
both_stop() {
	local client=0 gateway=0
	stop client || client=$?
	stop gateway || gateway=$?
	check "client and gateway end with status 0" test "$client $gateway" = "0 0"
	check "the client leaves nothing behind" nothing_left client
	check "the gateway leaves nothing behind" nothing_left gateway
}

# Adds a peer to $dir/gateway.conf.
add_peer() { # NAME [OPTION...]
	local name=$1 option
	shift
	preshared_key "$name"
	{
		echo
		echo "[Peer]"
		echo "PublicKey = $(public_key "$name")"
		echo "PresharedKeyFile = $name.psk"
		for option in "$@"; do
			echo "$option"
		done
	} >>"$dir/gateway.conf"
}

# --- the gateway's control socket ------------------------------------------------------------------------------------

ctl() { # ARGUMENT...
	"$BUILD/shardtunctl" --socket "$dir/gateway.sock" --config "$dir/gateway.conf" "$@"
}

# The answer is refused, with exit status 1, and this text.
ctl_refuses() { # TEXT ARGUMENT...
	local text=$1 status=0 said
	shift
	said=$(ctl "$@" 2>&1) || status=$?
	[[ $status -eq 1 && $said == *"$text"* ]] || {
		echo "status $status: $said"
		return 1
	}
}

# A request to a daemon's control socket, as it is: prints the answer, and fails where that is an error.
request() { # SOCKET WORD...
	python3 - "$1" "${*:2}" <<-'END'
		import json, socket, sys
		with socket.socket(socket.AF_UNIX) as s:
		    s.connect(sys.argv[1])
		    s.sendall(sys.argv[2].encode() + b"\n")
		    answer = b"".join(iter(lambda: s.recv(65536), b"")).decode()
		print(answer, end="")
		sys.exit(not json.loads(answer)["ok"])
	END
}

reload_says() { # TEXT
	local said
	said=$(ctl reload 2>&1) || true
	[[ $said == *"$1"* ]] || {
		echo "$said"
		return 1
	}
}

# --- what it and its clients say ------------------------------------------------------------------------------------

status_json() { # client|gateway
	"$BUILD/shardtunctl" --socket "$dir/$1.sock" --json status
}

# Prints one figure of the status: a counter, the reason of a drop, or a path such as sessions.active.
figure() { # client|gateway NAME
	status_json "$1" | awk -v name="$2" '
		match($0, /^ +"/) {
			depth = (RLENGTH - 1) / 2
			split($0, parts, "\"")
			key[depth] = parts[2]
			value = $0
			sub(/^ *"[^"]*": "?/, "", value)
			sub(/"?,?$/, "", value)
			path = key[1]
			for (i = 2; i <= depth; i++)
				path = path "." key[i]
			if (key[1] == "drops" && parts[2] == "reason")
				reason = value
			else if (key[1] == "drops" && parts[2] == "count")
				path = reason
			if (path == name || path == "counters." name) {
				print value
				found = 1
			}
		}
		END { exit !found }'
}

figure_at_least() { # client|gateway NAME VALUE
	local value
	value=$(figure "$1" "$2")
	echo "$2 is $value"
	[[ $value -ge $3 ]]
}

figure_is_at_least() { # client|gateway NAME VALUE
	[[ $(figure "$1" "$2") -ge $3 ]]
}

figure_is() { # client|gateway NAME VALUE
	local value
	value=$(figure "$1" "$2")
	[[ $value == "$3" ]] || {
		echo "$2 is $value"
		return 1
	}
}

# In a log of what was started.
logged() { # NAME PATTERN TIMES
	[[ $(grep -c "$2" "$dir/$1.log") -eq $3 ]]
}

client_connected() { # NAME [PATTERN]
	grep -q "info: connected: .*${2:-}" "$dir/$1.log"
}

# What the client farm (tests/netns/tools/client_farm.c) said at its end.
client_farm_is() { # NAME VALUE
	grep -q "\"$1\": $2[,}]" "$dir/client_farm.log" || {
		cat "$dir/client_farm.log"
		return 1
	}
}

# Of the client that runs in the background, by its note.
pid_of_client() {
	sed 's/.*"pid":\([0-9]*\).*/\1/' "$dir/client.state"
}

# Its lock is a record lock, which flock(1) does not see.
nobody_has_state() {
	python3 -c 'import fcntl, sys; fcntl.lockf(open(sys.argv[1], "r+"), fcntl.LOCK_EX | fcntl.LOCK_NB)' "$dir/client.state"
}

# A number that another interface of that name would not have.
interface_index() { # NAMESPACE
	ns "$1" cat /sys/class/net/shardtun0/ifindex
}

# Of our own; prints nothing where nftables is not to be had.
nft_tables() { # NAMESPACE
	ns "$1" nft list tables 2>/dev/null | grep shardtun || true
}

# Every datagram and packet so far is accounted for. Counters of different threads are read one after the other: while
# something moves it may take several looks.
accounted_for() { # client|gateway
	"$tests_dir/tools/status.py" conserved <(status_json "$1")
}

# What a client or gateway made in its namespace, or $dir, is gone: interface, policy rules, routes,
# firewall, control socket and the note of all this. Few processes, for this is asked often.
nothing_left() { # client|gateway
	local left="" line family namespace=st-$$-$1
	for family in -4 -6; do
		while read -r line; do
			# Rules that are not ours begin like "32766:<tab>".
			[[ $line =~ ^[0-9]+:$'\t' && $line != *21845* ]] || left+=$line$'\n'
		done < <(printf '%s\n' "link show dev shardtun0" "rule show" "route show table 21845" |
			ip "$family" -n "$namespace" -o -force -batch - 2>/dev/null)
	done
	for line in "$dir/$1.sock" "$dir/$1.state"; do
		[[ ! -e $line ]] || left+=$line$'\n'
	done
	line=$(ns "$1" nft list tables 2>/dev/null || true)
	[[ $line != *shardtun* ]] || left+=$line
	[[ -z $left ]] || {
		echo "left behind: $left"
		return 1
	}
}
