// SPDX-License-Identifier: Apache-2.0
/* One direction of a limited session, with a clock that the test moves. */
#include "workers/shaper.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"

enum { LENGTH = 1250 /* 1 ms at 10 Mbit/s */, BURST = 5 * LENGTH, KBITS = 10000 };

static struct shaper shaper;
static struct shaper_pool pool;
static uint64_t now;
static uint8_t packet[65536];

static void set_up(void)
{
	cr_assert_eq(shaper_pool_init(&pool), 0);
	shaper_set(&shaper, KBITS, BURST);
	now = NS_PER_S;
}

static void tear_down(void)
{
	shaper_pool_deinit(&pool);
}
TestSuite(shaper, .init = set_up, .fini = tear_down);

static bool hold(uint32_t length)
{
	return shaper_hold(&shaper, &pool, now, 0, packet, length);
}

/* Whether one leaves the queue now, and passes. */
static bool next(void)
{
	bool congested;
	if (shaper_next(&shaper, now, &congested) == NULL)
		return false;
	shaper_release(&shaper, &pool, now, !congested);
	shaper_recycle(&pool);
	return !congested;
}

Test(shaper, a_burst_passes_and_then_the_rate)
{
	unsigned count = 0;
	while (shaper_pass(&shaper, now, LENGTH))
		count++;
	cr_assert_eq(count, 6, "the burst, and the one that is due now");
	for (unsigned i = 0; i < 1000; i++) {
		now += NS_PER_MS - 1;
		cr_assert_not(shaper_pass(&shaper, now, LENGTH));
		now += 1;
		cr_assert(shaper_pass(&shaper, now, LENGTH));
		cr_assert_not(shaper_pass(&shaper, now, LENGTH));
	}
}

Test(shaper, a_pause_does_not_save_more_than_the_burst)
{
	now += 3600 * NS_PER_S;
	unsigned count = 0;
	while (shaper_pass(&shaper, now, LENGTH))
		count++;
	cr_assert_eq(count, 6);
}

Test(shaper, a_burst_below_a_packet_lets_one_pass_at_a_time)
{
	shaper_set(&shaper, KBITS, 1);
	for (unsigned i = 0; i < 100; i++, now += NS_PER_MS) {
		cr_assert(shaper_pass(&shaper, now, LENGTH));
		cr_assert_not(shaper_pass(&shaper, now, LENGTH));
	}
}

Test(shaper, without_a_rate_all_passes)
{
	shaper_set(&shaper, 0, 0);
	for (unsigned i = 0; i < 100000; i++)
		cr_assert(shaper_pass(&shaper, now, sizeof packet - 1));
}

Test(shaper, the_highest_and_the_lowest_rate_are_exact)
{
	static const uint32_t rates[] = {SHAPER_KBITS_MIN, 1000000000};
	for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
		shaper = (struct shaper){0};
		shaper_set(&shaper, rates[i], 1);
		cr_assert(shaper_pass(&shaper, now, 65000));
		uint64_t due = now + 65000ull * 8 * NS_PER_MS / rates[i];
		cr_assert_not(shaper_pass(&shaper, due - shaper.burst - 1, 65000));
		cr_assert(shaper_pass(&shaper, due - shaper.burst, 65000));
	}
}

Test(shaper, what_waits_leaves_in_order_and_whole_at_the_rate)
{
	while (shaper_pass(&shaper, now, LENGTH))
		;
	enum { COUNT = 40 };
	for (unsigned i = 0; i < COUNT; i++) {
		memset(packet, (int)i, LENGTH + i);
		cr_assert(shaper_hold(&shaper, &pool, now, (uint8_t)(i % 4), packet, LENGTH + i));
	}
	cr_assert_not(shaper_pass(&shaper, now + NS_PER_S, LENGTH), "nothing passes what waits");
	uint64_t bytes = 0, began = now;
	for (unsigned i = 0; i < COUNT; i++) {
		bool congested;
		uint64_t due = shaper_due(&shaper);
		cr_assert_gt(due, now);
		cr_assert_null(shaper_next(&shaper, due - 1, &congested));
		now = due;
		const struct shaper_packet *held = shaper_next(&shaper, now, &congested);
		cr_assert_not_null(held);
		cr_assert_not(congested, "they waited less than an interval of CoDel");
		cr_assert_eq(held->length, LENGTH + i);
		cr_assert_eq(held->ecn, i % 4);
		memset(packet, (int)i, LENGTH + i);
		cr_assert_eq(memcmp(held->data, packet, LENGTH + i), 0);
		bytes += held->length;
		shaper_release(&shaper, &pool, now, true);
		cr_assert_eq(memcmp(held->data, packet, LENGTH + i), 0, "still there");
		shaper_recycle(&pool);
	}
	cr_assert_eq(shaper_due(&shaper), UINT64_MAX);
	cr_expect_eq(shaper.bytes, 0);
	/* The last one's own time is yet to come. */
	cr_expect_leq(now - began, bytes * 8 * NS_PER_MS / KBITS);
	cr_expect_geq(now - began, (bytes - 2ull * LENGTH) * 8 * NS_PER_MS / KBITS);
}

