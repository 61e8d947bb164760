// SPDX-License-Identifier: Apache-2.0
#include "core/handover/session_record.h"

#include "core/handover/moving.h"

_Static_assert((int)HANDOVER_GAP < (int)REPLAY_WINDOW, "packets on their way are not lost to the window");

enum { WINDOWS = HANDOVER_WINDOWS };

/* --- writing ------------------------------------------------------------------------------------------------------ */

static size_t key_size(const struct transport_key *key)
{
	if (key == NULL)
		return 0;
	return sizeof(struct handover_key) +
	       (transport_key_is_live(key) ? WINDOWS * sizeof(struct handover_window) : 0);
}

static void write_window(struct handover_window *to, const struct replay_window *from)
{
	to->next = from->next;
	memcpy(to->bitmap, from->bitmap, sizeof to->bitmap);
}

static uint8_t *write_key(uint8_t *at, const struct transport_key *key)
{
	if (key == NULL)
		return at;
	struct handover_key *to = (struct handover_key *)(void *)at;
	*to = (struct handover_key){
		.born = key->born,
		.receiver = key->receiver,
		.dialect = transport_key_is_own(key) ? HANDOVER_OWN : HANDOVER_WIREGUARD,
		.suite = (uint8_t)key->aead->suite,
		.epoch = key->epoch,
		.awake = transport_key_is_live(key),
		.capabilities = key->peer_capabilities,
		.initiated = key->initiated,
	};
	handover_write_counters(&to->counters, key);
	memcpy(to->seal_key, key->seal.key, sizeof to->seal_key);
	memcpy(to->open_key, key->open.key, sizeof to->open_key);
	memcpy(to->seal_iv, key->seal.iv, sizeof to->seal_iv);
	memcpy(to->open_iv, key->open.iv, sizeof to->open_iv);
	at += sizeof *to;
	if (!to->awake)
		return at;
	struct handover_window *windows = (struct handover_window *)(void *)at;
	write_window(&windows[0], &key->live->replay);
	write_window(&windows[1], &key->live->replay_sparse);
	return at + WINDOWS * sizeof *windows;
}

static void write_fields(struct handover_session *to, const struct session *session)
{
	to->id = session->id;
	to->replaces = session->replaces;
	to->pool_index = session->pool_index;
	to->order = session->order;
	to->keepalive = session->keepalive;
	to->next_mtu = session->next_mtu;
	to->born = session->born;
	to->next_born = session->next_born;
	handover_write_endpoint(&to->next_from, &session->next_from);
	/* Zero is no peer's key: the session of one that was removed is not made anew, even if its key came back. */
	if (!atomic_load_explicit(&session->peer->removed, memory_order_relaxed))
		memcpy(to->peer, session->peer->public_key, sizeof to->peer);
	handover_write_moving(&to->moving, session);
}

void handover_put_session(struct handover_writer *writer, const struct session *session)
{
	size_t size = sizeof(struct handover_session) + key_size(session->current) + key_size(session->previous) +
		      key_size(session->next);
	struct handover_session *to = handover_put(writer, HANDOVER_SESSION, size);
	if (to == NULL)
		return;
	write_fields(to, session);
	uint8_t *at = write_key((uint8_t *)(to + 1), session->current);
	at = write_key(at, session->previous);
	(void)write_key(at, session->next);
}

/* --- checking ----------------------------------------------------------------------------------------------------- */

/* The key behind `*at`, which moves on; NULL: it does not fit, or is none. `left` is what remains of the record. */
static const struct handover_key *next_key(const uint8_t **at, size_t *left, uint64_t now)
{
	const struct handover_key *key = (const struct handover_key *)(const void *)*at;
	size_t size = sizeof *key;
	if (*left < size || key->awake > 1 || key->initiated > 1)
		return NULL;
	size += key->awake ? WINDOWS * sizeof(struct handover_window) : 0;
	if (*left < size)
		return NULL;
	bool suite = key->dialect == HANDOVER_WIREGUARD
			     ? key->suite == AEAD_WIREGUARD
			     : key->dialect == HANDOVER_OWN && key->suite >= AEAD_SUITE_FIRST &&
				       key->suite <= AEAD_SUITE_LAST;
	const struct handover_window *windows = (const struct handover_window *)(const void *)(key + 1);
	if (!suite || key->epoch == 0 || key->epoch > WIRE_EPOCH_MAX || !handover_counters_valid(&key->counters, now) ||
	    (key->awake && (windows[0].next > REPLAY_COUNTER_LIMIT || windows[1].next > REPLAY_COUNTER_LIMIT)) ||
	    key->born > now)
		return NULL;
	*at += size;
	*left -= size;
	return key;
}

