// SPDX-License-Identifier: Apache-2.0
/* Requests from other threads to a worker, or from workers to a handshake thread: a lock-free queue (liburcu's
 * wfcqueue: many writers, one reader) and the reader's waker. Messages are on the heap: made by the writer, freed by
 * the reader. */
#pragma once

#include <stdlib.h>
#include <urcu/wfcqueue.h>

#include "core/base/owner.h"
#include "core/base/rcu.h"
#include "core/base/waker.h"
#include "core/sessions/session.h"
#include "crypto/keys.h"

enum inbox_kind {
	INBOX_INSTALL, /* a handshake was answered: keys for a session, and the answer to send once they are there */
	INBOX_END,     /* send BYE to a session and end it */
	INBOX_LIMITS,  /* the limits of a session's peer changed, its networks, or how it is reached */
	/* of WireGuard's handshakes that we initiate (workers/initiator.h) */
	INBOX_STAND,	 /* a session for a peer that the gateway may initiate to */
	INBOX_INITIATE,	 /* to a handshake thread: send an initiation */
	INBOX_INITIATED, /* it was answered: keys */
	/* of a cluster */
	INBOX_FORWARDED, /* to a handshake thread: another gateway sent what begins a handshake with us */
};

struct inbox_message {
	struct cds_wfcq_node node;
	enum inbox_kind kind;
	uint32_t session_id;
	union {
		struct {
			struct session *made; /* put it into the table first; NULL: it is there */
			struct transport_key *key;
			uint32_t order;	  /* of the handshake: what a later one brought is not undone */
			uint32_t cancels; /* session to be ended: its handshake is replaced by this one; 0: none */
			uint16_t mtu;
			struct endpoint from;
			uint32_t answer_length;
			uint8_t answer[WIRE_WELCOME_MAX]; /* WELCOME, or WireGuard's response */
		} install;
		struct {
			enum wire_bye_reason reason;
		} end;
		struct {
			struct session *made;
		} stand;
		struct {
			uint8_t peer[KEY_SIZE];
			uint8_t epoch;	    /* of the key */
			struct endpoint to; /* of the peer */
		} initiate;
		struct {
			struct transport_key *key;
			struct endpoint from; /* of the peer */
			uint16_t mtu;
		} initiated;
		struct {
			struct endpoint from; /* of the client */
			bool proven;	      /* the other gateway verified its source */
			uint32_t length;
			uint8_t message[WIRE_HELLO_SIZE];
		} forwarded;
	};
};

struct inbox {
	struct waker *waker; /* of the reader */
	struct owner owner;  /* the reader */
	struct cds_wfcq_head head;
	struct cds_wfcq_tail tail CACHE_ALIGNED;
};

static inline void inbox_init(struct inbox *inbox, struct waker *waker)
{
	inbox->waker = waker;
	owner_clear(&inbox->owner);
	cds_wfcq_init(&inbox->head, &inbox->tail);
}

/* Takes the message over. Any thread. */
static inline void inbox_post(struct inbox *inbox, struct inbox_message *message)
{
	cds_wfcq_node_init(&message->node);
	rcu_tsan_release();
	(void)cds_wfcq_enqueue(&inbox->head, &inbox->tail, &message->node);
	(void)waker_wake(inbox->waker);
}

/* The oldest message, now the caller's, or NULL; also while it is just being put in, then inbox_empty() is false
 * already. The reader. */
static inline struct inbox_message *inbox_take(struct inbox *inbox)
{
	owner_check(&inbox->owner, "inbox");
	struct cds_wfcq_node *node = __cds_wfcq_dequeue_nonblocking(&inbox->head, &inbox->tail);
	if (node == NULL || node == CDS_WFCQ_WOULDBLOCK)
		return NULL;
	rcu_tsan_acquire();
	return caa_container_of(node, struct inbox_message, node);
}

static inline bool inbox_empty(struct inbox *inbox)
{
	return cds_wfcq_empty(&inbox->head, &inbox->tail);
}

/* After the last writer and reader; messages that own something were taken out. */
static inline void inbox_deinit(struct inbox *inbox)
{
	cds_wfcq_destroy(&inbox->head, &inbox->tail);
}
