// SPDX-License-Identifier: Apache-2.0
#include "core/base/ip_set.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/bytes.h"
#include "core/base/hot.h"

static unsigned __int128 number(const struct ip_address *address)
{
	if (address->family == 4)
		return load_be32(address->bytes);
	return (unsigned __int128)load_be64(address->bytes) << 64 | load_be64(address->bytes + 8);
}

static struct ip_range range_of(const struct ip_prefix *prefix)
{
	unsigned host_bits = (prefix->address.family == 4 ? 32u : 128u) - prefix->length;
	unsigned __int128 all = ~(unsigned __int128)0;
	unsigned __int128 host = host_bits == 128 ? all : ~(all << host_bits);
	unsigned __int128 address = number(&prefix->address);
	return (struct ip_range){address & ~host, address | host};
}

static int compare(const void *a, const void *b)
{
	const struct ip_range *one = a, *other = b;
	return (one->first > other->first) - (one->first < other->first);
}

/* Sorts, and joins those that overlap or touch. */
static void merge(struct ip_ranges *ranges)
{
	size_t kept = 0;
	if (ranges->count > 1)
		qsort(ranges->items, ranges->count, sizeof *ranges->items, compare);
	for (size_t i = 0; i < ranges->count; i++) {
		struct ip_range next = ranges->items[i];
		struct ip_range *last = kept > 0 ? &ranges->items[kept - 1] : NULL;
		if (last == NULL || (next.first > last->last && next.first - last->last > 1))
			ranges->items[kept++] = next;
		else if (next.last > last->last)
			last->last = next.last;
	}
	ranges->count = kept;
}

int ip_set_init(struct ip_set *set, const struct ip_prefix *prefixes, size_t count)
{
	*set = (struct ip_set){0};
	size_t count4 = 0;
	for (size_t i = 0; i < count; i++)
		count4 += prefixes[i].address.family == 4;
	set->ipv4.items = calloc(count4 + 1, sizeof *set->ipv4.items);
	set->ipv6.items = calloc(count - count4 + 1, sizeof *set->ipv6.items);
	if (set->ipv4.items == NULL || set->ipv6.items == NULL) {
		ip_set_deinit(set);
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		struct ip_ranges *ranges = prefixes[i].address.family == 4 ? &set->ipv4 : &set->ipv6;
		ranges->items[ranges->count++] = range_of(&prefixes[i]);
	}
	merge(&set->ipv4);
	merge(&set->ipv6);
	return 0;
}

void ip_set_deinit(struct ip_set *set)
{
	free(set->ipv4.items);
	free(set->ipv6.items);
	*set = (struct ip_set){0};
}

/* The whole of `wanted`: ranges do not touch, so it lies in one of them or is not all there. That one is the last
 * that does not begin behind it. The halving has no branch on the address: addresses of packets follow no pattern. */
HOT static bool has(const struct ip_ranges *ranges, const struct ip_range *wanted)
{
	const struct ip_range *range = ranges->items;
	size_t count = ranges->count;
	while (count > 1) {
		size_t half = count / 2;
		range += range[half].first <= wanted->first ? half : 0;
		count -= half;
	}
	return count != 0 && range->first <= wanted->first && wanted->last <= range->last;
}

static bool has_in_family(const struct ip_set *set, uint8_t family, const struct ip_range *wanted)
{
	return family == 4 ? has(&set->ipv4, wanted) : family == 6 && has(&set->ipv6, wanted);
}

HOT bool ip_set_contains(const struct ip_set *set, const struct ip_address *address)
{
	unsigned __int128 wanted = number(address);
	return has_in_family(set, address->family, &(struct ip_range){wanted, wanted});
}

bool ip_set_covers(const struct ip_set *set, const struct ip_prefix *prefix)
{
	struct ip_range wanted = range_of(prefix);
	return has_in_family(set, prefix->address.family, &wanted);
}

/* --- everything --------------------------------------------------------------------------------------------------- */

#define BLOCK4(a, b, c, d, bits)        \
	{                               \
		{4, {a, b, c, d}}, bits \
	}

