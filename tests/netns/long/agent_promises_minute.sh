#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/netns/cases/agent_promises.sh with a minute without etcd. About three minutes:
# tests/netns/run build/gcc $PWD/tests/netns/long/agent_promises_minute.sh
OUTAGE=60 exec "$(dirname "$0")/../cases/agent_promises.sh"
