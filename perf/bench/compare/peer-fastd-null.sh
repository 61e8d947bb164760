#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# fastd without encryption: what remains of a tunnel that does a packet at a time.
# shellcheck disable=SC2034,SC2154 # variables of who sources it

peer_fastd_null_available() {
	peer_fastd_available
}

peer_fastd_null_version() {
	peer_fastd_version
}

peer_fastd_null_addresses() {
	echo 10.13.0.1 198.51.100.13
}

peer_fastd_null_up() {
	fastd_up fastd-null null 13
}

peer_fastd_null_client() {
	client_command=(fastd --config "$dir/fastd-null-client.conf")
}

peer_fastd_null_forget() {
	fastd_gateway_start fastd-null 13
}
