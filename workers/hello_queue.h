// SPDX-License-Identifier: Apache-2.0
/* HELLOs, and initiations of WireGuard clients, that wait for a handshake thread. While there are more than it can
 * answer at once, the newest is taken first.
 *
 * A client accepts a WELCOME only for its latest HELLO, and sends a new one when no answer came for a second, then two,
 * four and more (core/protocol/PROTOCOL.md). Answered in the order of arrival, with a queue longer than that, every
 * HELLO would have been replaced by the time its turn comes: every answer would come too late, the clients would go
 * on retrying, and the queue would stay. With the newest first each answer is in time however many wait, so as many
 * clients are connected in a second as the thread can answer. An old one is taken when there is nothing newer, for a
 * client that has retried often and waits longer between retries; if it has retried meanwhile its old HELLO is
 * recognized as stale at little cost.
 *
 * The socket's own queue can only be read oldest first, so the thread empties it into this one. Owned by one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/protocol/wire.h"
#include "core/sessions/session.h"

/* How long one may wait: clients that were turned away twice wait for three seconds to five. */
#define HELLO_QUEUE_LIFE_NS (4 * NS_PER_S)

struct waiting_hello {
	uint64_t arrived; /* monotonic ns */
	struct endpoint from;
	bool proven; /* mac2 was made with a cookie that this source was given, by us or the gateway that forwarded it
		      */
	bool forwarded; /* by another gateway of the cluster: not to be sent on */
	uint8_t message[WIRE_HELLO_SIZE];
};

struct hello_queue {
	struct waiting_hello *ring;
	uint32_t size, oldest, count;
};

/* For `size` HELLOs, a power of two. 0 or -ENOMEM. Start-up: nothing is allocated later, and memory that no load ever
 * made necessary is not touched. */
int hello_queue_init(struct hello_queue *queue, uint32_t size);
void hello_queue_deinit(struct hello_queue *queue);

/* Copies a HELLO of `size` bytes in, which are not more than WIRE_HELLO_SIZE. If the queue is full the oldest has to go
 * for it: then false. `now` never goes back. */
bool hello_queue_put(struct hello_queue *queue, const struct endpoint *from, const uint8_t *message, uint32_t size,
		     uint64_t now);

/* The one that was put in last. */
struct waiting_hello *hello_queue_newest(struct hello_queue *queue);

/* Takes one out; NULL: there is none. It is good until the next hello_queue_put(). */
const struct waiting_hello *hello_queue_take_oldest(struct hello_queue *queue);
const struct waiting_hello *hello_queue_take_newest(struct hello_queue *queue);

/* Drops those that waited for longer than HELLO_QUEUE_LIFE_NS. Returns how many. */
uint32_t hello_queue_expire(struct hello_queue *queue, uint64_t now);

/* Forgets all. Returns how many. */
uint32_t hello_queue_clear(struct hello_queue *queue);
