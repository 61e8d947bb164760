#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# shardtun-agent with a real etcd (TLS, user and password) and gateways that stand for real ones: who owns which block,
# while agents, gateways and etcd come, go and hang; and peers, from etcd to all gateways.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/etcd.sh
. "$(dirname "$0")/../lib/etcd.sh"
PATH=$PATH:/usr/sbin
command -v etcd >/dev/null || skip_all "needs etcd"

topology_up
tls_make
etcd_start
etcd_passwords

owns() { # NAME COUNT
	told "$1" "len(s['blocks']) == $2 and s['until_ns'] > now"
}

# Every block once.
shared_out() { # NAMES...
	python3 - "$dir" "$@" <<-'END'
		import json, sys, time
		now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
		owned = []
		for name in sys.argv[2:]:
		    state = json.load(open(f"{sys.argv[1]}/{name}.json"))
		    owned += state["blocks"] if state["until_ns"] > now else []
		print(sorted(owned))
		sys.exit(0 if sorted(owned) == list(range(1, 17)) else 1)
	END
}

peer() { # KEY NAME INDEX
	etcdctl_run put "/shardtun/peer/$1" "{\"version\":1,\"name\":\"$2\",\"index\":$3,\"protocol\":\"shardtun\"}" >/dev/null
}

# A public key of one letter.
key_of() { # LETTER
	printf '%042d' 0 | tr 0 "$1"
	echo A=
}
key_a=$(key_of A) key_b=$(key_of B) key_c=$(key_of C) key_d=$(key_of D) key_e=$(key_of E)

# --- starting ---

agent_config gw1
agent_config gw2
check "a configuration is checked" "$BUILD/shardtun-agent" -c "$dir/gw1.conf" --check
gateway_stand_in gw1
gateway_stand_in gw2
agent_start gw1
wait_for 20 told gw1 "s['requests'] > 3" >/dev/null
check_fails "without members nothing is taken" told gw1 "s['blocks']"
etcdctl_run put /shardtun/members '{"version":1,"members":["gw1","gw2"]}' >/dev/null
check "the only live member takes all blocks" wait_for 20 owns gw1 16
agent_start gw2
check "a second one gets half of them" wait_for 60 owns gw2 8
check "and the first has the rest" owns gw1 8
check "which is each block once" wait_for 10 shared_out gw1 gw2
check "by planned moves" told gw1 "len(s['released']) == 8"
check "the map leads to the other one" wait_for 10 told gw1 "s['map'].count('=10.9.0.2:5556') == 8"
check "and not to oneself" told gw1 "'10.9.0.1' not in s['map']"

# --- peers ---

peer "$key_a" alice 1
check "a peer is known on both gateways" wait_for 5 told gw1 "s['peers']['$key_a']['name'] == 'alice'"
check "also on the other one" wait_for 5 told gw2 "s['peers']['$key_a']['index'] == 1"
etcdctl_run put "/shardtun/peer/$key_b" 'no JSON' >/dev/null
etcdctl_run put "/shardtun/peer/$key_c" '{"version":2,"name":"later"}' >/dev/null
peer "$key_d" dave 2
check "what cannot be read is left out, and what follows is not" wait_for 5 told gw1 \
	"sorted(s['peers']) == ['$key_a', '$key_d']"
etcdctl_run del "/shardtun/peer/$key_a" >/dev/null
check "a peer that is deleted is gone" wait_for 5 told gw2 "list(s['peers']) == ['$key_d']"
kill_hard gateway-gw1
gateway_stand_in gw1
check "a gateway that has started anew gets all peers again" wait_for 20 told gw1 "list(s['peers']) == ['$key_d']"
check "and its blocks" wait_for 20 shared_out gw1 gw2
check "and the map" wait_for 10 told gw1 "s['map'].count('=10.9.0.2:5556') == 8"

# --- others who write to the same etcd ---

for i in {1..10}; do etcdctl_run put /other "$i" >/dev/null; done
# What one writes the other's watch reports, too: then that one need not.
wrote() {
	[[ -n $(etcdctl_run get --print-value-only --prefix /shardtun/watch/) ]]
}
check "where others write, an agent writes too, to see that its watch reports it" wait_for 20 wrote
etcdctl_run put /other more >/dev/null
sleep 2
check_fails "and the watch, which does, is not begun anew" grep -q "it is begun again" "$dir/agent-gw1.log" "$dir/agent-gw2.log"

