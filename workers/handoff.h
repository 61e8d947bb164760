// SPDX-License-Identifier: Apache-2.0
/* Datagrams that reached the wrong thread. The kernel steers a GRO batch by its first datagram alone, and a batch may
 * hold datagrams of other sessions, or a HELLO: the thread that receives one copies it to its owner's ring. Only what
 * looks right is handed over (its length fits its type, its whole session ID is in the table), and nothing is handed
 * over twice. */
#pragma once

#include "core/sessions/table.h"
#include "perf/record/stats.h"
#include "workers/copy_ring.h"
#include "workers/steering.h"

struct handoff_target {
	struct copy_ring *ring;
	struct waker *waker; /* of the thread that reads it */
};

struct handoff {
	struct steering steering;
	const struct session_table *table;
	struct handoff_target *targets; /* workers, then handshake threads: as in the reuseport group */
};

/* Hands the datagram to the thread it belongs to, and counts that in the caller's `stats`. DROP_NONE: what becomes of
 * it is that one's to count from here. Any registered thread of the group. */
enum drop_reason handoff_pass(const struct handoff *handoff, const struct endpoint *from, uint8_t ecn,
			      const uint8_t *data, uint32_t length, struct stats *stats);
