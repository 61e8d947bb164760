// SPDX-License-Identifier: Apache-2.0
#include "core/base/ip_set.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/bytes.h"

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

/* The whole of `wanted`: ranges do not touch, so it lies in one of them or is not all there. That one is the last that
 * does not begin behind it. The halving has no branch on the address: addresses of packets follow no pattern. */
static bool has(const struct ip_ranges *ranges, const struct ip_range *wanted)
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

bool ip_set_contains(const struct ip_set *set, const struct ip_address *address)
{
	unsigned __int128 wanted = number(address);
	return has_in_family(set, address->family, &(struct ip_range){wanted, wanted});
}

bool ip_set_covers(const struct ip_set *set, const struct ip_prefix *prefix)
{
	struct ip_range wanted = range_of(prefix);
	return has_in_family(set, prefix->address.family, &wanted);
}
