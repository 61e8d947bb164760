# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # lib.sh and cluster.sh have dir, tests_dir, started and the like
# What happens to the gateways of cluster.sh, which sources this: they and etcd fail, join and leave.

# Nothing passes that link any more, but it stays up: only its silence tells.
silence_link() { # NAMESPACE INTERFACE
	ns "$1" nft -f - <<-END
		table netdev silent-$2 {
			chain in { type filter hook ingress device "$2" priority -500; policy drop; }
			chain out { type filter hook egress device "$2" priority -500; policy drop; }
		}
	END
}

restore_link() { # NAMESPACE INTERFACE
	ns "$1" nft delete table netdev "silent-$2"
}

# Everything that runs on that machine is killed at once: gateway, agent, routing daemon. Nobody says goodbye.
kill_machine() { # NUMBER
	local name pids
	pids=$(ip netns pids "st-$$-g$1")
	{
		# shellcheck disable=SC2086 # a list
		kill -KILL $pids || true
		for name in "g$1" "agent$1" "bird-g$1"; do
			[[ -z ${started[$name]:-} ]] || wait "${started[$name]}" || true
			unset "started[$name]"
		done
	} 2>/dev/null
}

# Nothing reaches that machine any more, nor comes from it; its programs run.
cut_off() { # NUMBER
	local link
	for link in eth0 eth1 eth2; do
		silence_link "g$1" "$link"
	done
}

end_cut_off() { # NUMBER
	local link
	for link in eth0 eth1 eth2; do
		restore_link "g$1" "$link"
	done
}

# Etcd's leader does not run for so long.
etcd_leader_hangs() { # SECONDS
	local leader
	leader=$(etcd_leader)
	kill -STOP "${started[etcd$leader]}"
	sleep "$1"
	kill -CONT "${started[etcd$leader]}"
}

etcd_majority_dies() {
	kill_hard etcd1
	kill_hard etcd2
}

etcd_majority_starts() {
	etcd_start 1
	etcd_start 2
	wait_for 60 etcdctl endpoint health 2>/dev/null || true
}

# Of that agent's log: etcd was away so often, and all others agreed; it was back so often.
promised() { # NUMBER TIMES
	[[ $(grep -c "etcd does not answer since .*; 2 of 2 other members agree: blocks are served on by their promises" \
		"$dir/agent$1.log") -ge $2 ]]
}

answers_again() { # NUMBER TIMES
	[[ $(grep -c "etcd answers again, after .*; blocks are served by reads" "$dir/agent$1.log") -ge $2 ]]
}

# --- one joins, one leaves -------------------------------------------------------------------------------------------

# The fourth gateway, beside three.
fourth_joins() {
	node_config 4
	gateway_node_start 4
	agent_node_start 4
	sleep 1
}

fourth_is_member() {
	etcdctl put /shardtun/members '{"version":1,"members":["g1","g2","g3","g4"]}' >/dev/null
	check "a fourth gateway gets its share" wait_for 60 shared_out 1 2 3 4
	check "it is a way to the shared address" wait_for 10 ways "$shared4" 4
	sleep 2
}

first_is_drained() {
	check "one is drained" timeout 120 "$BUILD/shardtunctl" --socket "$dir/g1.sock" --agent "$dir/agent1.state/agent.sock" drain
	check "the others have all of its blocks" wait_for 10 shared_out 2 3 4
	check "it is no way to the shared address any more" wait_for 10 ways "$shared4" 3
	sleep 2
}

first_leaves() {
	local status=0
	stop agent1 || status=$?
	stop g1 || status=$?
	check "it ends" test "$status" -eq 0
	etcdctl put /shardtun/members '{"version":1,"members":["g2","g3","g4"]}' >/dev/null
	sleep 3
}
