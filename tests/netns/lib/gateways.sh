# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
# Real gateways with their agents at the etcd of etcd.sh, all in the namespace gateway, at ports of their own: gw1, gw2 ...
# Sourced after etcd.sh. $dir/gateway.conf (gateway_config) is what their configurations are made of.

ctl_of() { # NAME ARGUMENTS...
	local name=$1
	shift
	"$BUILD/shardtunctl" --socket "$dir/$name.sock" --config "$dir/gateway-$name.conf" "$@"
}
# With the agent's socket as well.
cluster_ctl() { # NAME COMMAND ARGUMENTS...
	ctl_of "$1" --agent "$dir/$1.state/agent.sock" "${@:2}"
}
refused() { # TEXT COMMAND...
	local text=$1 said
	shift
	! said=$("$@" 2>&1) && grep -qF -- "$text" <<<"$said" || {
		echo "$said"
		return 1
	}
}
says() { # TEXT COMMAND...
	local text=$1 said
	shift
	said=$("$@" 2>&1) && grep -qF -- "$text" <<<"$said" || {
		echo "$said"
		return 1
	}
}
known() { # NAME KEY
	request "$dir/$1.sock" cluster-addresses "$2"
}
record() { # KEY
	etcdctl_run get --print-value-only "/shardtun/peer/$1"
}

# The configuration of $dir/gateway.conf without its peers, for that node, and its process.
cluster_gateway() { # NAME PORT INTERFACE [BLOCK SIZE]
	sed -e "s/^ListenPort = .*/ListenPort = $2\nClusterNode = $1\nClusterBlockSize = ${4:-16}\nMetricsListen = off/" \
		-e "s/^Interface = .*/Interface = $3/; s/^QuotaFile = .*/QuotaFile = quota-$1/; s,^ControlSocket = .*,ControlSocket = $dir/$1.sock," \
		-e '/^\[Peer\]/,$d; /^PeersDirectory/d' "$dir/gateway.conf" >"$dir/gateway-$1.conf"
	chmod 600 "$dir/gateway-$1.conf"
	# WireGuard's control sockets are in /run/wireguard by the names of interfaces, and other cases may run.
	start "gateway-$1" gateway sh -c 'mkdir -p /run/wireguard && mount -t tmpfs none /run/wireguard && exec "$0" -c "$1"' \
		"$BUILD/shardtund" "$dir/gateway-$1.conf"
	wait_for 30 ctl_of "$1" status >/dev/null
}
served() { # NAME COUNT
	ctl_of "$1" --json cluster | python3 -c 'import json, sys
blocks = [block["block"] for block in json.load(sys.stdin)["blocks"]]
print(blocks)
sys.exit(len(blocks) != int(sys.argv[1]))' "$2"
}
