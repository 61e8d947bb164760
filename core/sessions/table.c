// SPDX-License-Identifier: Apache-2.0
#include "core/sessions/table.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#define SLOT_TAKEN UINT32_MAX /* in `next`; above every slot's number */

static uint32_t slot_count(uint32_t capacity, uint32_t workers)
{
	uint32_t slots = 1;
	while ((slots < capacity || slots < workers) && slots < SESSION_SLOTS_MAX)
		slots *= 2;
	return slots;
}

/* So that an ID from before a restart hardly ever names a session of today. */
static void randomise_generations(struct session_table *table)
{
	uint32_t mask = table->sharding.slot_mask, generations = WIRE_SESSION_ID_MASK & ~mask;
	uint8_t seed[randombytes_SEEDBYTES];
	randombytes_buf(seed, sizeof seed);
	randombytes_buf_deterministic(table->ids, (mask + (size_t)1) * sizeof *table->ids, seed);
	for (uint32_t slot = 0; slot <= mask; slot++)
		table->ids[slot] = (table->ids[slot] & generations) | slot;
}

static void free_all_slots(struct session_table *table)
{
	uint32_t workers = table->sharding.workers, slots = table->sharding.slot_mask + 1;
	for (uint32_t slot = 0; slot < slots; slot++)
		table->next[slot] = slot + workers;
	for (uint32_t worker = 0; worker < workers; worker++) {
		uint32_t free = slots / workers + (worker < slots % workers);
		table->workers[worker] = (struct session_slots){
			.first = worker,
			.last = worker + (free - 1) * workers,
			.free = free,
		};
	}
}

static uint32_t common_divisor(uint32_t one, uint32_t other)
{
	while (other != 0) {
		uint32_t rest = one % other;
		one = other;
		other = rest;
	}
	return one;
}

/* Steps of a random width, that has no divisor in common with their number, from a random one come to all of them. */
void session_table_scatter(struct session_table *table)
{
	uint32_t workers = table->sharding.workers;
	for (uint32_t worker = 0; worker < workers; worker++) {
		struct session_slots *own = &table->workers[worker];
		uint32_t width, at = randombytes_uniform(own->free);
		do
			width = 1 + randombytes_uniform(own->free);
		while (common_divisor(own->free, width) != 1);
		own->first = own->last = worker + at * workers;
		for (uint32_t i = 1; i < own->free; i++) {
			at = (uint32_t)(((uint64_t)at + width) % own->free);
			table->next[own->last] = worker + at * workers;
			own->last = worker + at * workers;
		}
	}
}

int session_table_init(struct session_table *table, uint32_t capacity, uint32_t workers)
{
	assert(workers >= 1 && workers <= SESSION_WORKERS_MAX);
	size_t slots = slot_count(capacity, workers);
	*table = (struct session_table){.sharding = {.slot_mask = (uint32_t)slots - 1, .workers = workers}};
	table->slots = calloc(slots, sizeof *table->slots);
	table->ids = malloc(slots * sizeof *table->ids);
	table->next = malloc(slots * sizeof *table->next);
	table->workers = malloc(workers * sizeof *table->workers);
	if (table->slots == NULL || table->ids == NULL || table->next == NULL || table->workers == NULL) {
		session_table_deinit(table);
		return -ENOMEM;
	}
	randomise_generations(table);
	free_all_slots(table);
	return 0;
}

void session_table_deinit(struct session_table *table)
{
	free(table->slots);
	free(table->ids);
	free(table->next);
	free(table->workers);
	*table = (struct session_table){0};
}

void session_table_insert(struct session_table *table, struct session *session)
{
	rcu_publish(&table->slots[session->id & table->sharding.slot_mask], session);
}

void session_table_remove(struct session_table *table, struct session *session)
{
	_Atomic(struct session *) *slot = &table->slots[session->id & table->sharding.slot_mask];
	if (atomic_load_explicit(slot, memory_order_relaxed) == session)
		rcu_publish(slot, NULL);
}

/* The worker's slot that is free for the longest; `worker` has one. */
static uint32_t take_slot(struct session_table *table, uint32_t worker)
{
	struct session_slots *own = &table->workers[worker];
	uint32_t slot = own->first;
	own->first = table->next[slot];
	own->free--;
	own->taken++;
	table->next[slot] = SLOT_TAKEN;
	return slot;
}

