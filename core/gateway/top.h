// SPDX-License-Identifier: Apache-2.0
/* The busiest sessions: what "top" of the control socket answers.
 *
 * While requests come, and for ten seconds after the last, the control thread passes over the session table once a
 * second, in forty steps with pauses between them, so that it stays free for other things however many sessions there
 * are. It reads what the workers publish as relaxed words, and remembers for each slot what it saw there: a rate is the
 * difference of two looks at a session. For each order it keeps the first TOP_SESSIONS of a pass. Memory for all that
 * is taken with the first question, and touched for slots that have had a session only: 40 bytes each. */
#pragma once

#include <jansson.h>

#include "core/base/error.h"
#include "core/sessions/table.h"

enum { TOP_SESSIONS = 1000 /* at most in one answer */ };

/* X(name, label): what they can be sorted by, the largest first. */
#define TOP_ORDERS(X)                                                 \
	X(TOP_BITS, "bits")	  /* a second, both ways */           \
	X(TOP_RX, "rx")		  /* bits a second from the client */ \
	X(TOP_TX, "tx")		  /* and to it */                     \
	X(TOP_PACKETS, "packets") /* a second, both ways */           \
	X(TOP_BYTES, "bytes")	  /* since it is there */             \
	X(TOP_SEEN, "seen")	  /* heard of last */                 \
	X(TOP_AGE, "age")	  /* there for the longest */         \
	X(TOP_ROAMS, "roams")	  /* moved most often */

enum top_order {
#define X(name, label) name,
	TOP_ORDERS(X)
#undef X
		TOP_ORDER_COUNT,
};

/* False: there is no such order. */
bool top_order_parse(const char *label, enum top_order *order);

struct gateway_top;

/* The table is borrowed. NULL with `error` set. All of these: the control thread, online under RCU. */
struct gateway_top *gateway_top_new(const struct session_table *table, struct error *error);
void gateway_top_free(struct gateway_top *top); /* NULL is allowed */

/* Readable when gateway_top_step() is due. */
int gateway_top_fd(const struct gateway_top *top);
/* `now`: monotonic ns. */
void gateway_top_step(struct gateway_top *top, uint64_t now);

/* {"sessions": as sessions.h describes them, and "rx_bits_per_second", "tx_bits_per_second",
 * "rx_packets_per_second", "tx_packets_per_second"; "order", "seen": how many the last pass saw, "ready": whether there
 * are rates, which takes two passes}. NULL: no memory. */
json_t *gateway_top_answer(struct gateway_top *top, enum top_order order, uint32_t count, uint64_t now);
