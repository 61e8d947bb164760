// SPDX-License-Identifier: Apache-2.0
/* The load generator: threads that play clients, and the order that the main thread gives them.
 *
 * A thread owns its sockets and its share of the sessions exclusively. The main thread writes an order, then raises
 * its number; each thread acknowledges the order, and later reports that it is done. The next order is not written
 * before all have acknowledged the last. Counters and histogram are the
 * thread's alone to write, any thread may read. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "core/base/timer_wheel.h"
#include "core/protocol/transport.h"
#include "core/protocol/wg_handshake.h"
#include "perf/record/histogram.h"
#include "perf/stgun/options.h"
#include "perf/stgun/packet.h"
#include "workers/send_queue.h"

enum stgun_phase {
	STGUN_IDLE,    /* receive */
	STGUN_PREPARE, /* compute the HELLOs of the next connect */
	STGUN_DIAL,    /* connect all sessions; done when all are up */
	STGUN_FIRE,    /* send until order.end; done then */
	STGUN_HOLD,    /* as clients do; done at order.end */
	STGUN_LEAVE,   /* say BYE; done when all have */
	STGUN_QUIT,
};

/* X(name): what a thread counts. */
#define STGUN_COUNTERS(X)                                                                \
	X(up)		/* sessions that came up since the order */                      \
	X(hellos)	/* sent */                                                       \
	X(cookies)	/* taken */                                                      \
	X(welcomes)	/* taken */                                                      \
	X(sealed)	/* DATA of the order, sent but for those refused */              \
	X(refused)	/* by the socket */                                              \
	X(answers)	/* of the order's run */                                         \
	X(sent_bytes)	/* of inner packets: of `sealed` */                              \
	X(bytes)	/* of inner packets: of `answers` */                             \
	X(ended)	/* sessions that the gateway ended, or does not know any more */ \
	X(resets)	/* of them those that it does not know: it said RESET */         \
	X(silences)	/* sessions to which the gateway said nothing for too long */    \
	X(misdelivered) /* packets of another session's, that came by this one */        \
	X(unexpected)	/* datagrams that were nothing of ours: late, forged or repeated */

enum stgun_counter {
#define X(name) STGUN_COUNT_##name,
	STGUN_COUNTERS(X)
#undef X
		STGUN_COUNTER_COUNT,
};

struct stgun_order {
	enum stgun_phase phase;
	uint32_t run;	    /* FIRE */
	uint64_t start;	    /* ns: FIRE, DIAL, HOLD */
	uint64_t end;	    /* ns: FIRE, HOLD */
	double interval;    /* ns between the units of one thread; 0: as fast as it goes. FIRE, DIAL, HOLD */
	uint32_t packets;   /* of a unit: a train up, or the answers to one packet. FIRE */
	bool fresh_latency; /* forget what was recorded */
};

/* A handshake under way. */
struct stgun_attempt {
	struct timer timer;
	uint32_t index; /* of the session */
	uint32_t tries;
	uint64_t intended; /* ns */
	uint64_t ack_end;  /* ns; 0: no WELCOME yet */
	bool renews;	   /* the keys of a session that is up: WireGuard's, of which nothing is counted */
	bool has_cookie;
	uint8_t repeats; /* HELLOs at once for COOKIEs that answer one with mac2, since the last one that was due */
	uint8_t cookie[COOKIE_SIZE];
	union { /* both begin with the same */
		struct handshake_initiator initiator;
		struct wg_initiator wireguard;
	};
	uint8_t hello[WIRE_HELLO_SIZE]; /* or WireGuard's initiation */
};
_Static_assert(offsetof(struct handshake_initiator, noise) == 0 && offsetof(struct wg_initiator, noise) == 0,
	       "the same");

struct stgun_session {
	struct transport_key *key;     /* NULL: it is down */
	struct stgun_attempt *attempt; /* NULL: none */
	uint32_t id;		       /* what it is called in what comes: WireGuard's index of ours; 0: none */
	uint32_t number;	       /* of its next DATA */
	uint32_t awaiting_reply_since; /* HOLD: ms of the first DATA since anything came; 0: none */
	uint8_t version;	       /* 4 or 6: the family that we send in */
	uint8_t address[16];	       /* inner */
};

struct stgun_thread {
	struct stgun *stgun;
	unsigned number;
	pthread_t thread;
	uint64_t now;
	struct stgun_order order;

	struct aead_engine *aead;
	struct udp_socket **sockets;
	int epoll_fd; /* with several sockets; else -1 */
	struct udp_message *messages;
	uint8_t *buffers;
	struct send_queue queue;
	struct udp_socket *queue_socket; /* where the queue goes */

	uint32_t first, count; /* sessions: the first one's number among all; it is client options->first + first */
	struct stgun_session *sessions;
	uint32_t *index;     /* session ID -> index of the session plus 1; 0: free */
	uint32_t index_mask; /* slots less 1 */
	uint32_t index_used;

	struct handshake_remote remote; /* static_static is that of the session at hand */
	struct timer_wheel wheel;
	uint32_t renewed;   /* session whose keys were looked at last */
	uint32_t next;	    /* session to prepare, connect, send from or end */
	uint64_t random;    /* state of the order of sessions */
	uint32_t under_way; /* handshakes */
	struct pacer pacer;
	struct stgun_packet_form form;
	uint32_t asked; /* number of the query that was sent last */
	uint64_t sampled;
	uint64_t answers, given_up, progress; /* of the window: packets, packets, ns */

