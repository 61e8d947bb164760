// SPDX-License-Identifier: Apache-2.0
/* The fence: until when which blocks are served, and what a worker sees of it. */
#include "core/cluster/fence.h"

#include <criterion/criterion.h>
#include <errno.h>

#define START (1000 * NS_PER_S)

static struct fence fence;
static struct fence_view view;
static struct block_set lost;

static void begin(void)
{
	fence_init(&fence, 4096);
	view = (struct fence_view){0};
	cr_assert(!fence_view_follow(&view, &fence, START, &lost));
}

TestSuite(fence, .init = begin);

/* At most two; 0: none. */
static int own(unsigned one, unsigned other, uint64_t until, uint64_t now)
{
	struct block_set blocks = {0};
	if (one != 0)
		block_set_add(&blocks, one);
	if (other != 0)
		block_set_add(&blocks, other);
	return fence_own(&fence, &blocks, until, now);
}

static bool follow(uint64_t now)
{
	cr_assert(fence_view_due(&view, &fence, now), "the worker has to look");
	return fence_view_follow(&view, &fence, now, &lost);
}

Test(fence, serves_nothing_before_it_is_told)
{
	for (unsigned block = 0; block < BLOCK_COUNT; block++)
		cr_assert(!fence_serves(&fence, block, START) && !fence_view_serves(&view, block));
	cr_assert(!fence_view_due(&view, &fence, START));
}

Test(fence, serves_until_the_deadline_and_not_after_it)
{
	cr_assert_eq(own(7, 255, START + 2 * NS_PER_S, START), 1);
	cr_assert(fence_serves(&fence, 7, START) && fence_serves(&fence, 255, START + 2 * NS_PER_S - 1));
	cr_assert(!fence_serves(&fence, 7, START + 2 * NS_PER_S));
	cr_assert(!fence_serves(&fence, 8, START));
}

Test(fence, never_serves_block_0)
{
	struct block_set blocks;
	memset(&blocks, 0xff, sizeof blocks);
	cr_assert_eq(fence_own(&fence, &blocks, START + NS_PER_S, START), 1);
	cr_assert(!fence_serves(&fence, 0, START));
	for (unsigned block = 1; block < BLOCK_COUNT; block++)
		cr_assert(fence_serves(&fence, block, START));
}

Test(fence, a_worker_ends_what_is_past_its_deadline_without_being_told)
{
	own(7, 8, START + NS_PER_S, START);
	cr_assert(!follow(START));
	cr_assert(fence_view_serves(&view, 7) && fence_view_serves(&view, 8) && !fence_view_serves(&view, 9));
	cr_assert(!fence_view_due(&view, &fence, START + NS_PER_S - 1));
	cr_assert(follow(START + NS_PER_S));
	cr_assert(block_set_has(&lost, 7) && block_set_has(&lost, 8) && !block_set_has(&lost, 9));
	cr_assert(!fence_view_serves(&view, 7) && !fence_view_serves(&view, 8));
	cr_assert(!fence_view_due(&view, &fence, START + 2 * NS_PER_S), "once");
}

Test(fence, a_deadline_that_is_put_off_ends_nothing)
{
	own(7, 0, START + NS_PER_S, START);
	follow(START);
	for (unsigned i = 1; i < 20; i++) {
		uint64_t now = START + i * NS_PER_S / 2;
		cr_assert_eq(own(7, 0, now + NS_PER_S, now), 0, "no change");
		if (fence_view_due(&view, &fence, now))
			cr_assert(!fence_view_follow(&view, &fence, now, &lost));
		cr_assert(fence_view_serves(&view, 7));
	}
}

Test(fence, an_earlier_deadline_is_seen_in_time)
{
	own(7, 0, START + 10 * NS_PER_S, START);
	follow(START);
	cr_assert_eq(own(7, 0, START + NS_PER_S, START), 1);
	cr_assert(!follow(START), "not yet");
	cr_assert(follow(START + NS_PER_S));
}

Test(fence, blocks_that_are_not_named_are_given_up_at_once)
{
	own(7, 8, START + NS_PER_S, START);
	follow(START);
	cr_assert_eq(own(8, 0, START + NS_PER_S, START + 1), 1);
	cr_assert(!fence_serves(&fence, 7, START + 1) && fence_serves(&fence, 8, START + 1));
	cr_assert(follow(START + 1));
	cr_assert(block_set_has(&lost, 7) && !block_set_has(&lost, 8));
}

Test(fence, a_deadline_that_is_past_takes_all_away)
{
	own(7, 8, START + NS_PER_S, START);
	cr_assert_eq(own(7, 8, START + 5, START + 5), 1);
	cr_assert(!fence_serves(&fence, 7, START + 5) && !fence_serves(&fence, 8, START + 5));
	cr_assert_eq(own(0, 0, 0, START + 6), 0, "nothing was left");
}

Test(fence, a_deadline_too_far_away_changes_nothing)
{
	own(7, 0, START + NS_PER_S, START);
	cr_assert_eq(own(8, 0, START + FENCE_FURTHEST_NS + 1, START), -ERANGE);
	cr_assert(fence_serves(&fence, 7, START) && !fence_serves(&fence, 8, START));
	cr_assert_eq(own(8, 0, UINT64_MAX, START), -ERANGE);
	cr_assert_eq(own(8, 0, START + FENCE_FURTHEST_NS, START), 1);
}

Test(fence, release_takes_one_block_away)
{
	own(7, 8, START + NS_PER_S, START);
	follow(START);
	uint64_t before = fence_version(&fence);
	cr_assert(fence_release(&fence, 7, START));
	cr_assert(fence_version(&fence) > before && view.version < fence_version(&fence));
	cr_assert(!fence_serves(&fence, 7, START) && fence_serves(&fence, 8, START));
	cr_assert(follow(START) && block_set_has(&lost, 7) && !block_set_has(&lost, 8));
	cr_assert_eq(view.version, fence_version(&fence));
	cr_assert(!fence_release(&fence, 7, START), "again");
}

/* The worker slept over it: meanwhile another gateway may have served the block's clients. */
Test(fence, a_block_that_was_away_for_a_moment_is_lost_all_the_same)
{
	own(7, 8, START + NS_PER_S, START);
	follow(START);
	cr_assert(fence_release(&fence, 7, START + 1));
	cr_assert_eq(own(7, 8, START + NS_PER_S, START + 2), 1);
	cr_assert(follow(START + 3));
	cr_assert(block_set_has(&lost, 7) && !block_set_has(&lost, 8));
	cr_assert(fence_view_serves(&view, 7), "and ours again");

	cr_assert_eq(own(7, 8, START + 9 * NS_PER_S, START + 8 * NS_PER_S), 1, "extended too late: a new term");
	cr_assert(follow(START + 8 * NS_PER_S));
	cr_assert(block_set_has(&lost, 7) && block_set_has(&lost, 8));
	cr_assert_eq(fence_term(&fence, 7), 3);
	cr_assert_eq(fence_term(&fence, 8), 2);
}

Test(fence, expiry_names_the_next_deadline)
{
	cr_assert_eq(fence_expire(&fence, START), UINT64_MAX);
	own(7, 8, START + NS_PER_S, START);
	cr_assert_eq(fence_expire(&fence, START), START + NS_PER_S);
	uint64_t before = fence_version(&fence);
	cr_assert_eq(fence_expire(&fence, START + NS_PER_S), UINT64_MAX);
	cr_assert(fence_version(&fence) > before);
	cr_assert_eq(fence_until(&fence, 7), 0);
}
