// SPDX-License-Identifier: Apache-2.0
/* What the threads of the data path have in common (worker.h, tun_reader.h, handshaker.h): an epoll set, a waker,
 * counters, stage histograms, and the flags by which the thread ends.
 *
 *   owner_set(&loop->owner);
 *   do {
 *           while (event_loop_running(loop)) {
 *                   if (turn() != 0)         never blocks; ends with a quiescent state of RCU
 *                           continue;
 *                   event_loop_prepare_wait(loop);
 *                   if (event_loop_stopped(loop) || work_waiting())
 *                           event_loop_cancel_wait(loop);
 *                   else
 *                           event_loop_wait(loop, timeout);
 *           }
 *   } while (event_loop_rest(loop));         frozen, until it goes on or ends
 *   owner_clear(&loop->owner);
 *
 * The second look between prepare and wait is what keeps a wake-up from being lost (core/base/waker.h): work_waiting()
 * covers all work that no descriptor of the set signals, such as rings and inboxes. What a thread does besides (to spin
 * first, a budget of CPU time, a last drain) is its own.
 *
 * Concurrency: the thread calls all functions but those marked "any thread". init, watch and deinit are called before
 * the thread starts or after it was joined. Descriptors are watched and never owned, whether
 * this process opened or adopted them; they outlive the loop. */
#pragma once

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "core/base/owner.h"
#include "core/base/waker.h"
#include "perf/record/stage.h"
#include "perf/record/stats.h"
#include "workers/udp.h"

enum { EVENT_LOOP_EVENTS = 8 /* of a wait: others are found by the next one */ };

/* What a descriptor brings: bits, since several may bring the same, and a wait finds several. */
enum event_loop_source {
	EVENT_LOOP_WAKER = 1,
	EVENT_LOOP_UDP = 2,
	EVENT_LOOP_UDP_SPARSE = 4, /* the second socket, of sessions that send little */
	EVENT_LOOP_TUN = 8,
	EVENT_LOOP_TUN_SPARSE = 16, /* the second queue, of flows that send little */
};

enum event_loop_order {
	EVENT_LOOP_RUN,
	EVENT_LOOP_STOP,
	EVENT_LOOP_FREEZE, /* and each number above */
};
enum { EVENT_LOOP_FREEZES = 1 << 30 };

struct event_loop {
	/* the thread's own */
	struct owner owner;
	int epoll_fd;
	uint32_t found; /* enum event_loop_source: what the last wait found ready */
	bool fresh;	/* it found something, all that was ready, and no turn has followed yet */
	/* set before the thread's first turn: how the kernel's scheduler treats it */
	bool realtime;	   /* a real-time policy: it runs until it sleeps, or for 100 ms */
	bool short_slices; /* to yield costs it no more than what is left of one */

	/* written by the thread, read by others */
	struct stats stats;
	struct stage_recorder stages;
	_Atomic int failure; /* negative errno of what ended the thread; 0: nothing did */

	/* written by others */
	struct waker waker;
	_Atomic uint32_t order; /* enum event_loop_order */
	uint32_t freezes;	/* so far; of the thread that freezes it */

	/* written by the thread, read by others */
	_Atomic uint32_t frozen; /* the order by which it stands; 0: it does not */
};

#define EVENT_LOOP_FOREVER UINT64_MAX

/* Opens the epoll set with the waker in it. One batch in `stage_sampling` is sampled for stage histograms (0: none), in
 * ticks of the time stamp counter. 0 or a negative errno; event_loop_deinit() is due in both cases. */
int event_loop_init(struct event_loop *loop, uint32_t stage_sampling, uint64_t ticks_per_second);
void event_loop_deinit(struct event_loop *loop);

/* Adds a descriptor; `events` as for epoll, level-triggered. 0 or a negative errno. */
int event_loop_watch(struct event_loop *loop, int fd, enum event_loop_source source, uint32_t events);

/* Adds all descriptors that a socket is made of, for reading. */
int event_loop_watch_socket(struct event_loop *loop, struct udp_socket *socket, enum event_loop_source source);

/* Changes the events of a descriptor that is watched, or takes it out: then its errors end no wait either. */
void event_loop_change(struct event_loop *loop, int fd, enum event_loop_source source, uint32_t events);
void event_loop_unwatch(struct event_loop *loop, int fd);

/* Sleeps until a watched descriptor is ready, waker_wake(), or `timeout` (ns, or EVENT_LOOP_FOREVER) has passed;
 * offline for RCU meanwhile. */
void event_loop_wait(struct event_loop *loop, uint64_t timeout);

/* Whether the last wait found one of the sources ready; false after event_loop_cancel_wait(), and may be false where
 * many are ready. */
