// SPDX-License-Identifier: Apache-2.0
/* A TUN reader: a thread that reads frames from one queue of the device, finds out whose they are, and hands them to
 * the workers that own the sessions, through a ring for each (frame_ring.h). It knows addresses and session IDs, never
 * a session. */
#pragma once

#include "core/base/clock.h"
#include "core/base/owner.h"
#include "core/base/waker.h"
#include "core/sessions/registry.h"
#include "perf/record/stage.h"
#include "tun/tun.h"
#include "workers/frame_ring.h"

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
	struct frame_pool *pool;
	uint64_t *touched; /* a bit for each worker that got something in this batch */
	uint64_t window;   /* of the estimate how busy we are: its start, monotonic ns */
	uint64_t asleep;   /* ns of it that we slept */
	int epoll_fd;
	struct owner owner;

	/* written by the thread, read by others */
	struct stats stats;
	struct stage_recorder stages;
	_Atomic int error;		 /* negative errno when the TUN is gone, which ends the thread */
	_Atomic bool busy CACHE_ALIGNED; /* more than half of the time: workers need not ask to be woken */

	/* written by others */
	struct waker waker;
	_Atomic bool stop;
};

/* Start-up. NULL: `error`. Freed after this thread and the workers ended. */
struct tun_reader *tun_reader_new(const struct tun_reader_params *params, struct error *error);
void tun_reader_free(struct tun_reader *reader);

/* The thread, registered for RCU: until tun_reader_stop(), or until the device is gone. */
void tun_reader_run(struct tun_reader *reader);

/* Ends tun_reader_run(). Any thread. */
void tun_reader_stop(struct tun_reader *reader);

/* One batch without sleeping; returns the number of frames. */
size_t tun_reader_turn(struct tun_reader *reader);
