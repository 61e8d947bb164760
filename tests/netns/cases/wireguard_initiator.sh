#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Our gateway initiates WireGuard's handshakes: to wireguard-go, which has no Endpoint of ours and so never begins, with and
# without a PSK, over IPv4 and IPv6; while responses are lost; after it was started again. And site to site: two of our gateways,
# each with the other as a peer with an Endpoint, one of them by a name.
#
#   client: wireguard-go "plain", 10.8.0.20, port 51820      second: wireguard-go "secret", 10.8.0.21, with a PSK, over IPv6
#   client: tests/peer's responder "careful", 10.8.0.22, port 51821, which demands cookies
#   branch: our gateway "branch", 10.9.0.1, and behind it 10.77.0.1; port 5555
# run-tap: first
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/wireguard_go.sh
. "$(dirname "$0")/../lib/wireguard_go.sh"

wireguard_topology_up
second_up
another_up branch eth3 203.0.114 2001:db8:4
ns host ip route add 10.77.0.0/24 via 198.51.100.1
ns branch ip address add 10.77.0.1/24 dev lo
# Names are resolved by a file of the gateway's own.
echo "203.0.114.2 branch.example" >"$dir/hosts"
own_run mount --bind "$dir/hosts" /etc/hosts

# As a responder alone.
wireguard_config() { # NAME ENDPOINT
	{
		echo "[Interface]"
		echo "PrivateKey = $(<"$dir/$1.key")"
		echo "ListenPort = 51820"
		echo "[Peer]"
		echo "PublicKey = $(public_key wg-gateway)"
		[[ ! -e $dir/$1.psk ]] || echo "PresharedKey = $(<"$dir/$1.psk")"
		echo "AllowedIPs = 10.8.0.0/16, fd00:8::/64, 198.51.100.0/24, 2001:db8:2::/64"
	} >"$dir/$1.conf"
}

# The other site. KEEPALIVE 0: none.
branch_config() { # KEEPALIVE
	public_key wg-branch >/dev/null
	public_key branch >/dev/null
	{
		echo "[Gateway]"
		echo "PrivateKeyFile = branch.key"
		echo "WireGuard = yes"
		echo "WireGuardPrivateKeyFile = wg-branch.key"
		echo "ListenPort = 5555"
		echo "Interface = branch$$"
		echo "Address = 10.9.0.1/16"
		echo "ControlSocket = branch.sock"
		echo "User = root"
		echo "[Peer]"
		echo "Name = head"
		echo "PublicKey = $(public_key wg-gateway)"
		echo "PresharedKeyFile = site.psk"
		echo "Protocol = wireguard"
		echo "Address = 10.9.0.30"
		echo "AllowedIPs = 10.8.0.0/16, 198.51.100.0/24"
		echo "Endpoint = 203.0.114.1:5555"
		echo "PersistentKeepalive = $1"
	} >"$dir/branch.conf"
}

branch_start() {
	: >"$dir/branch.log"
	start branch branch "$BUILD/shardtund" -c "$dir/branch.conf"
	wait_for 30 grep -q 'gateway on UDP' "$dir/branch.log"
}

configure() {
	wireguard_gateway_config "Workers = 3" "Handshakers = 2"
	wireguard_peer plain "Address = 10.8.0.20" "Endpoint = 192.0.2.2:51820"
	wireguard_peer secret "Address = 10.8.0.21" "PresharedKeyFile = secret.psk" "Endpoint = [2001:db8:3::2]:51820"
	wireguard_peer careful "Address = 10.8.0.22" "Endpoint = 192.0.2.2:51821"
	wireguard_peer wg-branch "Address = 10.8.0.30" "AllowedIPs = 10.9.0.0/16, 10.77.0.0/24" "PresharedKeyFile = site.psk" \
		"Endpoint = branch.example:5555"
}

preshared_key secret
preshared_key site
for name in plain secret careful wg-branch; do
	public_key "$name" >/dev/null
done
configure
wireguard_plain_start ""
wireguard_start secret second "" 10.8.0.21 fd00:8::15
check "it is wireguard-go's interface, not a kernel's" wireguard_is_tun plain
wireguard_gateway_start

