// SPDX-License-Identifier: Apache-2.0
#include "crypto/replay.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"

enum { W = REPLAY_WINDOW };

#define TWO_32 (1ull << 32)
#define TWO_63 (1ull << 63)
#define LIMIT  REPLAY_COUNTER_LIMIT

/* One window from top to bottom; each line is a fact that the lines above it make true. */
static const struct {
	uint64_t counter;
	enum replay_verdict verdict;
} facts[] = {
	/*  0 */ {0, REPLAY_FRESH},
	/*  1 */ {0, REPLAY_REJECT},
	/*  2 */ {1, REPLAY_FRESH},
	/*  3 */ {1, REPLAY_REJECT},
	/*  4 */ {9, REPLAY_FRESH},
	/*  5 */ {8, REPLAY_LATE},
	/*  6 */ {7, REPLAY_LATE},
	/*  7 */ {7, REPLAY_REJECT},
	/*  8 */ {9, REPLAY_REJECT},
	/*  9 */ {63, REPLAY_FRESH}, /* the last bit of a word, */
	/* 10 */ {64, REPLAY_FRESH}, /* the first of the next */
	/* 11 */ {63, REPLAY_REJECT},
	/* 12 */ {62, REPLAY_LATE},
	/* 13 */ {W, REPLAY_FRESH}, /* the window is as wide as it gets with its first packet still inside */
	/* 14 */ {W, REPLAY_REJECT},
	/* 15 */ {0, REPLAY_REJECT},
	/* 16 */ {2, REPLAY_LATE},
	/* 17 */ {2, REPLAY_REJECT},
	/* 18 */ {W + 3, REPLAY_FRESH},
	/* 19 */ {3, REPLAY_LATE}, /* just inside */
	/* 20 */ {3, REPLAY_REJECT},
	/* 21 */ {W + 5, REPLAY_FRESH},
	/* 22 */ {4, REPLAY_REJECT}, /* just outside, and never seen */
	/* 23 */ {5, REPLAY_LATE},
	/* 24 */ {W + 1, REPLAY_LATE},
	/* 25 */ {W + 4, REPLAY_LATE},
	/* 26 */ {W + 64, REPLAY_FRESH}, /* takes the ring's word of 0…63 */
	/* 27 */ {63, REPLAY_REJECT},
	/* 28 */ {64, REPLAY_REJECT},
	/* 29 */ {65, REPLAY_LATE},
	/* 30 */ {W + 63, REPLAY_LATE},
	/* 31 */ {3 * W, REPLAY_FRESH}, /* leaps over the whole ring: nothing old may shine through */
	/* 32 */ {W + 64, REPLAY_REJECT},
	/* 33 */ {2 * W - 1, REPLAY_REJECT},
	/* 34 */ {2 * W, REPLAY_LATE},
	/* 35 */ {2 * W + 1, REPLAY_LATE},
	/* 36 */ {3 * W - 1, REPLAY_LATE},
	/* 37 */ {3 * W - 1, REPLAY_REJECT},
	/* 38 */ {0x80000000, REPLAY_FRESH}, /* no sign anywhere */
	/* 39 */ {3 * W, REPLAY_REJECT},
	/* 40 */ {0x7fffffff, REPLAY_LATE},
	/* 41 */ {0x80000000 - W, REPLAY_LATE},
	/* 42 */ {0x80000000 - W - 1, REPLAY_REJECT},
	/* 43 */ {0xfffffffe, REPLAY_FRESH},
	/* 44 */ {0xffffffff, REPLAY_FRESH}, /* the last of 32 bits */
	/* 45 */ {0xffffffff, REPLAY_REJECT},
	/* 46 */ {0xfffffffe, REPLAY_REJECT},
	/* 47 */ {0xfffffffd, REPLAY_LATE},
	/* 48 */ {0xffffffff - W, REPLAY_LATE},
	/* 49 */ {0xffffffff - W - 1, REPLAY_REJECT},
	/* 50 */ {0, REPLAY_REJECT}, /* and nothing wraps */
	/* 51 */ {1, REPLAY_REJECT},
	/* 52 */ {TWO_32, REPLAY_FRESH}, /* nor is it cut to 32 bits */
	/* 53 */ {TWO_32, REPLAY_REJECT},
	/* 54 */ {TWO_32 + 2, REPLAY_FRESH},
	/* 55 */ {TWO_32 + 1, REPLAY_LATE},
	/* 56 */ {TWO_32 + 2 - W, REPLAY_LATE},
	/* 57 */ {TWO_32 + 1 - W, REPLAY_REJECT},
	/* 58 */ {2, REPLAY_REJECT},
	/* 59 */ {TWO_63, REPLAY_FRESH}, /* no sign here either */
	/* 60 */ {TWO_63 - 1, REPLAY_LATE},
	/* 61 */ {TWO_63 - W, REPLAY_LATE},
	/* 62 */ {TWO_63 - W - 1, REPLAY_REJECT},
	/* 63 */ {LIMIT, REPLAY_REJECT},
	/* 64 */ {TWO_63 - W + 1, REPLAY_LATE}, /* what was rejected moved nothing */
	/* 65 */ {LIMIT - 2, REPLAY_FRESH},
	/* 66 */ {LIMIT - 1, REPLAY_FRESH}, /* the very last one */
	/* 67 */ {LIMIT - 1, REPLAY_REJECT},
	/* 68 */ {LIMIT - 2, REPLAY_REJECT},
	/* 69 */ {LIMIT - 3, REPLAY_LATE},
	/* 70 */ {LIMIT - 1 - W, REPLAY_LATE},
	/* 71 */ {LIMIT - 1 - W, REPLAY_REJECT},
	/* 72 */ {LIMIT - 2 - W, REPLAY_REJECT},
	/* 73 */ {LIMIT, REPLAY_REJECT},
	/* 74 */ {UINT64_MAX, REPLAY_REJECT},
	/* 75 */ {0, REPLAY_REJECT},
};

