// SPDX-License-Identifier: Apache-2.0
/* /metrics of the agent, in the text format of Prometheus: blocks, moves, fences, etcd's latency and errors, peers. */
#pragma once

#include <stdint.h>

#include "core/base/error.h"

/* Copied by the agent's thread, read by the server's. Times in ns. */
struct agent_figures {
	uint64_t blocks_owned, blocks_served, share, members, nodes, draining;
	uint64_t taken, cleaned, lost, fences, unreadable_keys;
	uint64_t reads, reads_failed, read_age; /* read_age: since the last read that was answered was sent */
	uint64_t requests, failures, endpoint_moves, latency_sum, latency_last;
	uint64_t peer_loads, peer_changes, peers_skipped, peers_load_time;
	uint64_t gateway_up, etcd_up;
};

struct agent_metrics;

/* Listens on "ADDRESS:PORT" or "[ADDRESS]:PORT" and answers on a thread of its own. NULL with `error`. */
struct agent_metrics *agent_metrics_open(const char *address, struct error *error);

/* What is answered from now on. The agent's thread. */
void agent_metrics_set(struct agent_metrics *metrics, const struct agent_figures *figures);

/* NULL is allowed. */
void agent_metrics_close(struct agent_metrics *metrics);

/* The text, from malloc(), with its length; NULL: no memory. */
char *agent_metrics_text(const struct agent_figures *figures, size_t *length);
