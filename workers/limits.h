// SPDX-License-Identifier: Apache-2.0
/* The limits of a gateway's sessions, rates and quotas, at the worker that owns them.
 *
 * The control plane keeps a peer's limits (core/sessions/peer.h). A session takes them over when its keys are
 * installed, and again when the control plane sends INBOX_LIMITS after a change. A session without limits has no state
 * here, and costs the data path a comparison with NULL.
 *
 * Up, what a client sent is opened and checked, and then waits before it goes to the TUN. Down, packets of the size in
 * which they will be sent wait before they are sealed: counters of the transport stay in order. A wheel of its own,
 * with ticks of half a millisecond, says which session may go on.
 *
 * A quota is a number of bytes, both ways together, whose use by the peer's sessions is counted in one
 * place (core/sessions/usage.h), packet by packet as they pass. Packets pass as long as there is anything left: the
 * last one may be longer than that, and is all that is exceeded. Then there is a lower rate, or nothing passes any more
 * and what waits is dropped. The control plane says when a period is over by setting the count to 0, which the next
 * packet finds. All functions are the worker's. */
#pragma once

#include "core/base/timer_wheel.h"
#include "core/sessions/peer.h"
#include "workers/shaper.h"

struct session;
struct worker;

struct session_limits {
	struct timer timer; /* in the wheel of limits, while packets wait */
	struct session *session;
	struct shaper up, down;
	struct peer_limits wanted;
	struct usage *usage; /* of the peer; NULL: no quota */
	bool used_up;	     /* the quota, as the last packet found it */
};

/* Of a worker. */
struct limits {
	struct timer_wheel wheel;
	struct shaper_pool pool;
	uint32_t waiting; /* sessions with packets that wait */
};

void limits_init(struct worker *worker);
/* After the worker's sessions are gone. */
void limits_deinit(struct worker *worker);

/* Takes the limits of the session's peer over. 0 or -ENOMEM: then it is as it was. */
int limits_apply(struct worker *worker, struct session *session);

/* When the session's next packets may go, up and down, monotonic ns: what its rates have used of their bursts. */
struct limits_ready {
	uint64_t up, down;
};

/* Of a session that no thread changes. */
struct limits_ready limits_ready(const struct session *session);
void limits_set_ready(struct session *session, const struct limits_ready *ready);

/* As limits_apply(), for a session that another process had. */
int limits_resume(struct worker *worker, struct session *session, const struct limits_ready *ready);

/* The session ends: what waits for it is dropped. Its limits, if any, are freed with it. */
void limits_end(struct worker *worker, struct session *session);

/* Whether anything may pass, by the quota; the rates follow it. Before each packet; when not, what waited was dropped
 * and counted. */
bool limits_quota_allows(struct worker *worker, struct session_limits *limits);

/* So many bytes of an inner packet passed. */
static inline void limits_count(struct session_limits *limits, uint32_t bytes)
{
	if (limits->usage != NULL)
		(void)atomic_fetch_add_explicit(&limits->usage->used, bytes, memory_order_relaxed);
}

/* Lets go what is due. Returns how many packets. */
size_t limits_run(struct worker *worker);

/* When limits_run() has something to do, monotonic ns. */
uint64_t limits_due(const struct worker *worker);

/* True: the packet passes the quota and `shaper`, which is one of the two, at once. False: it waits with its `ecn` (of
 * the datagram that will carry it; up, any), or was dropped and counted. */
bool limits_pass(struct worker *worker, struct session_limits *limits, struct shaper *shaper, uint8_t ecn,
		 const uint8_t *packet, uint32_t length);
