// SPDX-License-Identifier: Apache-2.0
/* A worker: one thread that owns a UDP socket, a TUN queue and the sessions of its shard, and moves packets between the
 * two. THREADS.md describes how several of them work together.
 *
 *   intake.c    UDP          receive: what goes ahead, batches, portions of them
 *   uplink.c    UDP -> TUN   look up, open, replay window, inner checks, coalesce, write
 *   downlink.c  TUN -> UDP   read, or take from the TUN readers' rings; find the session, segment, seal, send
 *   worker.c    a turn of both, and timers
 *   worker_wait.c   between two turns: goes on, spins, polls or sleeps
 *
 * What differs between gateway and client (handshakes, routing of inner packets, timers) is a role: gateway_role.c,
 * client_role.c. All functions here are called by the worker's own thread unless stated otherwise. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "core/base/sparse_queue.h"
#include "core/base/timer_wheel.h"
#include "core/sessions/session.h"
#include "core/sessions/table.h"
#include "crypto/aead.h"
#include "tun/coalesce.h"
#include "tun/inner.h"
#include "tun/tun.h"
#include "workers/busy_poll.h"
#include "workers/codel.h"
#include "workers/copy_ring.h"
#include "workers/event_loop.h"
#include "workers/frame_dispatch.h"
#include "workers/handoff.h"
#include "workers/inbox.h"
#include "workers/limits.h"
#include "workers/send_queue.h"
#include "workers/session_shares.h"
#include "workers/sparse_sessions.h"
#include "workers/staging.h"
#include "workers/udp.h"

struct worker;

/* A datagram as it came, for handshake messages. */
struct datagram {
	const uint8_t *data;
	uint32_t length;
	uint8_t ecn;
	const struct endpoint *from;
};

/* Takes an authentic control message, of a length that its type may have. `from` is its sender. */
typedef void worker_control(struct worker *worker, struct session *session, const uint8_t *payload, uint32_t length,
			    const struct endpoint *from);

struct worker_role {
	enum wire_side side;
	/* A handshake message for this side, of this protocol version and of a length that its type may have. Returns
	 * DROP_NONE when it was accepted. */
	enum drop_reason (*handshake)(struct worker *worker, const struct datagram *datagram);
	/* The ID of the session that takes a packet from the TUN; 0: none. */
	uint32_t (*route)(struct worker *worker, const struct inner *inner);
	/* Whether an authentic inner packet may go to the TUN: DROP_NONE or why not. */
	enum drop_reason (*admit)(struct worker *worker, const struct session *session, const struct inner *inner);
	/* A packet for a session without a key, from the TUN. True: it was taken, and is counted already or will be.
	 * NULL: this role takes none. */
	bool (*keyless)(struct worker *worker, struct session *session, const struct inner *packet);
	/* The first packet under `key` was opened: it is confirmed. `from` is where its `bytes` came from. */
	void (*confirmed)(struct worker *worker, struct session *session, const struct transport_key *key,
			  const struct endpoint *from, uint32_t bytes);
	/* By type; NULL: this side does not take it. */
	worker_control *control[WIRE_TYPES];
	/* A fresh authentic datagram of `bytes` under the current key came from elsewhere than the session's endpoint.
	 */
	void (*moved)(struct worker *worker, struct session *session, const struct endpoint *from, uint32_t bytes);
	/* A sealed message named a session that does not exist. `from`: where it came from, if it is a DATA or
	 * KEEPALIVE of our own protocol, which may be answered; else NULL. The reason for which it is dropped. */
	enum drop_reason (*unknown_session)(struct worker *worker, uint32_t session_id, const struct endpoint *from);
	/* Called at the beginning of each turn, before anything is taken from anywhere. NULL: nothing to do. */
	void (*turn)(struct worker *worker);
	/* A request of another thread; the message is freed by the caller. NULL: this role has no inbox. */
	void (*inbox)(struct worker *worker, struct inbox_message *message);
	/* A session's timer, set by worker_set_timer(). NULL: this role sets none. */
	void (*expire)(struct worker *worker, struct session *session);
	/* Called with the first turn after each WORKER_TICK_NS; `keeps_time`: a worker that sleeps wakes for it. */
	void (*tick)(struct worker *worker);
	bool keeps_time;
	/* An ended session that this thread does not use any more: the role's to free. */
	void (*retire)(struct worker *worker, struct session *session);
	/* Orderly end: sends BYE to some sessions and ends them. Called until it returns false: no session is left. */
	bool (*stop)(struct worker *worker);
};