static inline bool event_loop_found(const struct event_loop *loop, uint32_t sources)
{
	return (loop->found & sources) != 0;
}

/* Whether there may be something to read from one of the sources. False only in the turn after a wait that ended by
 * others: what came later ends the next wait, so a read that would find nothing is saved. */
static inline bool event_loop_may_read(const struct event_loop *loop, uint32_t sources)
{
	return !loop->fresh || event_loop_found(loop, sources);
}

/* At the end of a turn: what the wait before it found says nothing of the next. */
static inline void event_loop_end_turn(struct event_loop *loop)
{
	loop->fresh = false;
}

/* Sleeps for `time` (ns) whatever becomes ready meanwhile, then looks what has, as event_loop_wait() does. Other
 * threads do not wake it. */
void event_loop_nap(struct event_loop *loop, uint64_t time);

/* Between two batches: lets others that wait for the CPU run first. Under a real-time policy the kernel lets a thread
 * run on while others of the same priority wait. Under one that divides the CPU by time a thread that uses as much as
 * it gets makes others wait for up to a tick of the clock (4 ms), and those are what a packet goes through before and
 * after; that is for where the CPU is `shared`, and costs little with short slices. Else it does nothing. */
static inline void event_loop_yield(struct event_loop *loop, bool shared)
{
	if (!loop->realtime && !(shared && loop->short_slices))
		return;
	stats_add(&loop->stats, yields, 1);
	(void)sched_yield();
}

/* From here on other threads wake this one. A thread that sleeps without it sees their work when its timeout ends. */
static inline void event_loop_prepare_wait(struct event_loop *loop)
{
	waker_prepare(&loop->waker);
}

/* Instead of event_loop_wait(), when there is work after all. */
static inline void event_loop_cancel_wait(struct event_loop *loop)
{
	loop->found = 0;
	loop->fresh = false;
	waker_done(&loop->waker, false);
}

/* Ends the thread after the turn at hand; also one that has not started yet. Any thread. */
static inline void event_loop_stop(struct event_loop *loop)
{
	atomic_store_explicit(&loop->order, EVENT_LOOP_STOP, memory_order_release);
	(void)waker_wake(&loop->waker);
}

/* Has the thread stand still after the turn at hand: event_loop_frozen() says when it does. Any thread, of which one at
 * a time freezes, thaws and stops this one. */
static inline void event_loop_freeze(struct event_loop *loop)
{
	/* Each time another number: what the thread said to an earlier one counts no more. */
	atomic_store_explicit(&loop->order, EVENT_LOOP_FREEZE + loop->freezes++ % EVENT_LOOP_FREEZES,
			      memory_order_release);
	(void)waker_wake(&loop->waker);
}

/* From here on what the thread owns is the caller's, until event_loop_thaw(). The thread that froze it. */
static inline bool event_loop_frozen(const struct event_loop *loop)
{
	uint32_t order = atomic_load_explicit(&loop->order, memory_order_relaxed);
	return order >= EVENT_LOOP_FREEZE && atomic_load_explicit(&loop->frozen, memory_order_acquire) == order;
}

/* It goes on, also if it was not frozen yet. */
static inline void event_loop_thaw(struct event_loop *loop)
{
	atomic_store_explicit(&loop->order, EVENT_LOOP_RUN, memory_order_release);
	(void)waker_wake(&loop->waker);
}

/* When it is not running any more: true, it was frozen, and goes on now; false, it ends. Without an owner and offline
 * for RCU while it stands. */
bool event_loop_rest(struct event_loop *loop);

/* Ends the thread by itself: `failure` is the negative errno that event_loop_failure() returns from then on. */
static inline void event_loop_fail(struct event_loop *loop, int failure)
{
	atomic_store_explicit(&loop->failure, failure, memory_order_relaxed);
}

/* Any thread. */
static inline int event_loop_failure(const struct event_loop *loop)
{
	return atomic_load_explicit(&loop->failure, memory_order_relaxed);
}

static inline bool event_loop_running(const struct event_loop *loop)
{
	return atomic_load_explicit(&loop->order, memory_order_acquire) == EVENT_LOOP_RUN &&
	       event_loop_failure(loop) == 0;
}

/* Whether it is to end or to stand still: for the look before a sleep, and orders nothing. */
static inline bool event_loop_stopped(const struct event_loop *loop)
{
	return atomic_load_explicit(&loop->order, memory_order_relaxed) != EVENT_LOOP_RUN;
}

/* Whether it announced a sleep and was not woken since. Any thread; a hint. */
static inline bool event_loop_asleep(const struct event_loop *loop)
{
	return atomic_load_explicit(&loop->waker.asleep, memory_order_relaxed);
}
