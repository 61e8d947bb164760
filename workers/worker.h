// SPDX-License-Identifier: Apache-2.0
/* A worker: one thread that owns a UDP socket, a TUN queue and the sessions of its shard, and moves packets between the
 * two. THREADS.md says how several of them live together.
 *
 *   uplink.c    UDP -> TUN   receive, look up, open, replay window, inner checks, coalesce, write
 *   downlink.c  TUN -> UDP   read, or take from the TUN readers' rings; find the session, segment, seal, send
 *   worker.c    the loop around both, timers, sleep
 *
 * What differs between gateway and client (handshakes, whose packet goes where, timers) is a role: gateway_role.c,
 * client_role.c. All functions here are called by the worker's own thread unless they say otherwise. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "core/base/owner.h"
#include "core/base/timer_wheel.h"
#include "core/base/waker.h"
#include "core/sessions/session.h"
#include "core/sessions/table.h"
#include "crypto/aead.h"
#include "perf/record/stage.h"
#include "perf/record/stats.h"
#include "tun/coalesce.h"
#include "tun/inner.h"
#include "tun/tun.h"
#include "workers/codel.h"
#include "workers/copy_ring.h"
#include "workers/frame_ring.h"
#include "workers/handoff.h"
#include "workers/inbox.h"
#include "workers/send_queue.h"
#include "workers/udp.h"

struct worker;

/* A datagram as it came, for handshake messages. */
struct datagram {
	const uint8_t *data;
	uint32_t length;
	uint8_t ecn;
	const struct endpoint *from;
};

struct worker_role {
	/* A HELLO, WELCOME, COOKIE or RESET of this protocol version. Returns DROP_NONE when it was accepted. */
	enum drop_reason (*handshake)(struct worker *worker, const struct datagram *datagram);
	/* The ID of the session that takes a packet from the TUN; 0: none. */
	uint32_t (*route)(struct worker *worker, const struct inner *inner);
	/* Whether an authentic inner packet may go to the TUN: DROP_NONE or why not. */
	enum drop_reason (*admit)(struct worker *worker, const struct session *session, const struct inner *inner);
	/* The first packet under `key` was opened: it is confirmed. `from` is where its `bytes` came from. */
	void (*confirmed)(struct worker *worker, struct session *session, const struct transport_key *key,
			  const struct endpoint *from, uint32_t bytes);
	/* An authentic CLIENT_ACK, BYE or KEEPALIVE. DROP_NONE, or DROP_TYPE when this side does not take it. */
	enum drop_reason (*control)(struct worker *worker, struct session *session, enum wire_type type,
				    const uint8_t *payload, uint32_t length, const struct endpoint *from);
	/* A fresh authentic datagram of `bytes` under the current key came from elsewhere than the session's endpoint.
	 */
	void (*moved)(struct worker *worker, struct session *session, const struct endpoint *from, uint32_t bytes);
	/* A DATA or KEEPALIVE of the right length named a session that does not exist. It is dropped and counted
	 * already. */
	void (*unknown_session)(struct worker *worker, uint32_t session_id, const struct endpoint *from);
	/* What another thread wants: the message is freed by the caller. NULL: this role has no inbox. */
	void (*inbox)(struct worker *worker, struct inbox_message *message);
	/* A session's timer, set by worker_set_timer(). NULL: this role sets none. */
	void (*expire)(struct worker *worker, struct session *session);
	/* Called at least every WORKER_TICK_NS. */
	void (*tick)(struct worker *worker);
	/* An ended session that this thread does not use any more: the role's to free. */
	void (*retire)(struct worker *worker, struct session *session);
	/* Orderly end: says BYE to some sessions and ends them. Called until it returns false: nobody is left. */
	bool (*stop)(struct worker *worker);
};

#define WORKER_TICK_NS (250 * NS_PER_MS)
enum { WORKER_ICMP_PER_TICK = 25 /* 100 a second: RFC 4443, 2.4 (f) */ };

struct uplink;

struct worker {
	/* set before the thread starts */
	uint32_t index; /* among the workers: it owns the sessions of this shard */
	struct udp_socket *udp;
	struct tun_queue *tun;
	struct aead_engine *aead;
	const struct clock *clock;
	const struct worker_role *role;
	void *role_state;
	struct session_table *table;
	const struct handover *handover; /* NULL: every datagram is ours */
	struct copy_ring *copies;	 /* what others handed over to us; NULL: nobody does */
	struct worker_source *sources;	 /* TUN readers; none: we read the TUN ourselves */
	size_t source_count;
	uint64_t spin; /* ns to look for work before a sleep */
	uint64_t nap;  /* ns to sleep at most while a TUN reader is busy */