Test(replay, numbered_table)
{
	struct replay_window window = {0};
	for (size_t i = 0; i < ARRAY_SIZE(facts); i++)
		cr_assert_eq(replay_accept(&window, facts[i].counter), facts[i].verdict, "line %zu", i);
}

Test(replay, empty_window_takes_any_first_counter)
{
	static const uint64_t counters[] = {0,		1,	    63,		64,	W - 1,	W,	  W + 1,
					    2 * W + 77, 0x80000000, 0xffffffff, TWO_32, TWO_63, LIMIT - 1};
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
		struct replay_window window = {0};
		uint64_t counter = counters[i];
		cr_assert_eq(replay_accept(&window, counter), REPLAY_FRESH, "%lu", counter);
		cr_assert_eq(replay_accept(&window, counter), REPLAY_REJECT, "%lu", counter);
		cr_assert_eq(window.next, counter + 1);
		if (counter > 0)
			cr_assert_eq(replay_accept(&window, counter - 1), REPLAY_LATE, "%lu", counter);
	}
}

Test(replay, whole_window_backwards_is_late_once)
{
	static const uint64_t first_tops[] = {2 * W, TWO_32 - 32, LIMIT - 64};
	for (size_t i = 0; i < ARRAY_SIZE(first_tops); i++) {
		/* At each alignment of the highest counter within its word. */
		for (uint64_t top = first_tops[i]; top < first_tops[i] + 64; top++) {
			struct replay_window window = {0};
			cr_assert_eq(replay_accept(&window, top), REPLAY_FRESH);
			for (uint32_t behind = 1; behind <= W; behind++)
				cr_assert_eq(replay_accept(&window, top - behind), REPLAY_LATE, "%lu - %u", top,
					     behind);
			for (uint32_t behind = 0; behind <= 2 * W; behind++)
				cr_assert_eq(replay_accept(&window, top - behind), REPLAY_REJECT, "%lu - %u", top,
					     behind);
		}
	}
}