#define WORKER_TICK_NS (250 * NS_PER_MS)
#define WORKER_NAP_NS  (100 * NS_PER_US) /* a nap, of one worker on its CPU; see worker_set_waiting() */
enum { WORKER_ICMP_PER_TICK = 25 /* 100 a second: RFC 4443, 2.4 (f) */ };

/* What a turn takes of the first queues, each way, while there are packets that go ahead of those: such a packet waits
 * for about a train of 64 KiB, or some of short packets. In worker_cost(): short ones take as long as longer ones. */
enum { WORKER_PORTION = 64 << 10 };
static inline uint64_t worker_cost(uint64_t packets, uint64_t bytes)
{
	return packets * SPARSE_PACKET_COST + bytes;
}

struct intake;
struct uplink;

/* Frames that were read from the worker's own queue of the TUN, and are not sent yet. They stay when the socket takes
 * no more. */
struct tun_batch {
	uint8_t *memory; /* of the frames, and before them of one of a sparse flow; NULL: no queue */
	struct {
		uint32_t at, length;
	} frames[STAGE_KEPT_MAX];
	uint32_t next, count;
	uint64_t began; /* monotonic ns; 0: the queue was not empty behind the last */
	uint64_t last;	/* when the last one with frames began, monotonic ns */
	struct queue_shares_tally tally;
};

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
	const struct handoff *handoff;	      /* NULL: every datagram is ours */
	const struct session_shares *shares;  /* NULL: the socket's queue is not shared evenly */
	const struct sparse_sessions *sparse; /* NULL: there is no second socket */
	struct udp_socket *sparse_udp;	      /* the second socket */
	struct sparse_queue *sparse_queue;    /* what is shared with the kernel's program of both */
	struct copy_ring *copies;	      /* datagrams that other threads received for this worker; NULL: none do */
	struct worker_source *sources; /* rings of frames to this worker: of TUN readers, or of the other workers */
	size_t source_count;
	bool reads_tun; /* itself */

	/* the thread's own */
	uint64_t now; /* monotonic ns, read once a turn */
	uint64_t next_tick;
	uint64_t fed;	     /* when the last frame of a TUN reader came, monotonic ns */
	uint64_t idle_since; /* 0: data moved in the last turn */
	uint64_t moved;	     /* packets of data so far, either way */
	struct busy_poll busy_poll;
	uint64_t went_ahead; /* when the last packet that goes ahead of others was taken, monotonic ns */
	uint64_t yielded;    /* when it let others run, monotonic ns */
	bool fine;	     /* some did lately: turns are short */
	bool more;	     /* a short turn left packets in the first queues, or may have */
	bool polled;	     /* something was found by polling since the last sleep */
	bool dense;	     /* packets come closely: the last sleep was hardly one */
	bool light;	     /* the turn takes what goes ahead of others alone, and is the only one before a sleep */
	struct timer_wheel wheel;
	struct limits limits; /* of sessions */
	struct staging_area staging;
	struct cds_list_head sessions;
	struct cds_list_head
		ended; /* out of the table, retired at the end of the turn: the batch may still point to them */
	struct send_queue send;
	struct queue_shares_tally received; /* of the socket's queue */
	struct intake *intake;
	struct uplink *uplink;
	struct coalescer *coalescer;
	struct tun_batch batch;
	struct frame_dispatch dispatch; /* of frames for other workers; without pool unless several read the TUN */
	bool polls_writable;		/* epoll waits for the socket to take more, and leaves the TUN alone */
	size_t first_source;		/* that a batch looks at; modulo their number */
	unsigned icmp_left;		/* ICMP errors that may still be sent before the next tick */

	/* written by the thread, read by others */
	_Atomic uint32_t session_count;

	struct event_loop loop; /* it fails when the TUN is gone */

	/* written by others */
	struct inbox inbox;
	_Atomic bool attention; /* the role's tick is due at once */
	_Atomic uint64_t spin;	/* ns to look for work before a sleep */
	_Atomic uint64_t nap;	/* ns to sleep at most while a TUN reader is busy, and where packets come closely */
};

