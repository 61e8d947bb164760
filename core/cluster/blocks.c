// SPDX-License-Identifier: Apache-2.0
#include "core/cluster/blocks.h"

#include <stdio.h>
#include <string.h>

#include "core/base/bytes.h"

/* One number without sign, spaces or leading zeros, up to a comma or the end. */
static const char *parse_block(const char *text, unsigned *block)
{
	*block = 0;
	if (*text == '0')
		return NULL;
	for (; *text >= '0' && *text <= '9'; text++) {
		*block = *block * 10 + (unsigned)(*text - '0');
		if (*block >= BLOCK_COUNT)
			return NULL;
	}
	return *block != BLOCK_NONE && (*text == ',' || *text == '\0') ? text : NULL;
}

bool block_set_parse(const char *text, struct block_set *set)
{
	*set = (struct block_set){0};
	if (strcmp(text, "-") == 0)
		return true;
	for (;; text++) {
		unsigned block;
		text = parse_block(text, &block);
		if (text == NULL || block_set_has(set, block))
			return false;
		block_set_add(set, block);
		if (*text == '\0')
			return true;
	}
}

static unsigned last_of_range(const struct block_set *set, unsigned block)
{
	while (block + 1 < BLOCK_COUNT && block_set_has(set, block + 1))
		block++;
	return block;
}

const char *block_set_format(const struct block_set *set, char text[BLOCK_SET_TEXT_MAX])
{
	enum { RANGE_MAX = sizeof ",123-123", REST = sizeof ",..." };
	size_t used = 0;
	(void)snprintf(text, BLOCK_SET_TEXT_MAX, "none");
	for (unsigned block = 0; block < BLOCK_COUNT; block++) {
		if (!block_set_has(set, block))
			continue;
		const char *comma = used != 0 ? "," : "";
		unsigned last = last_of_range(set, block);
		if (used + RANGE_MAX + REST > BLOCK_SET_TEXT_MAX) {
			(void)snprintf(text + used, BLOCK_SET_TEXT_MAX - used, ",...");
			break;
		}
		if (last != block)
			used += (size_t)snprintf(text + used, BLOCK_SET_TEXT_MAX - used, "%s%u-%u", comma, block, last);
		else
			used += (size_t)snprintf(text + used, BLOCK_SET_TEXT_MAX - used, "%s%u", comma, block);
		block = last;
	}
	return text;
}

bool block_prefix(const struct ip_prefix *pool, unsigned block, uint32_t peers, struct ip_prefix *prefix)
{
	unsigned bits = pool->address.family == 4 ? 32 : 128, host_bits = bits - pool->length;
	unsigned block_bits = (unsigned)__builtin_ctz(peers);
	uint64_t first = block_first_index(block, peers);
	if (pool->address.family == 0 || (host_bits < 32 && first >= 1ull << host_bits))
		return false;
	*prefix = ip_prefix_network(pool);
	uint8_t *low = prefix->address.bytes + bits / 8 - 4;
	store_be32(low, load_be32(low) + (uint32_t)first);
	prefix->length = (uint8_t)(bits - (block_bits < host_bits ? block_bits : host_bits));
	return true;
}
