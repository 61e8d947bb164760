// SPDX-License-Identifier: Apache-2.0
#include "workers/limits.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/hot.h"
#include "workers/downlink.h"
#include "workers/uplink.h"
#include "workers/worker.h"

enum { LIMITS_SESSIONS = 1024 /* that may go on, a turn */ };

void limits_init(struct worker *worker)
{
	timer_wheel_init(&worker->limits.wheel, worker->now, TIMER_WHEEL_FINE_BITS);
	owner_follow(&worker->limits.wheel.owner, &worker->loop.owner);
}

void limits_deinit(struct worker *worker)
{
	shaper_pool_deinit(&worker->limits.pool);
}

/* Shows what waits. */
static void publish(struct worker *worker)
{
	stats_set(&worker->loop.stats, waiting_sessions, worker->limits.waiting);
	stats_set(&worker->loop.stats, waiting_bytes, worker->limits.pool.bytes);
}

/* --- what the peer may -------------------------------------------------------------------------------------------- */

static uint32_t lower_rate(uint32_t a, uint32_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

static void set_rates(struct worker *worker, struct session_limits *limits)
{
	const struct peer_limits *wanted = &limits->wanted;
	uint32_t after = limits->used_up ? wanted->after : 0;
	shaper_set(&limits->up, lower_rate(wanted->up, after), wanted->burst);
	shaper_set(&limits->down, lower_rate(wanted->down, after), wanted->burst);
	/* Under a higher rate what waits is due earlier. */
	if (timer_armed(&limits->timer))
		timer_set(&worker->limits.wheel, &limits->timer, worker->now);
}

static void drop_waiting(struct worker *worker, struct session_limits *limits, enum drop_reason up,
			 enum drop_reason down)
{
	if (timer_armed(&limits->timer)) {
		timer_clear(&worker->limits.wheel, &limits->timer);
		worker->limits.waiting--;
	}
	stats_drop(&worker->loop.stats, up, shaper_clear(&limits->up, &worker->limits.pool));
	stats_drop(&worker->loop.stats, down, shaper_clear(&limits->down, &worker->limits.pool));
	publish(worker);
}

bool limits_quota_allows(struct worker *worker, struct session_limits *limits)
{
	if (limits->usage == NULL)
		return true;
	bool used_up = atomic_load_explicit(&limits->usage->used, memory_order_relaxed) >= limits->wanted.quota;
	bool allows = !used_up || limits->wanted.after != 0;
	if (unlikely(used_up != limits->used_up)) {
		limits->used_up = used_up;
		set_rates(worker, limits);
		if (!allows)
			drop_waiting(worker, limits, DROP_QUOTA_UP, DROP_QUOTA_DOWN);
	}
	return allows;
}

int limits_apply(struct worker *worker, struct session *session)
{
	struct peer_limits wanted = peer_limits(session->peer);
	if (session->limits == NULL) {
		if (wanted.up == 0 && wanted.down == 0 && wanted.quota == 0)
			return 0;
		struct session_limits *limits = calloc(1, sizeof *limits);
		if (limits == NULL || shaper_pool_init(&worker->limits.pool) != 0) {
			free(limits);
			return -ENOMEM;
		}
		limits->session = session;
		session->limits = limits;
	}
	struct session_limits *limits = session->limits;
	limits->wanted = wanted;
	limits->usage = wanted.quota != 0 ? peer_usage(session->peer) : NULL;
	limits->used_up = false;
	set_rates(worker, limits);
	(void)limits_quota_allows(worker, limits);
	return 0;
}

struct limits_ready limits_ready(const struct session *session)
{
	const struct session_limits *limits = session->limits;
	return limits != NULL ? (struct limits_ready){limits->up.ready, limits->down.ready} : (struct limits_ready){0};
}

void limits_set_ready(struct session *session, const struct limits_ready *ready)
{
	if (session->limits == NULL)
		return;
	session->limits->up.ready = ready->up;
	session->limits->down.ready = ready->down;
}

int limits_resume(struct worker *worker, struct session *session, const struct limits_ready *ready)
{
	int result = limits_apply(worker, session);
	limits_set_ready(session, ready);
	return result;
}

void limits_end(struct worker *worker, struct session *session)
{
	struct session_limits *limits = session->limits;
	if (limits != NULL)
		drop_waiting(worker, limits, DROP_LIMIT_UP, DROP_LIMIT_DOWN);
}

/* --- packets that come -------------------------------------------------------------------------------------------- */

static uint64_t due(const struct session_limits *limits)
{
	uint64_t up = shaper_due(&limits->up), down = shaper_due(&limits->down);
	return up < down ? up : down;
}

static void hold(struct worker *worker, struct session_limits *limits, struct shaper *shaper, uint8_t ecn,
		 const uint8_t *packet, uint32_t length)
{
	if (!shaper_hold(shaper, &worker->limits.pool, worker->now, ecn, packet, length)) {
		stats_drop(&worker->loop.stats, shaper == &limits->up ? DROP_LIMIT_UP : DROP_LIMIT_DOWN, 1);
		return;
	}
	stats_add(&worker->loop.stats, limited_packets, 1);
	if (shaper->packets == 1) { /* else it is behind the one that the timer is set for */
		worker->limits.waiting += timer_armed(&limits->timer) ? 0 : 1;
		timer_set(&worker->limits.wheel, &limits->timer, due(limits));
	}
	publish(worker);
}

bool limits_pass(struct worker *worker, struct session_limits *limits, struct shaper *shaper, uint8_t ecn,
		 const uint8_t *packet, uint32_t length)
{
	if (unlikely(!limits_quota_allows(worker, limits))) {
		stats_drop(&worker->loop.stats, shaper == &limits->up ? DROP_QUOTA_UP : DROP_QUOTA_DOWN, 1);
		return false;
	}
	if (shaper_pass(shaper, worker->now, length))
		return true;
	hold(worker, limits, shaper, ecn, packet, length);
	return false;
}

/* --- packets that go ---------------------------------------------------------------------------------------------- */

struct run {
	struct worker *worker;
	size_t packets;
};

static void expire(struct timer *timer, void *context)
{
	struct run *run = context;
	struct worker *worker = run->worker;
	struct session_limits *limits = caa_container_of(timer, struct session_limits, timer);
	run->packets += downlink_release(worker, limits->session, &limits->down);
	run->packets += uplink_release(worker, limits->session, &limits->up);
	uint64_t next = due(limits);
	if (next != UINT64_MAX)
		timer_set(&worker->limits.wheel, &limits->timer, next);
	else
		worker->limits.waiting--;
}

HOT size_t limits_run(struct worker *worker)
{
	struct run run = {.worker = worker};
	if (likely(worker->limits.waiting == 0))
		return 0;
	(void)timer_wheel_advance(&worker->limits.wheel, worker->now, expire, &run, LIMITS_SESSIONS);
	uplink_flush(worker);
	shaper_recycle(&worker->limits.pool);
	publish(worker);
	return run.packets;
}

uint64_t limits_due(const struct worker *worker)
{
	return worker->limits.waiting == 0 ? UINT64_MAX : timer_wheel_next(&worker->limits.wheel);
}
