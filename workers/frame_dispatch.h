// SPDX-License-Identifier: Apache-2.0
/* Frames for other threads' sessions: what a TUN reader reads, and what a worker finds in its own TUN queue that
 * belongs to another worker (a network behind a peer; the kernel's steering knows the pool's addresses alone). Frames
 * of a batch are pushed into rings (frame_ring.h), then published to each worker at once, which is woken when it
 * sleeps.
 *
 * Owned by one thread. */
#pragma once

#include "core/base/waker.h"
#include "core/sessions/table.h"
#include "perf/record/stats.h"
#include "workers/frame_ring.h"

struct frame_dispatch {
	struct frame_pool *pool;
	const struct session_sharding *sharding;
	struct waker *const *wakers; /* of the workers, by number; the caller's */
	uint64_t *touched;	     /* a bit for each worker that gets frames of this batch */
};

/* Start-up. 0 or -ENOMEM; frame_dispatch_deinit() is due in both cases. `wakers` may be filled in later. */
int frame_dispatch_init(struct frame_dispatch *dispatch, const struct session_sharding *sharding,
			struct waker *const *wakers);
void frame_dispatch_deinit(struct frame_dispatch *dispatch);

/* Hands the frame in frame_pool_buffer(), with the packet that frame_parse() found in it, to the worker that owns the
 * session. DROP_NONE, or DROP_OUT_RING: that worker is too far behind. */
enum drop_reason frame_dispatch_push(struct frame_dispatch *dispatch, uint32_t session_id, const struct inner *packet,
				     uint64_t now);

/* Publishes to each worker its frames, and wakes those that sleep: once a batch. */
void frame_dispatch_publish(struct frame_dispatch *dispatch, struct stats *stats);
