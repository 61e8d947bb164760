// SPDX-License-Identifier: Apache-2.0
/* Quotas at the control plane: periods, restarts, and what is said of them. */
#include <sys/stat.h>

#include "core/daemon/events.h"
#include "tests/unit/quota_gateway.h"

/* --- periods ------------------------------------------------------------------------------------------------------ */

Test(quota, a_new_period_begins_at_midnight)
{
	start(CALENDAR_DAY);
	add_peer(1, 10 * MEGA, CALENDAR_WEEK);
	add_peer(2, 10 * MEGA, CALENDAR_MONTH);
	for (size_t peer = 0; peer < 3; peer++)
		use(peer, 1000 + peer);
	pass_s(43199 - 1);
	cr_expect(used(0) == 1000 && used(1) == 1001 && used(2) == 1002);
	pass_s(2);
	cr_expect(used(0) == 0 && used(1) == 0 && used(2) == 1002, "Monday, 2026-11-30");
	use(0, 5);
	use(1, 6);
	pass_s(86400);
	cr_expect(used(0) == 0 && used(1) == 6 && used(2) == 0, "Tuesday, 2026-12-01");
	end();
}

Test(quota, a_clock_that_is_set_back_keeps_what_was_used)
{
	start(CALENDAR_MONTH);
	use(0, 1000);
	set_clock(NOON - 40 * DAY_NS);
	cr_expect_eq(used(0), 1000u);
	use(0, 1);
	pass_s(10);
	set_clock(NOON);
	cr_expect_eq(used(0), 1001u, "the month that it came from");
	set_clock(NOON - 40 * DAY_NS);
	set_clock(NOON + 2 * DAY_NS);
	cr_expect_eq(used(0), 0u, "the next one");
	end();
}

Test(quota, a_clock_that_was_wrong_does_not_stop_periods)
{
	start(CALENDAR_MONTH);
	set_clock(NOON + 2000 * DAY_NS);
	use(0, 1000);
	set_clock(NOON);
	cr_expect_eq(used(0), 1000u, "set right: kept");
	set_clock(NOON + 2 * DAY_NS);
	cr_expect_eq(used(0), 0u, "but the next month of the right clock begins");
	end();
}

/* A machine without a clock of its own starts in 1970, until it has the time from the network. */
Test(quota, a_clock_that_is_wrong_at_the_start)
{
	start(CALENDAR_MONTH);
	use(0, 1000);
	halt();
	manual.wall = 0;
	again(CALENDAR_MONTH);
	cr_expect_eq(used(0), 1000u);
	use(0, 1);
	crash();
	again(CALENDAR_MONTH);
	cr_expect_eq(used(0), 1000u, "the byte was not written yet");
	set_clock(NOON + DAY_NS);
	cr_expect_eq(used(0), 1000u, "still the month");
	halt();
	manual.wall = 0;
	again(CALENDAR_MONTH);
	set_clock(NOON + 2 * DAY_NS);
	cr_expect_eq(used(0), 0u, "the next");
	end();
}

/* --- restarts ----------------------------------------------------------------------------------------------------- */

Test(quota, an_orderly_end_keeps_each_byte_and_a_crash_all_but_a_second)
{
	struct stat status;
	start(CALENDAR_MONTH);
	use(0, 1001);
	halt();
	cr_assert_eq(stat(path, &status), 0);
	cr_expect_eq(status.st_mode & 0777, 0600u);
	cr_expect_eq(status.st_size, 2 * QUOTA_LINE);
	cr_assert_eq(stat(own, &status), 0);
	cr_expect_eq(status.st_mode & 0777, 0700u);
	again(CALENDAR_MONTH);
	cr_expect_eq(used(0), 1001u);
	use(0, 10);
	pass_s(1);
	use(0, 100);
	crash();
	again(CALENDAR_MONTH);
	cr_expect_eq(used(0), 1011u);
	halt();
	manual.wall += 30 * DAY_NS;
	again(CALENDAR_MONTH);
	cr_expect_eq(used(0), 0u, "the month ended meanwhile");
	end();
}

Test(quota, another_kind_of_period_begins_anew)
{
	start(CALENDAR_MONTH);
	use(0, 1000);
	halt();
	again(CALENDAR_DAY);
	cr_expect_eq(used(0), 0u);
	end();
}

Test(quota, a_peer_that_is_removed_and_added_again_has_used_what_it_had)
{
	start(CALENDAR_MONTH);
	use(0, 1000);
	remove_peer(0);
	pass_s(1);
	add_peer(0, 20 * MEGA, CALENDAR_MONTH);
	cr_expect_eq(used(0), 1000u);
	remove_peer(0);
	halt();
	boot();
	add_peer(1, 10 * MEGA, CALENDAR_MONTH); /* without one, the file is left alone */
	open_quota();
	add_peer(0, 20 * MEGA, CALENDAR_MONTH);
	cr_expect_eq(used(0), 1000u, "also by another process");
	end();
}

