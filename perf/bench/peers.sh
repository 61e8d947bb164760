# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The subjects of make bench, to be sourced after tests/netns/lib.sh. Each is a file peer-NAME.sh, and one more file is one
# more subject. With the dashes of NAME as underscores it has the functions
#
#   peer_NAME_available   status 0; or prints why not, and what to do, and fails
#   peer_NAME_version     prints one line
#   peer_NAME_addresses   prints the gateway's inner address, 10.N.0.1, and an address of the host's that the client reaches
#                         through this tunnel alone, 198.51.100.N; each peer has an N of its own
#   peer_NAME_up          makes keys and configuration, and starts the gateway as NAME-gateway
#   peer_NAME_client      sets the array client_command: what runs in the client's namespace until SIGTERM, and brings
#                         up everything, routes included; empty where there is none
#   peer_NAME_forget      only where a gateway does not take back at once a client that was restarted: makes it
#
# All have an inner MTU of 1420, IPv4, one client, and otherwise the defaults of their authors.

peers_dir=$(dirname "${BASH_SOURCE[0]}")

programs_here() { # PROGRAM...
	local program
	for program in "$@"; do
		command -v "$program" >/dev/null || return 1
	done
}

client_command=()

for file in "$peers_dir"/peer-*.sh; do
	# shellcheck source=/dev/null
	source "$file"
done

# shardtun first, the bare veth last.
peers_all() {
	local file name
	echo shardtun
	for file in "$peers_dir"/peer-*.sh; do
		name=$(basename "$file" .sh)
		name=${name#peer-}
		[[ $name == shardtun || $name == veth ]] || echo "$name"
	done
	echo veth
}

peer() { # NAME VERB
	"peer_${1//-/_}_$2"
}

peer_exists() { # NAME
	declare -F "peer_${1//-/_}_up" >/dev/null
}

peer_inner() { # NAME
	local inner forwarded
	read -r inner forwarded < <(peer "$1" addresses)
	echo "$inner"
}

peer_forwarded() { # NAME
	local inner forwarded
	read -r inner forwarded < <(peer "$1" addresses)
	echo "$forwarded"
}

peer_client_start() { # NAME
	peer "$1" client
	[[ ${#client_command[@]} -gt 0 ]] || return 0
	start "$1-client" client "${client_command[@]}"
	wait_for 15 pings client "$(peer_inner "$1")"
}

# Some end by a status of their own.
peer_client_stop() { # NAME
	[[ -z ${started[$1-client]:-} ]] || stop "$1-client" || true
}

peer_start() { # NAME
	local inner forwarded
	read -r inner forwarded < <(peer "$1" addresses)
	ns host ip address add "$forwarded/24" dev eth0
	ns host ip route replace "${inner%.*}.0/24" via 198.51.100.1
	peer "$1" up && peer_client_start "$1" && pings client "$forwarded" >/dev/null
}

peer_stop() { # NAME
	peer_client_stop "$1"
	[[ -z ${started[$1-gateway]:-} ]] || stop "$1-gateway" || true
}
