// SPDX-License-Identifier: Apache-2.0
#include "core/base/ip_set.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/base/bytes.h"

enum { PREFIXES_MAX = 64 };

static struct ip_set made(const char *const *texts, size_t count)
{
	struct ip_prefix prefixes[PREFIXES_MAX];
	struct ip_set set;
	for (size_t i = 0; i < count; i++)
		cr_assert(ip_prefix_parse(texts[i], &prefixes[i]), "%s", texts[i]);
	cr_assert_eq(ip_set_init(&set, prefixes, count), 0);
	return set;
}

static bool contains(const struct ip_set *set, const char *text)
{
	struct ip_address address;
	cr_assert(ip_address_parse(text, &address), "%s", text);
	return ip_set_contains(set, &address);
}

static bool covers(const struct ip_set *set, const char *text)
{
	struct ip_prefix prefix;
	cr_assert(ip_prefix_parse(text, &prefix), "%s", text);
	return ip_set_covers(set, &prefix);
}

Test(ip_set, an_empty_one_has_nothing)
{
	struct ip_set zeroed = {0}, empty = made(NULL, 0);
	const struct ip_address none = {0};
	cr_expect_not(contains(&zeroed, "10.0.0.1") || contains(&zeroed, "::") || covers(&zeroed, "0.0.0.0/0"));
	cr_expect_not(contains(&empty, "0.0.0.0") || contains(&empty, "fd00::1") || ip_set_contains(&empty, &none));
	ip_set_deinit(&empty);
}

Test(ip_set, edges_of_networks)
{
	static const char *const texts[] = {"10.1.2.3/16", "192.0.2.7", "fd00:1::/32", "2001:db8::1",
					    "255.255.255.255"};
	struct ip_set set = made(texts, ARRAY_SIZE(texts));
	static const char *const in[] = {"10.1.0.0", "10.1.255.255",	"192.0.2.7",  "255.255.255.255",
					 "fd00:1::", "fd00:1:ffff::ff", "2001:db8::1"};
	static const char *const out[] = {"10.0.255.255", "10.2.0.0", "192.0.2.6",   "192.0.2.8",  "0.0.0.0",
					  "fd00::ffff",	  "fd00:2::", "2001:db8::2", "2001:db8::", "::"};
	for (size_t i = 0; i < ARRAY_SIZE(in); i++)
		cr_expect(contains(&set, in[i]), "%s", in[i]);
	for (size_t i = 0; i < ARRAY_SIZE(out); i++)
		cr_expect_not(contains(&set, out[i]), "%s", out[i]);
	ip_set_deinit(&set);
}

Test(ip_set, it_is_the_union_that_counts)
{
	static const char *const halves[] = {"128.0.0.0/1", "0.0.0.0/1", "8000::/1", "::/1"};
	struct ip_set set = made(halves, ARRAY_SIZE(halves));
	cr_expect(covers(&set, "0.0.0.0/0") && covers(&set, "::/0"));
	cr_expect(set.ipv4.count == 1 && set.ipv6.count == 1, "as good as one prefix");
	ip_set_deinit(&set);

	/* Everything but 192.0.2.0/25, whose other half is there. */
	static const char *const quarters[] = {"64.0.0.0/2",	 "0.0.0.0/2",	"128.0.0.0/2",
					       "192.0.2.128/25", "193.0.0.0/8", "192.0.3.0/24"};
	set = made(quarters, ARRAY_SIZE(quarters));
	cr_expect_not(covers(&set, "0.0.0.0/0") || covers(&set, "192.0.2.0/24") || covers(&set, "192.0.0.0/8"));
	cr_expect(covers(&set, "0.0.0.0/1") && covers(&set, "192.0.2.128/26") && covers(&set, "191.255.0.0/16"));
	cr_expect_not(contains(&set, "192.0.2.127") || covers(&set, "::/0"));
	ip_set_deinit(&set);
}

/* --- against a list --------------------------------------------------------------------------------------------------
 */

/* Of few different bits, so that networks lie in each other, touch, and are met. */
static struct ip_prefix some_prefix(unsigned *seed)
{
	struct ip_prefix prefix = {.address.family = rand_r(seed) % 2 != 0 ? 4 : 6};
	size_t size = prefix.address.family == 4 ? 4 : 16;
	for (size_t i = 0; i < size; i++)
		prefix.address.bytes[i] = (uint8_t)(rand_r(seed) % 3 == 0 ? rand_r(seed) % 2 * 255 : 8);
	prefix.length = (uint8_t)((unsigned)rand_r(seed) % (8 * size + 1));
	return prefix;
}

static bool listed(const struct ip_prefix *prefixes, size_t count, const struct ip_address *address)
{
	for (size_t i = 0; i < count; i++) {
		if (ip_prefix_contains(&prefixes[i], address))
			return true;
	}
	return false;
}

Test(ip_set, as_a_list_would_say, .timeout = 60)
{
	unsigned seed = 1, hits = 0;
	for (unsigned round = 0; round < 2000; round++) {
		struct ip_prefix prefixes[PREFIXES_MAX];
		size_t count = (size_t)rand_r(&seed) % PREFIXES_MAX;
		struct ip_set set;
		for (size_t i = 0; i < count; i++)
			prefixes[i] = some_prefix(&seed);
		if (round % 2 == 0) {
			for (size_t i = 0; i < count; i++)
				prefixes[i].length |= prefixes[i].length < 16 ? 16 : 0; /* or all of it is one range */
		}
		cr_assert_eq(ip_set_init(&set, prefixes, count), 0);
		for (unsigned i = 0; i < 100; i++) {
			struct ip_address address = some_prefix(&seed).address;
			bool expected = listed(prefixes, count, &address);
			cr_assert_eq(ip_set_contains(&set, &address), expected);
			hits += expected;
		}
		for (size_t i = 0; i < count; i++)
			cr_assert(ip_set_covers(&set, &prefixes[i]));
		ip_set_deinit(&set);
	}
	cr_expect(hits > 20000 && hits < 180000, "%u of 200000", hits);
}
