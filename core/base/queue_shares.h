/* SPDX-License-Identifier: Apache-2.0 */
/* A queue of the kernel that many fill and one thread reads, shared evenly by its members (destinations, sessions): a
 * packet is dropped before it gets in where its member has more in the queue than is left free.
 *
 * This is the dynamic threshold of A. K. Choudhury and E. L. Hahne ("Dynamic queue length thresholds for shared-memory
 * packet switches", 1998). In a queue that is served in order, as much room is as much throughput; so n members
 * with too many packets get equal parts of it, and those with less than that lose hardly anything, since about one part
 * in n + 1 stays free. One alone may fill half of the queue.
 *
 * The BPF program counts what it lets in, and the reader, in memory that both see, what it took out; both in one word
 * of 64 bits, slots above QUEUE_SHARES_SLOT and bytes below, modulo 2^64. The difference is what is in the queue. What
 * the kernel drops behind the program counts as being in the queue until the reader found that empty with nothing let
 * in for QUEUE_SHARES_ENTER_NS before (queue_shares_publish()), or nothing more was let in for a second: then counting
 * starts from zero. What one side reads of the other may be a little old, and counters may miss what several CPUs did
 * at once: then too much is let in for a while, never too little. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/bytes.h"
#include "core/base/clock.h"

struct bpf_code;

/* The reader's. */
struct queue_shares_member {
	_Atomic uint64_t taken;
	_Atomic uint32_t owner; /* free for the reader's and the program's use */
	uint32_t unused;
};

/* The two sides' lines are two apart, for prefetchers that fetch them in pairs. */
struct queue_shares_queue {
	/* the reader's */
	_Atomic uint64_t drained; /* a time (CLOCK_BOOTTIME) at which the queue was empty */
	_Atomic uint64_t taken;	  /* of all members */
	_Atomic uint64_t slots;	  /* so many packets may be in the queue, for all members ... */
	_Atomic uint64_t bytes;	  /* ... and bytes, as the program counts them */
	_Atomic uint64_t share;	  /* bytes that each member may send in QUEUE_SHARES_WINDOW_NS */
	uint8_t lines[2 * CACHE_LINE - 40];
	/* the program's */
	_Atomic uint64_t last; /* when the last one was let in */
	_Atomic uint64_t entered;
	_Atomic uint64_t active;  /* windows of members that began */
	_Atomic uint64_t limited; /* packets above their member's share */
	_Atomic uint64_t refused; /* bytes for which there was no room */
	uint8_t rest[2 * CACHE_LINE - 40];
};

/* All zero: there are none. */
struct queue_shares {
	struct queue_shares_queue *queues;
	struct queue_shares_member *members; /* queue q's are from q * stride on */
	uint32_t stride;
	size_t queues_mapped, members_mapped; /* bytes */
	int arrays[3];			      /* descriptors, until queue_shares_close_arrays() */
};

enum { QUEUE_SHARES_SLOT_BIT = 48 };
#define QUEUE_SHARES_SLOT	(1ull << QUEUE_SHARES_SLOT_BIT)
/* From the program's time stamp of a packet to its being in the queue, at most; the sender does not sleep meanwhile. */
#define QUEUE_SHARES_ENTER_NS	NS_PER_MS
#define QUEUE_SHARES_PUBLISH_NS (NS_PER_MS / 2)
enum { QUEUE_SHARES_LAG = 64 /* so small a part of the room may be taken and not published */ };
#define QUEUE_SHARES_LOOK_NS   (2 * QUEUE_SHARES_ENTER_NS)
#define QUEUE_SHARES_WINDOW_NS (10 * NS_PER_MS)

/* Makes the arrays for `queues` queues with `members` each, whose room is set by queue_shares_resize(). 0, or a
 * negative errno as bpf_make_array(), with nothing left. Start-up. */
int queue_shares_make(struct queue_shares *shares, uint32_t queues, uint32_t members);

/* Frame of the program: what comes before queue_shares_emit_find() stores them. */
enum {
	QUEUE_SHARES_QUEUE = -4,  /* 32 bits: the queue */
	QUEUE_SHARES_MEMBER = -8, /* 32 bits: queue * stride + member */
	QUEUE_SHARES_COST = -16,  /* 64 bits: of the packet */
	QUEUE_SHARES_OWN = -24,	  /* used from here downwards */
};

/* Appends instructions: register 0 is where the member's struct queue_shares_member is. */
void queue_shares_emit_find(struct bpf_code *code, const struct queue_shares *shares);

/* Appends the decision, after that, to a program whose register 6 is the context: it ends with the packet's length if
 * it may enter, and with 0 if not. */
void queue_shares_emit_decide(struct bpf_code *code, const struct queue_shares *shares);

