// SPDX-License-Identifier: Apache-2.0
/* The pool of inner addresses. One index stands for one IPv4 and one IPv6 address (those of the gateway's networks
 * whose host part is the index); an entry is one atomic word {state, session ID}, so a lookup by destination is a
 * subtraction, a bounds check and a load, and every change is one compare-and-swap:
 *
 *   FREE -> RESERVED                 control plane: pool_reserve
 *   RESERVED -> ACTIVE(session)      worker: pool_activate, its session was confirmed
 *   ACTIVE(old) -> ACTIVE(session)   worker: pool_activate, a newer session of the same peer was confirmed
 *   ACTIVE(session) -> RESERVED      worker: pool_deactivate, its session ended
 *   RESERVED -> FREE                 control plane: pool_release, no session uses the index any more; or pool_cancel,
 *                                    none ever did: as if it had never been reserved
 *
 * Lookups may come from any thread. The control plane is any number of threads under one mutex, and it alone
 * records which peer a reservation is for: it releases an index once neither a pending nor an active session has it. */
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

/* A place in the queue of released indexes. */
struct pool_link {
	uint32_t next, previous; /* an index that is never given out is the queue's head: 0, or the pool's size */
};

struct pool {
	_Atomic uint64_t *entries;	     /* state << 32 | session ID */
	uint32_t size;			     /* entries, the unusable ones included */
	uint32_t usable;		     /* entries that can be given out */
	_Atomic uint32_t used;		     /* reserved or active; the control plane writes, any thread may read */
	struct ip_prefix gateway4, gateway6; /* the gateway's own addresses; family 0: none */
	uint32_t base4;			     /* network address, host order */
	uint32_t base6;			     /* low 32 bits of the network address */
	uint8_t upper6[12];		     /* the rest of it */
	/* control plane, under its mutex */
	uint8_t *flags;		 /* enum pool_flag of each entry */
	struct pool_link *links; /* written only for released indexes: untouched pages cost nothing */
	uint32_t fresh;		 /* below it every free one that is not held is queued */
};

enum pool_flag {
	POOL_HELD = 1,	  /* held for one peer: reserved only by its number */
	POOL_QUEUED = 2,  /* free, not held, and in a queue */
	POOL_USED = 4,	  /* a session was confirmed with it */
	POOL_BY_NAME = 8, /* reserved by number, before its turn in the queue */
};

/* `addresses` are the gateway's own with their prefix lengths: at most one IPv4 and one IPv6. Start-up. */
int pool_init(struct pool *pool, const struct ip_prefix *addresses, size_t count, struct error *error);
void pool_deinit(struct pool *pool);

/* Network and broadcast addresses, the subnet-router anycast address, and the gateway's own are never given out. Where
 * there is no such address, an index above all. Any thread. */
enum { POOL_NEVER_GIVEN = 4 };
void pool_never_given(const struct pool *pool, uint32_t index[POOL_NEVER_GIVEN]);

/* The index of an address; false when it is not one that the pool can give out. Any thread. */
bool pool_index(const struct pool *pool, const struct ip_address *address, uint32_t *index);

/* The addresses of an index with the networks' prefix lengths; family 0 where the pool has none. Any thread. */
void pool_addresses(const struct pool *pool, uint32_t index, struct ip_prefix *address4, struct ip_prefix *address6);

/* Holds an index for one peer: only pool_reserve() with its number gives it out. It may be in use; that session keeps
 * it. pool_unhold() ends that: a free index then goes to the end of the queue, like a released one. Control plane. */
void pool_hold(struct pool *pool, uint32_t index);
void pool_unhold(struct pool *pool, uint32_t index);

/* `index` is any below the pool's size, as pool_index() yields it. Control plane. */
static inline bool pool_held(const struct pool *pool, uint32_t index)
{
	return (pool->flags[index] & POOL_HELD) != 0;
}

/* An index to be held for a peer that has to get the same one after a restart, from a number that is the peer's: the
 * first from there on that is free and not held, all around. POOL_NONE: there is none. Control plane. */
uint32_t pool_choose(const struct pool *pool, uint64_t number);

/* Reserves `index` (held or not), or, with POOL_NONE, one that is not held: first those never used, in
 * ascending order, then the one released longest ago. POOL_NONE when taken, unusable or when nothing is
 * free. Control plane. */
uint32_t pool_reserve(struct pool *pool, uint32_t index);

/* RESERVED or, unless `replaced_id` is 0, ACTIVE(replaced_id) -> ACTIVE(session_id). False, and nothing changes, when
 * the entry is neither. Any worker. */
bool pool_activate(struct pool *pool, uint32_t index, uint32_t session_id, uint32_t replaced_id);

/* ACTIVE(session_id) -> RESERVED. False, and nothing changes, when it is something else: a newer session has it, or the
 * session was never active. Any worker. */
bool pool_deactivate(struct pool *pool, uint32_t index, uint32_t session_id);

/* RESERVED -> FREE. False, and nothing changes, when it is ACTIVE or FREE already. Control plane. */
bool pool_release(struct pool *pool, uint32_t index);

/* The same when no session was ever confirmed with it: it keeps its place in the queue, so that unconfirmed handshakes
 * neither use up fresh addresses nor shorten the time before a released one is reused. (One that was reserved by number
 * goes to the end of the queue, which keeps it longer for the client that asked for it.) Control plane. */
bool pool_cancel(struct pool *pool, uint32_t index);

/* The indexes that were used, and are free: the one that was released first is first. `indexes` has room for all, NULL:
 * only to count. Returns how many. Control plane. */
uint32_t pool_resting(const struct pool *pool, uint32_t *indexes);

/* The session that a packet's destination belongs to, from its bytes in the IP header; 0 when none is ACTIVE there. Any
 * thread. */
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

/* Whether an address lies in the pool's networks at all, given out or not. Any thread. */
bool pool_covers(const struct pool *pool, const struct ip_address *address);
