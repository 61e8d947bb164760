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

enum {
	CLUSTER_PEERS_REFUSED = 100, /* at most so many are listed in an answer */
	CLUSTER_PEERS_SLICE = 2000,  /* changes at a time: some milliseconds */
};

/* A file that is read, and what follows from it. Reading takes seconds with a million peers, and the deadlines of
 * blocks have to be put off meanwhile: so it is done on a thread of its own, and its changes in slices. */
struct cluster_peers;

/* `running` and its peers are borrowed: no peer may be added or removed by others until cluster_peers_free(). NULL with
 * `error`: no memory. Control thread. */
struct cluster_peers *cluster_peers_new(struct gateway_running *running, const char *path, struct error *error);

/* First step: reads the file, and finds what differs. Changes nothing. A line that says nothing usable is refused, and
 * the others count. Any thread that joined RCU, online, holding nothing that it protects. */
void cluster_peers_read(struct cluster_peers *peers);

/* Second step: carries out a slice. False: there is more to do. True: *answer is {"peers":N,"changed":M,
 * "refused_count":R,"refused":["KEY: why",...]}, the caller's, N as there are then, and the first of R; or NULL with
 * `error`: nothing changed, or memory was short or an address another peer's, which a snapshot puts right. Control
 * thread, online under RCU. */
bool cluster_peers_apply(struct cluster_peers *peers, json_t **answer, struct error *error);

/* Whether the networks behind peers may be others by what was carried out so far. Control thread. */
bool cluster_peers_change_networks(const struct cluster_peers *peers);

/* In any state. Waits for a grace period. Threads as of the first step. */
void cluster_peers_free(struct cluster_peers *peers);
