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

/* --- against a list ----------------------------------------------------------------------------------------------- */

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

/* --- everything --- */

/* As calculators print it: all of IPv4 but 198.51.100.7. */
#define BUT_ONE_ADDRESS                                                                                             \
	"0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/6", "196.0.0.0/7", "198.0.0.0/11", "198.32.0.0/12", "198.48.0.0/15", \
		"198.50.0.0/16", "198.51.0.0/18", "198.51.64.0/19", "198.51.96.0/22", "198.51.100.0/30",            \
		"198.51.100.4/31", "198.51.100.6/32", "198.51.100.8/29", "198.51.100.16/28", "198.51.100.32/27",    \
		"198.51.100.64/26", "198.51.100.128/25", "198.51.101.0/24", "198.51.102.0/23", "198.51.104.0/21",   \
		"198.51.112.0/20", "198.51.128.0/17", "198.52.0.0/14", "198.56.0.0/13", "198.64.0.0/10",            \
		"198.128.0.0/9", "199.0.0.0/8", "200.0.0.0/5", "208.0.0.0/4", "224.0.0.0/3"
/* All but private networks. */
#define BUT_PRIVATE                                                                                                    \
	"0.0.0.0/5", "8.0.0.0/7", "11.0.0.0/8", "12.0.0.0/6", "16.0.0.0/4", "32.0.0.0/3", "64.0.0.0/2", "128.0.0.0/3", \
		"160.0.0.0/5", "168.0.0.0/6", "172.0.0.0/12", "172.32.0.0/11", "172.64.0.0/10", "172.128.0.0/9",       \
		"173.0.0.0/8", "174.0.0.0/7", "176.0.0.0/4", "192.0.0.0/9", "192.128.0.0/11", "192.160.0.0/13",        \
		"192.169.0.0/16", "192.170.0.0/15", "192.172.0.0/14", "192.176.0.0/12", "192.192.0.0/10",              \
		"193.0.0.0/8", "194.0.0.0/7", "196.0.0.0/6", "200.0.0.0/5", "208.0.0.0/4"

Test(ip_set, everything_is_the_union)
{
	static const struct {
		const char *prefixes[PREFIXES_MAX];
		bool ipv4, ipv6;
	} cases[] = {
		{{"0.0.0.0/0", "::/0"}, true, true},
		{{"0.0.0.0/0"}, true, false},
		{{"::/0", "10.0.0.0/8"}, false, true},
		{{"0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"}, true, true},
		{{"0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/1"}, true, false},
		{{"0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2"}, true, false},
		{{"0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2"}, false, false},
		{{"0.0.0.0/1", "::/1"}, false, true},
		{{"128.0.0.0/1", "8000::/1"}, false, false},
		{{BUT_ONE_ADDRESS}, true, false},
		{{BUT_PRIVATE}, true, false},
		{{BUT_PRIVATE, "10.8.0.0/16"}, true, false},
		{{"2000::/3"}, false, true},
		{{"2000::/3", "fd00:8::/64"}, false, true},
		{{"2000::/4", "3000::/5"}, false, false},
		{{"fc00::/7"}, false, false},
		{{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}, false, false},
		{{"10.8.0.0/16", "fd00:8::/64"}, false, false},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t count = 0;
		while (count < PREFIXES_MAX && cases[i].prefixes[count] != NULL)
			count++;
		struct ip_set set = made(cases[i].prefixes, count);
		cr_expect_eq(ip_set_is_everything(&set, 4), cases[i].ipv4, "%s... (%zu), IPv4", cases[i].prefixes[0],
			     i);
		cr_expect_eq(ip_set_is_everything(&set, 6), cases[i].ipv6, "%s... (%zu), IPv6", cases[i].prefixes[0],
			     i);
		ip_set_deinit(&set);
	}
	struct ip_set none = {0};
	cr_expect_not(ip_set_is_everything(&none, 4) || ip_set_is_everything(&none, 6));
}

static const char *block_of(const char *text, char name[IP_TEXT_MAX])
{
	struct ip_prefix prefix;
	cr_assert(ip_prefix_parse(text, &prefix), "%s", text);
	const struct ip_prefix *block = ip_special_block(&prefix);
	return block != NULL ? ip_prefix_format(block, name) : "none";
}

Test(ip_set, special_blocks)
{
	char name[IP_TEXT_MAX];
	cr_expect_str_eq(block_of("10.8.0.0/16", name), "10.0.0.0/8");
	cr_expect_str_eq(block_of("172.31.255.255", name), "172.16.0.0/12");
	cr_expect_str_eq(block_of("172.32.0.0/16", name), "none");
	cr_expect_str_eq(block_of("8.0.0.0/7", name), "none");
	cr_expect_str_eq(block_of("fd00:8::/64", name), "8000::/1");
	cr_expect_str_eq(block_of("2001:db8::/32", name), "none");
}

Test(ip_set, most_of_a_network)
{
	static const char *const texts[] = {"10.0.0.0/9", "10.128.0.0/24", "192.168.0.0/17", "fd00::/8"};
	struct ip_set set = made(texts, ARRAY_SIZE(texts));
	static const struct {
		const char *prefix;
		bool most;
	} cases[] = {{"10.0.0.0/8", true}, {"192.168.0.0/16", false}, {"192.168.0.0/17", true}, {"10.128.0.0/9", false},
		     {"fc00::/7", false},  {"fd00:1::/32", true},     {"::/0", false},		{"0.0.0.0/0", false}};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ip_prefix prefix;
		cr_assert(ip_prefix_parse(cases[i].prefix, &prefix));
		cr_expect_eq(ip_set_covers_most(&set, &prefix), cases[i].most, "%s", cases[i].prefix);
	}
	ip_set_deinit(&set);
}
