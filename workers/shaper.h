// SPDX-License-Identifier: Apache-2.0
/* Limits the rate of one direction of a session: what is above it waits in a queue, and leaves it when its time has
 * come.
 *
 * The rate is kept by the Generic Cell Rate Algorithm (ITU-T I.371, appendix I): a packet moves the theoretical arrival
 * time of the next one on by what it takes at the rate, and packets may be early by the burst. So any burst works, even
 * none. CoDel keeps the queue short (RFC 8289), and the order of packets stays.
 *
 * The queue's memory is chunks of a worker's pool: only sessions with packets that wait have any. A queue may grow as
 * long as it has less than a part of what is free, so that however many there are, each gets as much as the others and
 * some is left for the next (A. K. Choudhury and E. L. Hahne, "Dynamic queue length thresholds for shared-memory packet
 * switches", 1998). Packets longer than a chunk do not wait; above the rate they are dropped.
 *
 * Bytes are those of inner IP packets. Times are monotonic ns, and `now` never goes back. Owned by one worker. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "workers/codel.h"

enum {
	SHAPER_CHUNK = 16384,	      /* bytes, with its head */
	SHAPER_MEMORY = 32 << 20,     /* bytes of a worker's pool: address space, until packets wait */
	SHAPER_SHARE = 4,	      /* a queue grows while it has less than this part of what is free */
	SHAPER_QUEUE_MIN = 2 * 65536, /* bytes that may wait at any rate: two super-packets */
	SHAPER_QUEUE_MAX = 4 << 20,   /* and at most */
	SHAPER_KBITS_MIN = 8,	      /* the lowest rate */
};
#define SHAPER_QUEUE_NS (100 * NS_PER_MS) /* as many bytes may wait as pass in this time */
#define SHAPER_BURST_NS (20 * NS_PER_MS)  /* how early a packet may be, where no burst is set */

struct shaper_chunk;

/* The chunks of one worker. */
struct shaper_pool {
	uint8_t *memory; /* NULL: none yet */
	struct shaper_chunk *free;
	struct shaper_chunk *spent; /* empty, but what was in them may still be in use: shaper_recycle() */
	uint32_t used;		    /* of the memory, chunks: the rest was never needed */
	uint32_t taken;		    /* of these, in queues or spent */
	uint64_t bytes;		    /* of the packets that wait */
};

struct shaper {
	uint32_t kbits;		 /* a second; 0: no limit */
	uint64_t burst;		 /* ns */
	uint64_t ready;		 /* theoretical arrival time of the next packet */
	uint32_t bytes, packets; /* that wait */
	uint32_t chunks;
	struct shaper_chunk *first, *last;
	struct codel codel;
};

/* A packet that waits. What is behind its end may be read, not used, and changed for a moment. */
struct shaper_packet {
	uint64_t stamp; /* since when */
	uint32_t length;
	uint8_t ecn; /* as the caller gave it */
	_Alignas(16) uint8_t data[];
};

/* Allocates the memory. 0 or -ENOMEM; where it is there already, 0. */
int shaper_pool_init(struct shaper_pool *pool);
void shaper_pool_deinit(struct shaper_pool *pool);

/* All that was released may be overwritten from here on. */
void shaper_recycle(struct shaper_pool *pool);

/* Sets or changes the limit; what waits stays. `kbits` is thousands of bits a second, SHAPER_KBITS_MIN at least, or 0:
 * none. `burst` is in bytes; 0: what passes in SHAPER_BURST_NS. */
void shaper_set(struct shaper *shaper, uint32_t kbits, uint32_t burst);

/* Whether a packet passes at once; if so, it is accounted. Nothing passes what waits. */
bool shaper_pass(struct shaper *shaper, uint64_t now, uint32_t length);

/* Copies a packet into the queue. False: there is no room, and it has to be dropped. */
bool shaper_hold(struct shaper *shaper, struct shaper_pool *pool, uint64_t now, uint8_t ecn, const uint8_t *packet,
		 uint32_t length);

/* The oldest packet, if its time has come; NULL: there is none. *congested: CoDel wants its sender to slow down, so it
 * is to be marked or dropped. shaper_release() comes next. */
struct shaper_packet *shaper_next(struct shaper *shaper, uint64_t now, bool *congested);

/* Takes the oldest packet off the queue, and accounts it if it passes, rather than being dropped. Its bytes stay until
 * shaper_recycle(). */
void shaper_release(struct shaper *shaper, struct shaper_pool *pool, uint64_t now, bool passes);

/* When the oldest packet's time comes; UINT64_MAX: none waits. */
uint64_t shaper_due(const struct shaper *shaper);

/* Empties the queue. Returns how many packets waited. */
uint32_t shaper_clear(struct shaper *shaper, struct shaper_pool *pool);
