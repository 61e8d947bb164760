// SPDX-License-Identifier: Apache-2.0
/* Which HELLOs are new: by the rules one after the other, and by what they are for: none is accepted twice. */
#include "core/sessions/freshness.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define START (1000 * NS_PER_S)

struct hello {
	uint8_t timestamp[WIRE_TIMESTAMP_SIZE];
	uint64_t cookie;
};

static struct hello at(uint64_t wall_ns, uint64_t cookie)
{
	struct hello hello = {.cookie = cookie};
	wire_timestamp(hello.timestamp, wall_ns);
	return hello;
}

static enum freshness_verdict say(struct freshness *freshness, struct hello hello, uint64_t now)
{
	enum freshness_verdict verdict = freshness_judge(freshness, hello.timestamp, hello.cookie, now);
	if (verdict != FRESHNESS_STALE)
		freshness_accept(freshness, hello.timestamp, hello.cookie, hello.cookie, now);
	return verdict;
}

Test(freshness, first_a_cookie_then_the_clock)
{
	struct freshness f = {0};
	cr_assert_eq(say(&f, at(5 * NS_PER_S, 0), START), FRESHNESS_STALE);
	cr_assert_eq(say(&f, at(5 * NS_PER_S, 7), START), FRESHNESS_PROVEN);
	cr_assert_eq(say(&f, at(5 * NS_PER_S, 7), START), FRESHNESS_STALE, "the same again");
	cr_assert_eq(say(&f, at(5 * NS_PER_S, 0), START), FRESHNESS_STALE);
	cr_assert_eq(say(&f, at(6 * NS_PER_S, 0), START), FRESHNESS_NEWER);
	cr_assert_eq(say(&f, at(7 * NS_PER_S, 7), START), FRESHNESS_PROVEN, "the same cookie as long as it is valid");
	cr_assert_eq(say(&f, at(8 * NS_PER_S, 3), START), FRESHNESS_PROVEN, "an older one that is valid");
	cr_assert_eq(say(&f, at(8 * NS_PER_S, 7), START), FRESHNESS_STALE);
}

Test(freshness, cookies_that_were_spent_are_none)
{
	struct freshness f = {.cookie = 7};
	cr_assert_eq(say(&f, at(5 * NS_PER_S, 7), START), FRESHNESS_STALE);
	cr_assert_eq(say(&f, at(5 * NS_PER_S, 8), START), FRESHNESS_PROVEN);
}

Test(freshness, a_clock_that_went_back_needs_a_cookie_until_it_is_past_where_it_was)
{
	struct freshness f = {0};
	cr_assert_eq(say(&f, at(5000 * NS_PER_S, 1), START), FRESHNESS_PROVEN);
	struct hello recorded = at(5200 * NS_PER_S, 0);
	cr_assert_eq(say(&f, at(4000 * NS_PER_S, 0), START), FRESHNESS_STALE);
	cr_assert_eq(say(&f, at(4000 * NS_PER_S, 1), START), FRESHNESS_STALE, "it counted");
	cr_assert_eq(say(&f, at(4000 * NS_PER_S, 2), START), FRESHNESS_PROVEN);
	cr_assert_eq(say(&f, at(4001 * NS_PER_S, 2), START), FRESHNESS_PROVEN);
	cr_assert_eq(say(&f, at(4002 * NS_PER_S, 0), START), FRESHNESS_STALE, "older than the highest");
	cr_assert_eq(say(&f, recorded, START), FRESHNESS_STALE, "above all, but no clock ran so fast");
	cr_assert_eq(say(&f, at(5001 * NS_PER_S, 0), START + 999 * NS_PER_S), FRESHNESS_NEWER);
}

Test(freshness, a_clock_that_jumps_ahead_needs_a_cookie)
{
	struct freshness f = {0};
	uint64_t now = START, wall = 5000 * NS_PER_S;
	cr_assert_eq(say(&f, at(wall, 1), now), FRESHNESS_PROVEN);
	wall += FRESHNESS_JUMP_S * NS_PER_S;
	cr_assert_eq(say(&f, at(wall + NS_PER_S, 0), now), FRESHNESS_STALE);
	cr_assert_eq(say(&f, at(wall, 0), now), FRESHNESS_NEWER);
	now += 30 * 86400 * NS_PER_S;
	wall += 30 * 86400 * NS_PER_S;
	cr_assert_eq(say(&f, at(wall, 0), now), FRESHNESS_NEWER, "a month offline");
	wall += 3600 * NS_PER_S;
	cr_assert_eq(say(&f, at(wall, 0), now), FRESHNESS_STALE);
	cr_assert_eq(say(&f, at(wall, 2), now), FRESHNESS_PROVEN);
}

