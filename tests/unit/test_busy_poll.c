// SPDX-License-Identifier: Apache-2.0
/* Polling before a sleep takes no more than its share of the CPU, and ends where it brings nothing. */
#include "workers/busy_poll.h"

#include <criterion/criterion.h>

static struct busy_poll busy_poll;
static uint64_t now;

static void set_up(void)
{
	busy_poll = (struct busy_poll){0};
	now = 100 * NS_PER_S;
}
TestSuite(busy_poll, .init = set_up);

/* For how long it polled: until something came `after` ns, or for as long as it may. */
static uint64_t poll_for(uint64_t after)
{
	uint64_t began = now, most = busy_poll_begin(&busy_poll, now);
	if (most == 0)
		return 0;
	now += after < most ? after : most;
	busy_poll_end(&busy_poll, began, now, after < most);
	return now - began;
}

Test(busy_poll, what_comes_in_time_is_waited_for)
{
	for (unsigned i = 0; i < 100; i++, now += 20 * NS_PER_MS)
		cr_assert_eq(poll_for(250 * NS_PER_US), 250 * NS_PER_US);
}

Test(busy_poll, what_comes_late_is_waited_for_ever_shorter)
{
	uint64_t most = BUSY_POLL_MOST_NS;
	for (; most >= BUSY_POLL_LEAST_NS; most /= 2, now += 100 * NS_PER_MS)
		cr_assert_eq(poll_for(20 * NS_PER_MS), most);
	cr_assert_eq(poll_for(20 * NS_PER_MS), 0);
}

Test(busy_poll, after_a_pause_it_is_tried_again)
{
	uint64_t before = 0, times = 0;
	for (uint64_t end = now + 100 * NS_PER_S; now < end; now += 10 * NS_PER_MS)
		before += poll_for(20 * NS_PER_MS);
	cr_assert_gt(before, 50 * BUSY_POLL_MOST_NS);
	cr_assert_lt(before, 200 * BUSY_POLL_MOST_NS, "0.06 %% of the time");
	while (poll_for(100 * NS_PER_US) == 0 && times++ < 200)
		now += 10 * NS_PER_MS;
	for (unsigned i = 0; i < 100; i++, now += 10 * NS_PER_MS)
		cr_assert_eq(poll_for(BUSY_POLL_MOST_NS - 1), BUSY_POLL_MOST_NS - 1, "one success suffices");
}

Test(busy_poll, it_takes_its_share_of_the_time_and_no_more)
{
	uint64_t polled = 0, began = now;
	while (now - began < 10 * NS_PER_S) {
		polled += poll_for(200 * NS_PER_US);
		now += 50 * NS_PER_US;
	}
	uint64_t share = (now - began) / BUSY_POLL_SHARE;
	cr_assert_leq(polled, share + BUSY_POLL_CREDIT_NS);
	cr_assert_geq(polled, share / 2);
}

Test(busy_poll, a_long_rest_earns_no_more_than_the_credit)
{
	uint64_t polled = 0;
	now += 3600 * NS_PER_S;
	for (unsigned i = 0; i < 1000; i++, now += NS_PER_US)
		polled += poll_for(250 * NS_PER_US);
	cr_assert_leq(polled, BUSY_POLL_CREDIT_NS * (BUSY_POLL_SHARE + 1) / BUSY_POLL_SHARE + BUSY_POLL_MOST_NS);
}

/* Whenever it may, it yields, and another thread needs the CPU. Returns how often that was. */
static unsigned yields_to_others(uint64_t during)
{
	unsigned times = 0;
	for (uint64_t end = now + during; now < end; now += NS_PER_MS) {
		if (busy_poll_defers(&busy_poll, now)) {
			cr_assert_eq(busy_poll_begin(&busy_poll, now), 0);
			continue;
		}
		times++;
		now += 4 * NS_PER_MS;
		busy_poll_held_up(&busy_poll, now);
	}
	return times;
}

Test(busy_poll, others_that_need_the_cpu_have_it_ever_longer)
{
	cr_expect_eq(yields_to_others(BUSY_POLL_DEFER_NS), 1);
	cr_expect_eq(yields_to_others(10 * NS_PER_S), 4, "after 50 ms, 200 ms, 800 ms, 3.2 s");
	cr_expect_eq(yields_to_others(100 * BUSY_POLL_DEFER_MOST_NS), 100);
	while (busy_poll_defers(&busy_poll, now))
		now += NS_PER_MS;
	for (unsigned i = 0; i < 100; i++, now += 10 * NS_PER_MS)
		cr_expect_eq(poll_for(100 * NS_PER_US), 100 * NS_PER_US);
	now += BUSY_POLL_DEFER_MOST_NS;
	busy_poll_held_up(&busy_poll, now);
	cr_expect_eq(yields_to_others(BUSY_POLL_DEFER_NS), 0);
	cr_expect_not(busy_poll_defers(&busy_poll, now), "none needed it for so long: as at first");
}