/* All of one dialect, and no epoch twice: it says which key a message is for. */
static bool keys_valid(const struct handover_session *record, uint64_t now)
{
	const uint8_t *at = (const uint8_t *)(record + 1);
	size_t left = record->record.size - sizeof *record;
	unsigned epochs = 0, dialects = 0;
	for (unsigned bit = HANDOVER_CURRENT; bit <= HANDOVER_NEXT; bit <<= 1) {
		if ((record->moving.keys & bit) == 0)
			continue;
		const struct handover_key *key = next_key(&at, &left, now);
		if (key == NULL || (epochs & 1u << key->epoch) != 0)
			return false;
		epochs |= 1u << key->epoch;
		dialects |= 1u << key->dialect;
	}
	return left == 0 && (dialects & (dialects - 1)) == 0;
}

bool handover_session_valid(const struct handover_session *record, uint64_t now)
{
	return record->record.size >= sizeof *record && record->id != 0 && (record->id & ~WIRE_SESSION_ID_MASK) == 0 &&
	       (record->replaces & ~WIRE_SESSION_ID_MASK) == 0 && record->born <= now && record->next_born <= now &&
	       (record->next_mtu == 0 || record->next_mtu >= WIRE_MTU_MIN) &&
	       handover_endpoint_valid(&record->next_from) && handover_moving_valid(&record->moving, now) &&
	       keys_valid(record, now);
}

enum handover_dialect handover_session_dialect(const struct handover_session *record)
{
	const struct handover_key *key = (const struct handover_key *)(const void *)(record + 1);
	return record->moving.keys != 0 ? (enum handover_dialect)key->dialect : 0;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static void read_fields(struct session *session, const struct handover_session *from)
{
	session->replaces = from->replaces;
	session->pool_index = from->pool_index;
	session->order = from->order;
	session->keepalive = from->keepalive;
	session->next_mtu = from->next_mtu;
	session->next_born = from->next_born;
	handover_read_endpoint(&session->next_from, &from->next_from);
}

static void read_window(struct replay_window *to, const struct handover_window *from)
{
	to->next = from->next;
	memcpy(to->bitmap, from->bitmap, sizeof to->bitmap);
}

static int make_key(const struct handover_key *from, const struct aead_engine *engine, struct transport_key **made)
{
	const struct dialect *dialect = from->dialect == HANDOVER_OWN ? &dialect_own : &dialect_wireguard;
	bool offered = (dialect == &dialect_own ? aead_engine_suite(engine, from->suite)
						: aead_engine_wireguard(engine)) != NULL;
	struct transport_key *key = transport_key_blank(engine, dialect, from->suite, from->epoch, from->born);
	*made = key;
	if (key == NULL)
		return offered ? -ENOMEM : -ENOTSUP;
	handover_read_counters(key, &from->counters);
	key->receiver = from->receiver;
	key->peer_capabilities = from->capabilities;
	key->initiated = from->initiated;
	memcpy(key->seal.key, from->seal_key, sizeof key->seal.key);
	memcpy(key->open.key, from->open_key, sizeof key->open.key);
	memcpy(key->seal.iv, from->seal_iv, sizeof key->seal.iv);
	memcpy(key->open.iv, from->open_iv, sizeof key->open.iv);
	if (!from->awake)
		return 0;
	const struct handover_window *windows = (const struct handover_window *)(const void *)(from + 1);
	if (transport_key_wake(engine, key)) { /* without memory it sleeps, and `seen` counts */
		read_window(&key->live->replay, &windows[0]);
		read_window(&key->live->replay_sparse, &windows[1]);
	}
	return 0;
}

struct session *handover_session_make(const struct handover_session *record, const struct aead_engine *engine,
				      struct peer *peer, int *result)
{
	struct session *session = session_new(record->id, record->born);
	*result = session != NULL ? 0 : -ENOMEM;
	if (session == NULL)
		return NULL;
	read_fields(session, record);
	session->peer = peer;
	struct transport_key **keys[] = {&session->current, &session->previous, &session->next};
	const struct handover_key *from = (const struct handover_key *)(const void *)(record + 1);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if ((record->moving.keys & 1u << i) == 0)
			continue;
		*result = make_key(from, engine, keys[i]);
		if (*result != 0) {
			session_free(session);
			return NULL;
		}
		size_t size = sizeof *from + (from->awake ? WINDOWS * sizeof(struct handover_window) : 0);
		from = (const struct handover_key *)(const void *)((const uint8_t *)from + size);
	}
	session_show_keys(session);
	handover_read_moving(session, &record->moving);
	return session;
}
