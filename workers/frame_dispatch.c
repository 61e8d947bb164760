// SPDX-License-Identifier: Apache-2.0
#include "workers/frame_dispatch.h"

#include <stdlib.h>

#include "core/base/hot.h"

enum {
	DISPATCH_RING = 1024,	    /* frames that a worker can be behind */
	DISPATCH_SLOTS_LEAST = 16,  /* large frames that a worker can be behind, of many workers ... */
	DISPATCH_SLOTS_MOST = 64,   /* ... and of few */
	DISPATCH_SLOTS_WHOLE = 256, /* ... so that they have about so many together */
};

/* Few workers may be further behind than many: memory that is touched stays about the same. */
static uint32_t slots_per_worker(uint32_t workers)
{
	uint32_t slots = DISPATCH_SLOTS_WHOLE / workers;
	return slots < DISPATCH_SLOTS_LEAST  ? DISPATCH_SLOTS_LEAST
	       : slots > DISPATCH_SLOTS_MOST ? DISPATCH_SLOTS_MOST
					     : slots;
}

static int rings_init(struct frame_rings *rings, uint32_t workers, uint32_t slots)
{
	const struct frame_pool_params params = {
		.workers = workers, .slots_per_worker = slots, .ring_entries = DISPATCH_RING};
	rings->pool = frame_pool_new(&params);
	rings->touched = calloc((workers + 63) / 64, sizeof *rings->touched);
	return rings->pool != NULL && rings->touched != NULL ? 0 : -ENOMEM;
}

static void rings_deinit(struct frame_rings *rings)
{
	frame_pool_free(rings->pool);
	free(rings->touched);
}

int frame_dispatch_init(struct frame_dispatch *dispatch, const struct session_sharding *sharding,
			struct waker *const *wakers, bool sparse)
{
	uint32_t workers = sharding->workers;
	*dispatch = (struct frame_dispatch){.sharding = sharding, .wakers = wakers};
	int result = rings_init(&dispatch->all, workers, slots_per_worker(workers));
	if (result != 0 || !sparse)
		return result;
	dispatch->marks = calloc(workers, sizeof *dispatch->marks);
	result = rings_init(&dispatch->sparse, workers, slots_per_worker(workers));
	return dispatch->marks != NULL ? result : -ENOMEM;
}

void frame_dispatch_deinit(struct frame_dispatch *dispatch)
{
	rings_deinit(&dispatch->all);
	rings_deinit(&dispatch->sparse);
	free(dispatch->marks);
	*dispatch = (struct frame_dispatch){0};
}

void frame_dispatch_own(struct frame_dispatch *dispatch, const struct owner *owner)
{
	frame_pool_own(dispatch->all.pool, owner);
	if (dispatch->sparse.pool != NULL)
		frame_pool_own(dispatch->sparse.pool, owner);
}

struct frame_ring *frame_dispatch_ring(const struct frame_dispatch *dispatch, uint32_t worker)
{
	return frame_pool_ring(dispatch->all.pool, worker);
}

struct frame_ring *frame_dispatch_sparse_ring(const struct frame_dispatch *dispatch, uint32_t worker)
{
	return dispatch->sparse.pool != NULL ? frame_pool_ring(dispatch->sparse.pool, worker) : NULL;
}

HOT enum drop_reason frame_dispatch_push(struct frame_dispatch *dispatch, struct frame_rings *rings,
					 uint32_t session_id, const struct inner *packet, uint64_t now)
{
	uint32_t worker = session_shard(dispatch->sharding, session_id);
	if (!frame_pool_push(rings->pool, worker, packet, session_id, now))
		return DROP_OUT_RING;
	rings->touched[worker / 64] |= 1ull << worker % 64;
	return DROP_NONE;
}

HOT void frame_dispatch_publish(struct frame_dispatch *dispatch, struct frame_rings *rings, struct stats *stats)
{
	uint32_t words = (dispatch->sharding->workers + 63) / 64;
	for (uint32_t word = 0; word < words; word++) {
		for (; rings->touched[word] != 0; rings->touched[word] &= rings->touched[word] - 1) {
			uint32_t worker = word * 64 + (uint32_t)__builtin_ctzll(rings->touched[word]);
			if (frame_pool_publish(rings->pool, worker) && waker_wake(dispatch->wakers[worker]))
				stats_add(stats, wakes, 1);
		}
	}
}

void frame_dispatch_mark(struct frame_dispatch *dispatch)
{
	for (uint32_t worker = 0; worker < dispatch->sharding->workers; worker++)
		dispatch->marks[worker] = frame_pool_pushed(dispatch->all.pool, worker);
	dispatch->handled = 0;
}

bool frame_dispatch_handled(struct frame_dispatch *dispatch)
{
	uint32_t workers = dispatch->sharding->workers;
	while (dispatch->handled < workers &&
	       frame_pool_released(dispatch->all.pool, dispatch->handled, dispatch->marks[dispatch->handled]))
		dispatch->handled++;
	return dispatch->handled == workers;
}
