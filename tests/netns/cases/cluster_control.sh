#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A gateway of a cluster puts its blocks' deadlines off in time whatever else its control thread has to do: while the process that
# lays its rules hangs, and while very many routes come and go. The test is its agent.
# shellcheck disable=SC2119 # the options are optional
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"

peers=20000

owner() { # BLOCKS SECONDS [REQUEST...]
	"$tests_dir/tools/cluster_owner.py" "$dir/gateway.sock" "$@"
}

# In the background.
keep() {
	start keeper gateway "$tests_dir/tools/cluster_owner.py" "$dir/gateway.sock" 2,3,4,5,6 100000
}

rules_have() { # TEXT
	grep -q "$1" <(ns gateway nft list table netdev shardtun-shardtun0)
}

routed() { # NUMBER
	[[ $(routes) -eq $1 ]]
}

routes() {
	ns gateway ip route show proto 85 | wc -l
}

# What a run of owner printed: a Python expression over it.
says() { # EXPRESSION
	echo "$said"
	python3 -c 'import json, sys
r = json.loads(sys.argv[1])
sys.exit(not eval(sys.argv[2]))' "$said" "$1"
}

topology_up
gateway_config "ClusterNode = gw1" "ClusterBlockSize = 4096" "ClusterLink = 198.51.100.1:5556" "ClusterOutside = eth0" \
	"ClusterInterface = eth1"
echo "Address = 10.8.16.5" >>"$dir/gateway.conf"
gateway_start

# --- rules ---
said=$(owner 1 0 "cluster-map 7=198.51.100.2")
check "a map is taken" says 'not r["refused"]'
check "and in force a moment later" wait_for 10 rules_have 198.51.100.2
helper=$(pgrep -P "${started[gateway]}" -x nftables)
kill -STOP "$helper"
# Longer than the deadlines, and than a round of comparisons (10 s).
said=$(owner 1 12 "cluster-map 7=198.51.100.3,8=198.51.100.3" "cluster-release 2")
check "while the process that lays rules hangs, blocks are kept" says 'not r["lost"] and r["fences"] == 0'
check "a map and a release are answered" says 'not r["refused"] and max(r["requests_ms"]) < 5000'
check "no answer takes as long as a deadline is away" says 'r["slowest_ms"] < 2000'
diagnose <<<"slowest answer while it hangs: $said"
check "the map counts at once" figure_is gateway cluster.map_ipv4 2
check "the rules that are not in force are said to be so" figure_is gateway kept.nftables.in_force false
check "and why, once" logged gateway "netdev shardtun-shardtun0 is not in force, .*no answer from its process" 1
kill -CONT "$helper"
check "when it goes on they are laid" wait_for 10 rules_have 198.51.100.3
check "and in force" wait_for 10 figure_is gateway kept.nftables.in_force true
check "the former ones are not" test -z "$(ns gateway nft list table netdev shardtun-shardtun0 | grep 198.51.100.2)"
check_fails "nobody is blamed for it" grep -q "by another program" "$dir/gateway.log"
check "nor is it counted as a repair" figure_is gateway kept.nftables.restored 0

# --- routes ---
python3 - "$peers" >"$dir/peers" <<'END'
import base64, json, sys
print(json.dumps({"op": "snapshot"}))
for i in range(int(sys.argv[1])):
    print(json.dumps({"op": "put", "key": base64.b64encode(i.to_bytes(32, "big")).decode(), "index": 4096 + i,
                      "networks": [f"172.{16 + (i >> 16)}.{i >> 8 & 255}.{i & 255}/32"]}))
END
chmod 644 "$dir/peers"
keep
said=$(owner 2,3,4,5,6 0 "cluster-peers $dir/peers")
check "no block is lost while peers with networks come" says 'not r["lost"] and r["fences"] == 0 and not r["refused"]'
diagnose <<<"slowest answer meanwhile: $said"
check "their networks are routed" wait_for 120 routed $((peers + 5))
stop keeper || true
# All of them come and go with their blocks: the answer says nothing of routes, which are not in force then.
check "an answer does not wait for routes" python3 - "$dir/gateway.sock" <<'END'
import json, socket, sys, time
def request(line):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(sys.argv[1])
        s.sendall(line.encode() + b"\n")
        return json.loads(b"".join(iter(lambda: s.recv(65536), b"")))["result"]
for i in range(20):
    until = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 10 * 10**9
    request(f"cluster-own {until} " + ("-" if i % 2 == 0 else "2,3,4,5,6"))
    if not request("status")["kept"]["route"]["in_force"]:
        sys.exit()
sys.exit("all routes were there with the answer")
END
keep
check "they come" wait_for 120 routed $((peers + 5))
check "and are in force" wait_for 30 figure_is gateway kept.route.in_force true
check "none was another program's change" figure_is gateway kept.route.restored 0
stop keeper || true
check "they go with the blocks" wait_for 120 routed 0
done_testing
