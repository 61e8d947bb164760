// SPDX-License-Identifier: Apache-2.0
#include "core/handover/export.h"

#include <stdlib.h>

#include "core/handover/session_record.h"

enum {
	SIZE_AT_FIRST = 1 << 20, /* bytes */
	SESSION_MOST = sizeof(struct handover_session) +
		       HANDOVER_KEYS *
			       (sizeof(struct handover_key) + HANDOVER_WINDOWS * sizeof(struct handover_window)),
	COUNTERS_MOST = (STATS_COUNTER_COUNT + DROP_COUNT) * sizeof(struct handover_counter),
	/* Of a session that moved: one key, and few words of its window. */
	MOVED_USUAL = sizeof(struct handover_moved) + sizeof(struct handover_moved_key) + 6 * sizeof(uint64_t),
};

/* A record as it was in the first part. */
struct handover_usage_trace {
	uint64_t used;
	uint32_t number, clock;
	bool told;
};

static int no_memory(struct handover_export *export)
{
	return error_set(&export->error, -ENOMEM, "hand-over: out of memory");
}

/* --- what moves no more ------------------------------------------------------------------------------------------- */

static void put_gateway(struct handover_writer *writer, const struct registry *registry, const struct cookie_jar *jar)
{
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
	memcpy(to->cookie_secret, jar->secret, sizeof to->cookie_secret);
}

static bool is_written(const struct handover_export *export, uint32_t id)
{
	uint32_t slot = id & export->registry->table.sharding.slot_mask;
	return (export->written[slot / 8] & 1u << slot % 8) != 0;
}

/* Those of sessions that have a record become free when the new process hears that they ended. The worker may end some
 * meanwhile. */
