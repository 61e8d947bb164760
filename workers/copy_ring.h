// SPDX-License-Identifier: Apache-2.0
/* A bounded ring of datagrams from many threads to one, by copying: for what the kernel gave to a worker that does not
 * own its session, because a GRO batch is steered by its first datagram alone. Rare, so a copy is cheaper than buffers
 * that change hands. D. Vyukov, "Bounded MPMC queue", 1024cores.net, with a single consumer.
 *
 * Each slot has a sequence number that names the side whose turn it is: position + 0: the producer that claims it;
 * + 1: the consumer's; + entries: the next round's producer's.
 *
 *   end        does                          order
 *   producer   reads the slot's sequence     acquire: after the consumer's pop, so its slot is free
 *              claims the position (tail)    relaxed compare-and-swap: orders nothing, it only chooses
 *              copies, stores the sequence   release: the copy comes before
 *   consumer   reads the slot's sequence     acquire: after the producer's copy
 *              stores the sequence (pop)     release: what it did to the datagram comes before
 *
 * No thread waits for another. A producer that is interrupted between claim and copy hides what was pushed behind it
 * until it goes on; if that lasts the ring fills up and pushes fail. Datagrams of one producer stay in order.
 *
 * A sleeping consumer is woken as core/base/waker.h says: the producer calls waker_wake() after its pushes, the
 * consumer asks copy_ring_empty() between waker_prepare() and sleep. Each producer wakes for its own pushes, so one
 * that was hidden behind another's unfinished copy is found when that one wakes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/owner.h"
#include "workers/udp.h"

struct copy_ring;

/* Room for `entries` (a power of two, at least 2) datagrams of up to `datagram_max` bytes (1…UDP_MESSAGE_MAX). NULL
 * with `error` set. Start-up; allocates, and nothing else here does. */
struct copy_ring *copy_ring_new(uint32_t entries, uint32_t datagram_max, struct error *error);
void copy_ring_free(struct copy_ring *ring); /* after its last use; NULL is allowed */

/* The consumer's end follows `owner` (core/base/owner.h). Start-up. */
void copy_ring_own(struct copy_ring *ring, const struct owner *owner);

/* Copies a datagram in. False when the ring is full or the datagram too long: the caller counts the drop. Any thread;
 * never blocks. */
bool copy_ring_push(struct copy_ring *ring, const struct endpoint *from, uint8_t ecn, const uint8_t *data,
		    uint32_t length);

/* The datagram `ahead` places behind the oldest; NULL when it has not come. A batch is taken by counting up from 0 to
 * the first NULL, and popped when nothing refers to its bytes any more. A single datagram, its bytes cache-line
 * aligned; they are the consumer's to change in place, and AEAD_INPUT_SLACK bytes behind them may be read. Valid until
 * popped. The consumer's thread. */
const struct udp_message *copy_ring_peek(const struct copy_ring *ring, uint32_t ahead);

/* Gives back the `count` oldest, which were peeked. The consumer's thread. */
void copy_ring_pop(struct copy_ring *ring, uint32_t count);

/* Whether there is nothing to peek. The consumer's thread. */
bool copy_ring_empty(const struct copy_ring *ring);
