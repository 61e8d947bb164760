// SPDX-License-Identifier: Apache-2.0
#include "core/handover/import.h"

#include <stdlib.h>

#include "core/base/log.h"
#include "core/handover/import_inside.h"
#include "core/handover/reader.h"
#include "core/handover/session_record.h"
#include "workers/gateway_role.h"

/* What is checked across records. */
struct check {
	const struct handover_target *target;
	const struct handover_gateway *gateway;
	uint8_t *slots;	       /* a bit for each slot of the session table that was named */
	uint32_t unnamed;      /* how many were not */
	size_t sessions, rest; /* records */
};

static bool mark(uint8_t *bits, uint32_t index)
{
	uint8_t bit = (uint8_t)(1u << index % 8);
	bool fresh = (bits[index / 8] & bit) == 0;
	bits[index / 8] |= bit;
	return fresh;
}

static bool slot_named_once(struct check *check, uint32_t id)
{
	check->unnamed--;
	return mark(check->slots, id & check->gateway->slot_mask);
}

/* --- each kind of record: whether it may be ----------------------------------------------------------------------- */

static int check_gateway(const struct check *check, const struct handover_gateway *record, struct error *error)
{
	const struct registry *registry = check->target->registry;
	const struct session_sharding *sharding = &registry->table.sharding;
	const struct pool *pool = &registry->pool;
	if (record->record.size != sizeof *record || record->now > check->target->now)
		return error_set(error, -EBADMSG, "hand-over: the gateway's record is not right");
	if (record->slot_mask != sharding->slot_mask || record->workers != sharding->workers)
		return error_set(error, -ENOTUNIQ,
				 "hand-over: sessions of %u workers and %u slots, and here are %u and %u: Workers or "
				 "MaxSessions differs",
				 record->workers, record->slot_mask + 1, sharding->workers, sharding->slot_mask + 1);
	if (record->pool_size != pool->size || record->base4 != pool->base4 || record->base6 != pool->base6 ||
	    memcmp(record->upper6, pool->upper6, sizeof record->upper6) != 0 ||
	    record->family4 != pool->gateway4.address.family || record->family6 != pool->gateway6.address.family)
		return error_set(error, -ENOTUNIQ, "hand-over: sessions of other networks: Address differs");
	return 0;
}

static bool slots_right(struct check *check, const void *at)
{
	const struct handover_slots *record = at;
	size_t room = (record->record.size - sizeof *record) / sizeof *record->ids;
	if (record->record.size < sizeof *record || record->worker >= check->gateway->workers || record->count > room ||
	    room - record->count > 1)
		return false;
	for (uint32_t i = 0; i < record->count; i++) {
		uint32_t id = record->ids[i];
		if ((id & ~WIRE_SESSION_ID_MASK) != 0 ||
		    session_shard(&check->target->registry->table.sharding, id) != record->worker ||
		    !slot_named_once(check, id))
			return false;
	}
	return true;
}

static bool resting_right(const struct check *check, const void *at)
{
	const struct handover_resting *record = at;
	size_t room = (record->record.size - sizeof *record) / sizeof *record->indexes;
	if (record->record.size < sizeof *record || record->count > room || room - record->count > 1)
		return false;
	for (uint32_t i = 0; i < record->count; i++) {
		if (record->indexes[i] >= check->gateway->pool_size)
			return false;
	}
	return true;
}

static bool peer_right(const struct check *check, const void *at)
{
	const struct handover_peer *record = at;
	return record->record.size == sizeof *record && record->at <= check->gateway->now && record->proven <= 1 &&
	       (record->last_index == POOL_NONE || record->last_index < check->gateway->pool_size);
}

/* Whether the pool can give the index out. */
static bool index_right(const struct pool *pool, uint32_t index)
{
	struct ip_prefix address4, address6;
	uint32_t same;
	if (index >= pool->size)
		return false;
	pool_addresses(pool, index, &address4, &address6);
	return pool_index(pool, &(address4.address.family != 0 ? &address4 : &address6)->address, &same);
}

static bool session_right(struct check *check, const void *at)
{
	const struct handover_session *record = at;
	check->sessions++;
	return handover_session_valid(record, check->gateway->now) &&
	       index_right(&check->target->registry->pool, record->pool_index) && slot_named_once(check, record->id);
}

static bool record_right(struct check *check, const struct handover_record *record)
{
	check->rest++;
	switch (record->kind) {
	case HANDOVER_SLOTS:
		return slots_right(check, record);
	case HANDOVER_RESTING:
		return resting_right(check, record);
	case HANDOVER_PEER:
		return peer_right(check, record);
	case HANDOVER_USAGE:
		return handover_usage_right(record);
	case HANDOVER_SESSION:
		return session_right(check, record);
	default: /* also a second record of the gateway, or one of the second part */
		return false;
	}
}

