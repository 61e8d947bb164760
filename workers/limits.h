// SPDX-License-Identifier: Apache-2.0
/* The rate limits of a gateway's sessions, at the worker that owns them.
 *
 * The control plane keeps a peer's limits (core/sessions/peer.h). A session takes them over when its keys are
 * installed, and again when the control plane sends INBOX_LIMITS after a change. A session without limits has no state
 * here, and costs the data path a comparison with NULL.
 *
 * Up, what a client sent is opened and checked, and then waits before it goes to the TUN. Down, packets of the size in
 * which they will be sent wait before they are sealed: counters of the transport stay in order. A wheel of its own,
 * with ticks of half a millisecond, says which session may go on. All functions are the worker's. */
#pragma once

#include "core/base/timer_wheel.h"
#include "workers/shaper.h"

struct session;
struct worker;

struct session_limits {
	struct timer timer; /* in the wheel of limits, while packets wait */
	struct session *session;
	struct shaper up, down;
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

/* The session ends: what waits for it is dropped. Its limits, if any, are freed with it. */
void limits_end(struct worker *worker, struct session *session);

/* Lets go what is due. Returns how many packets. */
size_t limits_run(struct worker *worker);

/* When limits_run() has something to do, monotonic ns. */
uint64_t limits_due(const struct worker *worker);

/* True: the packet passes `shaper`, which is one of the two, at once. False: it waits with its `ecn` (of the datagram
 * that will carry it; up, any), or was dropped and counted. */
bool limits_pass(struct worker *worker, struct session_limits *limits, struct shaper *shaper, uint8_t ecn,
		 const uint8_t *packet, uint32_t length);
