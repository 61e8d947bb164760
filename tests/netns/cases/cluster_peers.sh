#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run-tap: alone
# Two gateways, their agents and an etcd: clients are added and removed by shardtunctl on one gateway and known on the
# other one, a lone gateway's are imported, with their pre-shared keys, and one gateway is drained.
#
#   client 192.0.2.2 --- 192.0.2.1 gateway: gw1 at port 5555, gw2 at 5556, and etcd at 127.0.0.1
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/etcd.sh
. "$(dirname "$0")/../lib/etcd.sh"
# shellcheck source=tests/netns/lib/gateways.sh
. "$(dirname "$0")/../lib/gateways.sh"
PATH=$PATH:/usr/sbin
command -v etcd >/dev/null || skip_all "needs etcd"

topology_up
tls_make
etcd_start
etcd_passwords
blocks=4

# --- a lone gateway, whose clients are to be those of the cluster ---

gateway_config "PeersDirectory = peers.d" "WireGuard = yes" "QuotaFile = quota"
sed -i '/^\[Peer\]/a Name = client\nAddress = 10.8.0.5\nRateUp = 50M\nQuota = 100G/month' "$dir/gateway.conf"
client_config
mkdir "$dir/peers.d"
lone=$(new_key) phone=$(new_key) third=$(new_key)
printf '[Peer]\nPublicKey = %s\nName = lone\nAddress = 10.8.0.6\n' "$lone" >"$dir/peers.d/lone.conf"
printf '[Peer]\nPublicKey = %s\nName = phone\nProtocol = wireguard\nAllowedIPs = 10.77.0.0/16\n' "$phone" >"$dir/peers.d/phone.conf"
agent_config gw1
etcdctl_run put /shardtun/index/6 '{"version":1,"key":"by hand"}' >/dev/null
import() { # ARGUMENTS...
	ns gateway "$BUILD/shardtun-agent" -c "$dir/gw1.conf" import "$@"
}
check "import --dry-run says what it would do" refused "2 peers would be added, 0 are there, 1 would be skipped" \
	import --dry-run "$dir/gateway.conf"
check_fails "and does nothing" test -n "$(etcdctl_run get --prefix --keys-only /shardtun/peer/)"
check "what cannot be taken is named, and why" refused \
	"lone.conf:2: $lone lone: skipped: index 6: another peer has this address" import "$dir/gateway.conf"
check "the others are there" test "$(etcdctl_run get --prefix --keys-only /shardtun/peer/ | grep -c peer)" -eq 2
client_key=$(public_key client)
check "with address and limits" grep -q '"name":"client","index":5,.*"rate_up":"50000K","quota":"100G/month","psk":"' \
	<(record "$client_key")
check "one without an address gets the next one that is free" grep -q '"index":7,.*"networks":\["10.77.0.0/16"\]' <(record "$phone")
check "again it finds them there" refused "0 peers are added, 2 were there, 1 are skipped" import "$dir/gateway.conf"
sed -i 's/10.8.0.6/10.8.0.9/' "$dir/peers.d/lone.conf"
check "which is put right" says "1 peers are added, 2 were there, 0 are skipped" import "$dir/gateway.conf"
check "a third time nothing is left to be done" says "0 peers are added, 3 were there, 0 are skipped" import "$dir/gateway.conf"
sed -i 's/10.8.0.9/10.8.0.10/' "$dir/peers.d/lone.conf"
check "what differs stays, and is named" says "$lone lone: it is there already, and stays as it is; different: index" import "$dir/gateway.conf"

# --- the cluster ---

etcdctl_run put /shardtun/members '{"version":1,"members":["gw1","gw2"]}' >/dev/null
cluster_gateway gw1 5555 shardtun0
agent_start gw1
check "a gateway serves what its agent took" wait_for 30 served gw1 4
check "and has the imported clients" wait_for 10 known gw1 "$client_key"
start client client "$BUILD/shardtun" run "$dir/client.conf"
check "of which one connects, with the pre-shared key that came by etcd" wait_for 30 pings client 10.8.0.1
cluster_gateway gw2 5556 shardtun1
agent_config gw2
agent_start gw2
check "a second gateway gets its share" wait_for 60 served gw2 2

# --- clients by shardtunctl ---

