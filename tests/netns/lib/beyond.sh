# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # lib.sh has dir and tests_dir
# A web server beyond the gateway, a client all of whose packets go through the tunnel, and a look at what leaves the client
# beside it. After lib.sh and its topology_up; the server is on the host, and www.example.net is its name.

# The host has no route to the pool: what is not masqueraded gets no answer. But there is a way around the tunnel, both
# ways, and by that the client would find everything.
beyond_up() {
	ns host ip route delete 10.8.0.0/16
	ns host ip route delete fd00:8::/64
	ns host ip route add 192.0.2.0/24 via 198.51.100.1
	ns host ip route add 2001:db8:1::/64 via 2001:db8:2::1
	ns client ip route add default via 192.0.2.1
	ns client ip route add default via 2001:db8:1::1
	start web host "$tests_dir/tools/web.py" serve 198.51.100.2 2001:db8:2::2
	wait_for 30 grep -qx ready "$dir/web.log"
	echo "nameserver 198.51.100.2" >"$dir/resolv.conf.4"
	echo "nameserver 2001:db8:2::2" >"$dir/resolv.conf.6"
	for family in 4 6; do
		echo "options timeout:1 attempts:1" >>"$dir/resolv.conf.$family"
	done
}

# The gateway and the client for it. OPTIONs go into [Client].
beyond_config() { # OPTION...
	gateway_config "Forward = yes" "Masquerade = eth1"
	other_client_config client client 192.0.2.1:5555 "0.0.0.0/0, ::/0" "DNS = off" "$@"
}

# Prints the page that the client gets: name server and web server in IPv4, or both in IPv6.
visit() { # 4|6 [SECONDS]
	# In mounts of its own: the machine keeps its resolv.conf.
	ns client unshare --mount sh -c 'mount --bind "$1" "$(realpath /etc/resolv.conf)" && exec "$2" visit "$3" "$4"' sh \
		"$dir/resolv.conf.$1" "$tests_dir/tools/web.py" "$1" "${2:-5}"
}

# What leaves by the client's own link, but for the tunnel's packets, and neighbour discovery and multicast groups,
# which never go further than that link.
capture_start() { # NAME
	start "$1" client tcpdump -i eth0 -Q out --immediate-mode -l -n \
		'(ip or ip6) and not (udp and dst port 5555) and not (icmp6 and ip6[40] >= 133 and ip6[40] <= 136) and
		not (ip6 and ip6[6] = 0)'
	wait_for 30 grep -q 'listening on' "$dir/$1.log"
}

# Prints the packets.
capture_stop() { # NAME
	stop "$1" || true
	grep -E '^[0-9:.]+ IP' "$dir/$1.log" || true
}
