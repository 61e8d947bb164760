#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 100,000 peers, from a real etcd to a gateway that stands for a real one: how long a start takes, and a change after it.
# PEERS=N for another number.
# shellcheck source=tests/netns/lib/lib.sh
. "$(dirname "$0")/../lib/lib.sh"
# shellcheck source=tests/netns/lib/etcd.sh
. "$(dirname "$0")/../lib/etcd.sh"
command -v etcd >/dev/null || skip_all "needs etcd"

peers=${PEERS:-100000}

topology_up
tls_make
etcd_start
etcd_passwords
ns gateway "$tests_dir/tools/etcd_fill.py" "https://127.0.0.1:$etcd_port" "$dir/ca.pem" agent agentsecret "$peers"
etcdctl_run put /shardtun/members '{"version":1,"members":["gw1","gw2"]}' >/dev/null
blocks=255 agent_config gw1
gateway_stand_in gw1
started_at=${EPOCHREALTIME/[.,]/}
agent_start gw1
check "all $peers peers are there" wait_for 60 told gw1 "s['peer_count'] == $peers"
took=$(((${EPOCHREALTIME/[.,]/} - started_at) / 1000))
told gw1 "s['loads']" | sed 's/^/# the gateway read: /'
grep "the gateway has" "$dir/agent-gw1.log" | sed 's/^/# /'
check "within 10 s of the start: after $took ms" test "$took" -lt 10000
changed_at=${EPOCHREALTIME/[.,]/}
etcdctl_run put /shardtun/peer/BBBB '{"version":1,"name":"new","index":1000001}' >/dev/null
check "a change is seen" wait_for 10 told gw1 "s['peer_count'] == $peers + 1"
took=$(((${EPOCHREALTIME/[.,]/} - changed_at) / 1000))
check "within 1 s, etcdctl's own time included: after $took ms" test "$took" -lt 1000
check "the blocks are served meanwhile" told gw1 "len(s['blocks']) == 255 and s['until_ns'] > now"
done_testing
