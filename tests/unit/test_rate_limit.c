// SPDX-License-Identifier: Apache-2.0
#include "crypto/rate_limit.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/base/bytes.h"
#include "core/base/clock.h"
#include "crypto/keys.h"

/* --- one bucket --------------------------------------------------------------------------------------------------- */

Test(rate_limit, a_bucket_gives_its_burst_and_then_its_rate)
{
	struct token_bucket bucket = {.rate = token_rate_make(10, 5)};
	uint64_t now = 1000 * NS_PER_S;
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 5; i++)
			cr_assert(token_bucket_take(&bucket, now), "token %u of the burst", i);
		cr_assert_not(token_bucket_take(&bucket, now));
		cr_assert_not(token_bucket_take(&bucket, now + 100 * NS_PER_MS - 1));
		now += 100 * NS_PER_MS;
		cr_assert(token_bucket_take(&bucket, now));
		cr_assert_not(token_bucket_take(&bucket, now), "one token in an interval");
		now += 3600 * NS_PER_S; /* full again, and no fuller */
	}
}

Test(rate_limit, asking_in_vain_costs_nothing)
{
	struct token_bucket bucket = {.rate = token_rate_make(10, 1)};
	uint64_t now = NS_PER_S;
	cr_assert(token_bucket_take(&bucket, now));
	for (unsigned i = 0; i < 1000; i++)
		cr_assert_not(token_bucket_take(&bucket, now + 99 * NS_PER_MS));
	cr_assert(token_bucket_take(&bucket, now + 100 * NS_PER_MS));
}

/* A count of tokens that is refilled with the time, as the textbook has it. */
Test(rate_limit, agrees_with_a_count_of_tokens)
{
	srandom(7);
	for (unsigned round = 0; round < 200; round++) {
		uint32_t per_second = 1u << random() % 8; /* intervals without remainder */
		uint32_t burst = 1 + (uint32_t)random() % 20;
		uint64_t interval = NS_PER_S / per_second, now = interval * 1000;
		struct token_bucket bucket = {.rate = token_rate_make(per_second, burst)};
		uint64_t credit = burst * interval; /* one token is worth an interval */
		for (unsigned i = 0; i < 500; i++) {
			uint64_t step = (uint64_t)random() % (random() % 8 == 0 ? 20 * interval : interval + 1);
			now += step;
			credit = credit + step < burst * interval ? credit + step : burst * interval;
			bool expected = credit >= interval;
			if (expected)
				credit -= interval;
			cr_assert_eq(token_bucket_take(&bucket, now), expected, "round %u, request %u", round, i);
		}
	}
}

/* --- one for each source ------------------------------------------------------------------------------------------ */

enum { RATE = 20, BURST = 5 };

static void start(struct rate_limiter *limiter, uint32_t sources)
{
	cr_assert(keys_init(NULL) == 0);
	cr_assert(rate_limiter_init(limiter, sources, token_rate_make(RATE, BURST)) == 0);
}

static const uint8_t *v4(uint32_t address)
{
	static uint8_t bytes[16] = {[10] = 0xff, [11] = 0xff};
	store_be32(bytes + 12, address);
	return bytes;
}

static const uint8_t *v6(uint64_t network, uint64_t host)
{
	static uint8_t bytes[16];
	store_be64(bytes, network);
	store_be64(bytes + 8, host);
	return bytes;
}

/* How many of `tries` pass at once. */
static unsigned passes(struct rate_limiter *limiter, const uint8_t *address, uint64_t now, unsigned tries)
{
	unsigned passed = 0;
	for (unsigned i = 0; i < tries; i++)
		passed += rate_limiter_allow(limiter, address, now);
	return passed;
}

Test(rate_limit, each_ipv4_address_has_a_bucket)
{
	struct rate_limiter limiter;
	start(&limiter, 1024);
	uint64_t now = NS_PER_S;
	for (uint32_t i = 0; i < 16; i++)
		cr_assert_eq(passes(&limiter, v4(0xc0000200 + i), now, 50), BURST, "address %u", i);
	for (uint32_t i = 0; i < 16; i++)
		cr_assert_eq(passes(&limiter, v4(0xc0000200 + i), now + NS_PER_S / RATE, 50), 1, "address %u", i);
	rate_limiter_deinit(&limiter);
}