/* Sorted, none in another. Examples and benchmarks count as special too. */
static const struct ip_prefix special4[] = {
	BLOCK4(0, 0, 0, 0, 8),	    BLOCK4(10, 0, 0, 0, 8),    BLOCK4(100, 64, 0, 0, 10),   BLOCK4(127, 0, 0, 0, 8),
	BLOCK4(169, 254, 0, 0, 16), BLOCK4(172, 16, 0, 0, 12), BLOCK4(192, 0, 0, 0, 24),    BLOCK4(192, 0, 2, 0, 24),
	BLOCK4(192, 168, 0, 0, 16), BLOCK4(198, 18, 0, 0, 15), BLOCK4(198, 51, 100, 0, 24), BLOCK4(203, 0, 113, 0, 24),
	BLOCK4(224, 0, 0, 0, 3),
};

/* What is not 2000::/3: unique local, link-local, multicast, and unassigned space. */
static const struct ip_prefix special6[] = {
	{{6, {0}}, 3},
	{{6, {0x40}}, 2},
	{{6, {0x80}}, 1},
};

static const struct ip_prefix *special_blocks(uint8_t family, size_t *count)
{
	*count = family == 4 ? sizeof special4 / sizeof *special4 : sizeof special6 / sizeof *special6;
	return family == 4 ? special4 : special6;
}

const struct ip_prefix *ip_special_block(const struct ip_prefix *prefix)
{
	size_t count;
	const struct ip_prefix *blocks = special_blocks(prefix->address.family, &count);
	for (size_t i = 0; i < count; i++) {
		if (blocks[i].length <= prefix->length && ip_prefix_contains(&blocks[i], &prefix->address))
			return &blocks[i];
	}
	return NULL;
}

/* How many addresses two ranges share; all of IPv6 would not fit the number, so one of the two has to be less. */
static unsigned __int128 shared(const struct ip_range *a, const struct ip_range *b)
{
	unsigned __int128 first = a->first > b->first ? a->first : b->first;
	unsigned __int128 last = a->last < b->last ? a->last : b->last;
	return first <= last ? last - first + 1 : 0;
}

bool ip_set_covers_most(const struct ip_set *set, const struct ip_prefix *prefix)
{
	const struct ip_ranges *ranges = prefix->address.family == 4 ? &set->ipv4 : &set->ipv6;
	struct ip_range whole = range_of(prefix);
	unsigned __int128 covered = 0, half = (whole.last - whole.first) / 2 + 1;
	if (ip_set_covers(set, prefix))
		return true;
	for (size_t i = 0; i < ranges->count; i++)
		covered += shared(&ranges->items[i], &whole);
	return covered > half;
}

/* Number of addresses of the Internet in the hole. */
static unsigned __int128 missing_in(const struct ip_range *hole, uint8_t family)
{
	size_t count;
	const struct ip_prefix *blocks = special_blocks(family, &count);
	unsigned __int128 missing = hole->last - hole->first + 1;
	for (size_t i = 0; i < count; i++) {
		struct ip_range block = range_of(&blocks[i]);
		missing -= shared(hole, &block);
	}
	return missing;
}

bool ip_set_is_everything(const struct ip_set *set, uint8_t family)
{
	const struct ip_ranges *ranges = family == 4 ? &set->ipv4 : &set->ipv6;
	unsigned __int128 top = family == 4 ? UINT32_MAX : ~(unsigned __int128)0;
	unsigned __int128 missing = 0, next = 0; /* the first address that was not looked at */
	if (ranges->count == 0)
		return false;
	for (size_t i = 0; i < ranges->count; i++) {
		const struct ip_range *range = &ranges->items[i];
		if (range->first > next)
			missing += missing_in(&(struct ip_range){next, range->first - 1}, family);
		if (range->last == top)
			return missing < top >> 16;
		next = range->last + 1;
	}
	missing += missing_in(&(struct ip_range){next, top}, family);
	return missing < top >> 16;
}
