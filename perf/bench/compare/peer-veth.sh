#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# No tunnel: the network that the others are measured on.
# shellcheck disable=SC2034,SC2154 # variables of who sources it

peer_veth_available() {
	return 0
}

peer_veth_version() {
	echo "Linux $(uname -r)"
}

peer_veth_addresses() {
	echo 192.0.2.1 198.51.100.7
}

peer_veth_up() {
	ns client ip route replace 198.51.100.7 via 192.0.2.1
}

peer_veth_client() {
	client_command=()
}

peer_veth_second() {
	client_command=()
}