Test(replay, counters_from_the_limit_on_are_rejected_in_any_window)
{
	static const uint64_t counters[] = {LIMIT, LIMIT + 1, LIMIT + W, UINT64_MAX};
	cr_assert_eq(LIMIT, 0xffffffffffffdfff, "WireGuard's Reject-After-Messages");
	static const struct replay_window empty;
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
		struct replay_window window = {0};
		cr_assert_eq(replay_accept(&window, counters[i]), REPLAY_REJECT, "%lu", counters[i]);
		cr_assert_arr_eq(&window, &empty, sizeof empty);
		cr_assert_eq(replay_accept(&window, LIMIT - 1), REPLAY_FRESH);
		cr_assert_eq(replay_accept(&window, counters[i]), REPLAY_REJECT, "%lu", counters[i]);
		cr_assert_eq(window.next, LIMIT);
	}
}

Test(replay, rejection_changes_nothing)
{
	struct replay_window window = {0};
	replay_accept(&window, 3 * W);
	replay_accept(&window, 3 * W - 5);
	const struct replay_window before = window;
	cr_assert_eq(replay_accept(&window, 3 * W), REPLAY_REJECT);
	cr_assert_eq(replay_accept(&window, 3 * W - 5), REPLAY_REJECT);
	cr_assert_eq(replay_accept(&window, 2 * W - 1), REPLAY_REJECT);
	cr_assert_eq(replay_accept(&window, 0), REPLAY_REJECT);
	cr_assert_arr_eq(&window, &before, sizeof before);
}

/* The naive set: a bit for each counter from `base`, and the highest of them. */
enum { SPAN = 1 << 24 };

struct naive {
	uint8_t seen[SPAN];
	uint64_t next, base;
};

static enum replay_verdict naive_accept(struct naive *naive, uint64_t counter)
{
	uint8_t *seen = &naive->seen[counter - naive->base];
	if (naive->next > 0 && counter + W < naive->next - 1)
		return REPLAY_REJECT;
	if (*seen)
		return REPLAY_REJECT;
	*seen = 1;
	if (counter < naive->next)
		return REPLAY_LATE;
	naive->next = counter + 1;
	return REPLAY_FRESH;
}

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* A counter near the highest: mostly the next few, often behind, at times at the window's edge or a leap ahead. */
static uint64_t random_counter(uint64_t *random, uint64_t next)
{
	uint64_t r = random_next(random), size = random_next(random);
	switch (r % 16) {
	case 0:
		return next + size % (3 * W);
	case 1:
	case 2:
		return next + size % 200;
	case 3:
		return next - W - 3 + size % 6;
	case 4:
		return next - size % (3 * W);
	case 5:
	case 6:
	case 7:
		return next - size % W;
	case 8:
		return next - size % 70;
	default:
		return next + size % 3;
	}
}

/* A million operations from `base` on; starts over with an empty window when the span or the counters end. */
static void compare_with_naive(uint64_t base, uint64_t seed)
{
	struct naive *naive = calloc(1, sizeof *naive);
	const uint64_t span = LIMIT - base < SPAN ? LIMIT - base : SPAN;
	struct replay_window window = {0};
	uint64_t random = seed;
	unsigned verdicts[3] = {0};

	cr_assert_not_null(naive);
	naive->base = base;
	for (int i = 0; i < 1000000; i++) {
		uint64_t above = random_counter(&random, naive->next > base ? naive->next - base : 0);
		if (above > 1ull << 40)
			above = 0; /* below `base` */
		if (above >= span && random_next(&random) % 64 != 0)
			above = span - 1 - random_next(&random) % (2 * W);
		if (above >= span) {
			memset(naive->seen, 0, span);
			naive->next = 0;
			window = (struct replay_window){0};
			continue;
		}
		uint64_t counter = base + above;
		enum replay_verdict expected = naive_accept(naive, counter);
		cr_assert_eq(replay_accept(&window, counter), expected, "operation %d: %lu", i, counter);
		verdicts[expected]++;
	}
	for (size_t i = 0; i < ARRAY_SIZE(verdicts); i++)
		cr_assert_gt(verdicts[i], 50000, "verdict %zu was hardly tried", i);
	free(naive);
}

