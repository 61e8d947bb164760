# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A gateway with a second client, in the namespace of that name, beside the usual one; sourced after lib.sh, once both
# topologies are up.

# The gateway has these options; the second client asks for these networks.
two_clients_start() { # ALLOWED_IPS OPTION...
	gateway_config "${@:2}"
	add_peer second
	client_config
	other_client_config second second 203.0.113.1:5555 "$1"
	gateway_start
	client_start
	other_client_start second second
}

two_clients_stop() {
	stop second || true
	both_stop
}

second_address() {
	ns second ip -4 -o address show dev shardtun0 | sed -n 's/.* inet \([0-9.]*\).*/\1/p'
}
