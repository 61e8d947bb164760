#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Three agents with an etcd of three members: its leader hangs, its majority is gone, one agent is cut off from it. As long
# as all members agree no gateway is fenced, and no block has another owner; without one of them it is fenced in time.
# OUTAGE=N for another time without etcd, in seconds.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/etcd.sh
. "$(dirname "$0")/../lib/etcd.sh"
# shellcheck source=tests/netns/lib/stalls.sh
. "$tests_dir/lib/stalls.sh"
PATH=$PATH:/usr/sbin
command -v etcd >/dev/null || skip_all "needs etcd"

outage=${OUTAGE:-15}
gateways=(gw1 gw2 gw3)

# The blocks of each gateway, what was lost, and how often it was fenced.
owners() {
	python3 - "$dir" "${gateways[@]}" <<-'END_OF_PYTHON'
		import json, sys
		for name in sys.argv[2:]:
		    state = json.load(open(f"{sys.argv[1]}/{name}.json"))
		    print(name, sorted(state["blocks"]), "lost", state["lost"], "fences", state["fences"], "released", state["released"])
	END_OF_PYTHON
}

nothing_happened() {
	owners
	[[ $(owners) == "$before" ]] && all_serve "${gateways[@]}"
}

# All serve now: each block once.
all_serve() { # NAMES...
	python3 - "$dir" "$@" <<-'END_OF_PYTHON'
		import json, sys, time
		owned = []
		for name in sys.argv[2:]:
		    state = json.load(open(f"{sys.argv[1]}/{name}.json"))
		    if state["until_ns"] > time.clock_gettime_ns(time.CLOCK_BOOTTIME):
		        owned += state["blocks"]
		print(sorted(owned))
		sys.exit(0 if sorted(owned) == list(range(1, 13)) else 1)
	END_OF_PYTHON
}

# Nothing moves any more.
settled() {
	local one
	one=$(owners)
	sleep 1.5
	all_serve "${gateways[@]}" >/dev/null && [[ $(owners) == "$one" ]]
}

metric() { # NAME METRIC
	ns gateway python3 -c 'import sys, urllib.request
print(urllib.request.urlopen(f"http://127.0.0.1:970{sys.argv[1]}/metrics").read().decode())' "${1//[!0-9]/}" |
		awk -v name="$2" '$1 == name { print $2 }'
}
metric_at_least() { # NAME METRIC VALUE
	[[ $(metric "$1" "$2") -ge $3 ]]
}

# These and no others may take blocks.
takers_are() { # NAMES...
	etcdctl_run get --print-value-only /shardtun/takers | python3 -c 'import json, sys
takers = json.load(sys.stdin)
print(takers)
sys.exit(sorted(takers["members"]) != sorted(sys.argv[1:]))' "$@"
}

said() { # NAME COUNT TEXT
	[[ $(grep -c -- "$3" "$dir/agent-$1.log") -ge $2 ]]
}

topology_up
tls_make
etcd_start_three
etcd_passwords
etcdctl_run put /shardtun/members '{"version":1,"members":["gw1","gw2","gw3"]}' >/dev/null
for name in "${gateways[@]}"; do
	blocks=12 agent_config "$name"
	gateway_stand_in "$name"
	agent_start "$name"
done
check "three agents share the blocks" wait_for 60 all_serve "${gateways[@]}"
check "one has written the secret" test "$(etcdctl_run get /shardtun/secret | grep -c '"secret"')" -eq 1
check "and the takers, once each had registered" takers_are gw1 gw2 gw3

# --- etcd's leader hangs ---

# What is to stay as it is.
note_owners() {
	wait_for 60 settled || true
	before=$(owners)
}

leader_hangs() {
	local leader
	note_owners
	leader=$(etcd_leader)
	kill -STOP "${started[etcd$leader]}"
	sleep 5
	kill -CONT "${started[etcd$leader]}"
	sleep 5
}
undisturbed "etcd's leader hangs for 5 s: no gateway is fenced, and no block has another owner" gateway 150 leader_hangs nothing_happened

# --- its majority is gone ---

peer_put() { # NUMBER NAME
	etcdctl_run put "/shardtun/peer/$(printf '%042d' "$1" | tr 0-9 A-J)A=" \
		"{\"version\":1,\"name\":\"$2\",\"index\":$(($1 + 1)),\"protocol\":\"shardtun\"}" >/dev/null
}

majority_goes() {
	note_owners
	said=$(grep -c "etcd answers again, after" "$dir/agent-gw1.log" || true)
	kill_hard etcd1
	kill_hard etcd2
	sleep "$outage"
	by_promises=$(metric gw1 shardtun_agent_blocks_by_promises)
	etcd_member 1
	etcd_member 2
	wait_for 30 said gw1 $((said + 1)) "etcd answers again, after" || true
	wait_for 30 etcdctl_run endpoint health 2>/dev/null || true
	sleep 5
}
undisturbed "etcd's majority is gone for $outage s: no gateway is fenced, and no block has another owner" gateway 150 majority_goes nothing_happened
check "it is said that members agree" said gw1 1 \
	"etcd does not answer since .*; 2 of 2 other members agree: blocks are served on by their promises"
