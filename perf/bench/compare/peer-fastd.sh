#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# fastd, with AES-128 in counter mode and UMAC.
# shellcheck disable=SC2034,SC2154 # variables of who sources it

peer_fastd_available() {
	programs_here fastd || {
		echo "not installed, so not compared (Debian: fastd)"
		return 1
	}
}

peer_fastd_version() {
	fastd --version | sed "s/^fastd v*//"
}

peer_fastd_addresses() {
	echo 10.12.0.1 198.51.100.12
}

peer_fastd_up() {
	fastd_up fastd aes128-ctr+umac 12
}

peer_fastd_client() {
	client_command=(fastd --config "$dir/fastd-client.conf")
}

peer_fastd_forget() {
	fastd_gateway_start fastd 12
}

# --- for any method, whose tunnel is 10.N.0.0/24 -----------------------------------------------------------------------

fastd_config() { # NAME METHOD N client|gateway OTHER
	cat <<-END
		mode tun;
		interface "fastd$3-${4:0:1}";
		mtu 1420;
		method "$2";
		secret "$(awk '$1 == "Secret:" { print $2 }' "$dir/$1-$4.key")";
		log level warn;
		peer "$5" {
			key "$(awk '$1 == "Public:" { print $2 }' "$dir/$1-$5.key")";
			$([[ $4 == gateway ]] || echo "remote 192.0.2.1:$((10000 + $3));")
		}
	END
}

fastd_up() { # NAME METHOD N
	local name=$1 number=$3 side
	for side in client gateway; do
		(umask 077 && fastd --generate-key >"$dir/$name-$side.key" 2>/dev/null)
	done
	{
		fastd_config "$@" gateway client
		echo "bind 192.0.2.1:$((10000 + number));"
		echo "on up \"ip address add 10.$number.0.1/24 dev \$INTERFACE; ip link set \$INTERFACE up\";"
	} >"$dir/$name-gateway.conf"
	{
		fastd_config "$@" client gateway
		echo "on up \"ip address add 10.$number.0.2/24 dev \$INTERFACE; ip link set \$INTERFACE up;"
		echo "	ip route add 198.51.100.$number dev \$INTERFACE\";"
	} >"$dir/$name-client.conf"
	fastd_gateway_start "$name" "$number"
}

# Again, when it runs already.
fastd_gateway_start() { # NAME N
	[[ -z ${started[$1-gateway]:-} ]] || stop "$1-gateway" || true
	start "$1-gateway" gateway fastd --config "$dir/$1-gateway.conf"
	wait_for 10 listens gateway udp "$((10000 + $2))"
}
