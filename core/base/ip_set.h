// SPDX-License-Identifier: Apache-2.0
/* A set of IP addresses, made once of any number of prefixes: their union as sorted ranges that neither overlap nor
 * touch, so that a lookup is one binary search however the prefixes lie in each other. Lookups allocate nothing, and
 * their cost does not depend on the number of prefix lengths. For longest-prefix match, or a table that changes
 * under its readers, see core/sessions/networks.h. */
#pragma once

#include "core/base/ip.h"

/* From `first` to `last`, both included: addresses as numbers, those of IPv4 in the low 32 bits. */
struct ip_range {
	unsigned __int128 first, last;
};

struct ip_ranges {
	struct ip_range *items;
	size_t count;
};

/* Zeroed it is empty. */
struct ip_set {
	struct ip_ranges ipv4, ipv6;
};

/* The union of the prefixes, in any order, their host bits ignored. 0, or -ENOMEM with an empty set. */
int ip_set_init(struct ip_set *set, const struct ip_prefix *prefixes, size_t count);
void ip_set_deinit(struct ip_set *set);

/* Any thread, while no other thread changes the set. An address of family 0 is in none. */
bool ip_set_contains(const struct ip_set *set, const struct ip_address *address);

/* Whether all addresses of the prefix are in the set, of however many prefixes it was made: 0.0.0.0/1 and
 * 128.0.0.0/1 cover 0.0.0.0/0. */
bool ip_set_covers(const struct ip_set *set, const struct ip_prefix *prefix);

/* Whether more than half of the addresses of the prefix are in the set. */
bool ip_set_covers_most(const struct ip_set *set, const struct ip_prefix *prefix);

/* The block that is not part of the Internet, as RFC 6890 has them, in which the whole prefix lies; NULL: it is part
 * of it. */
const struct ip_prefix *ip_special_block(const struct ip_prefix *prefix);

/* Whether the set stands for a default route, in one family (4 or 6): all of the Internet but holes that make less
 * than a 65536th of all addresses, as for the gateway's own address. Blocks that are not part of the Internet may be
 * in it or not: 2000::/3 is everything, and so is what calculators print for 0.0.0.0/0 without private networks. */
bool ip_set_is_everything(const struct ip_set *set, uint8_t family);
