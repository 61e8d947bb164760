// SPDX-License-Identifier: Apache-2.0
/* Writes the sessions of a gateway, and what belongs to them, for another process: core/handover/format.h. */
#pragma once

#include "core/handover/memory.h"
#include "core/sessions/registry.h"
#include "crypto/cookie.h"
#include "perf/record/stats.h"

struct handover_source {
	struct registry *registry;
	const struct cookie_jar *jar;
	const struct stats_snapshot *totals;
	uint64_t now, frozen; /* monotonic ns: now, and since when the data path stands still */
};

/* Makes the memory, fills it and seals it; its word is HANDOVER_OLD. No other thread changes sessions, registry or
 * usage meanwhile. What waits in queues is not written, nor a session that is on its way to its worker. 0 or a negative
 * errno with `error` set: then there is no memory, and what was written of it is wiped. Online under RCU. */
int handover_export(const struct handover_source *source, struct handover_memory *memory, struct error *error);
