# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # lib.sh has dir, tests_dir and started
# Several gateways behind one address: after lib.sh, in place of its topology.
#
#   c1 c2 ...        host
#     \  |            |          router to cN 172.17.N.1/24, fd17:N::1/64; to host 198.51.100.1/24, 2001:db8:2::1/64
#      router --------+
#     /  |  \                    router to gN 172.16.N.2/24, fd16:N::2/64: BGP, ECMP
#    g1  g2  g3                  203.0.113.1 and 2001:db8:f::1 on each one's lo
#     \  |  /  \  |  /
#     inside   management        bridges in the namespace "switch": eth1 10.9.0.N/24, fd09::N/64; eth2 10.7.0.N/24
#                |  |  |
#               e1 e2 e3         etcd: 10.7.0.10N/24
#
# All ends with the script, as in lib.sh: what is started there stands in `started`, and what is left in a namespace is killed
# before that is removed.

shared4=203.0.113.1
shared6=2001:db8:f::1
# shellcheck disable=SC2034 # for cases
gateways=(g1 g2 g3)
# More machines for gateways than three, where a case needs them: they stand like the others.
cluster_machines=${cluster_machines:-3}
examples=$(realpath "$tests_dir/../../config/examples")
# shellcheck source=tests/netns/lib/cluster_clients.sh
. "$tests_dir/lib/cluster_clients.sh"
# shellcheck source=tests/netns/lib/cluster_changes.sh
. "$tests_dir/lib/cluster_changes.sh"

# A link between two namespaces, with these addresses.
between() { # NAMESPACE INTERFACE IPV4 IPV6 NAMESPACE INTERFACE IPV4 IPV6
	ip link add "$2" netns "st-$$-$1" type veth peer name "$6" netns "st-$$-$5"
	link_up "$1" "$2" "$3" "$4"
	link_up "$5" "$6" "$7" "$8"
}

# A link to a bridge of the switch.
to_switch() { # BRIDGE NAMESPACE INTERFACE IPV4 [IPV6]
	ip link add "$3" netns "st-$$-$2" type veth peer name "$2-$1" netns "st-$$-switch"
	ns "$2" ip address add "$4" dev "$3"
	[[ -z ${5:-} ]] || ns "$2" ip address add "$5" dev "$3" nodad
	ns "$2" ip link set "$3" up
	ns switch ip link set "$2-$1" master "$1" up
}

gateway_up() { # NUMBER
	namespace_up "g$1"
	ns "g$1" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 \
		net.ipv4.conf.default.rp_filter=0
	between "g$1" eth0 "172.16.$1.1/24" "fd16:$1::1/64" router "g$1" "172.16.$1.2/24" "fd16:$1::2/64"
	ns "g$1" ip route add default via "172.16.$1.2"
	ns "g$1" ip route add default via "fd16:$1::2"
	to_switch inside "g$1" eth1 "10.9.0.$1/24" "fd09::$1/64"
	to_switch management "g$1" eth2 "10.7.0.$1/24"
	ns "g$1" ip address add "$shared4/32" dev lo
	ns "g$1" ip address add "$shared6/128" dev lo nodad
}

client_up() { # NUMBER
	namespace_up "c$1"
	between "c$1" eth0 "172.17.$1.2/24" "fd17:$1::2/64" router "c$1" "172.17.$1.1/24" "fd17:$1::1/64"
	# To the shared address and nowhere else: what reaches the host went through a tunnel.
	ns "c$1" ip route add "$shared4" via "172.17.$1.1"
	ns "c$1" ip route add "$shared6" via "fd17:$1::1"
}

