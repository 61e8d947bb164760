// SPDX-License-Identifier: Apache-2.0
#include "workers/seen_sources.h"

#include <criterion/criterion.h>

#include "core/base/bytes.h"
#include "crypto/keys.h"

static struct sockaddr_in6 source(uint32_t number, uint16_t port)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = port};
	store_be32(&address.sin6_addr.s6_addr[12], number);
	return address;
}

static bool note(struct seen_sources *seen, uint32_t number, uint64_t now)
{
	struct sockaddr_in6 address = source(number, 1);
	return seen_sources_note(seen, &address, now);
}

Test(seen_sources, are_remembered_for_one_period_to_two)
{
	struct seen_sources seen;
	cr_assert(keys_init(NULL) == 0 && seen_sources_init(&seen) == 0);
	for (uint64_t at = 0; at < SEEN_SOURCES_PERIOD_NS; at += SEEN_SOURCES_PERIOD_NS / 7) {
		uint64_t now = 1000 * SEEN_SOURCES_PERIOD_NS + 10 * at * 7 + at;
		uint32_t number = (uint32_t)(at / NS_PER_MS);
		cr_assert_not(note(&seen, number, now));
		cr_assert(note(&seen, number, now));
		cr_assert_not(note(&seen, number, now + 2 * SEEN_SOURCES_PERIOD_NS));
		cr_assert(note(&seen, number, now + 3 * SEEN_SOURCES_PERIOD_NS));
		cr_assert_not(note(&seen, number, now + 5 * SEEN_SOURCES_PERIOD_NS));
	}
	struct sockaddr_in6 other = source(0, 2);
	cr_assert_not(seen_sources_note(&seen, &other, UINT64_MAX), "its port is another");
	seen_sources_deinit(&seen);
}

Test(seen_sources, of_a_flood_few_are_taken_for_others)
{
	struct seen_sources seen;
	cr_assert(keys_init(NULL) == 0 && seen_sources_init(&seen) == 0);
	unsigned taken = 0;
	for (uint32_t number = 0; number < 800000; number++)
		taken += note(&seen, number, number / 100 * NS_PER_MS);
	cr_assert_lt(taken, 800000 / 15, "%u", taken);
	seen_sources_deinit(&seen);
}
