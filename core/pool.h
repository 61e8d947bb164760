// SPDX-License-Identifier: Apache-2.0
/* The pool of inner addresses. One index stands for one IPv4 and one IPv6 address (those of the gateway's networks
 * whose host part is the index); an entry is one atomic word {state, session ID}, so a lookup by destination is a
 * subtraction, a bounds check and a load, and every change is one compare-and-swap: FREE -> RESERVED -> ACTIVE -> FREE.
 *
 * Lookups may come from any thread; changes come from the control plane, which is one thread. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/ip.h"

#define POOL_NONE UINT32_MAX
enum { POOL_SIZE_MAX = 1 << 22 };

enum pool_state { POOL_FREE, POOL_RESERVED, POOL_ACTIVE };

struct pool {
	_Atomic uint64_t *entries;	     /* state << 32 | session ID */
	uint8_t *held;			     /* nonzero: kept for one peer, not given to others */
	uint32_t size;			     /* entries, the unusable ones included */
	uint32_t usable;		     /* entries that can be given out */
	_Atomic uint32_t used;		     /* reserved or active; any thread may read */
	uint32_t cursor;		     /* next index to try: freed ones rest as long as possible */
	struct ip_prefix gateway4, gateway6; /* the gateway's own addresses; family 0: none */
	uint32_t base4;			     /* network address, host order */
	uint32_t base6;			     /* low 32 bits of the network address */
	uint8_t upper6[12];		     /* the rest of it */
};

/* `addresses` are the gateway's own with their prefix lengths: at most one IPv4 and one IPv6. Start-up. */
int pool_init(struct pool *pool, const struct ip_prefix *addresses, size_t count, struct error *error);
void pool_deinit(struct pool *pool);

/* The index of an address; false when it is not one that the pool can give out. */
bool pool_index(const struct pool *pool, const struct ip_address *address, uint32_t *index);

/* The addresses of an index with the networks' prefix lengths; family 0 where the pool has none. */
void pool_addresses(const struct pool *pool, uint32_t index, struct ip_prefix *address4, struct ip_prefix *address6);

/* Keeps a free index for one peer. */
void pool_hold(struct pool *pool, uint32_t index);

/* Reserves `index` (held or not), or, with POOL_NONE, the free one that was given back longest ago. POOL_NONE when
 * taken or when nothing is free. */
uint32_t pool_reserve(struct pool *pool, uint32_t index);

/* RESERVED or ACTIVE -> ACTIVE under this session. */
void pool_activate(struct pool *pool, uint32_t index, uint32_t session_id);

/* RESERVED or ACTIVE -> FREE. */
void pool_release(struct pool *pool, uint32_t index);

/* The session that a packet's destination belongs to, from its bytes in the IP header; 0 when none is ACTIVE there. */
static inline uint32_t pool_lookup(const struct pool *pool, unsigned version, const uint8_t *destination)
{
	uint32_t index;
	if (version == 4) {
		if (pool->gateway4.address.family == 0)
			return 0;
		index = load_be32(destination) - pool->base4;
	} else {
		if (pool->gateway6.address.family == 0 || memcmp(destination, pool->upper6, sizeof pool->upper6) != 0)
			return 0;
		index = load_be32(destination + 12) - pool->base6;
	}
	if (index >= pool->size)
		return 0;
	uint64_t entry = atomic_load_explicit(&pool->entries[index], memory_order_acquire);
	return entry >> 32 == POOL_ACTIVE ? (uint32_t)entry : 0;
}

/* Whether an address lies in the pool's networks at all, given out or not. */
bool pool_covers(const struct pool *pool, const struct ip_address *address);