# All namespaces and links; no program runs there yet. A cluster has three gateways, or more, and three members of etcd.
cluster_up() { # CLIENTS
	local number bridge
	testbed_up
	namespace_up router
	namespace_up host
	namespace_up switch
	# Flows are told apart by their ports: each client's tunnel is one.
	ns router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.fib_multipath_hash_policy=1 \
		net.ipv6.fib_multipath_hash_policy=1
	between host eth0 198.51.100.2/24 2001:db8:2::2/64 router host 198.51.100.1/24 2001:db8:2::1/64
	ns host ip route add default via 198.51.100.1
	ns host ip route add default via 2001:db8:2::1
	for bridge in inside management; do
		ns switch ip link add "$bridge" type bridge forward_delay 0 mcast_snooping 0
		ns switch ip link set "$bridge" up
	done
	for ((number = 1; number <= cluster_machines; number++)); do
		gateway_up "$number"
	done
	for number in 1 2 3; do
		namespace_up "e$number"
		to_switch management "e$number" eth0 "10.7.0.10$number/24"
	done
	for ((number = 1; number <= $1; number++)); do
		client_up "$number"
	done
	for ((number = 1; number <= cluster_machines; number++)); do
		wait_for 30 pings router "172.16.$number.1"
		wait_for 30 pings g1 "10.9.0.$number"
	done
	for number in 1 2 3; do
		wait_for 30 pings g1 "10.7.0.10$number"
	done
}

# --- bird ------------------------------------------------------------------------------------------------------------

# The example, for that gateway.
bird_config_of_gateway() { # NUMBER
	sed -e "s/^log syslog all/log stderr all/" \
		-e "s/router id 10.9.0.1;/router id 10.9.0.$1;/" \
		-e "s/neighbor 192.0.2.2;/neighbor 172.16.$1.2;/" \
		-e "s/neighbor 2001:db8:1::2;/neighbor fd16:$1::2;/" "$examples/bird.conf"
}

bird_config_of_router() {
	local number
	cat <<-END
		log stderr all;
		router id 198.51.100.1;
		protocol device { scan time 2; }
		protocol kernel { scan time 5; netlink rx buffer 4194304; merge paths yes limit 16; ipv4 { import none; export all; }; }
		protocol kernel { scan time 5; netlink rx buffer 4194304; merge paths yes limit 16; ipv6 { import none; export all; }; }
		protocol bfd { interface "g*" { min rx interval 100 ms; min tx interval 100 ms; multiplier 3; }; }
		template bgp downstream {
			local as 65000; neighbor as 65001; bfd yes; hold time 9; connect delay time 1; connect retry time 2;
			error wait time 1, 5;
		}
	END
	for ((number = 1; number <= cluster_machines; number++)); do
		cat <<-END
			protocol bgp g${number}v4 from downstream { neighbor 172.16.$number.1; ipv4 { import all; export none; }; }
			protocol bgp g${number}v6 from downstream { neighbor fd16:$number::1; ipv6 { import all; export none; }; }
		END
	done
}

bird_start() { # NAMESPACE
	start "bird-$1" "$1" bird -f -c "$dir/bird-$1.conf" -s "$dir/bird-$1.sock" -P "$dir/bird-$1.pid"
}

birdc() { # NAMESPACE COMMAND...
	local namespace=$1
	shift
	command birdc -r -s "$dir/bird-$namespace.sock" "$@"
}

sessions_established() { # NUMBER
	[[ $(birdc router show protocols | grep -c 'Established') -eq $1 ]]
}

# On the router and the gateways; until they have their sessions, with BFD.
bird_up() {
	local number
	command -v bird >/dev/null || skip_all "needs bird: config/install-packages cluster"
	bird_config_of_router >"$dir/bird-router.conf"
	bird_start router
	for ((number = 1; number <= cluster_machines; number++)); do
		bird_config_of_gateway "$number" >"$dir/bird-g$number.conf"
		bird_start "g$number"
	done
	wait_for 30 sessions_established $((2 * cluster_machines))
	wait_for 30 bfd_up $((2 * cluster_machines))
}

bfd_up() { # NUMBER
	[[ $(birdc router show bfd sessions | grep -c ' Up ') -ge $1 ]]
}

# The router has so many ways to a network.
ways() { # NETWORK NUMBER
	local family=-4 found
	[[ $1 != *:* ]] || family=-6
	found=$(ns router ip "$family" -o route show "$1" | grep -o 'dev g[0-9]' | sort -u | wc -l)
	[[ $found -eq $2 ]] || {
		ns router ip "$family" route show "$1"
		return 1
	}
}

# --- etcd ------------------------------------------------------------------------------------------------------------