# --- peers by command ---

agent_command() { # ARGUMENTS...
	ns gateway "$BUILD/shardtun-agent" -c "$dir/gw1.conf" "$@"
}
refused_by() { # NAME TEXT ARGUMENTS...
	local name=$1 text=$2 output
	shift 2
	! output=$(ns gateway "$BUILD/shardtun-agent" -c "$dir/$name.conf" "$@" 2>&1) && grep -qF -- "$text" <<<"$output"
}
refused_with() { # TEXT ARGUMENTS...
	refused_by gw1 "$@"
}
carol=$(new_key)
check "a peer is added by command" agent_command peer add "$carol" --name carol --allowed-ips 10.1.0.7/16,fd01::/64
check "and known on another gateway" wait_for 5 told gw2 \
	"s['peers']['$carol'] == {'index': 2, 'name': 'carol', 'protocol': 'shardtun', 'networks': ['10.1.0.0/16', 'fd01::/64']}"
check "not twice" refused_with "there is such a peer" peer add "$carol"
check "nor another one with its network" refused_with "10.1.0.0/16: another peer has this network" \
	peer add "$(new_key)" --allowed-ips 10.1.0.0/16
check "nor what is no key" refused_with "not a public key" peer add AAAA
check "nor what is no network" refused_with "not a network" peer add "$(new_key)" --allowed-ips 10.1
etcdctl_run put /shardtun/index/3 '{"version":1,"key":"by hand"}' >/dev/null
adders=()
for i in 1 2 3 4; do
	key=$(new_key)
	agent_command peer add "$key" --wireguard >"$dir/added.$i" 2>&1 &
	adders+=($!)
done
wait "${adders[@]}"
check "four at once get indices of their own, and none that was given by hand" \
	test "$(sed 's/.* //' "$dir"/added.* | sort -n | tr '\n' ' ')" = "4 5 6 7 "
check "a peer is deleted by command" agent_command peer del "$carol"
check "and gone" wait_for 5 told gw2 "'$carol' not in s['peers']"
check "with its index and networks" test "$(etcdctl_run get --prefix /shardtun/net/)$(etcdctl_run get /shardtun/index/2)" = ""
check "not twice" refused_with "there is no such peer" peer del "$carol"

# --- agents that end ---

stop agent-gw1 || true
touch "$dir/gw1.state/peers-99"
agent_start gw1
check "an agent that starts again goes on with its lease" wait_for 20 grep -q "the gateway serves what it is told" "$dir/agent-gw1.log"
sleep 1
check "and its blocks" shared_out gw1 gw2
check_fails "files of peers that a killed agent left are removed" test -e "$dir/gw1.state/peers-99"
kill_hard agent-gw2
kill_hard gateway-gw2
check "blocks of a machine that is gone are taken" wait_for 30 owns gw1 16
check "its last fence had ended before" told gw2 "s['until_ns'] < now"
gateway_stand_in gw2
agent_start gw2
check "it comes back and gets its share" wait_for 60 owns gw2 8
kill_hard gateway-gw2
check "blocks of a gateway alone that is gone are taken too" wait_for 30 owns gw1 16
gateway_stand_in gw2
check "and given back" wait_for 60 owns gw2 8

# --- what operators do wrong ---

agent_config gw3 gw1
gateway_stand_in gw3
agent_start gw3
check "a node name that is used twice is refused" wait_for 20 grep -q 'node name "gw1" is used by another agent' \
	"$dir/agent-gw3.log"
check_fails "and serves nothing" told gw3 "s['blocks']"
stop agent-gw3 || true
etcdctl_run put /shardtun/block/3 '{"version":9}' >/dev/null
check "a block's key of a newer version is nobody's" wait_for 20 told gw1 "3 not in s['blocks']"
check "on both" wait_for 20 told gw2 "3 not in s['blocks']"
etcdctl_run del /shardtun/block/3 >/dev/null
check "and owned again once it is removed" wait_for 30 shared_out gw1 gw2
next=$(etcdctl_run get --print-value-only /shardtun/next)
etcdctl_run put /shardtun/next '{"version":2,"next":90}' >/dev/null
check "where the next index is of a newer version, none is given" refused_with "/shardtun/next is no number, or of a newer version" \
	peer add "$(new_key)"
