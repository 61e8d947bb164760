// SPDX-License-Identifier: Apache-2.0
/* CoDel, RFC 8289: detects a standing queue by how long packets waited in it, and chooses which to drop.
 *
 * The queue is the caller's. One of these belongs to one queue and sees each packet that leaves it, in order: the
 * RFC's section 5 with its loop turned inside out. One difference: the next drop is scheduled together with a drop, and
 * not when the packet after it was looked at as well. It shows only in when exactly the drop rate of the last time
 * is forgotten, some 16 intervals later. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"

/* What the RFC advises for the Internet: the longest usual round trip, and 5 % of it. */
#define CODEL_TARGET_NS	  (5 * NS_PER_MS)
#define CODEL_INTERVAL_NS (100 * NS_PER_MS)

/* Of a ring between threads, which is emptied at the speed of a CPU and holds a few milliseconds at most: with the
 * values above nothing would ever stand in it. */
#define CODEL_RING_TARGET_NS   (500 * NS_PER_US)
#define CODEL_RING_INTERVAL_NS (10 * NS_PER_MS)

struct codel {
	uint64_t target;      /* ns a packet may wait */
	uint32_t interval;    /* ns it may wait longer than that before anything is dropped */
	uint32_t max_packet;  /* bytes: with no more than that behind it, a packet did not wait for others */
	uint64_t first_above; /* when the wait will have been above target for an interval; 0: it is below */
	uint64_t drop_next;   /* when to drop the next one, while dropping */
	uint32_t count;	      /* drops since dropping began, and more when it began with what is remembered */
	uint32_t last_count;  /* what it began with */
	bool dropping;
};

void codel_init(struct codel *codel, uint64_t target, uint32_t interval, uint32_t max_packet);

/* Whether to drop (or, where the sender understands it, to mark) the packet that leaves the queue at `now` after
 * `sojourn`, with `behind` bytes left in the queue. `now` never goes back and is never 0. */
bool codel_drop(struct codel *codel, uint64_t sojourn, uint64_t now, uint64_t behind);

/* For stamps of another thread's clock, which may be ahead of a `now` that was read a little earlier. */
static inline uint64_t codel_sojourn(uint64_t stamp, uint64_t now)
{
	return now > stamp ? now - stamp : 0;
}
