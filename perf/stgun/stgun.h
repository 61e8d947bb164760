// SPDX-License-Identifier: Apache-2.0
/* The load generator: threads that play clients, and the order that the main thread gives them.
 *
 * A thread owns its sockets and its share of the sessions; nobody else touches them. The main thread writes an order,
 * then raises its number; each thread says that it took it, and when it is done with it. The next order is not written
 * before all have taken the last. Counters and histogram are the
 * thread's alone to write, anybody may read. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "core/base/timer_wheel.h"
#include "core/protocol/handshake.h"
#include "core/protocol/transport.h"
#include "perf/stgun/options.h"
#include "perf/stgun/packet.h"
#include "perf/record/histogram.h"
#include "workers/send_queue.h"

enum gun_phase {
	GUN_IDLE,    /* receive */
	GUN_PREPARE, /* compute the HELLOs of the next connect */
	GUN_DIAL,    /* connect all sessions; done when all are up */
	GUN_FIRE,    /* send until order.end; done then */
	GUN_STAY,    /* as clients do; done at order.end */
	GUN_LEAVE,   /* say BYE; done when all have */
	GUN_QUIT,
};

/* X(name): what a thread counts. */
#define GUN_COUNTERS(X)                                                                \
	X(up)	      /* sessions that came up since the order */                      \
	X(hellos)     /* sent */                                                       \
	X(cookies)    /* taken */                                                      \
	X(welcomes)   /* taken */                                                      \
	X(sealed)     /* DATA of the order, sent but for those refused */              \
	X(refused)    /* by the socket */                                              \
	X(answers)    /* of the order's run */                                         \
	X(sent_bytes) /* of inner packets: of `sealed` */                              \
	X(bytes)      /* of inner packets: of `answers` */                             \
	X(ended)      /* sessions that the gateway ended, or does not know any more */ \
	X(resets)     /* of them those that it does not know: it said RESET */         \
	X(silences)   /* sessions to which the gateway said nothing for too long */    \
	X(unexpected) /* datagrams that were nothing of ours: late, forged or repeated */

enum gun_counter {
#define X(name) GUN_COUNT_##name,
	GUN_COUNTERS(X)
#undef X
		GUN_COUNTER_COUNT,
};

struct gun_order {
	enum gun_phase phase;
	uint32_t run;	    /* FIRE */
	uint64_t start;	    /* ns: FIRE, DIAL, STAY */
	uint64_t end;	    /* ns: FIRE, STAY */
	double interval;    /* ns between the units of one thread; 0: as fast as it goes. FIRE, DIAL, STAY */
	uint32_t packets;   /* of a unit: a train up, or the answers to one packet. FIRE */
	bool fresh_latency; /* forget what was recorded */
};

/* A handshake under way. */
struct gun_attempt {
	struct timer timer;
	uint32_t index; /* of the session */
	uint32_t tries;
	uint64_t intended; /* ns */
	uint64_t ack_end;  /* ns; 0: no WELCOME yet */
	bool has_cookie;
	uint8_t cookie[COOKIE_SIZE];
	struct handshake_initiator initiator;
	uint8_t hello[WIRE_HELLO_SIZE];
};

struct gun_session {
	struct transport_key *key;   /* NULL: it is down */
	struct gun_attempt *attempt; /* NULL: none */
	uint32_t id;		     /* 0: none */
	uint32_t number;	     /* of its next DATA */
	uint32_t unanswered;	     /* STAY: ms of the first DATA since anything came; 0: none */
	uint8_t version;	     /* 4 or 6: the family that we send in */
	uint8_t address[16];	     /* inner */
};

struct gun_thread {
	struct gun *gun;
	unsigned number;
	pthread_t thread;
	uint64_t now;
	struct gun_order order;

	struct aead_engine *aead;
	struct udp_socket **sockets;
	int epoll_fd; /* with several sockets; else -1 */
	struct udp_message *messages;
	uint8_t *buffers;
	struct send_queue queue;
	struct udp_socket *queue_socket; /* where the queue goes */

	uint32_t first, count; /* sessions: the first one's number among all; it is client options->first + first */
	struct gun_session *sessions;
	uint32_t *index;     /* session ID -> index of the session plus 1; 0: free */
	uint32_t index_mask; /* slots less 1 */
	uint32_t index_used;

	struct handshake_remote remote; /* static_static is that of the session at hand */
	struct timer_wheel wheel;
	uint32_t next;	    /* session to prepare, connect, send from or end */
	uint64_t random;    /* state of the order of sessions */
	uint32_t under_way; /* handshakes */
	struct pacer pacer;
	struct gun_packet_form form;
	uint32_t asked; /* number of the question that was sent last */
	uint64_t sampled;
	uint64_t answers, given_up, progress; /* of the window: packets, packets, ns */

