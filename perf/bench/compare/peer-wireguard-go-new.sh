#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A second wireguard-go, where one is named: the releases since 2023 use the offloads of TUN and UDP, Debian 12's does not.
# shellcheck disable=SC2034,SC2154 # variables of who sources it

peer_wireguard_go_new_available() {
	if [[ -z ${WIREGUARD_GO_NEW:-} ]]; then
		echo "not named, so not compared (WIREGUARD_GO_NEW=FILE)"
		return 1
	fi
	programs_here "$WIREGUARD_GO_NEW" wg || {
		echo "$WIREGUARD_GO_NEW or wg is not there, so not compared (Debian: wireguard-tools)"
		return 1
	}
}

peer_wireguard_go_new_version() {
	wireguard_go_version "$WIREGUARD_GO_NEW"
}

peer_wireguard_go_new_addresses() {
	echo 10.10.0.1 198.51.100.10
}

peer_wireguard_go_new_up() {
	wireguard_go_up wireguard-go-new "$WIREGUARD_GO_NEW" 10
}

peer_wireguard_go_new_client() {
	wireguard_go_client wireguard-go-new "${WIREGUARD_CLIENT:-$WIREGUARD_GO_NEW}" 10 client
}

peer_wireguard_go_new_second() {
	wireguard_go_client wireguard-go-new "$WIREGUARD_GO_NEW" 10 second
}