	struct stats stats;
	struct histogram latency; /* ns: of answers, or of handshakes */
	_Atomic uint64_t counters[STGUN_COUNTER_COUNT];
	_Atomic uint64_t offered;  /* packets of the order that became due */
	_Atomic uint64_t finished; /* ns: when the last packet of the order was sent, or could have been */
	_Atomic uint64_t taken;	   /* number of the order in force */
	_Atomic uint64_t done;	   /* number of the order that it is done with */
};

struct stgun {
	const struct stgun_options *options;
	struct sockaddr_in6 gateway;
	struct stgun_thread **threads;
	struct stgun_order order;
	_Atomic uint64_t order_number;

	/* What the first thread asks the reflector, and is told. */
	_Atomic uint32_t query;
	_Atomic uint32_t told; /* number of the query that was answered last; written after the rest */
	_Atomic uint64_t told_packets, told_bytes, told_overflows;

	/* What the first WELCOME said. */
	_Atomic uint32_t mtu, suite;
	_Atomic bool told_gateway;
	struct ip_address gateway4, gateway6;
};

#define stgun_count(thread, name, by) stats_bump(&(thread)->counters[STGUN_COUNT_##name], (by))

/* --- thread.c: making, running, ending ---------------------------------------------------------------------------- */

/* Opens sockets and takes memory. NULL with `error` set. */
struct stgun_thread *stgun_thread_new(struct stgun *stgun, unsigned number, struct error *error);
void stgun_thread_free(struct stgun_thread *thread); /* NULL is allowed */

/* Follows orders until STGUN_QUIT; the argument is the thread. */
void *stgun_thread_run(void *argument);

/* Room for a datagram of the session, as send_queue_reserve() gives it; what is queued leaves with stgun_flush(). NULL:
 * the socket is full; later. */
uint8_t *stgun_reserve(struct stgun_thread *thread, const struct stgun_session *session, uint32_t id, uint32_t length);
void stgun_flush(struct stgun_thread *thread);

/* The session that the gateway calls so; NULL when there is none. */
struct stgun_session *stgun_find(struct stgun_thread *thread, uint32_t id);

/* Gives a session its ID. */
void stgun_index(struct stgun_thread *thread, struct stgun_session *session, uint32_t id);

/* Seals a message that is no DATA, and queues it. */
bool stgun_send_control(struct stgun_thread *thread, struct stgun_session *session, enum wire_type type,
			const uint8_t *payload, uint32_t length);

/* Of a session of this thread, among all of the generator's. */
static inline uint32_t stgun_number(const struct stgun_thread *thread, const struct stgun_session *session)
{
	return thread->first + (uint32_t)(session - thread->sessions);
}

/* Bytes of the datagram with an inner packet of `size` bytes. */
static inline uint32_t stgun_sealed_size(const struct stgun_options *options, uint32_t size)
{
	return options->wireguard ? WG_OVERHEAD + wg_padded_size(size, options->mtu) : WIRE_OVERHEAD + size;
}

/* Forgets the session's keys and its ID. */
void stgun_forget(struct stgun_session *session);

/* --- connect.c: handshakes ---------------------------------------------------------------------------------------- */

/* Works on STGUN_PREPARE and STGUN_DIAL; true when it did something. */
bool stgun_prepare(struct stgun_thread *thread);
bool stgun_dial(struct stgun_thread *thread);

/* Connects a session once more, unless that is under way. */
void stgun_redial(struct stgun_thread *thread, struct stgun_session *session);

/* Gives its handshake up, if there is one, for good: no more are to be begun. */
void stgun_abandon(struct stgun_thread *thread, struct stgun_session *session);

/* For the wheel: HELLO or CLIENT_ACK again. */
timer_callback stgun_attempt_due;

/* WELCOME, COOKIE and RESET. */
void stgun_take_handshake(struct stgun_thread *thread, const uint8_t *message, uint32_t length);

/* WireGuard's response and cookie reply. */
void stgun_take_wireguard(struct stgun_thread *thread, const uint8_t *message, uint32_t length);

/* New keys for a session of WireGuard's whose own are old. */
void stgun_renew(struct stgun_thread *thread, struct stgun_session *session);

/* Something opened under the session's key. */
void stgun_confirmed(struct stgun_thread *thread, struct stgun_session *session);

/* --- hold.c ------------------------------------------------------------------------------------------------------- */

/* Works on STGUN_HOLD; true when it did something. */
bool stgun_hold(struct stgun_thread *thread);

/* Something authentic came: it is not silent. */
static inline void stgun_heard(struct stgun_session *session)
{
	session->awaiting_reply_since = 0;
}

/* The gateway does not know the session, or ended it: it comes back if it is to stay. */
void stgun_lost(struct stgun_thread *thread, struct stgun_session *session);

/* --- send.c, receive.c -------------------------------------------------------------------------------------------- */

/* Seals a packet of `size` bytes, with the stamp and `extra` bytes behind it, and queues it. False: no room. */
bool stgun_seal_packet(struct stgun_thread *thread, struct stgun_session *session, uint32_t size,
		       struct stgun_packet_stamp *stamp, size_t extra);

/* Works on STGUN_FIRE; true when it did something. */
bool stgun_fire(struct stgun_thread *thread);

/* The query that the main thread has, if any; first thread only. */
void stgun_ask(struct stgun_thread *thread);

/* Takes what waits in the sockets; true when there was something. */
bool stgun_receive(struct stgun_thread *thread);