# --- wireguard-go answers ---
check "without need nothing is sent" figure_is gateway tx_wg_initiation 0
check "a first packet makes the gateway initiate, and arrives" answers host 10.8.0.20
check "so it does over IPv6, with a PSK" answers host 10.8.0.21
check "with IPv6 inside" answers host fd00:8::15
check "from the gateway itself" answers gateway 10.8.0.20
check "wireguard-go began none of it" figure_is gateway rx_wg_initiation 0
check "one initiation was enough for each" figure_is gateway tx_wg_initiation 2
check "the client reaches us" answers client 198.51.100.2
check "the log says that it is connected" grep "event=connect .*peer=$(public_key plain) .*protocol=wireguard" "$dir/gateway.log"
check "so do its sessions" test "$(wireguard_session plain state)" = active
check "nothing was lost meanwhile" test "$(figure gateway out_staged || echo 0)" = 0

# --- a peer that is under load ---
start careful client "$tests_dir/../peer/wireguard_probe.py" responder --listen 192.0.2.2:51821 --key "$dir/careful.key" \
	--peer-key "$(public_key wg-gateway)" --address 10.8.0.22 --under-load
wait_for 30 grep -q listening "$dir/careful.log"
check "a peer that demands a cookie gets it with the second initiation" answers host 10.8.0.22
check "its cookie reply was taken" figure_is gateway rx_wg_cookie 1
kill -USR1 "${started[careful]}"
check "it initiates as well" wait_for 30 figure_at_least gateway rx_wg_initiation 1
check "which both survive" wait_for 10 pings host 10.8.0.22
stop careful || true

# --- it is started again: our key is not its any more ---
restart() { # NAME NAMESPACE IPV4 IPV6
	kill_hard "$1"
	rm -f "/var/run/wireguard/$(wireguard_interface "$1").sock"
	wireguard_start "$1" "$2" "" "$3" "$4"
}
restart plain client 10.8.0.20 fd00:8::14
check_fails "started again it has no key" pings host 10.8.0.20
check "15 s of silence make a new one" wait_for 40 pings host 10.8.0.20
check "wireguard-go began none of it" figure_is gateway rx_wg_initiation 1

# --- responses are lost ---
restart plain client 10.8.0.20 fd00:8::14
kill_hard gateway
ns gateway nft -f - <<-'end'
	table inet lossy {
		chain in {
			type filter hook input priority 0
			udp sport 51820 udp length 100 counter drop
		}
	}
end
wireguard_gateway_start
start waits host ping -n -c 1 -W 60 10.8.0.20
check "without a response it tries again" wait_for 20 figure_at_least gateway tx_wg_initiation 2
check "and has no key" figure_is gateway rx_wg_response 0
ns gateway nft delete table inet lossy
answered() {
	grep "1 received" "$dir/waits.log"
}
check "the first response that comes is good for the packet that waited" wait_for 30 answered

# --- site to site ---
branch_config 0
branch_start
check "a host reaches one behind the other gateway, by a name as Endpoint" wait_for 30 pings host 10.77.0.1
check "and the other way" ns branch ping -n -c 1 -W 20 -I 10.77.0.1 198.51.100.2
check "the branch answered" grep "event=connect .*name=head .*protocol=wireguard" "$dir/branch.log"
kill_hard branch
branch_config 5
branch_start
connected() {
	grep "event=connect .*name=head" "$dir/branch.log"
}
check "with a persistent keepalive the branch begins by itself" wait_for 30 connected
check "which is the same session at ours" answers host 10.77.0.1
kill_hard gateway
wireguard_gateway_start
check "our gateway is started again, and finds the branch" wait_for 60 pings host 10.77.0.1
branch_to_host() {
	ns branch ping -n -c 1 -W 1 -I 10.77.0.1 198.51.100.2
}
check "both ways" wait_for 60 branch_to_host

# --- nobody is there ---
stop branch || true
stop secret || true
check_fails "a peer that is gone" pings host 10.8.0.21
check "is tried" wait_for 30 figure_at_least gateway tx_wg_initiation 3
check "every datagram is accounted for" wait_for 120 accounted_for gateway
stop gateway || true
done_testing
