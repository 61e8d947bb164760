// SPDX-License-Identifier: Apache-2.0
#include "core/handover/export.h"

#include "core/handover/session_record.h"

enum {
	SIZE_AT_FIRST = 1 << 20, /* bytes; only pages that are written take memory */
};

static void put_gateway(struct handover_writer *writer, const struct handover_source *source)
{
	const struct registry *registry = source->registry;
	const struct pool *pool = &registry->pool;
	struct handover_gateway *to = handover_put(writer, HANDOVER_GATEWAY, sizeof *to);
	if (to == NULL)
		return;
	to->slot_mask = registry->table.sharding.slot_mask;
	to->workers = registry->table.sharding.workers;
	to->pool_size = pool->size;
	to->base4 = pool->base4;
	to->base6 = pool->base6;
	to->family4 = pool->gateway4.address.family;
	to->family6 = pool->gateway6.address.family;
	memcpy(to->upper6, pool->upper6, sizeof to->upper6);
	to->orders = registry->orders;
	to->cookies = registry->cookies;
	to->spent = registry->spent;
	to->now = source->now;
	to->frozen = source->frozen;
	memcpy(to->cookie_secret, source->jar->secret, sizeof to->cookie_secret);
}

static void put_slots(struct handover_writer *writer, const struct session_table *table, uint32_t worker)
{
	uint32_t count = session_table_list_free(table, worker, NULL);
	struct handover_slots *to = handover_put(writer, HANDOVER_SLOTS, sizeof *to + count * sizeof *to->ids);
	if (to == NULL)
		return;
	to->worker = worker;
	to->count = count;
	(void)session_table_list_free(table, worker, to->ids);
}

static void put_resting(struct handover_writer *writer, const struct pool *pool)
{
	uint32_t count = pool_resting(pool, NULL);
	struct handover_resting *to = handover_put(writer, HANDOVER_RESTING, sizeof *to + count * sizeof *to->indexes);
	if (to == NULL)
		return;
	to->count = count;
	(void)pool_resting(pool, to->indexes);
}

static void put_peer(struct peer *peer, void *context)
{
	const struct freshness *freshness = &peer->freshness;
	if (freshness->at == 0 && freshness->cookie == 0 && peer->last_index == POOL_NONE && peer->newer_tat == 0 &&
	    peer->proven_tat == 0)
		return;
	struct handover_peer *to = handover_put(context, HANDOVER_PEER, sizeof *to);
	if (to == NULL)
		return;
	memcpy(to->public_key, peer->public_key, sizeof to->public_key);
	to->cookie = freshness->cookie;
	to->mark = freshness->mark;
	to->at = freshness->at;
	to->proven = freshness->proven;
	memcpy(to->last, freshness->last, sizeof to->last);
	memcpy(to->highest, freshness->highest, sizeof to->highest);
	to->proven_tat = peer->proven_tat;
	to->newer_tat = peer->newer_tat;
	to->last_index = peer->last_index;
}

static void put_usage(uint32_t index, struct usage *usage, void *context)
{
	(void)index;
	if (!usage->taken || usage->period == CALENDAR_PERIODS)
		return;
	struct handover_usage *to = handover_put(context, HANDOVER_USAGE, sizeof *to);
	if (to == NULL)
		return;
	memcpy(to->public_key, usage->public_key, sizeof to->public_key);
	to->used = atomic_load_explicit(&usage->used, memory_order_relaxed);
	to->period = usage->period;
	to->number = usage->number;
	to->clock = usage->clock;
	to->told = usage->told;
}

static void put_counter(struct handover_writer *writer, enum handover_counter_kind kind, const char *name,
			uint64_t value)
{
	if (value == 0)
		return;
	struct handover_counter *to = handover_put(writer, HANDOVER_COUNTER, sizeof *to);
	if (to == NULL)
		return;
	to->kind = kind;
	to->value = value;
	memcpy(to->name, name, strnlen(name, sizeof to->name - 1));
}

static void put_totals(struct handover_writer *writer, const struct stats_snapshot *totals)
{
	for (size_t i = 0; i < STATS_COUNTER_COUNT; i++)
		put_counter(writer, HANDOVER_COUNTED, counter_infos[i].name, totals->counters[i]);
	for (size_t i = 0; i < DROP_COUNT; i++) {
		enum handover_counter_kind kind = drop_infos[i].direction == UPLINK ? HANDOVER_DROPPED_UP
										    : HANDOVER_DROPPED_DOWN;
		put_counter(writer, kind, drop_infos[i].label, totals->drops[i]);
	}
}

static void put_sessions(struct handover_writer *writer, const struct session_table *table)
{
	for (uint32_t slot = 0; slot <= table->sharding.slot_mask; slot++) {
		const struct session *session = rcu_read(&table->slots[slot]);
		if (session != NULL)
			handover_put_session(writer, session);
	}
}

static void write_all(struct handover_writer *writer, const struct handover_source *source)
{
	struct registry *registry = source->registry;
	while (registry_collect(registry) == REGISTRY_COLLECT_MAX)
		;
	put_gateway(writer, source);
	for (uint32_t worker = 0; worker < registry->table.sharding.workers; worker++)
		put_slots(writer, &registry->table, worker);
	put_resting(writer, &registry->pool);
	peers_for_each(&registry->peers, put_peer, writer);
	(void)usages_visit(&registry->usages, 0, UINT32_MAX, put_usage, writer);
	put_totals(writer, source->totals);
	put_sessions(writer, &registry->table);
}

int handover_export(const struct handover_source *source, struct handover_memory *memory, struct error *error)
{
	int result = handover_memory_new(memory, SIZE_AT_FIRST, error);
	if (result != 0)
		return result;
	struct handover_writer writer = {.memory = memory, .used = sizeof(struct handover_head), .error = error};
	write_all(&writer, source);
	result = writer.result;
	if (result == 0) {
		handover_head_write(memory->bytes, writer.used, writer.records);
		result = handover_memory_seal(memory, writer.used, error);
	}
	if (result != 0) {
		handover_memory_wipe(memory);
		handover_memory_close(memory);
	}
	return result;
}
