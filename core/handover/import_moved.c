// SPDX-License-Identifier: Apache-2.0
/* The second part. */
#include "core/handover/import.h"
#include "core/handover/import_inside.h"
#include "core/handover/moving.h"
#include "core/handover/reader.h"
#include "workers/gateway_role.h"

/* --- usage and counters ------------------------------------------------------------------------------------------- */

bool handover_usage_right(const void *record)
{
	const struct handover_usage *usage = record;
	return usage->record.size == sizeof *usage && usage->period < CALENDAR_PERIODS && usage->told <= 1;
}

void handover_take_usage(struct registry *registry, const struct handover_usage *from)
{
	struct usage_line line = {.period = (enum calendar_period)from->period,
				  .number = from->number,
				  .clock = from->clock,
				  .used = from->used};
	memcpy(line.public_key, from->public_key, sizeof line.public_key);
	(void)usages_take_over(&registry->usages, &line, from->told);
}

static bool counter_right(const void *at)
{
	const struct handover_counter *record = at;
	return record->record.size == sizeof *record && record->kind <= HANDOVER_DROPPED_DOWN &&
	       record->name[HANDOVER_NAME_MAX - 1] == '\0';
}

static void take_counter(struct stats *totals, const struct handover_counter *from)
{
	for (size_t i = 0; from->kind == HANDOVER_COUNTED && i < STATS_COUNTER_COUNT; i++) {
		if (strcmp(counter_infos[i].name, from->name) == 0)
			stats_bump(&totals->counters[i], from->value);
	}
	enum drop_direction direction = from->kind == HANDOVER_DROPPED_UP ? UPLINK : DOWNLINK;
	for (size_t i = 0; from->kind != HANDOVER_COUNTED && i < DROP_COUNT; i++) {
		if (drop_infos[i].direction == direction && strcmp(drop_infos[i].label, from->name) == 0)
			stats_bump(&totals->drops[i], from->value);
	}
}

/* --- checking ----------------------------------------------------------------------------------------------------- */

struct check {
	const struct handover_import *import;
	const struct handover_moment *moment;
	uint64_t next; /* index of the first session that the next record may be about */
};

/* Each session once at most. */
static bool index_right(struct check *check, uint32_t index, uint32_t id)
{
	const struct handover_import *import = check->import;
	if (index < check->next || index >= import->count)
		return false;
	const struct session *session = import->sessions[index].session;
	check->next = (uint64_t)index + 1;
	return session == NULL || session->id == id;
}

static bool moved_right(struct check *check, const void *at)
{
	const struct handover_moved *record = at;
	return handover_moved_valid(record, check->moment->now) && index_right(check, record->index, record->id);
}

static bool gone_right(struct check *check, const void *at)
{
	const struct handover_gone *record = at;
	return record->record.size == sizeof *record && index_right(check, record->index, record->id);
}

static bool record_right(struct check *check, const struct handover_record *record)
{
	switch (record->kind) {
	case HANDOVER_MOVED:
		return moved_right(check, record);
	case HANDOVER_GONE:
		return gone_right(check, record);
	case HANDOVER_USAGE:
		return handover_usage_right(record);
	case HANDOVER_COUNTER:
		return counter_right(record);
	default:
		return false;
	}
}

static bool moment_right(const struct handover_import *import, const struct handover_record *record, uint64_t now)
{
	const struct handover_moment *moment = (const struct handover_moment *)(const void *)record;
	return record != NULL && record->kind == HANDOVER_MOMENT && record->size == sizeof *moment &&
	       moment->now <= now && moment->frozen <= moment->now && moment->sessions == import->count;
}

static int check_records(struct handover_import *import, const uint8_t *part, uint64_t now, struct error *error)
{
	struct handover_reader reader;
	handover_reader_begin(&reader, part);
	const struct handover_record *record = handover_next(&reader);
	if (!moment_right(import, record, now))
		return error_set(error, -EBADMSG, "hand-over: the record of the moment is not right");
	struct check check = {.import = import, .moment = (const struct handover_moment *)(const void *)record};
	for (size_t number = 1; (record = handover_next(&reader)) != NULL; number++) {
		if (!record_right(&check, record))
			return error_set(error, -EBADMSG,
					 "hand-over: record %zu of what moved, of kind %u, is not right", number,
					 record->kind);
	}
	import->frozen = check.moment->frozen;
	return 0;
}

