// SPDX-License-Identifier: Apache-2.0
#include "workers/gateway_fence.h"

#include "core/base/hot.h"

/* What was sent in the turn before is out, unless the socket took no more. */
static void publish(const struct worker *worker, struct gateway_role *role)
{
	if (!worker->send.blocked && !gateway_fenced(role, role->view.version))
		atomic_store_explicit(&role->fenced, role->view.version, memory_order_release);
}

HOT bool gateway_fence_follow(struct worker *worker, struct block_set *lost)
{
	struct gateway_role *role = worker->role_state;
	const struct fence *fence = role->registry->fence;
	if (likely(fence == NULL))
		return false;
	publish(worker, role);
	return unlikely(fence_view_due(&role->view, fence, worker->now)) &&
	       fence_view_follow(&role->view, fence, worker->now, lost);
}
