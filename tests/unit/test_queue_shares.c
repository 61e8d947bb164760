// SPDX-License-Identifier: Apache-2.0
/* The reader's side of a shared queue: what it counts, and what it makes of that. What the kernel makes of it is in
 * test_destination_shares.c and test_session_shares.c. */
#include <criterion/criterion.h>

#include "core/base/queue_shares.h"

enum { MOST = 16 << 20, PACKET = 10000 };

static struct queue_shares_queue queue;
static struct queue_shares_member members[4];
static struct queue_shares_tally tally;
static uint64_t now;

static void set_up(void)
{
	memset(&queue, 0, sizeof queue);
	memset(members, 0, sizeof members);
	now = 1000 * NS_PER_S;
	tally = (struct queue_shares_tally){.queue = &queue, .members = members};
	queue_shares_resize(&queue, 1000, MOST);
}

TestSuite(queue_shares, .init = set_up);

/* A batch of so many packets, after so long. */
static void batch(unsigned packets, uint64_t ns, bool empty)
{
	now += ns;
	for (unsigned i = 0; i < packets; i++)
		queue_shares_took(&tally, 0, QUEUE_SHARES_SLOT + PACKET);
	queue_shares_publish(&tally, now, empty);
}

Test(queue_shares, counts_slots_and_bytes_of_each_member)
{
	static const uint32_t order[] = {1, 1, 2, 1, 3, 3};
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		queue_shares_took(&tally, order[i], QUEUE_SHARES_SLOT + 100 * order[i]);
	cr_assert_eq(queue.taken, 0, "the program sees a batch at once");
	queue_shares_publish(&tally, now, false);
	cr_assert_eq(queue.taken, 6 * QUEUE_SHARES_SLOT + 300 + 200 + 600);
	cr_assert_eq(members[0].taken, 0);
	cr_assert_eq(members[1].taken, 3 * QUEUE_SHARES_SLOT + 300);
	cr_assert_eq(members[2].taken, QUEUE_SHARES_SLOT + 200);
	cr_assert_eq(members[3].taken, 2 * QUEUE_SHARES_SLOT + 600);
	queue_shares_publish(&tally, now, false);
	cr_assert_eq(queue.taken, 6 * QUEUE_SHARES_SLOT + 300 + 200 + 600);
}

Test(queue_shares, the_program_sees_little_only_after_a_while)
{
	tally.bytes = 1000 * PACKET;
	tally.slots = 1000;
	batch(1, 0, true);
	uint64_t seen = queue.taken, drained = queue.drained;
	batch(10, QUEUE_SHARES_PUBLISH_NS / 2, true);
	cr_assert_eq(queue.taken, seen);
	cr_assert_eq(queue.drained, drained);
	batch(0, QUEUE_SHARES_PUBLISH_NS / 2, true);
	cr_assert_eq(queue.taken, seen + 10 * (QUEUE_SHARES_SLOT + PACKET));
	cr_assert_eq(queue.drained, now - QUEUE_SHARES_ENTER_NS);
	batch(16, 0, false);
	cr_assert_eq(queue.taken, seen + 26 * (QUEUE_SHARES_SLOT + PACKET), "a part of the room, at once");
}

/* --- shares in a window of time ----------------------------------------------------------------------------------- */

/* A window in which so many packets were read, and as much again was refused as `refused` says. */
static void window(unsigned active, unsigned packets, unsigned refused, unsigned limited)
{
	queue.active += active;
	queue.limited += limited;
	queue.refused += (uint64_t)refused * PACKET;
	batch(packets, QUEUE_SHARES_WINDOW_NS, false);
}

Test(queue_shares, there_are_none_while_there_is_room)
{
	for (unsigned i = 0; i < 10; i++)
		window(4, 1000, 10, 0);
	cr_assert_eq(queue.share, UINT64_MAX);
}

Test(queue_shares, they_are_reduced_to_equal_parts_while_packets_are_refused)
{
	window(4, 1000, 0, 0);
	uint64_t before = UINT64_MAX;
	for (unsigned i = 0; i < 5; i++) {
		window(4, 1000, 500, 100);
		cr_assert_lt(queue.share, before);
		cr_assert_geq(queue.share, 1000 * PACKET / 4);
		before = queue.share;
	}
	for (unsigned i = 0; i < 20; i++)
		window(4, 1000, 500, 100);
	cr_assert_eq(queue.share, 1000 * PACKET / 4);
}

Test(queue_shares, what_they_keep_out_does_not_make_them_smaller)
{
	for (unsigned i = 0; i < 20; i++)
		window(4, 1000, 500, 100);
	for (unsigned i = 0; i < 20; i++)
		window(4, 500, 100, 100);
	cr_assert_geq(queue.share, 1000 * PACKET / 4 * 94 / 100);
}

Test(queue_shares, one_alone_may_have_all)
{
	for (unsigned i = 0; i < 20; i++)
		window(1, 1000, 500, 0);
	cr_assert_eq(queue.share, 1000 * PACKET);
}

Test(queue_shares, they_grow_and_end)
{
	for (unsigned i = 0; i < 20; i++)
		window(4, 1000, 500, 100);
	uint64_t before = queue.share;
	window(4, 1000, 0, 100);
	cr_assert_gt(queue.share, before);
	cr_assert_neq(queue.share, UINT64_MAX);
	window(4, 1000, 0, 0);
	cr_assert_eq(queue.share, UINT64_MAX);
}
