// SPDX-License-Identifier: Apache-2.0
#include "core/sessions/pool.h"

#include <stdlib.h>

#include "core/base/hot.h"

/* Host numbers of a prefix, capped. */
static uint32_t host_count(const struct ip_prefix *prefix)
{
	unsigned bits = (prefix->address.family == 4 ? 32u : 128u) - prefix->length;
	return bits >= 22 ? POOL_SIZE_MAX : 1u << bits;
}

static uint64_t pack(enum pool_state state, uint32_t session_id)
{
	return (uint64_t)state << 32 | session_id;
}

void pool_never_given(const struct pool *pool, uint32_t index[POOL_NEVER_GIVEN])
{
	const struct ip_prefix *own4 = &pool->gateway4, *own6 = &pool->gateway6;
	memset(index, 0xff, POOL_NEVER_GIVEN * sizeof *index);
	index[0] = 0;
	if (own4->address.family != 0)
		index[1] = load_be32(own4->address.bytes) - pool->base4;
	if (own4->address.family != 0 && own4->length <= 30)
		index[2] = (uint32_t)((1ull << (32 - own4->length)) - 1);
	if (own6->address.family != 0 && memcmp(own6->address.bytes, pool->upper6, sizeof pool->upper6) == 0)
		index[3] = load_be32(own6->address.bytes + 12) - pool->base6;
}

static bool is_one_of(const uint32_t *indexes, size_t count, uint32_t index)
{
	for (size_t i = 0; i < count; i++) {
		if (indexes[i] == index)
			return true;
	}
	return false;
}

static bool index_usable(const struct pool *pool, uint32_t index)
{
	uint32_t never[POOL_NEVER_GIVEN];
	pool_never_given(pool, never);
	return index < pool->size && !is_one_of(never, POOL_NEVER_GIVEN, index);
}

static uint32_t count_usable(const struct pool *pool)
{
	uint32_t never[POOL_NEVER_GIVEN], usable = pool->size;
	pool_never_given(pool, never);
	for (size_t i = 0; i < POOL_NEVER_GIVEN; i++)
		usable -= never[i] < pool->size && !is_one_of(never, i, never[i]);
	return usable;
}

int pool_init(struct pool *pool, const struct ip_prefix *addresses, size_t count, struct error *error)
{
	*pool = (struct pool){.size = POOL_SIZE_MAX, .fresh = 1};
	for (size_t i = 0; i < count; i++) {
		const struct ip_prefix *own = &addresses[i];
		struct ip_prefix network = ip_prefix_network(own);
		struct ip_prefix *slot = own->address.family == 4 ? &pool->gateway4 : &pool->gateway6;
		if (slot->address.family != 0)
			return error_set(error, -EINVAL,
					 "Address: two networks of one family; one IPv4 and one IPv6 can be served");
		*slot = *own;
		if (own->address.family == 4) {
			pool->base4 = load_be32(network.address.bytes);
		} else {
			pool->base6 = load_be32(network.address.bytes + 12);
			memcpy(pool->upper6, network.address.bytes, sizeof pool->upper6);
		}
		if (host_count(own) < pool->size)
			pool->size = host_count(own);
	}
	if (count == 0)
		pool->size = 0;

	/* One more: the second queue's head. */
	pool->entries = calloc(pool->size + 1, sizeof *pool->entries);
	pool->flags = calloc(pool->size + 1, sizeof *pool->flags);
	pool->links = calloc(pool->size + 1, sizeof *pool->links);
	if (pool->entries == NULL || pool->flags == NULL || pool->links == NULL) {
		pool_deinit(pool);
		return error_set(error, -ENOMEM, "address pool of %u entries: out of memory", pool->size);
	}
	pool->links[pool->size] = (struct pool_link){.next = pool->size, .previous = pool->size};
	pool->usable = count_usable(pool);
	if (pool->usable == 0) {
		pool_deinit(pool);
		return error_set(error, -EINVAL,
				 "Address: the networks leave no address for clients; give a shorter prefix such as "
				 "10.8.0.1/16");
	}
	return 0;
}

void pool_deinit(struct pool *pool)
{
	free(pool->entries);
	free(pool->flags);
	free(pool->links);
	pool->entries = NULL;
	pool->flags = NULL;
	pool->links = NULL;
}

HOT bool pool_covers(const struct pool *pool, const struct ip_address *address)
{
	return ip_prefix_contains(address->family == 4 ? &pool->gateway4 : &pool->gateway6, address);
}

bool pool_index(const struct pool *pool, const struct ip_address *address, uint32_t *index)
{
	if (!pool_covers(pool, address))
		return false;
	if (address->family == 4) {
		*index = load_be32(address->bytes) - pool->base4;
	} else {
		if (memcmp(address->bytes, pool->upper6, sizeof pool->upper6) != 0)
			return false;
		*index = load_be32(address->bytes + 12) - pool->base6;
	}
	return index_usable(pool, *index);
}

void pool_addresses(const struct pool *pool, uint32_t index, struct ip_prefix *address4, struct ip_prefix *address6)
{
	*address4 = *address6 = (struct ip_prefix){0};
	if (pool->gateway4.address.family != 0) {
		*address4 = pool->gateway4;
		store_be32(address4->address.bytes, pool->base4 + index);
	}
	if (pool->gateway6.address.family != 0) {
		*address6 = pool->gateway6;
		memcpy(address6->address.bytes, pool->upper6, sizeof pool->upper6);
		store_be32(address6->address.bytes + 12, pool->base6 + index);
	}
}

enum { RESTING = 0 /* the queue of released indexes, the longest released first */ };

/* The queue of indexes that were reserved and never used. */
static uint32_t untouched(const struct pool *pool)
{
	return pool->size;
}