carol=$(new_key)
preshared_key carol
check "a client is added" says "peer $carol is added for all gateways of the cluster" cluster_ctl gw1 peer add "$carol" \
	--name carol --psk-file "$dir/carol.psk" --allowed-ips 10.78.0.1/16 --rate-down 8M --quota 1G/day
check "and known on the other gateway" wait_for 10 known gw2 "$carol"
check "its values are in etcd, the key sealed" grep -q \
	'"name":"carol","index":10,.*"networks":\["10.78.0.0/16"\],"rate_down":"8M","quota":"1G/day","psk":"[A-Za-z0-9+/]\{96\}"' \
	<(record "$carol")
check_fails "and not as it is" grep -qF "$(cat "$dir/carol.psk")" <(record "$carol")
check "not twice" refused "there is such a peer" cluster_ctl gw2 peer add "$carol"
check "nor with a network of another" refused "10.78.0.0/16: another peer has this network" \
	cluster_ctl gw2 peer add "$(new_key)" --allowed-ips 10.78.0.0/16
check "nor with an address of another" refused "another peer has this address" \
	cluster_ctl gw2 peer add "$(new_key)" --address 10.8.0.5
check "the gateway's own address is not given" refused "--address: none that the pool can give out" \
	cluster_ctl gw2 peer add "$(new_key)" --address 10.8.0.1
check "a network of the pool is refused before etcd has it" refused "overlaps the pool" \
	cluster_ctl gw1 peer add "$(new_key)" --allowed-ips 10.8.3.0/24
check "what is no key is refused" refused "key" cluster_ctl gw1 peer add AAAA
check "--save has no place here" refused "leave --save away" cluster_ctl gw1 peer add "$(new_key)" --name x --save
check "an address can be named" says "its address is 10.8.0.40" cluster_ctl gw2 peer add "$third" --address 10.8.0.40
check "a new client gets a file with its address" says "Address = 10.8.0.11/32" cluster_ctl gw1 peer add --new dave \
	--wireguard --endpoint 192.0.2.1
dave=$(etcdctl_run get --print-value-only /shardtun/index/11 | sed 's/.*"key":"\(.*\)".*/\1/')
check "the other gateway serves it too" wait_for 10 known gw2 "$dave"
check "a client is removed" says "peer $carol is deleted for all gateways" cluster_ctl gw2 peer del "$carol"
check "and gone on both" wait_for 5 refused "no such peer" known gw1 "$carol"
check "with its network" test -z "$(etcdctl_run get /shardtun/net/10.78.0.0/16)"
check "not twice" refused "there is no such peer" cluster_ctl gw2 peer del "$carol"
check "the gateway itself takes no peer" refused "in a cluster" request "$dir/gw1.sock" peer add "$carol"
pool_is_written() {
	etcdctl_run get --print-value-only /shardtun/pool | grep -q '^{"version":1,"size":65536,"reserved":\[0,1'
}
check "what the pool can give out is in etcd" wait_for 10 pool_is_written
check "so where no gateway is asked, no address beyond it is given" refused "index 65536: no address that can be given" \
	request "$dir/gw1.state/agent.sock" peer add "$(new_key)" --index 65536
next=$(etcdctl_run get --print-value-only /shardtun/next)
etcdctl_run put /shardtun/next '{"version":1,"next":65535}' >/dev/null
check "nor by the command of the agent" refused "no address is left" ns gateway "$BUILD/shardtun-agent" -c "$dir/gw1.conf" \
	peer add "$(new_key)"
etcdctl_run put /shardtun/next "$next" >/dev/null
check "an agent that is not there is named" refused "whose peers are in etcd, and its agent cannot be asked" \
	ctl_of gw1 --agent "$dir/nowhere.sock" peer add "$carol"
check "also where a peer is removed" refused "start shardtun-agent" ctl_of gw1 --agent "$dir/nowhere.sock" peer del "$third"

# --- what hands wrote into etcd ---