/* The descriptors alone, once the program is loaded. */
void queue_shares_close_arrays(struct queue_shares *shares);

/* When no thread reads the queues any more. All is zero then; again is allowed. */
void queue_shares_unmake(struct queue_shares *shares);

/* Sets the room; shares in time end. */
static inline void queue_shares_resize(struct queue_shares_queue *queue, uint64_t slots, uint64_t bytes)
{
	atomic_store_explicit(&queue->slots, slots, memory_order_relaxed);
	atomic_store_explicit(&queue->bytes, bytes, memory_order_relaxed);
	atomic_store_explicit(&queue->share, UINT64_MAX, memory_order_relaxed);
}

/* --- the reader --------------------------------------------------------------------------------------------------- */

/* Of one queue; it adds up what comes in a row from one member, so that memory which the program reads is written
 * seldom. */
struct queue_shares_tally {
	struct queue_shares_queue *queue; /* NULL: the queue is not shared */
	struct queue_shares_member *members;
	uint32_t member;
	uint64_t run, all;     /* of the member, of the queue: not published */
	uint64_t bytes, slots; /* room of the queue */
	uint64_t published;    /* when something was */
	/* queue_shares_adapt() */
	uint64_t window;		   /* when the one at hand began */
	uint64_t served;		   /* bytes since then */
	uint64_t best;			   /* bytes in a window, of late */
	uint64_t active, limited, refused; /* the program's, at its begin */
};

/* A packet of `member`, which counted `cost` for the program, is out of the queue. */
static inline void queue_shares_took(struct queue_shares_tally *tally, uint32_t member, uint64_t cost);

/* After each batch that began at `now`, also an empty one: emptiness is what ends wrong counts. `empty`: it took all
 * there was. Lets the program see that, once QUEUE_SHARES_PUBLISH_NS have passed or what was taken is a part of the
 * room: the program's memory is another CPU's. */
static inline void queue_shares_publish(struct queue_shares_tally *tally, uint64_t now, bool empty);

/* Whenever something is published. Where packets come in bursts, a queue may be empty at one moment and full at
 * the next, and the first to come fills it. So the share of each member in a window of time is limited as well, while
 * packets are refused: it is reduced by the ratio of what is read to what is wanted until they fit (I. Stoica, S.
 * Shenker and H. Zhang, "Core-stateless fair queueing", 1998), but not below an equal part for each member that sends;
 * and it grows again, and ends when no member is limited by it. */
void queue_shares_adapt(struct queue_shares_tally *tally, uint64_t now);

/* Before a reader that has no timer sleeps on an empty queue: whether it should look again in QUEUE_SHARES_LOOK_NS,
 * since the program counts packets as being there that are not, and that emptiness could not be published yet. */
static inline bool queue_shares_uneven(const struct queue_shares_tally *tally)
{
	const struct queue_shares_queue *queue = tally->queue;
	return queue != NULL &&
	       atomic_load_explicit(&queue->entered, memory_order_relaxed) !=
		       atomic_load_explicit(&queue->taken, memory_order_relaxed) &&
	       atomic_load_explicit(&queue->last, memory_order_relaxed) >=
		       atomic_load_explicit(&queue->drained, memory_order_relaxed);
}

static inline void queue_shares_add(_Atomic uint64_t *word, uint64_t by)
{
	atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + by, memory_order_relaxed);
}

static inline void queue_shares_end_run(struct queue_shares_tally *tally)
{
	if (tally->run != 0)
		queue_shares_add(&tally->members[tally->member].taken, tally->run);
	tally->run = 0;
}

static inline void queue_shares_took(struct queue_shares_tally *tally, uint32_t member, uint64_t cost)
{
	if (member != tally->member) {
		queue_shares_end_run(tally);
		tally->member = member;
	}
	tally->run += cost;
	tally->all += cost;
}

static inline void queue_shares_publish(struct queue_shares_tally *tally, uint64_t now, bool empty)
{
	uint64_t bytes = tally->all & (QUEUE_SHARES_SLOT - 1), slots = tally->all >> QUEUE_SHARES_SLOT_BIT;
	bool late = now - tally->published >= QUEUE_SHARES_PUBLISH_NS;
	if (!late && bytes < tally->bytes / QUEUE_SHARES_LAG && slots < tally->slots / QUEUE_SHARES_LAG)
		return;
	tally->published = now;
	if (tally->all != 0) {
		queue_shares_end_run(tally);
		queue_shares_add(&tally->queue->taken, tally->all);
		tally->served += bytes;
		tally->all = 0;
	}
	if (empty)
		atomic_store_explicit(&tally->queue->drained, now - QUEUE_SHARES_ENTER_NS, memory_order_release);
	queue_shares_adapt(tally, now);
}
