// SPDX-License-Identifier: Apache-2.0
/* /metrics of the agent, in the text format of Prometheus: blocks, moves, fences, etcd's latency and errors, peers. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "core/agent/etcd.h"
#include "core/agent/promise_exchange.h"
#include "core/base/error.h"

/* Copied by the agent's thread, read by the server's. Times in ns. */
struct agent_figures {
	uint64_t blocks_owned, blocks_served, share, moving, without_owner, members, nodes, draining, name_is_used;
	uint64_t is_member;
	uint64_t taken, cleaned, lost, fences, unreadable_keys;
	uint64_t reads, reads_failed;
	bool was_read;
	uint64_t read_age; /* since the last read that was answered was sent, if there was one */
	struct etcd_counters etcd;
	uint64_t peer_loads, peer_changes, peers_skipped, peers_load_time;
	uint64_t gateway_up, etcd_up;
	uint64_t by_promises, questions, agreements;
	uint64_t verdicts[OWNERSHIP_VERDICTS], drops[PROMISE_DROP_COUNT];
};

struct agent_metrics;

/* Listens as the option MetricsListen says, and answers on a thread of its own. NULL with `error`. */
struct agent_metrics *agent_metrics_open(const struct config_listener *config, struct error *error);

/* What is answered from now on. The agent's thread. */
void agent_metrics_set(struct agent_metrics *metrics, const struct agent_figures *figures);

/* NULL is allowed. */
void agent_metrics_close(struct agent_metrics *metrics);

/* The text, from malloc(), with its length; NULL: no memory. */
char *agent_metrics_text(const struct agent_figures *figures, size_t *length);
