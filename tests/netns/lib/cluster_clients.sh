# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # lib.sh and cluster.sh have dir, tests_dir, started and the like
# Clients of the gateways of cluster.sh, which sources this, and what they see.

# The fifth address of the block is the client's, for good: all are written in etcd once.
declare -A client_block=()

inner4() { # CLIENT
	local index=$(((${client_block[$1]} - 1) * 16 + 5))
	echo "10.8.$((index / 256)).$((index % 256))"
}

inner6() { # CLIENT
	printf 'fd00:8::%x\n' $(((${client_block[$1]} - 1) * 16 + 5))
}

client_add() { # CLIENT BLOCK [PROTOCOL]
	local key
	key=$(public_key "c$1")
	client_block[$1]=$2
	etcdctl put "/shardtun/peer/$key" \
		"{\"version\":1,\"name\":\"c$1\",\"index\":$((($2 - 1) * 16 + 5)),\"protocol\":\"${3:-shardtun}\"}" >/dev/null
}

# Peers in etcd, at most a hundred in a transaction, of "PUBLIC_KEY INDEX PROTOCOL" in lines.
peers_put() {
	local lines line key index protocol
	while mapfile -t -n 100 lines && [[ ${#lines[@]} -gt 0 ]]; do
		{
			echo
			for line in "${lines[@]}"; do
				read -r key index protocol <<<"$line"
				echo "put /shardtun/peer/$key" \
					"\"{\\\"version\\\":1,\\\"name\\\":\\\"p$index\\\",\\\"index\\\":$index,\\\"protocol\\\":\\\"$protocol\\\"}\""
			done
			printf '\n\n'
		} | etcdctl txn >/dev/null
	done
}

# All of these gateways have so many clients.
peers_known() { # CLIENTS NUMBER...
	local number
	for number in "${@:2}"; do
		node_json "$number" status | python3 -c 'import json, sys
sys.exit(sum(json.load(sys.stdin)["peers"].values()) != int(sys.argv[1]))' "$1" || return 1
	done
}

client_node_start() { # CLIENT ENDPOINT
	cat >"$dir/c$1.conf" <<-END
		[Client]
		PrivateKeyFile = c$1.key
		Interface = shardtun0
		ControlSocket = c$1.sock
		[Gateway]
		PublicKey = $(public_key gateway)
		Endpoint = $2
		AllowedIPs = 10.8.0.0/16, fd00:8::/64, 198.51.100.0/24, 2001:db8:2::/64
	END
	start "c$1" "c$1" "$BUILD/shardtun" run "$dir/c$1.conf"
}

has_inner() { # CLIENT
	local have
	have=$(ns "c$1" ip -o address show dev "${2:-shardtun0}" scope global)
	[[ $have == *" $(inner4 "$1")/"* && $have == *" $(inner6 "$1")/"* ]] || {
		echo "$have"
		return 1
	}
}

# The router takes what this client sends to that gateway, whatever BGP says; without a gateway as BGP says.
lead() { # CLIENT [GATEWAY]
	local family
	for family in 4 6; do
		ns router ip "-$family" rule del pref "$((100 + $1))" 2>/dev/null || true
	done
	[[ $# -eq 2 ]] || return 0
	ns router ip -4 route replace "$shared4" via "172.16.$2.1" table "$((100 + $2))"
	ns router ip -6 route replace "$shared6" via "fd16:$2::1" table "$((100 + $2))"
	ns router ip -4 rule add pref "$((100 + $1))" from "172.17.$1.0/24" table "$((100 + $2))"
	ns router ip -6 rule add pref "$((100 + $1))" from "fd17:$1::/64" table "$((100 + $2))"
}

pulse_start() { # CLIENT [ADDRESS]
	start "pulse$1" "c$1" "$tests_dir/tools/pulse.py" "${2:-198.51.100.2}" "c$1"
	wait_for 30 grep -q ready "$dir/pulse$1.log"
}

# What it saw since it was last told to say it: {"sent": ..., "received": ..., "wrong": ..., "gap": ..., "since": ...}.
pulse_said() { # CLIENT LINES
	[[ $(wc -l <"$dir/pulse$1.log") -gt $2 ]]
}

pulse_tells() { # CLIENT
	local before
	before=$(wc -l <"$dir/pulse$1.log")
	kill -USR1 "${started[pulse$1]}"
	wait_for 10 pulse_said "$1" "$before"
	tail -n 1 "$dir/pulse$1.log"
}

# Ends it, and prints what it saw in all: {"total": ..., "lost": ..., "all_wrong": ...}. (Not in a subshell, which cannot wait for it.)
pulse_end() { # CLIENT
	stop "pulse$1" || true
	tail -n 1 "$dir/pulse$1.log"
}

# Of that line, a member.
pulse_of() { # LINE NAME
	python3 -c 'import json, sys
print(json.loads(sys.argv[1])[sys.argv[2]])' "$1" "$2"
}

# Its last answer came less than half a second ago.
pulse_beats() { # CLIENT
	local line
	line=$(pulse_tells "$1")
	echo "$line"
	python3 -c 'import json, sys
sys.exit(json.loads(sys.argv[1])["since"] > 0.5)' "$line"
}
