// SPDX-License-Identifier: Apache-2.0
#include "workers/worker_wait.h"

#include "core/base/hot.h"
#include "workers/downlink.h"
#include "workers/intake.h"

#define WORKER_LOOK_NS	(5 * NS_PER_US)	  /* from one look at the descriptors to the next, before a sleep */
#define WORKER_REST_NS	NS_PER_S	  /* the longest sleep */
#define WORKER_DENSE_NS (50 * NS_PER_US)  /* what came within that ended a sleep that was hardly worth it */
#define WORKER_YIELD_NS (200 * NS_PER_US) /* so long others wait for the CPU while there is more to do */
#define WORKER_FED_NS	(10 * NS_PER_MS)  /* how long frames of a TUN reader are remembered */

static int watch_tun(struct worker *worker)
{
	const struct tun_queue *sparse = worker->tun->sparse;
	int result = event_loop_watch(&worker->loop, worker->tun->fd, EVENT_LOOP_TUN, EPOLLIN);
	if (result == 0 && sparse != NULL)
		result = event_loop_watch(&worker->loop, sparse->fd, EVENT_LOOP_TUN_SPARSE, EPOLLIN);
	return result;
}

static void unwatch_tun(struct worker *worker)
{
	event_loop_unwatch(&worker->loop, worker->tun->fd);
	if (worker->tun->sparse != NULL)
		event_loop_unwatch(&worker->loop, worker->tun->sparse->fd);
}

int worker_watch(struct worker *worker)
{
	int result = event_loop_watch_socket(&worker->loop, worker->udp, EVENT_LOOP_UDP);
	if (result == 0 && worker->sparse != NULL)
		result = event_loop_watch_socket(&worker->loop, worker->sparse_udp, EVENT_LOOP_UDP_SPARSE);
	if (result == 0 && worker->reads_tun)
		result = watch_tun(worker);
	return result;
}

/* While the socket takes no more, the TUN is left alone, so its queue and then the senders behind it feel the
 * congestion. */
static void choose_events(struct worker *worker)
{
	bool blocked = worker->send.blocked, changed = worker->polls_writable != blocked;
	if (!blocked && !changed)
		return;
	worker->polls_writable = blocked;
	const struct udp_socket *member;
	for (size_t i = 0; (member = udp_member(worker->udp, i)) != NULL; i++)
		event_loop_change(&worker->loop, member->fd, EVENT_LOOP_UDP,
				  EPOLLIN | (blocked && member->full ? EPOLLOUT : 0));
	if (!changed)
		return;
	/* Out of the set, not only without events: its errors would be reported all the same. */
	if (worker->reads_tun && blocked)
		unwatch_tun(worker);
	else if (worker->reads_tun && watch_tun(worker) != 0) {
		unwatch_tun(worker); /* no memory for both: tried again before the next sleep */
		worker->polls_writable = true;
	}
}

static bool rings_empty(const struct worker *worker)
{
	for (size_t i = 0; i < worker->source_count; i++) {
		const struct worker_source *source = &worker->sources[i];
		if (!frame_ring_empty(source->ring) || (source->sparse != NULL && !frame_ring_empty(source->sparse)))
			return false;
	}
	return true;
}

/* Work that no descriptor signals. */
static bool work_waiting(struct worker *worker)
{
	return event_loop_stopped(&worker->loop) || atomic_load_explicit(&worker->attention, memory_order_relaxed) ||
	       !inbox_empty(&worker->inbox) || intake_has_more(worker) ||
	       (worker->copies != NULL && !copy_ring_empty(worker->copies)) ||
	       (!worker->send.blocked &&
		(worker->batch.next < worker->batch.count || !rings_empty(worker) || staging_ready(&worker->staging)));
}

/* Only readers that sent frames lately count: for the others there is nothing to poll for. */
static bool readers_busy(const struct worker *worker)
{
	if (worker->now - worker->fed >= WORKER_FED_NS)
		return false;
	for (size_t i = 0; i < worker->source_count; i++) {
		const _Atomic bool *busy = worker->sources[i].busy;
		if (busy != NULL && atomic_load_explicit(busy, memory_order_relaxed))
			return true;
	}
	return false;
}

/* Without packets. Not never: a sleep does not count the time for which the machine is suspended, timers do. */
static uint64_t next_look(const struct worker *worker, uint64_t now)
{
	bool ticks = worker->role->keeps_time || intake_unsettled(worker) || downlink_unsettled(worker);
	return ticks ? worker->next_tick : now + WORKER_REST_NS;
}

static bool shares_cpu(const struct worker *worker)
{
	return atomic_load_explicit(&worker->spin, memory_order_relaxed) == 0;
}

/* Where packets come closely, each would wake the thread, which costs more than the packet and takes the CPU from its
 * sender. So it sleeps by the clock, and handles as one batch what came meanwhile. Not under a real-time policy, by
 * which the operator asks for short round trips at any price. */
static bool naps_through(const struct worker *worker, uint64_t nap)
{
	return worker->dense && nap != 0 && shares_cpu(worker) && !worker->loop.realtime;
}

/* A look that found something ended a sleep, as it were; another one was for nothing. */
static void count_look(struct worker *worker)
{
	bool ready = worker->loop.found != 0;
	stats_add(&worker->loop.stats, sleeps, ready);
	stats_add(&worker->loop.stats, empty_calls, !ready);
}

