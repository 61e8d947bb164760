// SPDX-License-Identifier: Apache-2.0
/* Events of a gateway's sessions for its operator, one log line each: connected, ended, moved, refused.
 *
 * Threads raise events; the control thread formats and logs them (core/daemon/events.h), so the data path never waits
 * for the log. Each kind has a rate limit in each thread, and what exceeds it is logged as one count, so that no client
 * fills a disk: most kinds need an authenticated client, but EVENT_REFUSED only the gateway's public key. Never raised
 * for a packet that is merely malformed or forged. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <urcu/wfcqueue.h>

#include "core/base/waker.h"
#include "core/sessions/session.h"
#include "crypto/keys.h"
#include "crypto/rate_limit.h"

/* X(name, text, a second, at once): the rate of the whole gateway. Many connect at once after a restart; for long, one
 * peer may not come and go faster than a person can read. */
#define EVENT_KINDS(X)                          \
	X(CONNECT, "connect", 10, 10000)        \
	X(DISCONNECT, "disconnect", 10, 10000)  \
	X(ROAM, "roam", 5, 1000)                \
	X(QUOTA, "quota", 10, 10000)            \
	X(REKEY_FAILED, "rekey_failed", 1, 100) \
	X(REFUSED, "refused", 1, 100)

enum event_kind {
#define X(name, text, rate, burst) EVENT_##name,
	EVENT_KINDS(X)
#undef X
		EVENT_KIND_COUNT,
};

const char *event_kind_text(enum event_kind kind);

enum { EVENT_NAME_SIZE = 64 /* a name that is longer is cut */ };

struct event {
	struct cds_wfcq_node node;
	enum event_kind kind;
	uint32_t session_id; /* 0: none */
	uint8_t peer[KEY_SIZE];
	char name[EVENT_NAME_SIZE];   /* what the operator calls the peer, or "" */
	const char *protocol;	      /* of the peer, if it is another than our own; constant text */
	struct sockaddr_in6 endpoint; /* where the client is */
	struct sockaddr_in6 previous; /* ROAM: where it was */
	const char *reason;	      /* a constant; NULL: none */
	/* CONNECT */
	struct ip_address address4, address6; /* inner ones; family 0: none */
	uint8_t suite;
	uint16_t mtu;
	uint32_t rate_up, rate_down; /* thousands of bits a second; 0: no limit */
	/* QUOTA: bytes, and the rate from now on, as above; 0: nothing passes */
	uint64_t quota, used;
	const char *period; /* a constant */
	uint32_t rate;
	/* DISCONNECT: since the handshake, ns; inner packets from the client and to it */
	uint64_t duration, rx_packets, rx_bytes, tx_packets, tx_bytes;
};

/* From all threads to one. */
struct event_queue {
	struct waker waker; /* of the reader, which always is as one that sleeps */
	struct cds_wfcq_head head;
	struct cds_wfcq_tail tail CACHE_ALIGNED;
};

/* A thread's side. */
struct event_source {
	struct event_queue *queue; /* NULL: no event is kept */
	struct token_bucket buckets[EVENT_KIND_COUNT];
	_Atomic uint64_t suppressed[EVENT_KIND_COUNT]; /* the thread writes, any may read */
};

/* 0 or a negative errno. */
int event_queue_init(struct event_queue *queue);

/* After all threads ended; frees what is left. */
void event_queue_deinit(struct event_queue *queue);

/* The oldest event, now the caller's to free, or NULL. The reader, when the waker's descriptor is readable and at the
 * end; it is woken again for what comes after NULL. */
struct event *event_take(struct event_queue *queue);

/* `share`: how many threads raise events of these kinds; the rates are divided by it. Before the thread starts. */
void event_source_init(struct event_source *source, struct event_queue *queue, unsigned share);

/* A new event, zeroed but for its kind, to be filled and posted; NULL above the rate limit (which is counted), without
 * a queue, or without memory. The source's thread. */
struct event *event_new(struct event_source *source, enum event_kind kind, uint64_t now);

/* The same about a session, which lives: with its ID, peer, endpoint and addresses. */
struct event *event_new_of(struct event_source *source, enum event_kind kind, const struct session *session,
			   uint64_t now);

/* Sets the protocol of an event about a peer, as event_new_of() does. */
void event_note_protocol(struct event *event, const struct peer *peer);

/* Takes the event over. */
void event_post(struct event_source *source, struct event *event);
