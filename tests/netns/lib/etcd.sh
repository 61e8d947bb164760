# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
# An etcd of one member, or of three, with TLS and passwords, agents, and gateways that stand for real ones, in the
# namespace gateway. Agent gwN has its own address there, 10.9.0.N, and reaches etcd at 127.0.1.N, so that one agent
# can be cut off from etcd, or from another one (agent_cut).
# Sourced after lib.sh.

etcd_port=2379

# A CA, and a key and certificate for 127.0.0.1 and 127.0.1.1 to 127.0.1.4.
tls_make() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=test CA" \
		-keyout "$dir/ca.key" -out "$dir/ca.pem" 2>/dev/null
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=etcd" \
		-keyout "$dir/etcd.key" -out "$dir/etcd.csr" 2>/dev/null
	printf 'subjectAltName=IP:127.0.0.1,IP:127.0.1.1,IP:127.0.1.2,IP:127.0.1.3,IP:127.0.1.4\n' >"$dir/etcd.ext"
	openssl x509 -req -days 2 -in "$dir/etcd.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial \
		-extfile "$dir/etcd.ext" -out "$dir/etcd.pem" 2>/dev/null
}

# Keys and values of etcdctl: --user where passwords are on.
etcdctl_run() { # ARGUMENTS...
	ns gateway env ETCDCTL_API=3 etcdctl --command-timeout=60s --dial-timeout=60s --endpoints "https://127.0.0.1:$etcd_port" --cacert "$dir/ca.pem" \
		${etcd_user:+--user "$etcd_user"} "$@"
}

etcd_start() {
	start etcd gateway etcd --name one --data-dir "$dir/etcd" \
		--listen-client-urls "https://0.0.0.0:$etcd_port" --advertise-client-urls "https://127.0.0.1:$etcd_port" \
		--cert-file "$dir/etcd.pem" --key-file "$dir/etcd.key" \
		--listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
		--initial-cluster one=http://127.0.0.1:2380 --quota-backend-bytes 2000000000
	wait_for 30 etcdctl_run endpoint health
}

# One of three; it may be started again. Their client ports are 2379, 2380 and 2381.
etcd_member() { # NUMBER
	start "etcd$1" gateway etcd --name "m$1" --data-dir "$dir/etcd$1" \
		--listen-client-urls "https://0.0.0.0:$((etcd_port + $1 - 1))" \
		--advertise-client-urls "https://127.0.0.1:$((etcd_port + $1 - 1))" \
		--cert-file "$dir/etcd.pem" --key-file "$dir/etcd.key" \
		--listen-peer-urls "http://127.0.0.1:$((12380 + $1))" --initial-advertise-peer-urls "http://127.0.0.1:$((12380 + $1))" \
		--initial-cluster m1=http://127.0.0.1:12381,m2=http://127.0.0.1:12382,m3=http://127.0.0.1:12383
}

etcd_start_three() {
	etcd_member 1
	etcd_member 2
	etcd_member 3
	etcd_ports="$etcd_port $((etcd_port + 1)) $((etcd_port + 2))"
	wait_for 30 etcdctl_run endpoint health
}

# The number of the member that leads.
etcd_leader() {
	local number status
	for number in 1 2 3; do
		status=$(etcd_port=$((etcd_port + number - 1)) etcdctl_run endpoint status -w json) || continue
		python3 -c 'import json, sys
status = json.load(sys.stdin)[0]["Status"]
sys.exit(status["leader"] != status["header"]["member_id"])' <<<"$status" || continue
		echo "$number"
		return
	done
	return 1
}

# Nothing passes between an agent and etcd, or two agents, until agent_join.
agent_cut() { # NAME etcd|NAME
	local number=${1//[!0-9]/}
	ns gateway nft add table inet cut
	ns gateway nft 'add chain inet cut output { type filter hook output priority 0; }'
	if [[ $2 == etcd ]]; then
		ns gateway nft add rule inet cut output ip daddr "127.0.1.$number" drop
		ns gateway nft add rule inet cut output ip saddr "127.0.1.$number" drop
	else
		ns gateway nft add rule inet cut output ip saddr "10.9.0.$number" ip daddr "10.9.0.${2//[!0-9]/}" drop
		ns gateway nft add rule inet cut output ip daddr "10.9.0.$number" ip saddr "10.9.0.${2//[!0-9]/}" drop
	fi
}

agent_join() {
	ns gateway nft delete table inet cut
}

# The user "agent" may use keys under /shardtun/ only.
etcd_passwords() {
	etcdctl_run user add root:rootsecret >/dev/null
	etcdctl_run user grant-role root root >/dev/null
	etcdctl_run role add agents >/dev/null
	etcdctl_run role grant-permission --prefix=true agents readwrite /shardtun/ >/dev/null
	etcdctl_run user add agent:agentsecret >/dev/null
	etcdctl_run user grant-role agent agents >/dev/null
	etcdctl_run auth enable >/dev/null
	etcd_user=root:rootsecret
	(umask 077 && echo agentsecret >"$dir/password")
}

agent_config() { # NAME [NODE]
	local number=${1//[!0-9]/} port endpoints=https://127.0.0.1:1
	for port in ${etcd_ports:-$etcd_port}; do
		endpoints+=", https://127.0.1.$number:$port"
	done
	ns gateway ip addr replace "10.9.0.$number/32" dev lo
	cat >"$dir/$1.conf" <<-END
		[Agent]
		Node = ${2:-$1}
		Inside = 10.9.0.$number:5556
		Control = $dir/$1.sock
		State = $dir/$1.state
		MetricsListen = 127.0.0.1:970$number
		Blocks = ${blocks:-16}
		LogLevel = debug
		[Etcd]
		Endpoints = $endpoints
		CA = $dir/ca.pem
		User = agent
		PasswordFile = $dir/password
	END
}

agent_start() { # NAME
	start "agent-$1" gateway "$BUILD/shardtun-agent" -c "$dir/$1.conf"
}

gateway_stand_in() { # NAME
	start "gateway-$1" gateway "$tests_dir/tools/stand_in_gateway.py" "$dir/$1.sock" "$dir/$1.json"
	wait_for 30 test -S "$dir/$1.sock"
}

# What a gateway was told: an expression of Python with its state as s, and now as CLOCK_BOOTTIME in ns.
told() { # NAME EXPRESSION
	python3 - "$dir/$1.json" "$2" <<-'END'
		import json, sys, time
		s = json.load(open(sys.argv[1]))
		now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
		value = eval(sys.argv[2])
		print(value)
		sys.exit(0 if value else 1)
	END
}

# A public key that nobody has.
new_key() {
	"$BUILD/shardtun" genkey | "$BUILD/shardtun" pubkey
}
