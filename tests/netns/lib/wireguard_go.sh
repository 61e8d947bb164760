# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # lib.sh has dir and started
# Clients of our gateway that are wireguard-go, and what wireguard.sh has, whose gateway has a /run of its own. Each is a NAME with
# $dir/NAME.key, and $dir/NAME.psk if it has a PSK; its namespace is in wireguard_namespace[NAME]. Another binary than the one on the
# PATH: WIREGUARD_GO=FILE.

# shellcheck source=tests/netns/lib/wireguard.sh
. "$(dirname "${BASH_SOURCE[0]}")/wireguard.sh"

declare -A wireguard_namespace=()
wireguard_program=${WIREGUARD_GO:-wireguard-go}
wireguard_mtu=1420

wireguard_needed() {
	command -v "$wireguard_program" >/dev/null || skip_all "needs wireguard-go (Debian: wireguard-go)"
}

# What cases with such clients begin with.
wireguard_topology_up() {
	wireguard_needed
	topology_up
	own_run_up
}

# The interface, after which the socket is named: the sockets of all namespaces lie in one directory.
wireguard_interface() { # NAME
	echo "$1-$$"
}

# As gateway_config, of a gateway that serves them with the key wg-gateway.
wireguard_gateway_config() { # OPTION...
	public_key wg-gateway >/dev/null
	gateway_config "WireGuard = yes" "WireGuardPrivateKeyFile = wg-gateway.key" "$@"
}

# $dir/NAME.conf, for wg setconf.
wireguard_config() { # NAME ENDPOINT
	{
		echo "[Interface]"
		echo "PrivateKey = $(<"$dir/$1.key")"
		echo "[Peer]"
		echo "PublicKey = $(public_key wg-gateway)"
		[[ ! -e $dir/$1.psk ]] || echo "PresharedKey = $(<"$dir/$1.psk")"
		echo "Endpoint = $2"
		echo "AllowedIPs = ${wireguard_allowed:-10.8.0.0/16, fd00:8::/64, 198.51.100.0/24, 2001:db8:2::/64}"
	} >"$dir/$1.conf"
}

# Runs it, without any configuration.
wireguard_run() { # NAME NAMESPACE
	local own
	own=$(wireguard_interface "$1")
	wireguard_namespace[$1]=$2
	start "$1" "$2" env WG_PROCESS_FOREGROUND=1 LOG_LEVEL=error "$wireguard_program" -f "$own"
	wait_for 30 test -S "/var/run/wireguard/$own.sock"
}

# Configures it, again if need be: then it has neither keys nor an endpoint from before.
wireguard_configure() { # NAME ENDPOINT
	wireguard_config "$1" "$2"
	wg setconf "$(wireguard_interface "$1")" "$dir/$1.conf"
}

# With these inner addresses.
wireguard_start() { # NAME NAMESPACE ENDPOINT IPV4 IPV6
	wireguard_run "$1" "$2"
	wireguard_configure "$1" "$3"
	wireguard_up "$1" "$2" "$4" "$5"
}

# The client that most cases have, "plain" in the namespace client; ENDPOINT "": it begins nothing.
wireguard_plain_start() { # [ENDPOINT]
	wireguard_start plain client "${1-192.0.2.1:5555}" 10.8.0.20 fd00:8::14
}

# Its addresses and routes, in the namespace that the interface is in.
wireguard_up() { # NAME NAMESPACE IPV4 IPV6
	local own
	own=$(wireguard_interface "$1")
	ns "$2" ip address add "$3/32" dev "$own"
	ns "$2" ip address add "$4/128" dev "$own" nodad
	ns "$2" ip link set "$own" mtu "$wireguard_mtu" up
	ns "$2" ip route add 10.8.0.0/16 dev "$own"
	ns "$2" ip route add fd00:8::/64 dev "$own"
	ns "$2" ip route add 198.51.100.0/24 dev "$own"
	ns "$2" ip route add 2001:db8:2::/64 dev "$own"
}

# A kernel with WireGuard of its own must not be tested by accident.
wireguard_is_tun() { # NAME
	ns "${wireguard_namespace[$1]}" ip -details link show "$(wireguard_interface "$1")" | grep -w "tun type tun"
}

# Changes its settings: endpoint ADDRESS:PORT of the gateway, or listen-port N of its own.
wireguard_endpoint() { # NAME ENDPOINT
	wg set "$(wireguard_interface "$1")" peer "$(public_key wg-gateway)" endpoint "$2"
}

wireguard_port() { # NAME PORT
	wg set "$(wireguard_interface "$1")" listen-port "$2"
}

# Its latest handshake is later than that moment, in seconds since 1970.
wireguard_shook_hands() { # NAME SINCE
	local latest
	latest=$(wg show "$(wireguard_interface "$1")" latest-handshakes | awk '{ print $2 }')
	echo "$latest"
	[[ $latest -ge $2 ]]
}

# Prints something of its session at the gateway.
wireguard_session() { # NAME FIELD
	ctl --json sessions --peer "$(public_key "$1")" |
		python3 -c 'import json, sys; print(json.load(sys.stdin)["sessions"][0][sys.argv[1]])' "$2"
}
