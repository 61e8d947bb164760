// SPDX-License-Identifier: Apache-2.0
/* Blocks: what several gateways with one address and one key share out among each other. A block is a range of the
 * address pool, and the session IDs of the clients that have these addresses:
 *
 *   session ID   block << 20 | 20 bits      block 0: of a gateway that is alone, whose IDs have all 28 bits
 *   pool index   block 1 has the first `peers` indexes, block 2 the next, ...
 *
 * Every gateway counts the same, so a client's address says which block is its own, for good, and a session ID in the
 * header of a datagram says it too. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/ip.h"

enum {
	BLOCK_COUNT = 256,  /* block 0 included */
	BLOCK_ID_BITS = 20, /* of a session ID within its block */
	BLOCK_SESSIONS_MAX = 1 << (BLOCK_ID_BITS -
				   1), /* of a gateway in a cluster: its table has twice as many slots */
	BLOCK_PEERS_MIN = 16,
	BLOCK_PEERS_MAX = 65536,
	BLOCK_NONE = 0,
};
#define BLOCK_ID_MASK ((1u << BLOCK_ID_BITS) - 1)

/* A set of blocks. */
struct block_set {
	uint64_t words[BLOCK_COUNT / 64];
};

static inline bool block_set_has(const struct block_set *set, unsigned block)
{
	return (set->words[block / 64] >> (block % 64) & 1) != 0;
}

static inline void block_set_add(struct block_set *set, unsigned block)
{
	set->words[block / 64] |= 1ull << (block % 64);
}

static inline void block_set_remove(struct block_set *set, unsigned block)
{
	set->words[block / 64] &= ~(1ull << (block % 64));
}

static inline bool block_set_empty(const struct block_set *set)
{
	uint64_t any = 0;
	for (unsigned i = 0; i < BLOCK_COUNT / 64; i++)
		any |= set->words[i];
	return any == 0;
}

/* Reads "7,8,255", or "-" for none. False: anything else, a block that is none (0 is), or one that is named twice. */
bool block_set_parse(const char *text, struct block_set *set);

/* "1-3,7", or "none"; what does not fit is "...". Returns `text`. */
enum { BLOCK_SET_TEXT_MAX = 128 };
const char *block_set_format(const struct block_set *set, char text[BLOCK_SET_TEXT_MAX]);

/* The block of a session ID; of one with more than 28 bits, that of its low ones. */
static inline unsigned block_of_session(uint32_t session_id)
{
	return session_id >> BLOCK_ID_BITS & (BLOCK_COUNT - 1);
}

/* The block of an index of the pool, with `peers` of them in a block; BLOCK_NONE: the index is above the last block. */
static inline unsigned block_of_index(uint32_t index, uint32_t peers)
{
	uint32_t block = index / peers + 1;
	return block < BLOCK_COUNT ? block : BLOCK_NONE;
}

/* A block's first index of the pool; `block` is not 0. */
static inline uint32_t block_first_index(unsigned block, uint32_t peers)
{
	return (block - 1) * peers;
}

/* The addresses of a block (not 0), as one prefix without host bits: of `pool`, a gateway's own address with the
 * length of its network. Of a network that is smaller than a block it is the whole, and of block 1. False: the network
 * has no address of that block. */
bool block_prefix(const struct ip_prefix *pool, unsigned block, uint32_t peers, struct ip_prefix *prefix);
