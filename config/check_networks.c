// SPDX-License-Identifier: Apache-2.0
#include "config/check_networks.h"

#include <stdlib.h>
#include <string.h>

enum { IPV6_LOWEST_MTU = 1280 /* RFC 8200, section 5: below it the kernel takes IPv6 off the interface */ };

unsigned check_family_bits(const struct ip_address *address)
{
	return address->family == 4 ? 32 : 128;
}

const char *check_address_of_network(const struct ip_prefix *network, const struct ip_address *address)
{
	bool zeros = true, ones = true;
	for (unsigned bit = network->length; bit < check_family_bits(address); bit++) {
		bool set = address->bytes[bit / 8] & (0x80u >> (bit % 8));
		zeros = zeros && !set;
		ones = ones && set;
	}
	if (zeros)
		return "the network itself";
	return ones && address->family == 4 ? "the network's broadcast address" : NULL;
}

int check_mtu(const char *file, unsigned line, uint32_t mtu, const struct config_prefixes *prefixes, const char *key,
	      struct error *error)
{
	for (size_t i = 0; i < prefixes->count; i++) {
		if (prefixes->items[i].address.family == 6 && mtu < IPV6_LOWEST_MTU)
			return error_set(error, -EINVAL, "%s:%u: MTU = %u: too small for the IPv6 in %s; at least %d",
					 file, line, mtu, key, IPV6_LOWEST_MTU);
	}
	return 0;
}

struct network {
	struct ip_prefix prefix;
	unsigned line;
};

static int network_compare(const void *a, const void *b)
{
	return memcmp(&((const struct network *)a)->prefix, &((const struct network *)b)->prefix,
		      sizeof(struct ip_prefix));
}

/* Scripts often put these lists together from others, so a network written twice is no error; routes are made of each
 * once. */
int check_normalize_networks(struct config_prefixes *list)
{
	if (list->count == 0)
		return 0;
	struct network *networks = calloc(list->count, sizeof *networks);
	if (networks == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < list->count; i++)
		networks[i] = (struct network){ip_prefix_network(&list->items[i]), list->lines[i]};
	qsort(networks, list->count, sizeof *networks, network_compare);
	size_t kept = 0;
	for (size_t i = 0; i < list->count; i++) {
		if (i > 0 && network_compare(&networks[i - 1], &networks[i]) == 0)
			continue;
		list->items[kept] = networks[i].prefix;
		list->lines[kept++] = networks[i].line;
	}
	list->count = kept;
	free(networks);
	return 0;
}
