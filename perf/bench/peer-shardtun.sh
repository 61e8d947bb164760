#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What is compared with the others: gateway and client as they plan themselves for this machine.
# shellcheck disable=SC2034,SC2154 # variables of who sources it

peer_shardtun_available() {
	[[ -x $BUILD/shardtund && -x $BUILD/shardtun ]] || {
		echo "not built (make programs)"
		return 1
	}
}

peer_shardtun_version() {
	"$BUILD/shardtund" --version | sed "1s/^shardtund *//; q"
}

peer_shardtun_addresses() {
	echo 10.8.0.1 198.51.100.8
}

peer_shardtun_up() {
	gateway_config "LogLevel = warning"
	other_client_config client client 192.0.2.1:5555 "10.8.0.0/16, 198.51.100.8/32" "LogLevel = warning"
	start shardtun-gateway gateway "$BUILD/shardtund" -c "$dir/gateway.conf"
	wait_for 10 status_json gateway
}

peer_shardtun_client() {
	client_command=("$BUILD/shardtun" run "$dir/client.conf")
}
