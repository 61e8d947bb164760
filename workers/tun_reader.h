// SPDX-License-Identifier: Apache-2.0
/* A TUN reader: a thread that reads frames from one queue of the device, looks up the session ID of their destination,
 * and hands them to the workers that own the sessions, through a ring for each (frame_ring.h). What comes out of the
 * queue's second one, of sparse flows, has rings of its own. It uses addresses and session IDs, never a session. */
#pragma once

#include "core/base/clock.h"
#include "core/sessions/registry.h"
#include "tun/tun.h"
#include "workers/event_loop.h"
#include "workers/frame_dispatch.h"

struct tun_reader_params {
	struct tun_queue *tun; /* the caller's, attached */
	const struct clock *clock;
	const struct registry *registry;
	struct waker *const *wakers; /* of the workers, by number; the caller's */
	uint32_t stage_sampling;
	uint64_t ticks_per_second;
};

struct tun_reader {
	struct tun_reader_params params;
	struct frame_dispatch dispatch;
	struct queue_shares_tally tally; /* of its queue */
	bool holds;			 /* a batch of the first queue is pushed, and not published */
	bool light;			 /* the turn takes the second queue alone, and is the only one before a sleep */
	uint64_t last;			 /* when the last batch with frames of the first queue was read, monotonic ns */
	uint64_t emptied;		 /* when the first queue was empty, monotonic ns; 0: nothing to publish */
	uint64_t marked;		 /* when that was noted last */
	uint64_t window;		 /* start of the window in which `busy` is measured, monotonic ns */
	uint64_t asleep;		 /* ns slept in that window */

	/* written by the thread, read by others */
	_Atomic bool busy CACHE_ALIGNED; /* more than half of the time: workers poll instead of being woken */

	struct event_loop loop; /* it fails when the TUN is gone */
};

/* Start-up. NULL: `error`. Freed after this thread and the workers ended. */
struct tun_reader *tun_reader_new(const struct tun_reader_params *params, struct error *error);
void tun_reader_free(struct tun_reader *reader);

/* The thread, registered for RCU: until its event loop is stopped, or until the device is gone. */
void tun_reader_run(struct tun_reader *reader);

/* One batch without sleeping; returns the number of frames. */
size_t tun_reader_turn(struct tun_reader *reader);