static void put_slots(struct handover_export *export, uint32_t worker)
{
	const struct session_table *table = &export->registry->table;
	uint32_t *ids = malloc((table->sharding.slot_mask / table->sharding.workers + 1) * sizeof *ids), count = 0;
	if (ids == NULL) {
		export->writer.result = no_memory(export);
		return;
	}
	uint32_t all = session_table_list_free(table, worker, ids);
	for (uint32_t i = 0; i < all; i++) {
		if (!is_written(export, ids[i]))
			ids[count++] = ids[i];
	}
	struct handover_slots *to = handover_put(&export->writer, HANDOVER_SLOTS, sizeof *to + count * sizeof *to->ids);
	if (to != NULL) {
		to->worker = worker;
		to->count = count;
		memcpy(to->ids, ids, count * sizeof *ids);
	}
	free(ids);
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

/* --- usage and counters ------------------------------------------------------------------------------------------- */

static bool is_same(const struct handover_usage_trace *a, const struct handover_usage_trace *b)
{
	return a->used == b->used && a->number == b->number && a->clock == b->clock && a->told == b->told;
}

/* In the second part only what is another than in the first. */
static void put_usage(uint32_t index, struct usage *usage, void *context)
{
	struct handover_export *export = context;
	const struct handover_usage_trace now = {.used = atomic_load_explicit(&usage->used, memory_order_relaxed),
						 .number = usage->number,
						 .clock = usage->clock,
						 .told = usage->told};
	if (!usage->taken || usage->period == CALENDAR_PERIODS || index >= export->usage_count)
		return;
	bool second = export->writer.start != 0;
	if (second && is_same(&now, &export->usages[index]))
		return;
	export->usages[index] = now;
	struct handover_usage *to = handover_put(&export->writer, HANDOVER_USAGE, sizeof *to);
	if (to == NULL)
		return;
	memcpy(to->public_key, usage->public_key, sizeof to->public_key);
	to->used = now.used;
	to->period = usage->period;
	to->number = usage->number;
	to->clock = usage->clock;
	to->told = usage->told;
}

static void put_usages(struct handover_export *export)
{
	(void)usages_visit(&export->registry->usages, 0, UINT32_MAX, put_usage, export);
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

/* --- the first part ----------------------------------------------------------------------------------------------- */

static uint32_t taken_by_all(const struct session_table *table)
{
	uint32_t sum = 0;
	for (uint32_t worker = 0; worker < table->sharding.workers; worker++)
		sum += table->workers[worker].taken;
	return sum;
}

int handover_export_begin(struct handover_export *export, struct registry *registry, const struct cookie_jar *jar)
{
	*export = (struct handover_export){.registry = registry,
					   .jar = jar,
					   .memory = {.fd = -1},
					   .room = taken_by_all(&registry->table),
					   .usage_count = registry->usages.count};
	export->traces = malloc((export->room + 1) * sizeof *export->traces);
	export->usages = calloc(export->usage_count + 1, sizeof *export->usages);
	export->written = calloc(registry->table.sharding.slot_mask / 8 + 1, 1);
	if (export->traces == NULL || export->usages == NULL || export->written == NULL)
		return no_memory(export);
	int result = handover_memory_new(&export->memory, SIZE_AT_FIRST, &export->error);
	if (result != 0)
		return result;
	handover_writer_begin(&export->writer, &export->memory, 0, SIZE_MAX, &export->error);
	put_gateway(&export->writer, registry, jar);
	return export->writer.result;
}

int handover_export_prepare(struct handover_export *export)
{
	(void)handover_writer_reserve(&export->writer, (size_t)HANDOVER_PORTION * SESSION_MOST);
	return export->writer.result;
}

/* It was confirmed between two portions: then its peer had two confirmed sessions. */
static bool replaced_a_written_one(const struct handover_export *export, const struct session *session)
{
	const struct session_table *table = &export->registry->table;
	uint32_t old = session->replaces;
	return old != 0 && session_is_active(session) && is_written(export, old) &&
	       rcu_read(&table->slots[old & table->sharding.slot_mask]) == NULL;
}

static void put_session(struct handover_export *export, uint32_t slot, const struct session *session)
{
	int result = export->count == export->room ? -EBUSY : replaced_a_written_one(export, session) ? -EAGAIN : 0;
	if (result != 0) {
		export->writer.result = error_set(&export->error, result,
						  "hand-over: there are new sessions: try again");
		return;
	}
	handover_put_session(&export->writer, session);
	handover_trace(&export->traces[export->count++], session);
	export->written[slot / 8] |= (uint8_t)(1u << slot % 8);
}

uint32_t handover_export_sessions(struct handover_export *export, uint32_t slot)
{
	const struct session_table *table = &export->registry->table;
	uint32_t sessions = 0, slots = 0;
	while (slot <= table->sharding.slot_mask && export->writer.result == 0) {
		const struct session *session = rcu_read(&table->slots[slot]);
		if (sessions == HANDOVER_PORTION || slots++ == HANDOVER_PORTION_SLOTS)
			return slot;
		if (session != NULL) {
			put_session(export, slot, session);
			sessions++;
		}
		slot += table->sharding.workers;
	}
	return HANDOVER_NO_SLOT;
}

/* Pages for what is usual, and room for the most: where sessions need more, it costs time for which packets wait. */
static int make_second_part(struct handover_export *export, size_t *start, size_t *room)
{
	size_t rest = 2 * sizeof(struct handover_head) + sizeof(struct handover_moment) + COUNTERS_MOST +
		      export->usage_count * sizeof(struct handover_usage);
	size_t usual = rest + export->count * MOVED_USUAL;
	*start = export->memory.backed;
	*room = rest;
	for (size_t i = 0; i < export->count; i++)
		*room += handover_moved_most(&export->traces[i]);
	int result = handover_memory_back(&export->memory, *start + (usual < *room ? usual : *room), &export->error);
	if (result == 0)
		result = handover_memory_seal(&export->memory, *start + *room, &export->error);
	*room = export->memory.size - *start;
	return result;
}

int handover_export_finish(struct handover_export *export, uint64_t now)
{
	struct registry *registry = export->registry;
	struct handover_writer *writer = &export->writer;
	size_t start, room;
	while (registry_collect(registry) == REGISTRY_COLLECT_MAX)
		;
	registry_hold(registry, true);
	export->held = true;
	export->taken = taken_by_all(&registry->table);
	for (uint32_t worker = 0; worker < registry->table.sharding.workers; worker++)
		put_slots(export, worker);
	put_resting(writer, &registry->pool);
	peers_for_each(&registry->peers, put_peer, writer);
	put_usages(export);
	if (writer->result != 0)
		return writer->result;
	int result = make_second_part(export, &start, &room);
	if (result != 0)
		return result;
	uint8_t *bytes = export->memory.bytes;
	((struct handover_gateway *)(void *)(bytes + sizeof(struct handover_head)))->now = now;
	handover_head_write(bytes, writer->used, writer->records, start, room);
	return 0;
}

/* --- the second part ---------------------------------------------------------------------------------------------- */

/* Far enough ahead to come in time, near enough to be still there then. */
enum { AHEAD = 12, AHEAD_KEYS = 6 };

/* What lies apart comes while others are compared. */
static void fetch_ahead(const struct handover_export *export, size_t i)
{
	if (i + AHEAD < export->count) {
		const struct session *session = export->traces[i + AHEAD].session;
		for (size_t at = 0; at < offsetof(struct session, next_from); at += CACHE_LINE)
			__builtin_prefetch((const uint8_t *)session + at);
		for (unsigned k = 0; k < HANDOVER_KEYS; k++)
			__builtin_prefetch(export->traces[i + AHEAD].key[k].key);
	}
	if (i + AHEAD_KEYS < export->count) {
		const struct handover_trace *trace = &export->traces[i + AHEAD_KEYS];
		for (unsigned k = 0; k < HANDOVER_KEYS && trace->key[k].live != NULL; k++) {
			__builtin_prefetch(&trace->key[k].live->replay);
			__builtin_prefetch(&trace->key[k].live->replay_sparse);
		}
	}
}

static void put_moved(struct handover_export *export)
{
	const struct session_table *table = &export->registry->table;
	struct handover_writer *writer = &export->writer;
	for (size_t i = 0; i < export->count && writer->result == 0; i++) {
		const struct handover_trace *trace = &export->traces[i];
		fetch_ahead(export, i);
		if (rcu_read(&table->slots[trace->id & table->sharding.slot_mask]) == trace->session) {
			handover_put_moved(writer, trace, (uint32_t)i);
			continue;
		}
		struct handover_gone *gone = handover_put(writer, HANDOVER_GONE, sizeof *gone);
		if (gone != NULL) {
			gone->index = (uint32_t)i;
			gone->id = trace->id;
		}
	}
}

int handover_export_moved(struct handover_export *export, const struct handover_now *now)
{
	struct handover_writer *writer = &export->writer;
	const struct handover_head *head = (const struct handover_head *)(const void *)export->memory.bytes;
	size_t start = head->second;
	if (taken_by_all(&export->registry->table) != export->taken)
		return error_set(&export->error, -EBUSY, "hand-over: there are new sessions: try again");
	handover_writer_begin(writer, &export->memory, start, export->memory.size, &export->error);
	struct handover_moment *moment = handover_put(writer, HANDOVER_MOMENT, sizeof *moment);
	if (moment != NULL) {
		moment->now = now->now;
		moment->frozen = now->frozen;
		moment->sessions = export->count;
	}
	put_moved(export);
	put_usages(export);
	put_totals(writer, now->totals);
	if (writer->result == 0)
		handover_head_write(export->memory.bytes + start, writer->used - start, writer->records, 0, 0);
	return writer->result;
}

void handover_export_end(struct handover_export *export, bool wiped)
{
	if (wiped)
		handover_memory_wipe(&export->memory);
	handover_memory_close(&export->memory);
	if (export->held)
		registry_hold(export->registry, false);
	/* Where a client is, and what its path is proven by. */
	if (export->traces != NULL)
		explicit_bzero(export->traces, export->count * sizeof *export->traces);
	free(export->traces);
	free(export->usages);
	free(export->written);
	*export = (struct handover_export){.memory = {.fd = -1}};
}