erin=$(new_key) frank=$(new_key)
etcdctl_run put "/shardtun/peer/$erin" '{"version":1,"name":"erin","index":40,"protocol":"shardtun"}' >/dev/null
check "an index given twice is refused by the gateway, and named" wait_for 10 grep -q "peers: .*another peer" "$dir/agent-gw1.log"
holder() { # NAME
	local key
	for key in "$third" "$erin"; do
		if known "$1" "$key" >/dev/null; then echo "$key"; fi
	done
}
one_holder() {
	[[ -n $(holder gw1) && $(holder gw1 | wc -l) -eq 1 && $(holder gw1) == "$(holder gw2)" ]]
}
check "one of the two has it, the same on both gateways" wait_for 20 one_holder
etcdctl_run del "/shardtun/peer/$erin" >/dev/null
check "and the other one when that one is gone" wait_for 90 known gw1 "$third"
etcdctl_run put "/shardtun/peer/$frank" "{\"version\":1,\"name\":\"frank\",\"index\":50,\"psk\":\"$(printf '%096d' 0)\"}" >/dev/null
check "so is a key that is sealed for no gateway here" wait_for 10 grep -q "$frank: psk: not sealed" "$dir/agent-gw2.log"
check_fails "and that peer is none" known gw2 "$frank"

# --- many ---

# A gateway without an agent is told 65,000 clients with networks, and has to answer about its blocks meanwhile: the agent waits
# 1 s for an answer, and the fence ends after 2 s.
cluster_gateway gw3 5567 shardtun2 256
answers_meanwhile() {
	python3 - "$dir/gw3.sock" "$dir/many" <<-'END'
		import base64, json, socket, sys, time
		with open(sys.argv[2], "w") as file:
		    file.write('{"op":"snapshot"}\n')
		    for index in range(2, 65000):
		        key = base64.b64encode(index.to_bytes(32, "big")).decode()
		        networks = [f"2001:db8:{index:x}:{n}::/64" for n in range(3)]
		        file.write(json.dumps({"op": "put", "key": key, "index": index, "name": f"n{index}", "networks": networks}) + "\n")
		def ask(line):
		    s = socket.socket(socket.AF_UNIX)
		    s.connect(sys.argv[1])
		    s.sendall(line.encode() + b"\n")
		    return s
		def answer(s):
		    return json.loads(b"".join(iter(lambda: s.recv(65536), b"")))
		began = time.monotonic()
		loading = ask(f"cluster-peers {sys.argv[2]}")
		loading.setblocking(False)
		others, slowest = 0, 0
		while True:
		    try:
		        first = loading.recv(1)
		        break
		    except BlockingIOError:
		        sent = time.monotonic()
		        assert answer(ask(f"cluster-own {time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 10**9} -"))["ok"]
		        slowest = max(slowest, time.monotonic() - sent)
		        others += 1
		loading.setblocking(True)
		result = json.loads(first + b"".join(iter(lambda: loading.recv(65536), b"")))
		print(f"{result}, after {time.monotonic() - began:.2f} s; {others} other answers meanwhile, the slowest {1000 * slowest:.0f} ms")
		sys.exit(not (result["ok"] and result["result"]["peers"] == 64998 and others > 10))
	END
}
check "while it reads many clients, it answers about blocks" answers_meanwhile
stop gateway-gw3 || true

# --- a planned move ---

check "cluster shows owners and what is served" says "gw2 owns " cluster_ctl gw1 cluster
check "as JSON too" python3 -c 'import json, sys
state = json.load(sys.stdin)
assert state["node"] == "gw1" and len(state["agent"]["blocks"]) == 4 and state["agent"]["etcd"]["answers"]' \
	< <(cluster_ctl gw1 --json cluster)
check "without the agent the gateway's part alone" says "agent: $dir/nowhere.sock: " ctl_of gw1 --agent "$dir/nowhere.sock" cluster
check "drain ends when nothing is owned" says "nothing is owned, and nothing is taken" cluster_ctl gw1 drain
check "the other gateway serves all" wait_for 20 served gw2 4
check "its key in etcd says so" grep -q '"draining":true' <(etcdctl_run get --print-value-only /shardtun/node/gw1)
stop agent-gw1 || true
agent_start gw1
check "a drain outlives its agent" wait_for 10 says ", draining" cluster_ctl gw1 cluster
sleep 2
check "and takes nothing" served gw1 0
check "where no other node takes blocks, a drain says so" refused "no other member is alive and takes blocks" \
	cluster_ctl gw2 drain
check "and they are served on" served gw2 4
check "drain --off" says "blocks are taken again" cluster_ctl gw2 drain --off
check "on both" says "blocks are taken again" cluster_ctl gw1 drain --off
check "and the share is there again" wait_for 60 served gw1 2
check "drain without an agent says which socket it is" refused "$dir/nowhere.sock: cannot connect" ctl_of gw1 --agent "$dir/nowhere.sock" drain

done_testing