int handover_check_moved(struct handover_import *import, uint64_t now, struct error *error)
{
	size_t room;
	const uint8_t *part = handover_second_part(import->memory, &room);
	if (part == NULL)
		return error_set(error, -EBADMSG, "hand-over: the records of what moved are cut off");
	int result = handover_check_part(part, room, error);
	return result == 0 ? check_records(import, part, now, error) : result;
}

/* --- following ---------------------------------------------------------------------------------------------------- */

static struct worker *worker_of(const struct handover_target *target, const struct session *session)
{
	if (target->workers == NULL)
		return NULL;
	return target->workers[session_shard(&target->registry->table.sharding, session->id)];
}

static void move(const struct handover_import *import, const struct handover_target *target,
		 const struct handover_moved *record)
{
	struct session *session = import->sessions[record->index].session;
	if (session == NULL)
		return;
	struct worker *worker = worker_of(target, session);
	bool was_active = session_is_active(session);
	const struct transport_key *current = session->current;
	handover_read_moved(session, record, target->engine);
	if (worker != NULL)
		gateway_role_resume(worker, session, !was_active && session_is_active(session),
				    session->current != current);
}

/* False: it was dropped already, when its record was read. */
static bool forget(struct handover_import *import, const struct handover_target *target, uint32_t index)
{
	struct session *session = import->sessions[index].session;
	if (session == NULL)
		return false;
	struct worker *worker = worker_of(target, session);
	if (worker != NULL)
		gateway_role_forget(worker, session);
	import->sessions[index].session = NULL;
	return true;
}

/* Records lie one behind the other, and what they are about does not: so many records ahead its memory is fetched. */
enum { AHEAD = 10, AHEAD_KEYS = 5 };

struct readers {
	struct handover_reader here, sessions, keys;
};

static const struct session *moved_session(const struct handover_import *import, const struct handover_record *record)
{
	const void *at = record;
	if (record == NULL || record->kind != HANDOVER_MOVED)
		return NULL;
	return import->sessions[((const struct handover_moved *)at)->index].session;
}

static void fetch_session(const struct handover_import *import, struct readers *readers)
{
	const struct session *session = moved_session(import, handover_next(&readers->sessions));
	for (size_t at = 0; session != NULL && at < offsetof(struct session, next_from); at += CACHE_LINE)
		__builtin_prefetch((const uint8_t *)session + at, 1);
}

static void fetch_key(const struct handover_import *import, struct readers *readers)
{
	const struct session *session = moved_session(import, handover_next(&readers->keys));
	if (session != NULL)
		__builtin_prefetch(session->current, 1);
}

static void begin(const struct handover_import *import, struct readers *readers)
{
	size_t room;
	handover_reader_begin(&readers->here, handover_second_part(import->memory, &room));
	readers->sessions = readers->keys = readers->here;
	for (unsigned i = 0; i < AHEAD; i++)
		fetch_session(import, readers);
	for (unsigned i = 0; i < AHEAD_KEYS; i++)
		fetch_key(import, readers);
}

static void follow(struct handover_import *import, const struct handover_target *target,
		   const struct handover_record *record)
{
	const void *at = record;
	switch (record->kind) {
	case HANDOVER_MOVED:
		move(import, target, at);
		import->moved++;
		break;
	case HANDOVER_GONE:
		import->gone += forget(import, target, ((const struct handover_gone *)at)->index);
		break;
	case HANDOVER_USAGE:
		handover_take_usage(target->registry, at);
		break;
	case HANDOVER_COUNTER:
		take_counter(target->totals, at);
		break;
	default: /* the moment */
		break;
	}
}

void handover_follow(struct handover_import *import, const struct handover_target *target)
{
	struct readers readers;
	const struct handover_record *record;
	begin(import, &readers);
	while ((record = handover_next(&readers.here)) != NULL) {
		fetch_session(import, &readers);
		fetch_key(import, &readers);
		follow(import, target, record);
	}
}

void handover_leave(struct handover_import *import, const struct handover_target *target)
{
	for (size_t i = 0; i < import->count; i++)
		(void)forget(import, target, (uint32_t)i);
}