# An authority, and a certificate of it with its key: $dir/NAME.crt, $dir/NAME.key.
certificate() { # NAME [ADDRESS...]
	local names=DNS:$1 address
	for address in "${@:2}"; do
		names+=,IP:$address
	done
	if [[ ! -e $dir/ca.crt ]]; then
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=shardtun test" \
			-keyout "$dir/ca.key" -out "$dir/ca.crt" 2>/dev/null
	fi
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -addext "subjectAltName=$names" \
		-keyout "$dir/$1.key" -out "$dir/$1.csr" 2>/dev/null
	openssl x509 -req -in "$dir/$1.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -days 2 -copy_extensions copy \
		-out "$dir/$1.crt" 2>/dev/null
}

# The example, for that member.
etcd_config() { # NUMBER
	sed -e "s/^name: etcd1/name: etcd$1/" \
		-e "/^listen-\|advertise/s/10\.7\.0\.101/10.7.0.10$1/" \
		-e "s,^data-dir: .*,data-dir: $dir/etcd$1," \
		-e "s,/etc/etcd/etcd1,$dir/etcd$1," -e "s,/etc/etcd/ca,$dir/ca," "$examples/etcd.yaml"
}

etcd_start() { # NUMBER
	start "etcd$1" "e$1" etcd --config-file "$dir/etcd$1.yaml"
}

# By $endpoints, or all members.
etcdctl() { # ARGUMENT...
	ns g1 env ETCDCTL_API=3 etcdctl --cacert "$dir/ca.crt" --cert "$dir/g1.crt" --key "$dir/g1.key" \
		--endpoints "${endpoints:-https://10.7.0.101:2379,https://10.7.0.102:2379,https://10.7.0.103:2379}" "$@"
}

# The number of the member that leads.
etcd_leader() {
	local number
	for number in 1 2 3; do
		endpoints=https://10.7.0.10$number:2379 etcdctl endpoint status -w json | python3 -c 'import json, sys
status = json.load(sys.stdin)[0]["Status"]
sys.exit(status["leader"] != status["header"]["member_id"])' || continue
		echo "$number"
		return
	done
	return 1
}

# Three members, until all three answer.
etcd_up() {
	local number
	if ! command -v etcd >/dev/null || ! command -v etcdctl >/dev/null; then
		skip_all "needs etcd: config/install-packages cluster"
	fi
	for number in 1 2 3; do
		certificate "etcd$number" "10.7.0.10$number" 127.0.0.1
		etcd_config "$number" >"$dir/etcd$number.yaml"
		etcd_start "$number"
	done
	for ((number = 1; number <= cluster_machines; number++)); do
		certificate "g$number"
	done
	wait_for 60 etcdctl endpoint health
}

# --- gateways and their agents ---------------------------------------------------------------------------------------

# Each with 16 addresses a block, of which the cluster has this many. No client stands in the file: they come from etcd.
cluster_blocks=12

node_config() { # NUMBER [OPTION...]
	local option
	public_key gateway >/dev/null
	public_key wg-gateway >/dev/null
	{
		echo "[Gateway]"
		echo "PrivateKeyFile = gateway.key"
		echo "WireGuard = yes"
		echo "WireGuardPrivateKeyFile = wg-gateway.key"
		echo "ListenPort = 5555"
		echo "ListenAddress = $shared4, $shared6"
		echo "Interface = shardtun0"
		echo "Address = 10.8.0.1/16, fd00:8::1/64"
		echo "ControlSocket = g$1.sock"
		echo "User = root"
		echo "ClusterNode = g$1"
		echo "ClusterBlockSize = 16"
		echo "ClusterLink = 10.9.0.$1:5556"
		echo "ClusterOutside = eth0"
		echo "ClusterInterface = eth1"
		for option in "${@:2}"; do
			echo "$option"
		done
	} >"$dir/g$1.conf"
	cat >"$dir/agent$1.conf" <<-END
		[Agent]
		Node = g$1
		Inside = 10.9.0.$1:5556, [fd09::$1]:5556
		Control = $dir/g$1.sock
		State = $dir/agent$1.state
		Blocks = $cluster_blocks
		MetricsListen = 127.0.0.1:9556
		LogLevel = debug
		[Etcd]
		Endpoints = https://10.7.0.101:2379, https://10.7.0.102:2379, https://10.7.0.103:2379
		CA = $dir/ca.crt
		Cert = $dir/g$1.crt
		Key = $dir/g$1.key
	END
}