Test(rate_limit, each_ipv6_network_of_64_bits_has_a_bucket)
{
	struct rate_limiter limiter;
	start(&limiter, 1024);
	uint64_t now = NS_PER_S, network = 0x20010db800000000;
	unsigned passed = 0;
	for (uint64_t host = 0; host < 100; host++)
		passed += passes(&limiter, v6(network, host * 0x0101010101010101), now, 1);
	cr_assert_eq(passed, BURST, "who changes the lower half is the same");
	cr_assert_eq(passes(&limiter, v6(network + 1, 0), now, 50), BURST, "the next /64 is another");
	/* v4-mapped addresses all lie in the /64 ::/64. */
	cr_assert_eq(passes(&limiter, v6(0, 1), now, 50), BURST);
	cr_assert_eq(passes(&limiter, v4(0xc0000201), now, 50), BURST);
	cr_assert_eq(passes(&limiter, v4(0), now, 50), BURST);
	rate_limiter_deinit(&limiter);
}

Test(rate_limit, the_table_has_as_many_buckets_as_was_asked)
{
	struct rate_limiter limiter;
	static const struct {
		uint32_t sources, sets;
	} table[] = {{0, 1}, {1, 1}, {8, 1}, {9, 2}, {1000, 128}, {1024, 128}, {1025, 256}};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		start(&limiter, table[i].sources);
		cr_assert_eq(limiter.set_mask + 1, table[i].sets, "%u sources", table[i].sources);
		rate_limiter_deinit(&limiter);
	}
}

/* Many more sources than fit, each within its rate: none is refused. */
Test(rate_limit, newcomers_are_served_by_a_full_table)
{
	struct rate_limiter limiter;
	start(&limiter, 64);
	uint64_t now = NS_PER_S;
	for (uint32_t i = 0; i < 100000; i++) {
		cr_assert(rate_limiter_allow(&limiter, v4(i), now), "source %u", i);
		now += NS_PER_US;
	}
	rate_limiter_deinit(&limiter);
}

/* Sources that overflow the table at once pass with one packet each, not with a burst. */
Test(rate_limit, displacing_a_bucket_in_use_buys_no_burst)
{
	struct rate_limiter limiter;
	start(&limiter, 64);
	uint64_t now = NS_PER_S;
	for (uint32_t i = 0; i < 10000; i++)
		(void)passes(&limiter, v4(i), now, BURST);
	unsigned passed = 0;
	for (uint32_t i = 10000; i < 20000; i++)
		passed += passes(&limiter, v4(i), now, BURST);
	cr_assert_eq(passed, 10000);
	cr_assert_eq(passes(&limiter, v4(1 << 30), now + NS_PER_S, BURST), BURST, "later all are full again");
	rate_limiter_deinit(&limiter);
}

/* A source that is over its limit stays so while others come and go in its set within theirs. */
Test(rate_limit, the_bucket_that_owes_least_makes_room)
{
	struct rate_limiter limiter;
	start(&limiter, RATE_LIMITER_WAYS); /* one set */
	uint64_t now = NS_PER_S, step = NS_PER_S / RATE / 2;
	cr_assert_eq(passes(&limiter, v4(1), now, 50), BURST);
	unsigned passed = 0;
	for (uint32_t i = 0; i < 1000; i++) {
		now += step;
		cr_assert_eq(passes(&limiter, v4(1000 + i), now, 1), 1);
		passed += passes(&limiter, v4(1), now, 50);
	}
	cr_assert_eq(passed, 500, "its rate, and no more");
	rate_limiter_deinit(&limiter);
}

/* Which sources share a set depends on a key that differs in each table. */
Test(rate_limit, sets_cannot_be_aimed_at)
{
	struct rate_limiter first, second;
	start(&first, 4096);
	start(&second, 4096);
	cr_assert(memcmp(first.hash_key, second.hash_key, sizeof first.hash_key) != 0);
	/* Enough to overflow one set of `first`: they must not do so in `second`, where all find room. */
	uint32_t aimed[3 * RATE_LIMITER_WAYS], count = 0;
	uint64_t now = NS_PER_S;
	for (uint32_t i = 0; count < ARRAY_SIZE(aimed); i++) {
		(void)rate_limiter_allow(&first, v4(i), now);
		if (first.buckets[0].source != 0) {
			aimed[count++] = i;
			for (size_t way = 0; way < RATE_LIMITER_WAYS; way++)
				first.buckets[way] = (struct rate_limiter_bucket){0};
		}
	}
	for (uint32_t i = 0; i < count; i++)
		cr_assert_eq(passes(&second, v4(aimed[i]), now, 50), BURST);
	for (uint32_t i = 0; i < count; i++)
		cr_assert_eq(passes(&second, v4(aimed[i]), now, 50), 0, "still remembered");
	for (uint32_t i = 0; i < count; i++)
		(void)passes(&first, v4(aimed[i]), now, 50);
	unsigned forgotten = 0;
	for (uint32_t i = 0; i < count; i++)
		forgotten += passes(&first, v4(aimed[i]), now, 1);
	cr_assert_gt(forgotten, 0, "they do share a set of the first table");
	rate_limiter_deinit(&first);
	rate_limiter_deinit(&second);
}