static int check_records(struct check *check, const struct handover_memory *memory, struct error *error)
{
	struct handover_reader reader;
	handover_reader_begin(&reader, memory->bytes);
	const struct handover_record *record = handover_next(&reader);
	if (record == NULL || record->kind != HANDOVER_GATEWAY)
		return error_set(error, -EBADMSG, "hand-over: the gateway's record is missing");
	const struct handover_gateway *gateway = (const struct handover_gateway *)(const void *)record;
	int result = check_gateway(check, gateway, error);
	if (result != 0)
		return result;
	check->gateway = gateway;
	check->unnamed = gateway->slot_mask + 1;
	check->slots = calloc(check->unnamed / 8 + 1, 1);
	if (check->slots == NULL)
		return error_set(error, -ENOMEM, "hand-over: out of memory");
	while ((record = handover_next(&reader)) != NULL) {
		if (!record_right(check, record))
			return error_set(error, -EBADMSG, "hand-over: record %zu, of kind %u, is not right",
					 check->rest, record->kind);
	}
	/* An ID that is neither free nor a session's were lost for good. */
	return check->unnamed == 0
		       ? 0
		       : error_set(error, -EBADMSG, "hand-over: %u session IDs are missing", check->unnamed);
}

/* --- making sessions ---------------------------------------------------------------------------------------------- */

/* Whether the configuration leaves the session its peer and address. */
static struct peer *peer_of(const struct registry *registry, const struct handover_session *record)
{
	struct peer *peer = peers_find(&registry->peers, record->peer);
	if (peer == NULL)
		return NULL;
	bool own = peer->fixed_index == POOL_NONE ? !pool_held(&registry->pool, record->pool_index)
						  : peer->fixed_index == record->pool_index;
	enum handover_dialect speaks = peer_protocol(peer) == PEER_WIREGUARD ? HANDOVER_WIREGUARD : HANDOVER_OWN;
	enum handover_dialect dialect = handover_session_dialect(record);
	return own && (dialect == 0 || dialect == speaks) ? peer : NULL;
}

static int make_session(struct handover_import *import, const struct handover_target *target,
			const struct handover_session *record, struct error *error)
{
	struct peer *peer = peer_of(target->registry, record);
	struct handover_adopted *adopted = &import->sessions[import->count++];
	if (peer == NULL) {
		import->dropped++;
		return 0;
	}
	int result;
	struct session *session = handover_session_make(record, target->engine, peer, &result);
	if (session == NULL)
		return error_set(error, result, "hand-over: session %08x: %s", record->id,
				 result == -ENOTSUP ? "this machine does not offer its cipher" : "out of memory");
	*adopted = (struct handover_adopted){session, {record->moving.up_ready, record->moving.down_ready}};
	return 0;
}

static int make_sessions(struct handover_import *import, const struct handover_target *target, size_t records,
			 struct error *error)
{
	import->sessions = calloc(records + 1, sizeof *import->sessions);
	if (import->sessions == NULL)
		return error_set(error, -ENOMEM, "hand-over: out of memory");
	struct handover_reader reader;
	const struct handover_record *record;
	int result = 0;
	handover_reader_begin(&reader, import->memory->bytes);
	while (result == 0 && (record = handover_next(&reader)) != NULL) {
		if (record->kind == HANDOVER_SESSION)
			result = make_session(import, target, (const struct handover_session *)(const void *)record,
					      error);
	}
	return result;
}

/* A peer has one confirmed session at most, and one that is not; both have one address, and no other peer has it. Each
 * index has its first session here, by its place in the array and 1. */
static bool addresses_right(const struct handover_import *import, uint32_t *first)
{
	for (size_t i = 0; i < import->count; i++) {
		const struct session *session = import->sessions[i].session;
		if (session == NULL)
			continue;
		uint32_t *owner = &first[session->pool_index];
		if (*owner == 0) {
			*owner = (uint32_t)i + 1;
			continue;
		}
		const struct session *other = import->sessions[*owner - 1].session;
		if (other->peer != session->peer || session_is_active(other) == session_is_active(session))
			return false;
	}
	return true;
}

static bool mark_peer(struct session *session)
{
	struct session **own = session_is_active(session) ? &session->peer->active : &session->peer->pending;
	const struct session *other = session_is_active(session) ? session->peer->pending : session->peer->active;
	bool right = *own == NULL && (other == NULL || other->pool_index == session->pool_index);
	*own = session;
	return right;
}

/* The other way round: a peer has no two addresses. Marks each peer by its session, and takes the marks off again. */
static bool peers_right(const struct handover_import *import)
{
	bool right = true;
	for (size_t i = 0; right && i < import->count; i++)
		right = import->sessions[i].session == NULL || mark_peer(import->sessions[i].session);
	for (size_t i = 0; i < import->count; i++) {
		if (import->sessions[i].session != NULL)
			import->sessions[i].session->peer->active = import->sessions[i].session->peer->pending = NULL;
	}
	return right;
}

