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

# Each knows the others by the fingerprints of their certificates.
openvpn_config() { # client|gateway|second OTHER...
	local side=$1
	shift
	cat <<-END
		dev $(openvpn_interface "$side")
		dev-type tun
		topology subnet
		proto udp4
		tun-mtu 1420
		data-ciphers AES-256-GCM
		allow-compression no
		disable-dco
		cert $dir/openvpn-$side.crt
		key $dir/openvpn-$side.key
		verb 1
		<peer-fingerprint>
		$(openvpn_fingerprints "$@")
		</peer-fingerprint>
	END
}

openvpn_fingerprints() { # SIDE...
	local side
	for side in "$@"; do
		openssl x509 -in "$dir/openvpn-$side.crt" -noout -fingerprint -sha256 | sed 's/.*=//'
	done
}

openvpn_interface() { # client|gateway|second
	echo "ovpn-$1"
}

peer_openvpn_up() {
	local side
	for side in client second gateway; do
		(umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 30 \
			-subj "/CN=$side" -keyout "$dir/openvpn-$side.key" -out "$dir/openvpn-$side.crt" 2>/dev/null)
	done
	{
		openvpn_config gateway client second
		echo "local 192.0.2.1"
		echo "port 1194"
		echo "server 10.11.0.0 255.255.255.0"
		echo "dh none"
		echo "keepalive 10 60"
	} >"$dir/openvpn-gateway.conf"
	for side in client second; do
		{
			openvpn_config "$side" gateway
			echo "client"
			echo "nobind"
			echo "remote 192.0.2.1 1194"
			echo "route 198.51.100.11 255.255.255.255"
		} >"$dir/openvpn-$side.conf"
	done
	start openvpn-gateway gateway openvpn --config "$dir/openvpn-gateway.conf"
	wait_for 10 listens gateway udp 1194
}

peer_openvpn_client() {
	client_command=(openvpn --config "$dir/openvpn-client.conf")
}

peer_openvpn_second() {
	client_command=(openvpn --config "$dir/openvpn-second.conf")
}
