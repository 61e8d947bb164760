// SPDX-License-Identifier: Apache-2.0
/* Wakes one sleeping thread, and costs a system call only when it sleeps.
 *
 *   the sleeper                          any other thread
 *   waker_prepare()                      makes work visible
 *   checks for work again                waker_wake()
 *   sleeps on waker->fd (epoll)
 *   waker_done()
 *
 * Either the sleeper sees the work when it checks again, or the other side sees its flag: both put a full fence
 * between their store and their load. Each sleep costs at most one wake-up system call. */
#pragma once

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/base/bytes.h"

/* ThreadSanitizer does not model fences. What they order here is one flag against work that the other side publishes
 * with an order of its own; without a fence only a missed wake-up could result. */
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan"
#endif

struct waker {
	int fd; /* an eventfd: readable when waker_wake() was called */
	_Atomic bool asleep CACHE_ALIGNED;
};

/* 0 or a negative errno. */
static inline int waker_init(struct waker *waker)
{
	atomic_init(&waker->asleep, false);
	waker->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return waker->fd < 0 ? -errno : 0;
}

static inline void waker_deinit(struct waker *waker)
{
	if (waker->fd >= 0)
		close(waker->fd);
	waker->fd = -1;
}

/* The sleeper sets its flag; it checks for work after this and before it sleeps. */
static inline void waker_prepare(struct waker *waker)
{
	atomic_store_explicit(&waker->asleep, true, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
}

/* The sleeper clears its flag. `signalled`: the descriptor was readable, and is drained. */
static inline void waker_done(struct waker *waker, bool signalled)
{
	atomic_store_explicit(&waker->asleep, false, memory_order_relaxed);
	if (signalled) {
		uint64_t count;
		ssize_t got = read(waker->fd, &count, sizeof count);
		(void)got;
	}
}

/* After work was made visible. Returns whether that took a system call. Any thread. */
static inline bool waker_wake(struct waker *waker)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (!atomic_load_explicit(&waker->asleep, memory_order_relaxed) ||
	    !atomic_exchange_explicit(&waker->asleep, false, memory_order_relaxed))
		return false;
	uint64_t one = 1;
	ssize_t written = write(waker->fd, &one, sizeof one);
	(void)written; /* a full eventfd is readable already */
	return true;
}