/* Behind a queue's member or head. */
static void enqueue_after(struct pool *pool, uint32_t previous, uint32_t index)
{
	struct pool_link *links = pool->links;
	links[index] = (struct pool_link){.next = links[previous].next, .previous = previous};
	links[links[index].next].previous = index;
	links[previous].next = index;
	pool->flags[index] |= POOL_QUEUED;
}

static void enqueue(struct pool *pool, uint32_t index)
{
	enqueue_after(pool, pool->links[RESTING].previous, index);
}

static void dequeue(struct pool *pool, uint32_t index)
{
	if ((pool->flags[index] & POOL_QUEUED) == 0)
		return;
	struct pool_link *links = pool->links, *own = &links[index];
	links[own->previous].next = own->next;
	links[own->next].previous = own->previous;
	pool->flags[index] &= (uint8_t)~POOL_QUEUED;
}

static bool is_free(const struct pool *pool, uint32_t index)
{
	return atomic_load_explicit(&pool->entries[index], memory_order_relaxed) == pack(POOL_FREE, 0);
}

void pool_hold(struct pool *pool, uint32_t index)
{
	dequeue(pool, index);
	pool->flags[index] |= POOL_HELD;
}

void pool_unhold(struct pool *pool, uint32_t index)
{
	if (!pool_held(pool, index))
		return;
	pool->flags[index] &= (uint8_t)~POOL_HELD;
	if (is_free(pool, index))
		enqueue(pool, index);
}

uint32_t pool_choose(const struct pool *pool, uint64_t number)
{
	uint32_t first = pool->size != 0 ? (uint32_t)(number % pool->size) : 0;
	for (uint32_t i = 0; i < pool->size; i++) {
		uint32_t index = (first + i) % pool->size;
		if (!pool_held(pool, index) && is_free(pool, index) && index_usable(pool, index))
			return index;
	}
	return POOL_NONE;
}

/* An index never used, or else the one released longest ago; POOL_NONE: none. */
static uint32_t next_free(struct pool *pool)
{
	const struct pool_link *links = pool->links;
	if (links[untouched(pool)].next != untouched(pool))
		return links[untouched(pool)].next;
	while (pool->fresh < pool->size) {
		uint32_t index = pool->fresh++;
		if ((pool->flags[index] & (POOL_HELD | POOL_QUEUED)) == 0 && is_free(pool, index) &&
		    index_usable(pool, index))
			return index;
	}
	return links[RESTING].next != RESTING ? links[RESTING].next : POOL_NONE;
}

uint32_t pool_reserve(struct pool *pool, uint32_t index)
{
	bool by_name = index != POOL_NONE;
	if (!by_name) {
		index = next_free(pool);
		if (index == POOL_NONE)
			return POOL_NONE;
	} else if (!index_usable(pool, index) || !is_free(pool, index)) {
		return POOL_NONE;
	}
	dequeue(pool, index);
	pool->flags[index] &= (uint8_t)~POOL_BY_NAME;
	pool->flags[index] |= by_name ? POOL_BY_NAME : 0;
	/* No race: workers never change a free entry. */
	atomic_store_explicit(&pool->entries[index], pack(POOL_RESERVED, 0), memory_order_relaxed);
	atomic_fetch_add_explicit(&pool->used, 1, memory_order_relaxed);
	return index;
}

bool pool_activate(struct pool *pool, uint32_t index, uint32_t session_id, uint32_t replaced_id)
{
	uint64_t entry = atomic_load_explicit(&pool->entries[index], memory_order_relaxed);
	do {
		bool replaces = replaced_id != 0 && entry == pack(POOL_ACTIVE, replaced_id);
		if (entry != pack(POOL_RESERVED, 0) && !replaces)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&pool->entries[index], &entry, pack(POOL_ACTIVE, session_id),
							memory_order_acq_rel, memory_order_relaxed));
	return true;
}

bool pool_deactivate(struct pool *pool, uint32_t index, uint32_t session_id)
{
	uint64_t expected = pack(POOL_ACTIVE, session_id);
	return atomic_compare_exchange_strong_explicit(&pool->entries[index], &expected, pack(POOL_RESERVED, 0),
						       memory_order_acq_rel, memory_order_relaxed);
}

static bool make_free(struct pool *pool, uint32_t index)
{
	uint64_t expected = pack(POOL_RESERVED, 0);
	if (!atomic_compare_exchange_strong_explicit(&pool->entries[index], &expected, pack(POOL_FREE, 0),
						     memory_order_acq_rel, memory_order_relaxed))
		return false;
	atomic_fetch_sub_explicit(&pool->used, 1, memory_order_relaxed);
	return true;
}

bool pool_release(struct pool *pool, uint32_t index)
{
	if (!make_free(pool, index))
		return false;
	pool->flags[index] |= POOL_USED;
	if (!pool_held(pool, index))
		enqueue(pool, index);
	return true;
}

bool pool_cancel(struct pool *pool, uint32_t index)
{
	if (!make_free(pool, index))
		return false;
	unsigned flags = pool->flags[index];
	if ((flags & POOL_HELD) != 0)
		return true;
	if ((flags & POOL_BY_NAME) == 0)
		enqueue_after(pool, (flags & POOL_USED) != 0 ? RESTING : untouched(pool), index);
	else if ((flags & POOL_USED) != 0 || index < pool->fresh)
		enqueue(pool, index);
	return true;
}

uint32_t pool_resting(const struct pool *pool, uint32_t *indexes)
{
	uint32_t count = 0;
	for (uint32_t index = pool->links[RESTING].next; index != RESTING; index = pool->links[index].next) {
		if (indexes != NULL)
			indexes[count] = index;
		count++;
	}
	return count;
}