etcdctl_run put /shardtun/next "$next" >/dev/null
etcdctl_run put "/shardtun/peer/$key_e" '{"version":2}' >/dev/null
check "nor is such a peer deleted" refused_with "of a newer version: it is left alone" peer del "$key_e"
etcdctl_run del "/shardtun/peer/$key_e" >/dev/null
etcdctl_run put /shardtun/node/gw9 '{"version":2,"uuid":"u"}' >/dev/null
check "a node of a newer version is named" wait_for 10 grep -q "cannot be read.*/shardtun/node/gw9 is the first" "$dir/agent-gw1.log"
sleep 1
check "and gets no blocks" shared_out gw1 gw2
etcdctl_run del /shardtun/node/gw9 >/dev/null
etcdctl_run put /shardtun/members '{"version":1,"members":["gw1"]}' >/dev/null
check "a member that was removed gives its blocks away" wait_for 60 owns gw1 16
check "all of them" told gw2 "not s['blocks']"
etcdctl_run put /shardtun/members '{"version":1,"members":["gw1","gw2"]}' >/dev/null
check "and gets some when it is one again" wait_for 60 owns gw2 8
agent_config gw4
sed -i "s|^CA = .*|CA = /etc/ssl/certs/ca-certificates.crt|" "$dir/gw4.conf"
if [[ -e /etc/ssl/certs/ca-certificates.crt ]]; then
	agent_start gw4
	check "a wrong certificate is named" wait_for 20 grep -qi "reads in etcd fail.*certificate" "$dir/agent-gw4.log"
	stop agent-gw4 || true
else
	skip "a wrong certificate is named" "no certificates here"
fi

agent_config gw5
sed -i "s|^Endpoints = .*|Endpoints = https://127.0.0.1:1, https://127.0.0.1:2|" "$dir/gw5.conf"
gateway_stand_in gw5
agent_start gw5
check "an etcd that is not there at the start is named" wait_for 20 grep -q "reads in etcd fail.*127.0.0.1:" "$dir/agent-gw5.log"
check "the gateway is told that nothing is its own" wait_for 10 told gw5 "s['requests'] > 2 and not s['blocks']"
check "and a peer cannot be added meanwhile" refused_by gw5 "https://127.0.0.1:" peer add "$(new_key)"
stop agent-gw5 || true
etcdctl_run put /shardtun/members 'gw1, gw2' >/dev/null
check "a list of members that cannot be read is named" wait_for 10 grep -q "/shardtun/members in etcd is missing or cannot be read" \
	"$dir/agent-gw1.log"
sleep 3
check "and nothing moves" shared_out gw1 gw2
etcdctl_run put /shardtun/members '{"version":1,"members":["gw1","gw2"]}' >/dev/null

metric() { # NAME
	ns gateway python3 -c 'import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9701/metrics").read().decode())' | awk -v name="$1" '$1 == name { print $2 }'
}
metric_is() { # NAME VALUE
	[[ $(metric "$1") == "$2" ]]
}
check "the metrics have the blocks" wait_for 10 metric_is shardtun_agent_blocks_served 8
check "and its share" metric_is shardtun_agent_blocks_share 8
check "etcd is up" metric_is shardtun_agent_etcd_up 1

# --- etcd ---

kill -STOP "$(pgrep -P "${started[etcd]}" etcd || echo "${started[etcd]}")"
check "an etcd that hangs is said" wait_for 20 grep -q "reads in etcd fail" "$dir/agent-gw1.log"
check "also by the metrics" wait_for 10 metric_is shardtun_agent_etcd_up 0
sleep 2
check "blocks are served on by the other member's promise" told gw1 "len(s['blocks']) == 8 and s['until_ns'] > now"
stop agent-gw2 || true
check "and no longer when it ends" wait_for 20 told gw1 "s['until_ns'] < now or not s['blocks']"
agent_start gw2
kill -CONT "$(pgrep -P "${started[etcd]}" etcd || echo "${started[etcd]}")"
check "when it goes on, all is as before" wait_for 60 shared_out gw1 gw2
check "which is said too" grep -q "reads in etcd succeed again" "$dir/agent-gw1.log"
peer "$key_e" eve 5
check "and peers change again" wait_for 10 told gw2 "'$key_e' in s['peers']"

done_testing
