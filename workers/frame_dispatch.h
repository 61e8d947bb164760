// SPDX-License-Identifier: Apache-2.0
/* Frames for other threads' sessions: what a TUN reader reads, and what a worker finds in its own TUN queue that
 * belongs to another worker (a network behind a peer; the kernel's steering knows the pool's addresses alone). Frames
 * of a batch are pushed into rings (frame_ring.h), then published to each worker at once, which is woken when it
 * sleeps.
 *
 * A reader with a second queue, of sparse flows (tun/sparse_flows.h), has a second ring to each worker: the worker
 * takes what is in that one first. What is in the second queue when a batch of the first was read has to be pushed
 * before the batch is published: then no flow is reordered whose packets were sparse before.
 *
 * Owned by one thread. */
#pragma once

#include "core/base/waker.h"
#include "core/sessions/table.h"
#include "perf/record/stats.h"
#include "workers/frame_ring.h"

/* A ring to each worker. */
struct frame_rings {
	struct frame_pool *pool; /* NULL: there are none */
	uint64_t *touched;	 /* a bit for each that gets frames of this batch */
};

struct frame_dispatch {
	struct frame_rings all, sparse;
	const struct session_sharding *sharding;
	struct waker *const *wakers; /* of the workers, by number; the caller's */
	uint32_t *marks;	     /* frame_dispatch_mark(): where each ring of `all` was */
	uint32_t handled;	     /* workers, from the first on, that have handled what was noted */
};

/* `sparse`: with rings for sparse flows. Start-up. 0 or -ENOMEM; frame_dispatch_deinit() is due in both cases. `wakers`
 * may be filled in later. */
int frame_dispatch_init(struct frame_dispatch *dispatch, const struct session_sharding *sharding,
			struct waker *const *wakers, bool sparse);
void frame_dispatch_deinit(struct frame_dispatch *dispatch);

/* The thread that owns it pushes and publishes. Start-up. */
void frame_dispatch_own(struct frame_dispatch *dispatch, const struct owner *owner);

/* The ring to a worker; of sparse flows, NULL: there is none. */
struct frame_ring *frame_dispatch_ring(const struct frame_dispatch *dispatch, uint32_t worker);
struct frame_ring *frame_dispatch_sparse_ring(const struct frame_dispatch *dispatch, uint32_t worker);

/* Hands a frame, with the packet that frame_parse() found in it, to the worker that owns the session, by one of the two
 * kinds of rings. It is not copied when it lies in frame_pool_buffer() of that pool. DROP_NONE, or DROP_OUT_RING: that
 * worker, or that session, has too much in the ring. */
enum drop_reason frame_dispatch_push(struct frame_dispatch *dispatch, struct frame_rings *rings, uint32_t session_id,
				     const struct inner *packet, uint64_t now);

/* Publishes to each worker its frames, and wakes those that sleep: once a batch, `sparse` first. */
void frame_dispatch_publish(struct frame_dispatch *dispatch, struct frame_rings *rings, struct stats *stats);

/* Notes what was pushed into the rings of all other flows; and whether the workers have handled what was noted last.
 * With rings of sparse flows alone. */
void frame_dispatch_mark(struct frame_dispatch *dispatch);
bool frame_dispatch_handled(struct frame_dispatch *dispatch);
