// SPDX-License-Identifier: Apache-2.0
#include "crypto/replay.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"

enum { W = REPLAY_WINDOW };

/* One window from top to bottom; each line is a fact that the lines above it make true. */
static const struct {
	uint32_t counter;
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
	/* 44 */ {0xffffffff, REPLAY_FRESH}, /* the very last one */
	/* 45 */ {0xffffffff, REPLAY_REJECT},
	/* 46 */ {0xfffffffe, REPLAY_REJECT},
	/* 47 */ {0xfffffffd, REPLAY_LATE},
	/* 48 */ {0xffffffff - W, REPLAY_LATE},
	/* 49 */ {0xffffffff - W - 1, REPLAY_REJECT},
	/* 50 */ {0, REPLAY_REJECT}, /* and nothing wraps */
	/* 51 */ {1, REPLAY_REJECT},
};

Test(replay, numbered_table)
{
	struct replay_window window = {0};
	for (size_t i = 0; i < ARRAY_SIZE(facts); i++)
		cr_assert_eq(replay_accept(&window, facts[i].counter), facts[i].verdict, "line %zu", i);
}

Test(replay, empty_window_takes_any_first_counter)
{
	static const uint32_t counters[] = {0, 1, 63, 64, W - 1, W, W + 1, 2 * W + 77, 0x80000000, 0xffffffff};
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
		struct replay_window window = {0};
		uint32_t counter = counters[i];
		cr_assert_eq(replay_accept(&window, counter), REPLAY_FRESH, "%u", counter);
		cr_assert_eq(replay_accept(&window, counter), REPLAY_REJECT, "%u", counter);
		cr_assert_eq(window.next, (uint64_t)counter + 1);
		if (counter > 0)
			cr_assert_eq(replay_accept(&window, counter - 1), REPLAY_LATE, "%u", counter);
	}
}

Test(replay, whole_window_backwards_is_late_once)
{
	/* At each alignment of the highest counter within its word. */
	for (uint32_t top = 2 * W; top < 2 * W + 64; top++) {
		struct replay_window window = {0};
		cr_assert_eq(replay_accept(&window, top), REPLAY_FRESH);
		for (uint32_t behind = 1; behind <= W; behind++)
			cr_assert_eq(replay_accept(&window, top - behind), REPLAY_LATE, "%u - %u", top, behind);
		for (uint32_t behind = 0; behind <= 2 * W; behind++)
			cr_assert_eq(replay_accept(&window, top - behind), REPLAY_REJECT, "%u - %u", top, behind);
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
	uint64_t next;
	uint32_t base;
};

static enum replay_verdict naive_accept(struct naive *naive, uint32_t counter)
{
	uint8_t *seen = &naive->seen[counter - naive->base];
	if (naive->next > 0 && counter + (uint64_t)W < naive->next - 1)
		return REPLAY_REJECT;
	if (*seen)
		return REPLAY_REJECT;
	*seen = 1;
	if (counter < naive->next)
		return REPLAY_LATE;
	naive->next = (uint64_t)counter + 1;
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
static void compare_with_naive(uint32_t base, uint64_t seed)
{
	struct naive *naive = calloc(1, sizeof *naive);
	const uint64_t end = (uint64_t)base + SPAN < 1ull << 32 ? (uint64_t)base + SPAN : 1ull << 32;
	struct replay_window window = {0};
	uint64_t random = seed;
	unsigned verdicts[3] = {0};

	cr_assert_not_null(naive);
	naive->base = base;
	for (int i = 0; i < 1000000; i++) {
		uint64_t counter = random_counter(&random, naive->next > base ? naive->next : base);
		if (counter < base || counter > 1ull << 40)
			counter = base;
		if (counter >= end && random_next(&random) % 64 != 0)
			counter = end - 1 - random_next(&random) % (2 * W);
		if (counter >= end) {
			memset(naive, 0, sizeof *naive);
			naive->base = base;
			window = (struct replay_window){0};
			continue;
		}
		enum replay_verdict expected = naive_accept(naive, (uint32_t)counter);
		cr_assert_eq(replay_accept(&window, (uint32_t)counter), expected, "operation %d: %lu", i, counter);
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

Test(replay, random_operations_agree_with_a_naive_set_up_to_the_last_counter)
{
	compare_with_naive((uint32_t)((1ull << 32) - 3 * W), 0x94d049bb133111eb);
}

Test(replay, resumed_window_rejects_all_below_and_takes_all_above)
{
	for (uint64_t next = 2 * W; next < 2 * W + 65; next++) {
		struct replay_window window = {.next = 12345, .bitmap = {0x55}};
		replay_resume(&window, next);
		for (uint64_t counter = 0; counter < next; counter++)
			cr_assert_eq(replay_accept(&window, (uint32_t)counter), REPLAY_REJECT, "%lu of %lu", counter,
				     next);
		for (uint64_t counter = next; counter < next + 2 * W; counter += 2)
			cr_assert_eq(replay_accept(&window, (uint32_t)counter), REPLAY_FRESH, "%lu", counter);
		for (uint64_t counter = next + 2 * W - 3; counter > next + W; counter -= 2)
			cr_assert_eq(replay_accept(&window, (uint32_t)counter), REPLAY_LATE, "%lu", counter);
	}
}

Test(replay, resumed_window_takes_late_ones_above_the_resumption)
{
	for (uint64_t next = 2 * W; next < 2 * W + 65; next++) {
		struct replay_window window;
		replay_resume(&window, next);
		cr_assert_eq(replay_accept(&window, (uint32_t)next + 100), REPLAY_FRESH);
		for (uint32_t above = 0; above < 100; above++)
			cr_assert_eq(replay_accept(&window, (uint32_t)next + above), REPLAY_LATE, "%lu + %u", next,
				     above);
		cr_assert_eq(replay_accept(&window, (uint32_t)next - 1), REPLAY_REJECT, "%lu", next);
	}
}

Test(replay, resumed_window_may_be_empty_or_used_up)
{
	struct replay_window window;
	replay_resume(&window, 0);
	cr_assert_eq(replay_accept(&window, 0), REPLAY_FRESH);
	cr_assert_eq(replay_accept(&window, 200), REPLAY_FRESH);
	cr_assert_eq(replay_accept(&window, 100), REPLAY_LATE);

	replay_resume(&window, 1ull << 32);
	cr_assert_eq(replay_accept(&window, 0xffffffff), REPLAY_REJECT);
	cr_assert_eq(replay_accept(&window, 0), REPLAY_REJECT);
}
