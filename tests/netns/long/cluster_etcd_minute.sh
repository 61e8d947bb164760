#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/netns/cases/cluster_etcd.sh with a minute without etcd. About two minutes:
# tests/netns/run build/gcc $PWD/tests/netns/long/cluster_etcd_minute.sh
OUTAGE=60 exec "$(dirname "$0")/../cases/cluster_etcd.sh"
