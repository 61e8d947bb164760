// SPDX-License-Identifier: Apache-2.0
#include "workers/frame_dispatch.h"

#include <stdlib.h>

enum {
	DISPATCH_RING = 1024,	   /* frames that a worker can be behind */
	DISPATCH_SLOTS_LEAST = 16, /* large frames that a worker can be behind, of many workers ... */
	DISPATCH_SLOTS_MOST = 64,  /* ... and of few */
	DISPATCH_SLOTS_WHOLE = 256 /* ... so that they have about so many together */
};

/* Few workers may be further behind than many: memory that is touched stays about the same. */
static uint32_t slots_per_worker(uint32_t workers)
{
	uint32_t slots = DISPATCH_SLOTS_WHOLE / workers;
	return slots < DISPATCH_SLOTS_LEAST  ? DISPATCH_SLOTS_LEAST
	       : slots > DISPATCH_SLOTS_MOST ? DISPATCH_SLOTS_MOST
					     : slots;
}

int frame_dispatch_init(struct frame_dispatch *dispatch, const struct session_sharding *sharding,
			struct waker *const *wakers)
{
	struct frame_pool_params pool = {.workers = sharding->workers,
					 .slots_per_worker = slots_per_worker(sharding->workers),
					 .ring_entries = DISPATCH_RING};
	*dispatch = (struct frame_dispatch){.sharding = sharding, .wakers = wakers};
	dispatch->pool = frame_pool_new(&pool);
	dispatch->touched = calloc((sharding->workers + 63) / 64, sizeof *dispatch->touched);
	return dispatch->pool != NULL && dispatch->touched != NULL ? 0 : -ENOMEM;
}

void frame_dispatch_deinit(struct frame_dispatch *dispatch)
{
	frame_pool_free(dispatch->pool);
	free(dispatch->touched);
	*dispatch = (struct frame_dispatch){0};
}

enum drop_reason frame_dispatch_push(struct frame_dispatch *dispatch, uint32_t session_id, const struct inner *packet,
				     uint64_t now)
{
	uint32_t worker = session_shard(dispatch->sharding, session_id);
	if (!frame_pool_push(dispatch->pool, worker, packet, session_id, now))
		return DROP_OUT_RING;
	dispatch->touched[worker / 64] |= 1ull << worker % 64;
	return DROP_NONE;
}

void frame_dispatch_publish(struct frame_dispatch *dispatch, struct stats *stats)
{
	uint32_t words = (dispatch->sharding->workers + 63) / 64;
	for (uint32_t word = 0; word < words; word++) {
		for (; dispatch->touched[word] != 0; dispatch->touched[word] &= dispatch->touched[word] - 1) {
			uint32_t worker = word * 64 + (uint32_t)__builtin_ctzll(dispatch->touched[word]);
			if (frame_pool_publish(dispatch->pool, worker) && waker_wake(dispatch->wakers[worker]))
				stats_add(stats, wakes, 1);
		}
	}
}
