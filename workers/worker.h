// SPDX-License-Identifier: Apache-2.0
/* A worker: one thread that owns a UDP socket, a TUN queue and the sessions on them, and moves packets between the two.
 *
 *   uplink.c    UDP -> TUN   receive, look up, open, replay window, inner checks, coalesce, write
 *   downlink.c  TUN -> UDP   read, find the session, segment, seal, send
 *   worker.c    the loop around both, timers, sleep
 *
 * What differs between gateway and client (handshakes, whose packet goes where, timers) is a role: gateway_role.c,
 * client_role.c. All functions here are called by the worker's own thread unless they say otherwise. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "core/session.h"
#include "core/table.h"
#include "crypto/aead.h"
#include "perf/record/stage.h"
#include "perf/record/stats.h"
#include "tun/coalesce.h"
#include "tun/inner.h"
#include "tun/tun.h"
#include "workers/send_queue.h"
#include "workers/udp.h"

struct worker;

/* A datagram as it came, for handshake messages. */
struct datagram {
	const uint8_t *data;
	uint32_t length;
	const struct endpoint *from;
};

struct worker_role {
	/* A HELLO, WELCOME, COOKIE or RESET of this protocol version. Returns DROP_NONE when it was accepted. */
	enum drop_reason (*handshake)(struct worker *worker, const struct datagram *datagram);
	/* The session that takes a packet from the TUN, or NULL. */
	struct session *(*route)(struct worker *worker, const struct inner *inner);
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
	/* Timers: called at least every WORKER_TICK_NS. */
	void (*tick)(struct worker *worker);
	/* Orderly end: says BYE to some sessions and ends them. Called until it returns false: nobody is left. */
	bool (*stop)(struct worker *worker);
};

#define WORKER_TICK_NS (250 * NS_PER_MS)
enum { WORKER_ICMP_PER_TICK = 25 /* 100 a second: RFC 4443, 2.4 (f) */ };

struct uplink;

struct worker {
	/* set before the thread starts */
	struct udp_socket *udp;
	struct tun_queue *tun;
	struct aead_engine *aead;
	const struct clock *clock;
	const struct worker_role *role;
	void *role_state;

	/* the thread's own */
	uint64_t now; /* monotonic ns, read once a turn */
	uint64_t next_tick;
	struct session_table table;
	struct cds_list_head sessions;
	struct cds_list_head
		ended; /* out of the table, freed at the end of the turn: the batch may still point to them */
	struct send_queue send;
	struct uplink *uplink;
	struct coalescer *coalescer;
	uint8_t *frame; /* TUN_FRAME_MAX bytes */
	int epoll_fd;
	int wake_fd;
	bool polls_writable; /* epoll waits for the socket to take more, and leaves the TUN alone */
	uint64_t turns;
	unsigned icmp_left; /* ICMP errors that may still be sent before the next tick */

	/* written by the thread, read by others */
	struct stats stats;
	struct stage_recorder stages;
	_Atomic uint32_t session_count;
	_Atomic int tun_error; /* negative errno when the TUN is gone, which ends the thread */

	/* written by others */
	_Atomic bool stop CACHE_ALIGNED;
};

struct worker_params {
	struct udp_socket *udp; /* both stay the caller's */
	struct tun_queue *tun;
	struct aead_engine *aead; /* the caller's; used by this worker alone */
	const struct clock *clock;
	const struct worker_role *role;
	void *role_state;
	uint32_t max_sessions;
	uint32_t stage_sampling; /* one batch in this many; 0 none */
};

/* Allocates everything the worker will ever use. The caller frees with worker_free() after the thread ended. NULL:
 * `error`. */
struct worker *worker_new(const struct worker_params *params, struct error *error);
void worker_free(struct worker *worker);

/* The thread: turns and sleeps until worker_stop(), then says BYE. */
void worker_run(struct worker *worker);

/* Ends worker_run(). Any thread; also safe before it started. */
void worker_stop(struct worker *worker);

/* Interrupts its sleep and lets the role's timers run then; a busy worker comes to them within WORKER_TICK_NS. Any
 * thread. */
void worker_wake(struct worker *worker);

/* One turn without sleeping: what arrived in both directions and what is due. Returns the number of messages and frames
 * moved. For tests that hold the clock; worker_run() is this in a loop. */
size_t worker_turn(struct worker *worker);

/* One batch of each direction. */
size_t uplink_batch(struct worker *worker);
size_t downlink_batch(struct worker *worker);

int uplink_init(struct worker *worker);
void uplink_deinit(struct worker *worker);

/* --- for roles -------------------------------------------------------------------------------------------------------
 */

/* Takes the session over: into table and list. */
void worker_add_session(struct worker *worker, struct session *session);

/* Takes it out; it is freed at the end of the turn. */
void worker_end_session(struct worker *worker, struct session *session);

/* Seals and queues a message without inner packet under the current key. False when there is no usable key or no room.
 */
bool worker_send_control(struct worker *worker, struct session *session, enum wire_type type, const uint8_t *payload,
			 uint32_t length);

/* Queues a HELLO or WELCOME as it is. False: no room. */
bool worker_send_plain(struct worker *worker, const struct endpoint *to, const uint8_t *message, uint32_t length);