/* The ID after the slot's last one, among those with these bits. */
static uint32_t step(const struct session_table *table, uint32_t slot, uint32_t bits)
{
	return (table->ids[slot] + table->sharding.slot_mask + 1) & bits;
}

uint32_t session_table_take(struct session_table *table, uint32_t worker)
{
	if (table->workers[worker].free == 0)
		return 0;
	uint32_t slot = take_slot(table, worker), id = step(table, slot, WIRE_SESSION_ID_MASK);
	table->ids[slot] = id != 0 ? id : table->sharding.slot_mask + 1;
	return table->ids[slot];
}

static void count_in(struct session_table *table, unsigned block, int by)
{
	uint32_t count = atomic_load_explicit(&table->in_block[block], memory_order_relaxed);
	atomic_store_explicit(&table->in_block[block], count + (uint32_t)by, memory_order_relaxed);
	table->in_blocks = true;
}

uint32_t session_table_take_in(struct session_table *table, unsigned block, uint32_t worker)
{
	assert(block != BLOCK_NONE && table->sharding.slot_mask <= BLOCK_ID_MASK);
	if (table->workers[worker].free == 0)
		return 0;
	uint32_t slot = take_slot(table, worker);
	table->ids[slot] = step(table, slot, BLOCK_ID_MASK) | (uint32_t)block << BLOCK_ID_BITS;
	count_in(table, block, 1);
	return table->ids[slot];
}

uint32_t session_table_emptiest(const struct session_table *table)
{
	uint32_t best = SESSION_WORKERS_MAX;
	for (uint32_t worker = 0; worker < table->sharding.workers; worker++) {
		const struct session_slots *one = &table->workers[worker];
		if (one->free != 0 && (best == SESSION_WORKERS_MAX || one->taken < table->workers[best].taken))
			best = worker;
	}
	return best;
}

void session_table_give_back(struct session_table *table, uint32_t id)
{
	uint32_t slot = id & table->sharding.slot_mask;
	struct session_slots *owner = &table->workers[session_shard(&table->sharding, id)];
	assert(table->next[slot] == SLOT_TAKEN && table->ids[slot] == id);
	if (owner->free == 0)
		owner->first = slot;
	else
		table->next[owner->last] = slot;
	owner->last = slot;
	table->next[slot] = slot; /* the last one's is not read, but it is no longer taken */
	owner->free++;
	owner->taken--;
	if (table->in_blocks)
		count_in(table, block_of_session(id), -1);
}

/* --- the table of another process --------------------------------------------------------------------------------- */

uint32_t session_table_list_free(const struct session_table *table, uint32_t worker, uint32_t *ids)
{
	const struct session_slots *own = &table->workers[worker];
	uint32_t count = 0, slot = own->first;
	for (uint32_t i = 0; i < own->free; i++, slot = table->next[slot]) {
		if (ids != NULL)
			ids[count] = table->ids[slot];
		count++;
	}
	/* Taken, but given to no worker any more, or not yet. */
	for (slot = worker; slot <= table->sharding.slot_mask; slot += table->sharding.workers) {
		if (table->next[slot] != SLOT_TAKEN ||
		    atomic_load_explicit(&table->slots[slot], memory_order_relaxed) != NULL)
			continue;
		if (ids != NULL)
			ids[count] = table->ids[slot];
		count++;
	}
	return count;
}

void session_table_take_all(struct session_table *table)
{
	uint32_t workers = table->sharding.workers, slots = table->sharding.slot_mask + 1;
	for (uint32_t slot = 0; slot < slots; slot++)
		table->next[slot] = SLOT_TAKEN;
	for (uint32_t worker = 0; worker < workers; worker++)
		table->workers[worker] = (struct session_slots){.taken = slots / workers + (worker < slots % workers)};
}

void session_table_set_free(struct session_table *table, const uint32_t *ids, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		table->ids[ids[i] & table->sharding.slot_mask] = ids[i];
		session_table_give_back(table, ids[i]);
	}
}

void session_table_set_taken(struct session_table *table, uint32_t id)
{
	table->ids[id & table->sharding.slot_mask] = id;
}