Test(shaper, the_queue_is_bounded_in_time_and_bytes)
{
	unsigned count = 0;
	while (hold(LENGTH))
		count++;
	cr_assert_eq(count, SHAPER_QUEUE_MIN / LENGTH, "10 Mbit/s in 100 ms are less");
	cr_assert_eq(shaper_clear(&shaper, &pool), count);

	shaper_set(&shaper, 20 * KBITS, BURST);
	for (count = 0; hold(LENGTH); count++)
		;
	cr_assert_eq(count, 20u * KBITS / 8 * 100 / LENGTH);
	cr_assert_eq(shaper_clear(&shaper, &pool), count);

	shaper_set(&shaper, 100000 * KBITS, BURST);
	for (count = 0; hold(LENGTH); count++)
		;
	cr_assert_eq(count, SHAPER_QUEUE_MAX / LENGTH);
	cr_assert_eq(shaper_clear(&shaper, &pool), count);
	shaper_recycle(&pool);
}

/* Queues that take all they can: each gets as much as the others, and a bit is left for one more. */
Test(shaper, memory_is_shared_evenly)
{
	enum { SHAPERS = 200 };
	static struct shaper many[SHAPERS];
	for (size_t i = 0; i < SHAPERS; i++)
		shaper_set(&many[i], 100000 * KBITS, 0);
	for (unsigned round = 0; round < 500; round++) {
		for (size_t i = 0; i < SHAPERS; i++)
			(void)shaper_hold(&many[i], &pool, now, 0, packet, LENGTH);
	}
	size_t held = 0;
	uint32_t least = UINT32_MAX, most = 0;
	for (size_t i = 0; i < SHAPERS; i++) {
		held += many[i].bytes;
		least = many[i].bytes < least ? many[i].bytes : least;
		most = many[i].bytes > most ? many[i].bytes : most;
	}
	cr_expect_leq(held, SHAPER_MEMORY);
	cr_expect_geq(held, SHAPER_MEMORY * 8ull / 10);
	cr_expect_leq(most - least, SHAPER_CHUNK);
	cr_expect(hold(LENGTH), "the next one finds some");

	for (size_t i = 0; i < SHAPERS; i++)
		(void)shaper_clear(&many[i], &pool);
	cr_expect_geq(pool.taken, pool.used - 1, "it may still be in use");
	shaper_recycle(&pool);
	cr_expect_eq(pool.taken, 1);
}

Test(shaper, what_no_chunk_takes_does_not_wait)
{
	cr_assert(hold(SHAPER_CHUNK - 64));
	cr_assert_not(hold(SHAPER_CHUNK));
	cr_assert_not(hold(65535));
	cr_assert_eq(shaper.packets, 1);
}

Test(shaper, without_memory_nothing_waits)
{
	struct shaper_pool none = {0};
	cr_assert_not(shaper_hold(&shaper, &none, now, 0, packet, LENGTH));
	cr_assert_eq(shaper.packets, 0);
	cr_assert(shaper_pass(&shaper, now, LENGTH), "and the rate is kept all the same");
}

Test(shaper, a_standing_queue_is_congestion)
{
	unsigned passed = 0, congested = 0;
	for (unsigned i = 0; i < 5000; i++, now += NS_PER_MS / 2) {
		(void)hold(LENGTH); /* twice the rate */
		if (shaper_due(&shaper) > now)
			continue;
		if (next())
			passed++;
		else
			congested++;
	}
	cr_expect_gt(congested, 20);
	cr_expect_geq(passed, 2500 - 1, "what is dropped costs no time at the rate");
	cr_expect_leq(passed, 2500 + BURST / LENGTH + 1);
}

Test(shaper, a_lower_rate_holds_what_waits_and_a_higher_lets_it_go)
{
	while (shaper_pass(&shaper, now, LENGTH))
		;
	for (unsigned i = 0; i < 10; i++)
		cr_assert(hold(LENGTH));
	shaper_set(&shaper, 0, 0);
	cr_assert_leq(shaper_due(&shaper), now);
	for (unsigned i = 0; i < 10; i++)
		cr_assert(next());
	cr_assert(shaper_pass(&shaper, now, LENGTH));
}
