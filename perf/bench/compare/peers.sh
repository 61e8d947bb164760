# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The subjects of make bench, to be sourced after tests/netns/lib/lib.sh. Each is a file peer-NAME.sh, and one more file is one
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
#   peer_NAME_second      only where the gateway has a second client: sets client_command to that of the namespace "second"
#   peer_NAME_second_up   only where it needs more once that client is up
#
# All have an inner MTU of 1420, IPv4, and otherwise the defaults of their authors. $peer_name is NAME in all of them. A build of shardtun
# beside the one in $BUILD is a subject too, one at a time: build_of[NAME] is its directory.

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

# shardtun first, the bare veth last. Variants of shardtun (shardtun-NAME) are measured where they are named.
peers_all() {
	local file name
	echo shardtun
	for file in "$peers_dir"/peer-*.sh; do
		name=$(basename "$file" .sh)
		name=${name#peer-}
		[[ $name == shardtun* || $name == veth ]] || echo "$name"
	done
	echo veth
}

declare -A build_of=()
peer() { # NAME VERB
	local peer_name=$1 kind=$1 BUILD=$BUILD
	if [[ -n ${build_of[$1]:-} ]]; then
		kind=shardtun BUILD=${build_of[$1]}
	fi
	"peer_${kind//-/_}_$2"
}

peer_exists() { # NAME
	peer_has "$1" up
}

peer_has() { # NAME VERB
	local kind=$1
	[[ -z ${build_of[$1]:-} ]] || kind=shardtun
	declare -F "peer_${kind//-/_}_$2" >/dev/null
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

# The second client, after the first.
peer_second_start() { # NAME
	peer "$1" second || return 1
	[[ ${#client_command[@]} -eq 0 ]] || start "$1-second" second "${client_command[@]}"
	wait_for 15 pings second "$(peer_inner "$1")" || return 1
	! peer_has "$1" second_up || peer "$1" second_up
}

# Some end by a status of their own.
peer_client_stop() { # NAME
	[[ -z ${started[$1-client]:-} ]] || stop "$1-client" || true
}

peer_start() { # NAME
	local inner forwarded
	read -r inner forwarded < <(peer "$1" addresses)
	ns host ip address replace "$forwarded/24" dev eth0
	ns host ip route replace "${inner%.*}.0/24" via 198.51.100.1
	peer "$1" up && peer_client_start "$1" && pings client "$forwarded" >/dev/null
}

peer_stop() { # NAME
	peer_client_stop "$1"
	[[ -z ${started[$1-second]:-} ]] || stop "$1-second" || true
	[[ -z ${started[$1-gateway]:-} ]] || stop "$1-gateway" || true
}
