#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# OpenVPN 2.6: AES-256-GCM over UDP, in its own process rather than in a kernel module.
# shellcheck disable=SC2034,SC2154 # variables of who sources it

peer_openvpn_available() {
	programs_here openvpn openssl || {
		echo "not installed, so not compared (Debian: openvpn openssl)"
		return 1
	}
}

peer_openvpn_version() {
	openvpn --version | sed -n '1s/^OpenVPN \([^ ]*\).*/\1/p'
}

peer_openvpn_addresses() {
	echo 10.11.0.1 198.51.100.11
}

# Each knows the other by its certificate's fingerprint.
openvpn_config() { # client|gateway OTHER
	local fingerprint
	fingerprint=$(openssl x509 -in "$dir/openvpn-$2.crt" -noout -fingerprint -sha256)
	cat <<-END
		dev $(openvpn_interface "$1")
		dev-type tun
		topology subnet
		proto udp4
		tun-mtu 1420
		data-ciphers AES-256-GCM
		allow-compression no
		disable-dco
		cert $dir/openvpn-$1.crt
		key $dir/openvpn-$1.key
		peer-fingerprint ${fingerprint#*=}
		verb 1
	END
}

openvpn_interface() { # client|gateway
	echo "ovpn-$1"
}

peer_openvpn_up() {
	local side
	for side in client gateway; do
		(umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 30 \
			-subj "/CN=$side" -keyout "$dir/openvpn-$side.key" -out "$dir/openvpn-$side.crt" 2>/dev/null)
	done
	{
		openvpn_config gateway client
		echo "local 192.0.2.1"
		echo "port 1194"
		echo "server 10.11.0.0 255.255.255.0"
		echo "dh none"
		echo "keepalive 10 60"
	} >"$dir/openvpn-gateway.conf"
	{
		openvpn_config client gateway
		echo "client"
		echo "nobind"
		echo "remote 192.0.2.1 1194"
		echo "route 198.51.100.11 255.255.255.255"
	} >"$dir/openvpn-client.conf"
	start openvpn-gateway gateway openvpn --config "$dir/openvpn-gateway.conf"
	wait_for 10 listens gateway udp 1194
}

peer_openvpn_client() {
	client_command=(openvpn --config "$dir/openvpn-client.conf")
}