/* While a TUN reader is busy it need not pay for wake-ups: the worker sleeps for a short time and polls the ring. */
HOT static void sleep_until_due(struct worker *worker)
{
	choose_events(worker);
	worker->polled = false;
	uint64_t now = clock_monotonic(worker->clock);
	uint64_t due = timer_wheel_next(&worker->wheel), look = next_look(worker, now);
	due = due < look ? due : look;
	due = due < limits_due(worker) ? due : limits_due(worker);
	uint64_t wait = due > now ? due - now : 0;
	uint64_t nap = atomic_load_explicit(&worker->nap, memory_order_relaxed);
	bool through = naps_through(worker, nap), naps = through || readers_busy(worker);
	if (naps)
		wait = wait < nap ? wait : nap;
	else
		event_loop_prepare_wait(&worker->loop);
	if (work_waiting(worker)) {
		event_loop_cancel_wait(&worker->loop);
		return;
	}
	stats_add(&worker->loop.stats, sleeps, 1);
	if (through) {
		event_loop_nap(&worker->loop, wait);
		count_look(worker);
	} else {
		event_loop_wait(&worker->loop, wait);
	}
	uint64_t slept = clock_monotonic(worker->clock) - now;
	worker->dense = worker->loop.found != 0 && (through || slept < WORKER_DENSE_NS);
	hot_woke(slept);
}

/* Whether the last turn moved data, either way. */
static bool moved_data(struct worker *worker)
{
	const _Atomic uint64_t *counters = worker->loop.stats.counters;
	uint64_t before = worker->moved;
	worker->moved = atomic_load_explicit(&counters[STATS_tun_tx_packets], memory_order_relaxed) +
			atomic_load_explicit(&counters[STATS_udp_tx_data], memory_order_relaxed);
	return worker->moved != before;
}

/* After data more is likely to follow, and to spin is cheaper than a wake-up. Handshakes have no such pattern, and
 * their thread may need the CPU. */
static bool still_spinning(struct worker *worker)
{
	uint64_t spin = atomic_load_explicit(&worker->spin, memory_order_relaxed);
	if (spin == 0)
		return false;
	if (worker->idle_since == 0)
		worker->idle_since = worker->now;
	if (worker->now - worker->idle_since >= spin)
		return false;
	/* Descriptors take a system call to poll, so they are polled every WORKER_LOOK_NS; what needs none is checked
	 * all the time. */
	while (!work_waiting(worker) && clock_monotonic(worker->clock) - worker->now < WORKER_LOOK_NS)
		caa_cpu_relax();
	return true;
}

/* A yield before a sleep took from `began` until now. */
static void note_yield(struct worker *worker, uint64_t began)
{
	uint64_t now = clock_monotonic(worker->clock);
	if (now - began >= BUSY_POLL_HELD_UP_NS)
		busy_poll_held_up(&worker->busy_poll, now);
}

/* After a packet that came alone: its answer may follow, and to poll is quicker than a wake-up. Others that need the
 * CPU run in between. Not twice in a row: what follows the answer is the next packet. */
static bool poll_before_sleep(struct worker *worker)
{
	if (worker->polled || worker->loop.realtime)
		return false;
	uint64_t began = clock_monotonic(worker->clock), now = began;
	uint64_t most = busy_poll_begin(&worker->busy_poll, began), due = limits_due(worker);
	if (due < began + most)
		return false; /* shaped packets leave by then */
	while (!worker->polled && now - began < most) {
		(void)sched_yield();
		note_yield(worker, now);
		event_loop_wait(&worker->loop, 0);
		stats_add(&worker->loop.stats, yields, 1);
		count_look(worker);
		worker->polled = worker->loop.found != 0 || work_waiting(worker);
		now = clock_monotonic(worker->clock);
	}
	if (most != 0)
		busy_poll_end(&worker->busy_poll, began, now, worker->polled);
	return worker->polled;
}

/* A turn is short. While there is more to do, each switch to another thread costs some of the throughput. */
static void let_others_run(struct worker *worker)
{
	uint64_t now = clock_monotonic(worker->clock);
	if (worker->more && now - worker->yielded < WORKER_YIELD_NS)
		return;
	worker->yielded = now;
	event_loop_yield(&worker->loop, shares_cpu(worker));
}

/* After a turn of packets that came alone. What they are on their way to often needs this CPU, and then it is known
 * soon whether there is an answer. A thread with a real-time policy gets the CPU back before others that need it. */
static void rest_after_light_turn(struct worker *worker)
{
	uint64_t now = clock_monotonic(worker->clock);
	if (worker->loop.realtime || !busy_poll_defers(&worker->busy_poll, now)) {
		let_others_run(worker);
		note_yield(worker, now);
	}
	if (!poll_before_sleep(worker))
		sleep_until_due(worker);
}

HOT void worker_wait(struct worker *worker, size_t work)
{
	if (!moved_data(worker)) {
		if (work == 0 && !still_spinning(worker))
			sleep_until_due(worker);
		return;
	}
	worker->idle_since = 0;
	if (worker->light && shares_cpu(worker))
		rest_after_light_turn(worker);
	else
		let_others_run(worker);
}
