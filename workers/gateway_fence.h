// SPDX-License-Identifier: Apache-2.0
/* What a worker of a gateway in a cluster sees of the fence (core/cluster/fence.h): once a turn it compares the time
 * with its earliest deadline, and the fence's version with the one that it saw. */
#pragma once

#include "workers/gateway_role.h"

/* Whether blocks are ours no longer, because their deadline is past or another gateway is to have them: `lost`, whose
 * sessions the worker ends now. The worker's thread, at the beginning of a turn. */
bool gateway_fence_follow(struct worker *worker, struct block_set *lost);

/* Whether a session is of a block that another gateway owns, or none does, as of this turn. The worker's thread. */
static inline bool gateway_fence_foreign(const struct gateway_role *role, uint32_t session_id)
{
	return unlikely(role->registry->fence != NULL) && !fence_view_serves(&role->view, block_of_session(session_id));
}

/* Whether nothing more leaves of sessions of blocks that were taken away up to this version of the fence. Any thread;
 * a worker that sleeps has to be woken for it, twice. */
static inline bool gateway_fenced(const struct gateway_role *role, uint64_t version)
{
	return atomic_load_explicit(&role->fenced, memory_order_acquire) >= version;
}