Test(replay, random_operations_agree_with_a_naive_set_from_0)
{
	compare_with_naive(0, 0x9e3779b97f4a7c15);
}

Test(replay, random_operations_agree_with_a_naive_set_across_2_to_the_31)
{
	compare_with_naive(0x80000000 - SPAN / 2, 0xbf58476d1ce4e5b9);
}

Test(replay, random_operations_agree_with_a_naive_set_across_2_to_the_32)
{
	compare_with_naive(TWO_32 - 3 * W, 0x94d049bb133111eb);
}

Test(replay, random_operations_agree_with_a_naive_set_up_to_the_last_counter)
{
	compare_with_naive(LIMIT - 3 * W, 0xd6e8feb86659fd93);
}

Test(replay, resumed_window_rejects_all_below_and_takes_all_above)
{
	for (uint64_t next = 2 * W; next < 2 * W + 65; next++) {
		struct replay_window window = {.next = 12345, .bitmap = {0x55}};
		replay_resume(&window, next);
		for (uint64_t counter = 0; counter < next; counter++)
			cr_assert_eq(replay_accept(&window, counter), REPLAY_REJECT, "%lu of %lu", counter, next);
		for (uint64_t counter = next; counter < next + 2 * W; counter += 2)
			cr_assert_eq(replay_accept(&window, counter), REPLAY_FRESH, "%lu", counter);
		for (uint64_t counter = next + 2 * W - 3; counter > next + W; counter -= 2)
			cr_assert_eq(replay_accept(&window, counter), REPLAY_LATE, "%lu", counter);
	}
}

Test(replay, resumed_window_takes_late_ones_above_the_resumption)
{
	for (uint64_t next = 2 * W; next < 2 * W + 65; next++) {
		struct replay_window window;
		replay_resume(&window, next);
		cr_assert_eq(replay_accept(&window, next + 100), REPLAY_FRESH);
		for (uint32_t above = 0; above < 100; above++)
			cr_assert_eq(replay_accept(&window, next + above), REPLAY_LATE, "%lu + %u", next, above);
		cr_assert_eq(replay_accept(&window, next - 1), REPLAY_REJECT, "%lu", next);
	}
}

Test(replay, resumed_window_may_be_empty_or_used_up)
{
	struct replay_window window;
	replay_resume(&window, 0);
	cr_assert_eq(replay_accept(&window, 0), REPLAY_FRESH);
	cr_assert_eq(replay_accept(&window, 200), REPLAY_FRESH);
	cr_assert_eq(replay_accept(&window, 100), REPLAY_LATE);

	static const uint64_t used_up[] = {TWO_32, LIMIT};
	for (size_t i = 0; i < ARRAY_SIZE(used_up); i++) {
		replay_resume(&window, used_up[i]);
		cr_assert_eq(replay_accept(&window, used_up[i] - 1), REPLAY_REJECT);
		cr_assert_eq(replay_accept(&window, 0), REPLAY_REJECT);
	}
	cr_assert_eq(replay_accept(&window, LIMIT), REPLAY_REJECT);
	replay_resume(&window, TWO_32 + 5);
	cr_assert_eq(replay_accept(&window, 5), REPLAY_REJECT);
	cr_assert_eq(replay_accept(&window, TWO_32 + 4), REPLAY_REJECT);
	cr_assert_eq(replay_accept(&window, TWO_32 + 5), REPLAY_FRESH);
	replay_resume(&window, LIMIT - 1);
	cr_assert_eq(replay_accept(&window, LIMIT - 1), REPLAY_FRESH, "the last one");
}