static int check_owners(const struct handover_import *import, const struct registry *registry, struct error *error)
{
	uint32_t *first = calloc(registry->pool.size + 1, sizeof *first);
	if (first == NULL)
		return error_set(error, -ENOMEM, "hand-over: out of memory");
	bool right = addresses_right(import, first) && peers_right(import);
	free(first);
	return right ? 0 : error_set(error, -EBADMSG, "hand-over: two sessions have one address, or one peer");
}

int handover_read(struct handover_import *import, const struct handover_memory *memory,
		  const struct handover_target *target, struct error *error)
{
	*import = (struct handover_import){.memory = memory};
	struct check check = {.target = target};
	int result = handover_check_part(memory->bytes, memory->size, error);
	if (result == 0)
		result = check_records(&check, memory, error);
	if (result == 0)
		result = make_sessions(import, target, check.sessions, error);
	if (result == 0)
		result = check_owners(import, target->registry, error);
	free(check.slots);
	if (result != 0)
		handover_discard(import);
	return result;
}

void handover_discard(struct handover_import *import)
{
	for (size_t i = 0; i < import->count && !import->taken; i++)
		session_free(import->sessions[i].session);
	free(import->sessions);
	*import = (struct handover_import){0};
}

/* --- taking over -------------------------------------------------------------------------------------------------- */

static void take_gateway(const struct handover_target *target, const struct handover_gateway *from)
{
	struct registry *registry = target->registry;
	registry->orders = from->orders;
	registry->cookies = from->cookies;
	registry->spent = from->spent;
	memcpy(target->jar->secret, from->cookie_secret, sizeof target->jar->secret);
	session_table_take_all(&registry->table);
}

static void take_resting(struct pool *pool, const struct handover_resting *from)
{
	for (uint32_t i = 0; i < from->count; i++) {
		if (!pool_held(pool, from->indexes[i]) && pool_reserve(pool, from->indexes[i]) != POOL_NONE)
			(void)pool_release(pool, from->indexes[i]);
	}
}

static void take_peer(struct registry *registry, const struct handover_peer *from)
{
	struct peer *peer = peers_find(&registry->peers, from->public_key);
	if (peer == NULL)
		return;
	peer->freshness = (struct freshness){
		.cookie = from->cookie, .mark = from->mark, .at = from->at, .proven = from->proven};
	memcpy(peer->freshness.last, from->last, sizeof from->last);
	memcpy(peer->freshness.highest, from->highest, sizeof from->highest);
	peer->proven_tat = from->proven_tat;
	peer->newer_tat = from->newer_tat;
	peer->last_index = from->last_index;
}

static void take_record(const struct handover_target *target, const struct handover_record *record)
{
	struct registry *registry = target->registry;
	const void *at = record;
	switch (record->kind) {
	case HANDOVER_GATEWAY:
		take_gateway(target, at);
		break;
	case HANDOVER_SLOTS:
		session_table_set_free(&registry->table, ((const struct handover_slots *)at)->ids,
				       ((const struct handover_slots *)at)->count);
		break;
	case HANDOVER_RESTING:
		take_resting(&registry->pool, at);
		break;
	case HANDOVER_PEER:
		take_peer(registry, at);
		break;
	case HANDOVER_USAGE:
		handover_take_usage(registry, at);
		break;
	default: /* sessions: below */
		break;
	}
}

/* The ID of a session that is not made anew is free. Sessions stand in the array in the order of their records. */
static void free_dropped(const struct handover_import *import, struct session_table *table)
{
	struct handover_reader reader;
	const struct handover_record *record;
	size_t i = 0;
	handover_reader_begin(&reader, import->memory->bytes);
	while ((record = handover_next(&reader)) != NULL) {
		const struct handover_session *session = (const struct handover_session *)(const void *)record;
		if (record->kind == HANDOVER_SESSION && import->sessions[i++].session == NULL)
			session_table_set_free(table, &session->id, 1);
	}
}

static void adopt(const struct handover_target *target, struct handover_adopted *adopted)
{
	struct session *session = adopted->session;
	registry_adopt(target->registry, session);
	if (target->workers == NULL)
		return;
	struct worker *worker = target->workers[session_shard(&target->registry->table.sharding, session->id)];
	if (gateway_role_adopt(worker, session, &adopted->ready) != 0)
		log_warning("session %08x: out of memory: no limits until its next keys", session->id);
}

void handover_take_over(struct handover_import *import, const struct handover_target *target)
{
	struct handover_reader reader;
	const struct handover_record *record;
	handover_reader_begin(&reader, import->memory->bytes);
	while ((record = handover_next(&reader)) != NULL)
		take_record(target, record);
	free_dropped(import, &target->registry->table);
	for (size_t i = 0; i < import->count; i++) {
		if (import->sessions[i].session != NULL)
			adopt(target, &import->sessions[i]);
	}
	registry_follow_usages(target->registry);
	import->taken = true;
}