# Of a gateway and its agent, by number: variables for both, and an option of the gateway's, where a case needs them.
declare -A node_environment=() node_option=()

# WireGuard's control sockets are in /run/wireguard by the names of interfaces, so each gateway has one of its own.
gateway_node_start() { # NUMBER
	# shellcheck disable=SC2086 # some variables
	start "g$1" "g$1" env ${node_environment[$1]:-} sh -c \
		'mkdir -p /run/wireguard && mount -t tmpfs none /run/wireguard && exec "$0" -c "$1"' "$BUILD/shardtund" "$dir/g$1.conf"
	wait_for 30 node_json "$1" status
}

agent_node_start() { # NUMBER
	# shellcheck disable=SC2086 # some variables
	start "agent$1" "g$1" env ${node_environment[$1]:-} "$BUILD/shardtun-agent" -c "$dir/agent$1.conf"
}

node_json() { # NUMBER COMMAND...
	"$BUILD/shardtunctl" --socket "$dir/g$1.sock" --json "${@:2}"
}

# A counter of its status.
node_counter() { # NUMBER NAME
	node_json "$1" status | python3 -c 'import json, sys
print(json.load(sys.stdin)["counters"][sys.argv[1]])' "$2"
}

node_dropped() { # NUMBER REASON
	node_json "$1" status | python3 -c 'import json, sys
print(sum(drop["count"] for drop in json.load(sys.stdin)["drops"] if drop["reason"] == sys.argv[1]))' "$2"
}

# A figure of its agent's metrics.
agent_metric() { # NUMBER NAME
	ns "g$1" python3 -c 'import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9556/metrics").read().decode())' | awk -v name="$2" '$1 == name { print $2 }'
}

agent_metric_is() { # NUMBER NAME VALUE
	local value
	value=$(agent_metric "$1" "$2")
	echo "$2 is $value"
	[[ $value == "$3" ]]
}

# The blocks that it serves, one a line; nothing where no gateway answers.
blocks_of() { # NUMBER
	node_json "$1" cluster 2>/dev/null | python3 -c 'import json, sys
text = sys.stdin.read()
print(*[block["block"] for block in json.loads(text)["blocks"]] if text else [], sep="\n")'
}

# These gateways serve each block once, and each has its share.
shared_out() { # NUMBER...
	local number count all=""
	for number in "$@"; do
		count=$(blocks_of "$number" | grep -c .) || true
		[[ $count -ge $((cluster_blocks / $#)) ]] || {
			echo "gateway $number serves $count blocks"
			return 1
		}
		all+=$(blocks_of "$number")$'\n'
	done
	[[ $(sort -n <<<"$all" | grep .) == $(seq "$cluster_blocks") ]]
}

# Each of these knows the owners of all blocks but its own.
maps_complete() { # NUMBER...
	local number
	for number in "$@"; do
		node_json "$number" status | python3 -c 'import json, sys
cluster = json.load(sys.stdin)["cluster"]
print(cluster)
sys.exit(not cluster["map_ipv4"] == cluster["map_ipv6"] == int(sys.argv[1]) - cluster["blocks"])' \
			"$cluster_blocks" || return 1
	done
}

# "BLOCK GATEWAY" in lines.
block_owners() {
	local number
	for ((number = 1; number <= cluster_machines; number++)); do
		[[ -z ${started[g$number]:-} ]] || blocks_of "$number" | sed "s/$/ $number/"
	done | sort -n
}

# All of the cluster runs: etcd, bird, gateways, agents; blocks are shared out.
nodes_up() {
	local number
	etcd_up
	bird_up
	etcdctl put /shardtun/members '{"version":1,"members":["g1","g2","g3"]}' >/dev/null
	for number in 1 2 3; do
		node_config "$number" ${node_option[$number]:+"${node_option[$number]}"}
		gateway_node_start "$number"
		agent_node_start "$number"
	done
	wait_for 60 shared_out 1 2 3
	wait_for 30 maps_complete 1 2 3
	wait_for 30 ways "$shared4" 3
	wait_for 30 ways "$shared6" 3
}
