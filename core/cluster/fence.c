// SPDX-License-Identifier: Apache-2.0
#include "core/cluster/fence.h"

#include <errno.h>

void fence_init(struct fence *fence, uint32_t peers)
{
	*fence = (struct fence){.peers = peers, .version = 1};
}

static void publish(struct fence *fence)
{
	atomic_store_explicit(&fence->version, fence_version(fence) + 1, memory_order_release);
}

static void set_until(struct fence *fence, unsigned block, uint64_t until)
{
	atomic_store_explicit(&fence->until[block], until, memory_order_release);
}

/* A block that was not served for a moment may have been another gateway's then: its sessions of before are over, even
 * if their worker saw nothing of it. A worker looks again at the deadline that it saw, so an earlier one is a change.
 */
static bool take(struct fence *fence, unsigned block, uint64_t until, uint64_t now)
{
	bool begins = !fence_serves(fence, block, now), sooner = until < fence_until(fence, block);
	if (begins)
		atomic_store_explicit(&fence->terms[block], fence_term(fence, block) + 1, memory_order_relaxed);
	set_until(fence, block, until);
	return begins || sooner;
}

static bool drop(struct fence *fence, unsigned block)
{
	bool owned = fence_until(fence, block) != 0;
	set_until(fence, block, 0);
	return owned;
}

int fence_own(struct fence *fence, const struct block_set *blocks, uint64_t until, uint64_t now)
{
	bool changed = false;
	if (until > now && until - now > FENCE_FURTHEST_NS)
		return -ERANGE;
	for (unsigned block = 1; block < BLOCK_COUNT; block++) {
		bool owned = until > now && block_set_has(blocks, block);
		changed |= owned ? take(fence, block, until, now) : drop(fence, block);
	}
	if (changed)
		publish(fence);
	return changed;
}

bool fence_release(struct fence *fence, unsigned block, uint64_t now)
{
	bool served = fence_serves(fence, block, now);
	if (drop(fence, block))
		publish(fence);
	return served;
}

uint64_t fence_expire(struct fence *fence, uint64_t now)
{
	uint64_t earliest = UINT64_MAX;
	bool changed = false;
	for (unsigned block = 1; block < BLOCK_COUNT; block++) {
		uint64_t until = fence_until(fence, block);
		if (until > now)
			earliest = until < earliest ? until : earliest;
		else
			changed |= drop(fence, block);
	}
	if (changed)
		publish(fence);
	return earliest;
}

/* --- a worker's view ---------------------------------------------------------------------------------------------- */

/* The version is read first: a change that comes while this runs makes it due again. */
bool fence_view_follow(struct fence_view *view, const struct fence *fence, uint64_t now, struct block_set *lost)
{
	*lost = (struct block_set){0};
	view->version = atomic_load_explicit(&fence->version, memory_order_acquire);
	view->next = UINT64_MAX;
	for (unsigned block = 1; block < BLOCK_COUNT; block++) {
		uint64_t until = atomic_load_explicit(&fence->until[block], memory_order_acquire);
		uint32_t term = fence_term(fence, block);
		bool serves = until > now, served = fence_view_serves(view, block);
		if (served && (!serves || term != view->terms[block]))
			block_set_add(lost, block);
		view->terms[block] = term;
		if (!serves) {
			block_set_remove(&view->served, block);
			continue;
		}
		block_set_add(&view->served, block);
		view->next = until < view->next ? until : view->next;
	}
	return !block_set_empty(lost);
}