	/* the thread's own */
	struct owner owner;
	uint64_t now; /* monotonic ns, read once a turn */
	uint64_t next_tick;
	uint64_t fed;	     /* when the last frame of a TUN reader came, monotonic ns */
	uint64_t idle_since; /* 0: data moved in the last turn */
	uint64_t moved;	     /* packets of data so far, either way */
	struct timer_wheel wheel;
	struct cds_list_head sessions;
	struct cds_list_head
		ended; /* out of the table, retired at the end of the turn: the batch may still point to them */
	struct send_queue send;
	struct uplink *uplink;
	struct coalescer *coalescer;
	uint8_t *frame; /* TUN_FRAME_MAX bytes; NULL when TUN readers read */
	int epoll_fd;
	bool polls_writable; /* epoll waits for the socket to take more, and leaves the TUN alone */
	size_t first_source; /* that a batch looks at; modulo their number */
	unsigned icmp_left;  /* ICMP errors that may still be sent before the next tick */

	/* written by the thread, read by others */
	struct stats stats;
	struct stage_recorder stages;
	_Atomic uint32_t session_count;
	_Atomic int tun_error; /* negative errno when the TUN is gone, which ends the thread */

	/* written by others */
	struct waker waker;
	struct inbox inbox;
	_Atomic bool attention; /* the role's tick is wanted at once */
	_Atomic bool stop;
};

/* What one TUN reader has for us. */
struct worker_source {
	struct frame_ring *ring;
	const _Atomic bool *busy; /* the reader comes by often: no need to be woken */
	struct codel codel;
};

struct worker_params {
	uint32_t index;
	struct udp_socket *udp; /* both stay the caller's */
	struct tun_queue *tun;
	struct aead_engine *aead; /* the caller's; used by this worker alone */
	const struct clock *clock;
	const struct worker_role *role;
	void *role_state;
	struct session_table *table;	 /* the caller's */
	const struct handover *handover; /* the caller's, or NULL */
	struct copy_ring *copies;	 /* the caller's, or NULL */
	size_t sources;			 /* TUN readers, set by worker_set_source() before the thread starts; 0: none */
	uint64_t spin, nap;		 /* ns */
	uint32_t stage_sampling;	 /* one batch in this many; 0 none */
	uint64_t ticks_per_second;	 /* of the time stamp counter */
};

/* Allocates everything the worker will ever use. The caller frees with worker_free() after the thread ended. NULL:
 * `error`. */
struct worker *worker_new(const struct worker_params *params, struct error *error);
void worker_free(struct worker *worker);

/* Where frames come from instead of the TUN: the ring of reader number `index`. Before the thread starts. */
void worker_set_source(struct worker *worker, size_t index, struct frame_ring *ring, const _Atomic bool *busy);

/* The thread: turns and sleeps until worker_stop(), then says BYE. Registered for RCU, as whoever calls worker_turn()
 * is. */
void worker_run(struct worker *worker);

/* Ends worker_run(). Any thread; also safe before it started. */
void worker_stop(struct worker *worker);

/* Interrupts its sleep and lets the role's timers run then; a busy worker comes to them within WORKER_TICK_NS. Any
 * thread. */
void worker_wake(struct worker *worker);

/* One turn without sleeping: what arrived in both directions and what is due. Returns the number of messages and frames
 * moved. For tests that hold the clock; worker_run() is this in a loop. */
size_t worker_turn(struct worker *worker);

/* One batch: from the socket, from the copy ring, from the TUN or its readers. */
size_t uplink_batch(struct worker *worker);
size_t uplink_copies(struct worker *worker);
size_t downlink_batch(struct worker *worker);

/* Does what others want. Returns how many messages there were. */
size_t worker_read_inbox(struct worker *worker);

int uplink_init(struct worker *worker);
void uplink_deinit(struct worker *worker);

/* --- for roles -------------------------------------------------------------------------------------------------------
 */

/* Takes the session over: into table and list. */
void worker_add_session(struct worker *worker, struct session *session);

/* Takes it out; it is retired at the end of the turn. */
void worker_end_session(struct worker *worker, struct session *session);

/* The session is looked at by role->expire() at `due` (monotonic ns) or a tick later; it has one timer. */
void worker_set_timer(struct worker *worker, struct session *session, uint64_t due);

/* The same unless it is looked at earlier anyhow. */
static inline void worker_set_timer_before(struct worker *worker, struct session *session, uint64_t due)
{
	if (unlikely(worker->role->expire != NULL && session->timer.due > due))
		worker_set_timer(worker, session, due);
}

/* New keys for a session under whose old ones DATA moves wake at once: asleep, the first message under them would make
 * late whatever it overtook. */
static inline void worker_wake_next(struct worker *worker, const struct session *session, struct transport_key *next)
{
	if (session->current != NULL && transport_key_is_live(session->current))
		(void)transport_key_wake(worker->aead, next);
}

/* Seals and queues a message without inner packet under the current key. False when there is no usable key or no room.
 */
bool worker_send_control(struct worker *worker, struct session *session, enum wire_type type, const uint8_t *payload,
			 uint32_t length);

/* Queues a HELLO or WELCOME as it is. False: no room. */
bool worker_send_plain(struct worker *worker, const struct endpoint *to, const uint8_t *message, uint32_t length);
