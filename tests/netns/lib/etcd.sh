# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
# An etcd of one member with TLS and passwords, agents, and gateways that stand for real ones, in the namespace gateway.
# Sourced after lib.sh.

etcd_port=2379

# A CA, and a key and certificate for 127.0.0.1.
tls_make() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=test CA" \
		-keyout "$dir/ca.key" -out "$dir/ca.pem" 2>/dev/null
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=etcd" \
		-keyout "$dir/etcd.key" -out "$dir/etcd.csr" 2>/dev/null
	printf 'subjectAltName=IP:127.0.0.1\n' >"$dir/etcd.ext"
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
		--listen-client-urls "https://127.0.0.1:$etcd_port" --advertise-client-urls "https://127.0.0.1:$etcd_port" \
		--cert-file "$dir/etcd.pem" --key-file "$dir/etcd.key" \
		--listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
		--initial-cluster one=http://127.0.0.1:2380 --quota-backend-bytes 2000000000
	wait_for 30 etcdctl_run endpoint health
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
	cat >"$dir/$1.conf" <<-END
		[Agent]
		Node = ${2:-$1}
		Inside = 10.9.0.${1//[!0-9]/}:5556
		Control = $dir/$1.sock
		State = $dir/$1.state
		MetricsListen = 127.0.0.1:970${1//[!0-9]/}
		Blocks = ${blocks:-16}
		LogLevel = debug
		[Etcd]
		Endpoints = https://127.0.0.1:1, https://127.0.0.1:$etcd_port
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
