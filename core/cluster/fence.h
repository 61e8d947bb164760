// SPDX-License-Identifier: Apache-2.0
/* Until when this gateway serves which blocks (core/cluster/blocks.h). An agent extends the deadlines as long as it is
 * sure that no other gateway may take the blocks; when it does not, the gateway stops by itself. One that takes a block
 * waits longer than that, so no block has two owners.
 *
 * The control thread sets deadlines, handshake threads and workers read them, without a lock. A worker compares the
 * time with its earliest deadline once a turn (struct fence_view), before it takes a packet, and ends the sessions of
 * the blocks that it lost: so nothing is checked for a packet. Times are those of core/base/clock.h: CLOCK_BOOTTIME,
 * which goes on while the machine sleeps, and which no one sets. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "core/cluster/blocks.h"

/* No deadline is further away: an agent in another time namespace has another CLOCK_BOOTTIME. */
#define FENCE_FURTHEST_NS (60 * NS_PER_S)

struct fence {
	uint32_t peers; /* of a block; constant */
	/* The control thread's. A block's term begins when it is owned again: `terms` is written before `until`. */
	_Atomic uint64_t version;	     /* of all below; rises after each change but that a deadline was put off */
	_Atomic uint64_t until[BLOCK_COUNT]; /* 0: not owned */
	_Atomic uint32_t terms[BLOCK_COUNT];
};

/* Owns nothing. Before other threads see it. */
void fence_init(struct fence *fence, uint32_t peers);

/* Whether the block is ours now. Any thread. */
static inline bool fence_serves(const struct fence *fence, unsigned block, uint64_t now)
{
	return now < atomic_load_explicit(&fence->until[block], memory_order_acquire);
}

/* When the block's deadline is; 0: it is not owned. Any thread. */
static inline uint64_t fence_until(const struct fence *fence, unsigned block)
{
	return atomic_load_explicit(&fence->until[block], memory_order_relaxed);
}

/* How often the block began to be ours. Any thread. */
static inline uint32_t fence_term(const struct fence *fence, unsigned block)
{
	return atomic_load_explicit(&fence->terms[block], memory_order_relaxed);
}

/* From now on exactly these blocks are owned, until then; block 0 is none. A deadline that is past takes them all away.
 * Returns whether anything changed, besides deadlines that were put off. -ERANGE, and nothing changes: further away
 * than FENCE_FURTHEST_NS. Control thread. */
int fence_own(struct fence *fence, const struct block_set *blocks, uint64_t until, uint64_t now);

/* This block is no longer owned. False: it was not. Control thread. */
bool fence_release(struct fence *fence, unsigned block, uint64_t now);

/* Takes away what is past its deadline: a block that is extended after it begins a new term. Returns the earliest
 * deadline that is left; UINT64_MAX: none. Control thread, when it is due. */
uint64_t fence_expire(struct fence *fence, uint64_t now);

/* The version that a thread has to have followed to have seen all changes so far. Control thread. */
static inline uint64_t fence_version(const struct fence *fence)
{
	return atomic_load_explicit(&fence->version, memory_order_relaxed);
}

/* --- a worker's view ---------------------------------------------------------------------------------------------- */

/* One thread's. All zero: it saw nothing yet. */
struct fence_view {
	uint64_t version;
	uint64_t next; /* the earliest deadline of what is served, ns */
	struct block_set served;
	uint32_t terms[BLOCK_COUNT]; /* of what is served */
};

/* Whether fence_view_follow() may find a change. */
static inline bool fence_view_due(const struct fence_view *view, const struct fence *fence, uint64_t now)
{
	return now >= view->next || atomic_load_explicit(&fence->version, memory_order_acquire) != view->version;
}

/* Brings the view up to date. `lost`: the blocks that it had and has no longer, or lost in between and got back.
 * Returns whether there is one. */
bool fence_view_follow(struct fence_view *view, const struct fence *fence, uint64_t now, struct block_set *lost);

/* Whether a session of the block may live, as of the last fence_view_follow(). */
static inline bool fence_view_serves(const struct fence_view *view, unsigned block)
{
	return block_set_has(&view->served, block);
}