/* The ring from one TUN reader, or from another worker. */
struct worker_source {
	struct frame_ring *ring;
	struct frame_ring *sparse; /* that comes first; NULL: there is none */
	const _Atomic bool *busy;  /* the reader is busy: poll its ring rather than be woken; NULL: it always wakes */
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
	struct session_table *table;	      /* the caller's */
	const struct handoff *handoff;	      /* the caller's, or NULL */
	struct copy_ring *copies;	      /* the caller's, or NULL */
	const struct session_shares *shares;  /* the caller's, or NULL */
	const struct sparse_sessions *sparse; /* the same; `sparse_udp` is the second socket then */
	struct udp_socket *sparse_udp;
	/* Where frames come from: TUN readers (`sources` of them), or its own queue of the TUN, which is then the only
	 * one, or one of several; what it reads for other workers it passes on, and `sources` of these to it. */
	bool reads_tun;
	size_t sources;		     /* set by worker_set_source() before the thread starts */
	struct waker *const *wakers; /* of all workers, by number: the caller's, filled in later. NULL: it is alone */
	uint64_t spin, nap;	     /* ns */
	uint32_t stage_sampling;     /* one batch in this many; 0 none */
	uint64_t ticks_per_second;   /* of the time stamp counter */
};

/* Allocates everything the worker will ever use. The caller frees with worker_free() after the thread ended. NULL:
 * `error`. */
struct worker *worker_new(const struct worker_params *params, struct error *error);
void worker_free(struct worker *worker);

/* Where frames come from besides its own queue: rings of a TUN reader, or of another worker (worker_ring()). `ring`,
 * `sparse` and `busy` of the source are taken; the latter two are NULL for another worker. Before the thread starts. */
void worker_set_source(struct worker *worker, size_t index, const struct worker_source *source);

/* The ring of what this worker reads for another one. */
struct frame_ring *worker_ring(struct worker *worker, uint32_t other);

/* The thread: turns and sleeps until its event loop is stopped, then sends BYE. Registered for RCU, as every caller of
 * worker_turn() is. */
void worker_run(struct worker *worker);

/* Interrupts its sleep and lets the role's timers run then; a busy worker comes to them within WORKER_TICK_NS. Any
 * thread. */
void worker_wake(struct worker *worker);

/* How it waits for work from now on, ns: it spins before it sleeps, and sleeps at most for a nap while a TUN reader is
 * busy. Without spinning its CPU counts as shared: then it naps as well where packets come so closely that each would
 * end a sleep (nap 0: never). Any thread. */
void worker_set_waiting(struct worker *worker, uint64_t spin, uint64_t nap);

/* One turn without sleeping: what arrived in both directions and what is due. Returns the number of messages and frames
 * moved. For tests that hold the clock; worker_run() is this in a loop. */
size_t worker_turn(struct worker *worker);

/* Does what is left to do while it is frozen: requests of other threads, datagrams and frames that others received for
 * it; and sends what it can. Nothing is received. Returns how much there was: 0, there is nothing any more unless the
 * socket is full. The thread that froze it, online under RCU. */
size_t worker_settle(struct worker *worker);

/* While its socket is full (`send.blocked`): waits until it takes something, at most for so many ns. The same thread.
 */
void worker_wait_for_room(struct worker *worker, uint64_t limit);

/* Handles the requests of other threads. Returns how many there were. */
size_t worker_read_inbox(struct worker *worker);

/* --- for roles ---------------------------------------------------------------------------------------------------- */

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

/* Prepares new keys at once if the session's current ones are in use: a hibernated key wakes with its first message,
 * and that would delay what the message overtook. */
static inline void worker_wake_next(struct worker *worker, const struct session *session, struct transport_key *next)
{
	if (session->current != NULL && transport_key_is_live(session->current))
		(void)transport_key_wake(worker->aead, next);
}

/* Seals and queues a message without inner packet under the current key. False when there is no usable key, no room, or
 * no such message in the session's protocol. */
bool worker_send_control(struct worker *worker, struct session *session, enum wire_type type, const uint8_t *payload,
			 uint32_t length);

/* Queues a handshake message as it is, and counts it as sent. False: no room. */
bool worker_send_plain(struct worker *worker, const struct endpoint *to, const uint8_t *message, uint32_t length);