Test(freshness, no_timestamp_is_too_large)
{
	struct freshness f = {0};
	struct hello most = {.cookie = 1};
	memset(most.timestamp, 0xff, sizeof most.timestamp);
	cr_assert_eq(say(&f, most, START), FRESHNESS_PROVEN);
	most.cookie = 0;
	cr_assert_eq(say(&f, most, START), FRESHNESS_STALE);
	cr_assert_eq(say(&f, at(NS_PER_S, 2), START), FRESHNESS_PROVEN);
	cr_assert_eq(say(&f, most, UINT64_MAX), FRESHNESS_STALE);
}

/* Clients with any clocks, in any order, and replays of any of it. */
Test(freshness, no_hello_is_fresh_twice)
{
	enum { HELLOS = 400, ROUNDS = 20000 };
	static struct hello said[HELLOS];
	static bool accepted[HELLOS];
	unsigned count = 0;
	srand(4711);
	for (unsigned run = 0; run < 20; run++) {
		struct freshness f = {0};
		uint64_t now = START;
		for (unsigned i = 0; i < HELLOS; i++) {
			unsigned cookie = rand() % 3 == 0 ? (unsigned)rand() % 40 : 0;
			said[i] = at(NS_PER_S * ((unsigned)rand() % 2000) + i, cookie);
			accepted[i] = false;
		}
		for (unsigned round = 0; round < ROUNDS; round++) {
			unsigned i = (unsigned)rand() % HELLOS;
			now += NS_PER_MS * ((unsigned)rand() % 10);
			if (say(&f, said[i], now) == FRESHNESS_STALE)
				continue;
			cr_assert_not(accepted[i], "run %u, round %u", run, round);
			accepted[i] = true;
			count++;
		}
	}
	cr_assert_gt(count, 200);
}

/* --- WireGuard ---------------------------------------------------------------------------------------------------- */

static enum freshness_verdict say_wireguard(struct freshness *freshness, struct hello hello, uint64_t now)
{
	enum freshness_verdict verdict = freshness_judge_wireguard(freshness, hello.timestamp, now);
	if (verdict == FRESHNESS_NEWER)
		freshness_accept_wireguard(freshness, hello.timestamp, now);
	return verdict;
}

Test(freshness, of_wireguard_is_the_timestamp_alone)
{
	struct freshness f = {0};
	cr_assert_eq(say_wireguard(&f, at(5 * NS_PER_S, 0), START), FRESHNESS_NEWER, "the first since the start");
	cr_assert_eq(say_wireguard(&f, at(5 * NS_PER_S, 0), START + NS_PER_S), FRESHNESS_STALE, "the same again");
	cr_assert_eq(say_wireguard(&f, at(5 * NS_PER_S - 1, 0), START + NS_PER_S), FRESHNESS_STALE);
	cr_assert_eq(say_wireguard(&f, at(5 * NS_PER_S + 1, 0), START + NS_PER_S), FRESHNESS_NEWER);
	cr_assert_eq(say_wireguard(&f, at(5000 * NS_PER_S, 0), START + 2 * NS_PER_S), FRESHNESS_NEWER, "any jump");
	cr_assert_eq(say_wireguard(&f, at(4999 * NS_PER_S, 0), START + 9999 * NS_PER_S), FRESHNESS_STALE,
		     "however long ago the last one was");
}

Test(freshness, of_wireguard_is_accepted_20_ms_apart)
{
	struct freshness f = {0};
	cr_assert_eq(say_wireguard(&f, at(NS_PER_S, 0), START), FRESHNESS_NEWER);
	cr_assert_eq(say_wireguard(&f, at(2 * NS_PER_S, 0), START), FRESHNESS_TOO_SOON);
	cr_assert_eq(say_wireguard(&f, at(3 * NS_PER_S, 0), START + 20 * NS_PER_MS - 1), FRESHNESS_TOO_SOON);
	cr_assert_eq(say_wireguard(&f, at(2 * NS_PER_S, 0), START + 20 * NS_PER_MS), FRESHNESS_NEWER,
		     "what came too soon changed nothing");
	cr_assert_eq(say_wireguard(&f, at(3 * NS_PER_S, 0), START + 39 * NS_PER_MS), FRESHNESS_TOO_SOON);
}
