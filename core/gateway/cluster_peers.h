// SPDX-License-Identifier: Apache-2.0
/* The peers of a cluster, as the agent passes them on: a file with a JSON object on each line, in their order.
 *
 *   {"op":"snapshot"}                      first of all: what is not named in the file goes
 *   {"op":"put","key":...,"index":N, ...}  this peer is so from now on
 *   {"op":"delete","key":...}              it is no peer any more
 *
 * A put has the public key, the index of its address in the pool, and may have: name; networks, an array; protocol,
 * shardtun or wireguard; psk, as core/cluster/sealed_psk.h has it; and rate_up, rate_down, burst, quota, quota_rate as
 * a configuration file has them. Other members are ignored. */
#pragma once

#include <jansson.h>

#include "core/gateway/reload.h"

enum { CLUSTER_PEERS_REFUSED = 100 /* at most so many are listed in an answer */ };

/* Takes over what the file says: {"peers":N,"changed":M,"refused":["KEY: why",...]}, N as there are then. A line that
 * says nothing usable is refused, and the others count. NULL with `error`: nothing changed, or memory was short or an
 * address another peer's, which a snapshot puts right. Blocks for as long as reading takes. Control thread, online
 * under RCU; while no reload is under way. */
json_t *cluster_peers_apply(struct gateway_running *running, const char *path, struct error *error);
