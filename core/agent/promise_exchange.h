// SPDX-License-Identifier: Apache-2.0
/* One agent's side of the datagrams of promise.h, without I/O: what they have to bring before the rule (ownership.h) is
 * told, and what is sent. One thread. */
#pragma once

#include <sys/socket.h>

#include "core/agent/promise.h"

/* Why a datagram was dropped, and the label in the metrics. */
#define PROMISE_DROPS(X)                                                                                     \
	X(MALFORMED, "malformed")	    /* length or version, or no message */                           \
	X(FORGED, "forged")		    /* not sealed with the cluster's secret, or that is not known */ \
	X(MISDIRECTED, "misdirected")	    /* to another node, or from one that is no other taker */        \
	X(WITHOUT_TICKET, "without_ticket") /* a question: it is answered with a ticket */                   \
	X(LATE, "late")			    /* an answer to another question than the present one, or a second one */

enum promise_drop {
#define NAME(name, text) PROMISE_DROP_##name,
	PROMISE_DROPS(NAME)
#undef NAME
		PROMISE_DROP_COUNT,
	PROMISE_TAKEN = PROMISE_DROP_COUNT,
};

enum { PROMISE_AGAIN_MAX = 4 /* questions that a taker may cause by tickets */ };
#define PROMISE_REPEAT (100 * NS_PER_MS) /* from a question to its repetition, where there is no answer */

struct promise_peer {
	char name[OWNERSHIP_NAME];
	bool has_given, has_ticket;
	uint8_t given[PROMISE_CHALLENGE];  /* for its next question */
	uint8_t ticket[PROMISE_CHALLENGE]; /* for ours */
	bool asked, answered;		   /* in the present question */
	uint8_t verdict;		   /* of its answer */
	unsigned again;
	uint64_t sent; /* ns */
};

struct promise_exchange {
	char node[OWNERSHIP_NAME];
	bool has_key;
	struct promise_key key;
	struct promise_peer peers[OWNERSHIP_NODES_MAX]; /* all other takers */
	size_t count;
	/* the present question */
	uint64_t question, takers_revision;
	uint64_t ends; /* ns: from then on an answer extends nothing, and it is not repeated */
	uint8_t challenge[PROMISE_CHALLENGE];
	struct ownership_set asked;
	uint64_t drops[PROMISE_DROP_COUNT];
};

void promise_exchange_init(struct promise_exchange *exchange, const char *node);

/* The cluster's secret; NULL: it is not known, and nothing is sent or taken. */
void promise_exchange_set_secret(struct promise_exchange *exchange, const uint8_t *secret);

/* The takers are those of the rule now. What is known of those that stay, stays. */
void promise_exchange_set_takers(struct promise_exchange *exchange, const struct ownership *rule);

/* Begins a question: OWNERSHIP_DO_ASK, of now. */
void promise_exchange_begin(struct promise_exchange *exchange, const struct ownership_action *action, uint64_t now);

/* The next datagram of the present question that is to be sent now, and the node that it is for; NULL: none before the
 * time promise_exchange_deadline() (0: none at all). */
const char *promise_exchange_next(struct promise_exchange *exchange, uint64_t now, uint8_t datagram[PROMISE_SIZE]);
uint64_t promise_exchange_deadline(const struct promise_exchange *exchange, uint64_t now);

/* A datagram: the rule is told what it says. True: `answer` is to be sent to where it came from. */
bool promise_exchange_receive(struct promise_exchange *exchange, struct ownership *rule, const uint8_t *datagram,
			      size_t length, uint64_t now, uint8_t answer[PROMISE_SIZE]);
