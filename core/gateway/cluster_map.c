// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/cluster_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENTRY_MAX = 128 };

/* All of `text` as a number from 1 to `last`; 0: it is none. */
static unsigned number(const char *text, unsigned last)
{
	unsigned value = 0;
	if (*text == '\0')
		return 0;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return 0;
		value = value * 10 + (unsigned)(*text - '0');
		if (value > last)
			return 0;
	}
	return value;
}

static struct cluster_owner *place(struct cluster_map *map, unsigned block, uint8_t family)
{
	return family == 4 ? &map->ipv4[block] : &map->ipv6[block];
}

/* What is wrong with the entry's address; NULL: nothing, and it is in the map. */
static const char *place_owner(struct cluster_map *map, unsigned block, const char *text, const struct ip_address *own,
			       size_t own_count)
{
	struct cluster_owner owner;
	if (!ip_address_port_parse(text, &owner.address, &owner.port) || ip_address_unfit(&owner.address) != NULL)
		return "not an address of a host, with or without a port";
	for (size_t i = 0; i < own_count; i++) {
		if (ip_address_equal(&own[i], &owner.address))
			return "the address is this machine's own";
	}
	struct cluster_owner *to = place(map, block, owner.address.family);
	if (to->address.family != 0)
		return "the block has an owner in this family already";
	*to = owner;
	return NULL;
}

static int parse_entry(struct cluster_map *map, char *entry, const struct ip_address *own, size_t own_count,
		       struct cluster_map_left_out *left_out, struct error *error)
{
	char whole[ENTRY_MAX], *equals = strchr(entry, '=');
	(void)snprintf(whole, sizeof whole, "%s", entry);
	if (equals == NULL)
		return error_set(error, -EINVAL, "map: \"%s\" is not BLOCK=ADDRESS", whole);
	*equals = '\0';
	unsigned block = number(entry, CLUSTER_MAP_BLOCKS - 1);
	if (block == 0)
		return error_set(error, -EINVAL, "map: \"%s\": blocks are 1 to %d", whole, CLUSTER_MAP_BLOCKS - 1);
	const char *wrong = place_owner(map, block, equals + 1, own, own_count);
	if (wrong != NULL && left_out->count++ == 0)
		(void)snprintf(left_out->first, sizeof left_out->first, "%.70s: %s", whole, wrong);
	return 0;
}

int cluster_map_parse(struct cluster_map *map, const char *text, const struct ip_address *own, size_t own_count,
		      struct cluster_map_left_out *left_out, struct error *error)
{
	struct cluster_map *parsed = calloc(1, sizeof *parsed);
	if (parsed == NULL)
		return error_set(error, -ENOMEM, "map: out of memory");
	int result = *text == '\0' ? error_set(error, -EINVAL, "map: it is empty; \"-\" is a map without entries") : 0;
	*left_out = (struct cluster_map_left_out){0};
	if (strcmp(text, "-") == 0)
		text = "";
	while (*text != '\0' && result == 0) {
		char entry[ENTRY_MAX];
		size_t length = strcspn(text, ",");
		bool last = text[length] == '\0';
		if (length >= sizeof entry || (!last && text[length + 1] == '\0')) {
			result = error_set(error, -EINVAL, "map: \"%.40s\": no entry of a map", text);
			break;
		}
		memcpy(entry, text, length);
		entry[length] = '\0';
		result = parse_entry(parsed, entry, own, own_count, left_out, error);
		text += length + !last;
	}
	if (result == 0)
		*map = *parsed;
	free(parsed);
	return result;
}

const struct cluster_owner *cluster_map_owner(const struct cluster_map *map, unsigned block, uint8_t family)
{
	const struct cluster_owner *owner = family == 4 ? &map->ipv4[block] : &map->ipv6[block];
	return owner->address.family != 0 ? owner : NULL;
}

static bool same(const struct cluster_owner *a, const struct cluster_owner *b)
{
	return ip_address_equal(&a->address, &b->address) && a->port == b->port;
}

bool cluster_map_equal(const struct cluster_map *a, const struct cluster_map *b)
{
	bool equal = true;
	for (unsigned block = 0; block < CLUSTER_MAP_BLOCKS; block++)
		equal &= same(&a->ipv4[block], &b->ipv4[block]) && same(&a->ipv6[block], &b->ipv6[block]);
	return equal;
}

size_t cluster_map_count(const struct cluster_map *map, uint8_t family)
{
	size_t count = 0;
	for (unsigned block = 0; block < CLUSTER_MAP_BLOCKS; block++)
		count += cluster_map_owner(map, block, family) != NULL;
	return count;
}