Test(quota, a_record_is_used_again_when_its_period_is_over)
{
	start(CALENDAR_DAY);
	use(0, 1000);
	remove_peer(0);
	pass_s(86400);
	cr_expect_eq(registry.usages.count, 1u);
	cr_expect_eq(content()[QUOTA_LINE], '#');
	for (size_t peer = 1; peer < 4; peer++) {
		add_peer(peer, 10 * MEGA, CALENDAR_DAY);
		use(peer, peer);
	}
	cr_expect_eq(registry.usages.count, 3u);
	pass_s(1);
	halt();
	boot();
	for (size_t peer = 1; peer < 4; peer++)
		add_peer(peer, 10 * MEGA, CALENDAR_DAY);
	open_quota();
	cr_expect(used(1) == 1 && used(2) == 2 && used(3) == 3);
	end();
}

/* --- what is said ------------------------------------------------------------------------------------------------- */

Test(quota, an_event_once_in_a_period)
{
	start(CALENDAR_DAY);
	use(0, 10 * MEGA - 1);
	pass_s(1);
	cr_expect(told() == 0 && quota.over == 0);
	use(0, 1);
	pass_s(1);
	cr_expect(told() == 1 && quota.over == 1);
	use(0, 100);
	pass_s(1);
	cr_expect_eq(told(), 0u);
	halt();
	again(CALENDAR_DAY);
	pass_s(1);
	cr_expect(told() == 0 && quota.over == 1, "it was said before the restart");
	pass_s(86400);
	cr_expect(told() == 0 && quota.over == 0);
	use(0, 10 * MEGA);
	pass_s(1);
	cr_expect_eq(told(), 1u);
	end();
}

static void limit(uint64_t bytes)
{
	uint32_t ids[2];
	const struct peer_limits limits = {.quota = bytes, .period = CALENDAR_DAY};
	registry_limit_peer(&registry, peer_of(0), &limits, ids);
	pass_s(1);
}

Test(quota, an_event_again_when_the_quota_is_lowered_below_what_is_used)
{
	start(CALENDAR_DAY);
	use(0, 10 * MEGA);
	pass_s(1);
	cr_expect_eq(told(), 1u);
	limit(20 * MEGA);
	cr_expect(told() == 0 && quota.over == 0);
	limit(5 * MEGA);
	cr_expect(told() == 1 && quota.over == 1);
	limit(4 * MEGA);
	cr_expect(told() == 1 && quota.over == 1);
	limit(6 * MEGA);
	cr_expect(told() == 0 && quota.over == 1, "raised, and still over");
	limit(0);
	cr_expect(told() == 0 && quota.over == 0);
	cr_expect_eq(registry.quotas, 0u);
	limit(4 * MEGA);
	cr_expect_eq(used(0), 10 * MEGA, "it was there all the time");
	cr_expect_eq(registry.quotas, 1u);
	end();
}

Test(quota, reset)
{
	struct error error = {0};
	start(CALENDAR_DAY);
	add_peer(1, 0, CALENDAR_DAY);
	use(0, 10 * MEGA);
	pass_s(1);
	cr_expect_eq(quota_reset(&quota, key_of(0), &error), 0);
	cr_expect(used(0) == 0 && quota.over == 0);
	use(0, 10 * MEGA);
	pass_s(1);
	cr_expect_eq(told(), 2u, "once for each time");
	cr_expect_eq(quota_reset(&quota, key_of(1), &error), -ENOENT);
	cr_expect_eq(quota_reset(&quota, key_of(2), &error), -ENOENT);
	end();
}

Test(quota, the_line_of_an_event)
{
	char line[EVENT_LINE_MAX], key[KEY_TEXT_SIZE], expected[256];
	start(CALENDAR_DAY);
	use(0, 10 * MEGA + 7);
	pass_s(1);
	struct event *event = event_take(&events);
	cr_assert_not_null(event);
	key_format(key_of(0), key);
	snprintf(expected, sizeof expected, "event=quota peer=%s quota=10485760 period=day used=10485767 rate=0", key);
	cr_expect_str_eq(events_format(event, false, line), expected);
	free(event);
	end();
}

/* Many records: slices, chunks and chains. */
Test(quota, thousands_of_peers)
{
	enum { MANY = 5000 };
	static const uint8_t psk[KEY_SIZE];
	start(CALENDAR_DAY);
	uint8_t key[KEY_SIZE] = {[31] = 9};
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < MANY; i++) {
			store_be32(key, i);
			const struct registry_peer from = {.public_key = key,
							   .preshared_key = psk,
							   .limits = {.quota = 10 * MEGA, .period = CALENDAR_DAY}};
			cr_assert_eq(registry_add_peer(&registry, &from, NULL), 0);
			if (round != 0)
				continue;
			struct usage *usage = usages_get(&registry.usages, key, true);
			cr_assert_not_null(usage);
			usages_follow(&registry.usages, usage, 10 * MEGA, CALENDAR_DAY);
			atomic_store(&usage->used, i);
		}
		pass_s(1);
		for (uint32_t i = 0; i < MANY && round == 1; i++) {
			store_be32(key, i);
			cr_assert_eq(atomic_load(&peer_usage(peers_find(&registry.peers, key))->used), i);
		}
		halt();
		boot();
		open_quota();
		add_peer(0, 10 * MEGA, CALENDAR_DAY);
		cr_assert_eq(quota_ready(&quota, NULL), 0);
	}
	end();
}