	struct stats stats;
	struct histogram latency; /* ns: of answers, or of handshakes */
	_Atomic uint64_t counters[GUN_COUNTER_COUNT];
	_Atomic uint64_t offered;  /* packets of the order that became due */
	_Atomic uint64_t finished; /* ns: when the last packet of the order was sent, or could have been */
	_Atomic uint64_t taken;	   /* number of the order in force */
	_Atomic uint64_t done;	   /* number of the order that it is done with */
};

struct gun {
	const struct gun_options *options;
	struct sockaddr_in6 gateway;
	struct gun_thread **threads;
	struct gun_order order;
	_Atomic uint64_t order_number;

	/* What the first thread asks the reflector, and is told. */
	_Atomic uint32_t question;
	_Atomic uint32_t told; /* number of the question that was answered last; written after the rest */
	_Atomic uint64_t told_packets, told_bytes, told_overflows;

	/* What the first WELCOME said. */
	_Atomic uint32_t mtu, suite;
	_Atomic bool told_gateway;
	struct ip_address gateway4, gateway6;
};

#define gun_count(thread, name, by) stats_bump(&(thread)->counters[GUN_COUNT_##name], (by))

/* --- thread.c: making, running, ending ------------------------------------------------------------------------------
 */

/* Opens sockets and takes memory. NULL with `error` set. */
struct gun_thread *gun_thread_new(struct gun *gun, unsigned number, struct error *error);
void gun_thread_free(struct gun_thread *thread); /* NULL is allowed */

/* Follows orders until GUN_QUIT; the argument is the thread. */
void *gun_thread_run(void *argument);

/* Room for a datagram of the session, as send_queue_reserve() gives it; what is queued leaves with gun_flush(). NULL:
 * the socket is full; later. */
uint8_t *gun_reserve(struct gun_thread *thread, const struct gun_session *session, uint32_t id, uint32_t length);
void gun_flush(struct gun_thread *thread);

/* The session that the gateway calls so; NULL when there is none. */
struct gun_session *gun_find(struct gun_thread *thread, uint32_t id);

/* Gives a session its ID. */
void gun_index(struct gun_thread *thread, struct gun_session *session, uint32_t id);

/* Seals a message that is no DATA, and queues it. */
bool gun_send_control(struct gun_thread *thread, struct gun_session *session, enum wire_type type,
		      const uint8_t *payload, uint32_t length);

/* Forgets the session's keys and its ID. */
void gun_forget(struct gun_session *session);

/* --- connect.c: handshakes ------------------------------------------------------------------------------------------
 */

/* Works on GUN_PREPARE and GUN_DIAL; true when it did something. */
bool gun_prepare(struct gun_thread *thread);
bool gun_dial(struct gun_thread *thread);

/* Connects a session once more, unless that is under way. */
void gun_redial(struct gun_thread *thread, struct gun_session *session);

/* Gives its handshake up, if there is one, for good: no more are to be begun. */
void gun_abandon(struct gun_thread *thread, struct gun_session *session);

/* For the wheel: HELLO or CLIENT_ACK again. */
timer_callback gun_attempt_due;

/* WELCOME, COOKIE and RESET. */
void gun_take_handshake(struct gun_thread *thread, const uint8_t *message, uint32_t length);

/* Something opened under the session's key. */
void gun_confirmed(struct gun_thread *thread, struct gun_session *session);

/* --- stay.c ---------------------------------------------------------------------------------------------------------
 */

/* Works on GUN_STAY; true when it did something. */
bool gun_stay(struct gun_thread *thread);

/* Something authentic came: it is not silent. */
static inline void gun_heard(struct gun_session *session)
{
	session->unanswered = 0;
}

/* The gateway does not know the session, or ended it: it comes back if it is to stay. */
void gun_lost(struct gun_thread *thread, struct gun_session *session);

/* --- send.c, receive.c ----------------------------------------------------------------------------------------------
 */

/* Seals a packet of `size` bytes, with the stamp and `extra` bytes behind it, and queues it. False: no room. */
bool gun_seal_packet(struct gun_thread *thread, struct gun_session *session, uint32_t size,
		     struct gun_packet_stamp *stamp, size_t extra);

/* Works on GUN_FIRE; true when it did something. */
bool gun_fire(struct gun_thread *thread);

/* The question that the main thread has, if any; first thread only. */
void gun_ask(struct gun_thread *thread);

/* Takes what waits in the sockets; true when there was something. */
bool gun_receive(struct gun_thread *thread);