check "and shown by a metric" test "$by_promises" -eq 4
check "that etcd is back, is said on all" said gw3 1 "etcd answers again, after"
peer_put 0 alice
check "and peers change again" wait_for 10 told gw2 "s['peer_count'] == 1"

# --- one is cut off ---

cut_from_etcd() {
	note_owners
	agent_cut gw1 etcd
	sleep 8
	agent_join
	wait_for 10 told gw1 "s['until_ns'] > now + 10**9" >/dev/null || true
	sleep 1
}
undisturbed "one that is cut off from etcd alone serves on" gateway 150 cut_from_etcd nothing_happened
check "others have promised" metric_at_least gw2 'shardtun_agent_answers_total{verdict="promised"}' 10
# The connection of its watch rests until TCP tries again, which is seconds later.
missed() {
	grep -c "what was written is not reported" "$dir/agent-gw1.log" || true
}
before=$(missed)
agent_cut gw1 etcd
sleep 7
peer_put 1 bob
agent_join
check "what changed meanwhile is known once etcd answers again" wait_for 10 told gw1 "s['peer_count'] == 2"
check "since the watch is begun again at once" said gw1 1 \
	"watch: its endpoint has failed, and reads are answered again; it is begun again"
check "and not once it has missed something" test "$(missed)" = "$before"
agent_cut gw1 etcd
agent_cut gw1 gw2
check "cut off from a member as well, it is fenced" wait_for 10 told gw1 "s['until_ns'] < now"
check "which is said before" said gw1 1 "1 of 2 other members agree (gw2 does not answer): blocks are served for"
check "the others take its blocks" wait_for 30 all_serve gw2 gw3
check "after its fence" told gw1 "s['until_ns'] < now"
agent_join
check "it gets its share again" wait_for 60 told gw1 "len(s['blocks']) == 4 and s['until_ns'] > now"
check "each block is owned once" wait_for 30 settled

# --- another member ---

agent_config gw4
sed -i 's/^Blocks = .*/Blocks = 12/' "$dir/gw4.conf"
gateway_stand_in gw4
agent_start gw4
gateways+=(gw4)
etcdctl_run put /shardtun/members '{"version":1,"members":["gw1","gw2","gw3","gw4"]}' >/dev/null
check "a new member is written to the takers by another one, and gets blocks" wait_for 60 told gw4 "len(s['blocks']) == 3"
check "all blocks are served" wait_for 30 settled
check "takers follow members" takers_are gw1 gw2 gw3 gw4

# --- another machine by the name of a member ---

machine_in_takers() { # NAME
	etcdctl_run get --print-value-only /shardtun/takers | python3 -c 'import json, sys
takers = json.load(sys.stdin)
print(dict(zip(takers["members"], takers["machines"]))[sys.argv[1]])' "$1"
}
machine=$(machine_in_takers gw4)
check "takers have the machines that they are on, but not their IDs" test "${#machine}" -eq 32 -a \
	"$machine" != "$(</etc/machine-id)"
kill_hard agent-gw4
waited=$(grep -c "this machine is not in" "$dir/agent-gw4.log" || true)
mv "$dir/gw4.state" "$dir/gw4.state-before"
echo uninitialized >"$dir/machine-id"
# shellcheck disable=SC2016 # the inner shell's
start agent-gw4 gateway sh -c 'mount --bind "$1" /etc/machine-id && exec "$2" -c "$3"' sh "$dir/machine-id" \
	"$BUILD/shardtun-agent" "$dir/gw4.conf"
check "without /etc/machine-id it is known by its uuid, which is said" wait_for 60 said gw4 1 "/etc/machine-id cannot be read"
check "it waits for one of the others" wait_for 60 said gw4 $((waited + 1)) "this machine is not in /shardtun/takers in etcd yet"
check "which lets it in, and it gets its share" wait_for 60 told gw4 "len(s['blocks']) == 3 and s['until_ns'] > now"
check "in place of the former one" test "$(machine_in_takers gw4)" != "$machine"
check "all blocks are served, each once" wait_for 30 settled

# --- strangers ---

ns gateway python3 -c 'import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.sendto(b"", ("10.9.0.1", 5557))
    s.sendto(b"?" * 65000, ("10.9.0.1", 5557))
    s.sendto(b"\x01\0\0\0" + bytes(184), ("10.9.0.1", 5557))'
check "datagrams that are none are counted" wait_for 10 metric_at_least gw1 \
	'shardtun_agent_datagrams_dropped_total{reason="malformed"}' 2
check "so are forged ones" metric_at_least gw1 'shardtun_agent_datagrams_dropped_total{reason="forged"}' 1
for name in "${gateways[@]}"; do
	if stop "agent-$name"; then ok "agent of $name ends in order"; else not_ok "agent of $name ends in order"; fi
done
done_testing
