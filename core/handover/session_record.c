// SPDX-License-Identifier: Apache-2.0
#include "core/handover/session_record.h"

#include "core/sessions/session.h"

_Static_assert((int)HANDOVER_GAP < (int)REPLAY_WINDOW, "packets on their way are not lost to the window");

enum { WINDOWS = 2 /* of a key that is awake */ };

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void write_endpoint(struct handover_endpoint *to, const struct endpoint *from)
{
	memcpy(to->remote, &from->remote.sin6_addr, sizeof to->remote);
	memcpy(to->local, &from->local, sizeof to->local);
	to->scope = from->remote.sin6_scope_id;
	to->port = from->remote.sin6_port;
	to->family = from->remote.sin6_family;
}

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

/* All counters below it were seen, or have to count as seen. */
static uint64_t seen(const struct transport_key *key)
{
	const struct transport_state *live = key->live;
	if (live == NULL)
		return key->seen;
	return live->replay.next > live->replay_sparse.next ? live->replay.next : live->replay_sparse.next;
}

static uint8_t *write_key(uint8_t *at, const struct transport_key *key)
{
	if (key == NULL)
		return at;
	struct handover_key *to = (struct handover_key *)(void *)at;
	*to = (struct handover_key){
		.send_counter = key->send_counter,
		.opened = key->opened,
		.first_opened = key->first_opened,
		.seen = seen(key),
		.born = key->born,
		.receiver = key->receiver,
		.dialect = transport_key_is_own(key) ? HANDOVER_OWN : HANDOVER_WIREGUARD,
		.suite = (uint8_t)key->aead->suite,
		.epoch = key->epoch,
		.awake = transport_key_is_live(key),
		.capabilities = key->peer_capabilities,
		.initiated = key->initiated,
	};
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

static uint64_t word(const _Atomic uint64_t *from)
{
	return atomic_load_explicit(from, memory_order_relaxed);
}

static void write_fields(struct handover_session *to, const struct session *session)
{
	const struct session_view *view = &session->view;
	to->id = session->id;
	to->replaces = session->replaces;
	to->pool_index = session->pool_index;
	to->order = session->order;
	to->rekeys = atomic_load_explicit(&view->rekeys, memory_order_relaxed);
	to->roams = atomic_load_explicit(&view->roams, memory_order_relaxed);
	to->keepalive = session->keepalive;
	to->mtu = session->mtu;
	to->next_mtu = session->next_mtu;
	to->state = session_is_active(session) ? SESSION_ACTIVE : SESSION_PENDING;
	to->born = session->born;
	to->received = session->received;
	to->sent = session->sent;
	to->data_moved = session->data_moved;
	to->keyed = word(&view->keyed);
	to->connected = word(&view->connected);
	to->next_born = session->next_born;
	to->awaiting_reply_since = session->awaiting_reply_since;
	to->keepalive_owed_since = session->keepalive_owed_since;
	to->path_deadline = session->path_deadline;
	to->path_credit = session->path_credit;
	to->path_nonce = session->path_nonce;
	to->rx_packets = word(&view->rx_packets);
	to->rx_bytes = word(&view->rx_bytes);
	to->tx_packets = word(&view->tx_packets);
	to->tx_bytes = word(&view->tx_bytes);
	struct limits_ready ready = limits_ready(session);
	to->up_ready = ready.up;
	to->down_ready = ready.down;
	write_endpoint(&to->endpoint, &session->endpoint);
	write_endpoint(&to->proven, &session->proven);
	write_endpoint(&to->next_from, &session->next_from);
	/* Zero is no peer's key: the session of one that was removed is not made anew, even if its key came back. */
	if (!atomic_load_explicit(&session->peer->removed, memory_order_relaxed))
		memcpy(to->peer, session->peer->public_key, sizeof to->peer);
	memcpy(to->path_key, session->path_key, sizeof to->path_key);
}

void handover_put_session(struct handover_writer *writer, const struct session *session)
{
	size_t size = sizeof(struct handover_session) + key_size(session->current) + key_size(session->previous) +
		      key_size(session->next);
	struct handover_session *to = handover_put(writer, HANDOVER_SESSION, size);
	if (to == NULL)
		return;
	write_fields(to, session);
	to->keys = (uint8_t)((session->current != NULL ? HANDOVER_CURRENT : 0) |
			     (session->previous != NULL ? HANDOVER_PREVIOUS : 0) |
			     (session->next != NULL ? HANDOVER_NEXT : 0));
	uint8_t *at = write_key((uint8_t *)(to + 1), session->current);
	at = write_key(at, session->previous);
	(void)write_key(at, session->next);
}

/* --- checking ----------------------------------------------------------------------------------------------------- */

static bool endpoint_valid(const struct handover_endpoint *endpoint)
{
	return endpoint->family == AF_INET6 || endpoint->family == AF_UNSPEC;
}

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
	if (!suite || key->epoch == 0 || key->epoch > WIRE_EPOCH_MAX || key->send_counter > TRANSPORT_COUNTER_LIMIT ||
	    key->seen > REPLAY_COUNTER_LIMIT ||
	    (key->awake && (windows[0].next > REPLAY_COUNTER_LIMIT || windows[1].next > REPLAY_COUNTER_LIMIT)) ||
	    key->born > now || key->first_opened > now)
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
		if ((record->keys & bit) == 0)
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
	if (record->record.size < sizeof *record || record->keys >= HANDOVER_NEXT << 1)
		return false;
	bool pending = record->state == SESSION_PENDING;
	const uint64_t past[] = {record->born,
				 record->received,
				 record->sent,
				 record->data_moved,
				 record->keyed,
				 record->connected,
				 record->next_born,
				 record->awaiting_reply_since,
				 record->keepalive_owed_since};
	for (size_t i = 0; i < ARRAY_SIZE(past); i++) {
		if (past[i] > now)
			return false;
	}
	return record->id != 0 && (record->id & ~WIRE_SESSION_ID_MASK) == 0 &&
	       (record->replaces & ~WIRE_SESSION_ID_MASK) == 0 && (pending || record->state == SESSION_ACTIVE) &&
	       (!pending || (record->keys & ~HANDOVER_NEXT) == 0) && record->mtu >= WIRE_MTU_MIN &&
	       (record->next_mtu == 0 || record->next_mtu >= WIRE_MTU_MIN) &&
	       (record->path_deadline == 0 || record->path_deadline <= now + SESSION_PATH_NS) &&
	       endpoint_valid(&record->endpoint) && endpoint_valid(&record->proven) &&
	       endpoint_valid(&record->next_from) && keys_valid(record, now);
}

enum handover_dialect handover_session_dialect(const struct handover_session *record)
{
	const struct handover_key *key = (const struct handover_key *)(const void *)(record + 1);
	return record->keys != 0 ? (enum handover_dialect)key->dialect : 0;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static void read_endpoint(struct endpoint *to, const struct handover_endpoint *from)
{
	to->remote = (struct sockaddr_in6){
		.sin6_family = from->family, .sin6_port = from->port, .sin6_scope_id = from->scope};
	memcpy(&to->remote.sin6_addr, from->remote, sizeof from->remote);
	memcpy(&to->local, from->local, sizeof from->local);
}

static void read_view(struct session_view *view, const struct handover_session *from)
{
	atomic_init(&view->state, from->state);
	atomic_init(&view->rekeys, from->rekeys);
	atomic_init(&view->roams, from->roams);
	atomic_init(&view->received, from->received);
	atomic_init(&view->keyed, from->keyed);
	atomic_init(&view->connected, from->connected);
	atomic_init(&view->rx_packets, from->rx_packets);
	atomic_init(&view->rx_bytes, from->rx_bytes);
	atomic_init(&view->tx_packets, from->tx_packets);
	atomic_init(&view->tx_bytes, from->tx_bytes);
}

static void read_fields(struct session *session, const struct handover_session *from)
{
	session->replaces = from->replaces;
	session->pool_index = from->pool_index;
	session->order = from->order;
	session->keepalive = from->keepalive;
	session->mtu = from->mtu;
	session->next_mtu = from->next_mtu;
	session->received = from->received;
	session->sent = from->sent;
	session->data_moved = from->data_moved;
	session->next_born = from->next_born;
	session->awaiting_reply_since = from->awaiting_reply_since;
	session->keepalive_owed_since = from->keepalive_owed_since;
	session->path_deadline = from->path_deadline;
	session->path_credit = from->path_credit;
	session->path_nonce = from->path_nonce;
	read_endpoint(&session->endpoint, &from->endpoint);
	read_endpoint(&session->proven, &from->proven);
	read_endpoint(&session->next_from, &from->next_from);
	memcpy(session->path_key, from->path_key, sizeof session->path_key);
	read_view(&session->view, from);
}

static void read_window(struct replay_window *to, const struct handover_window *from)
{
	to->next = from->next;
	memcpy(to->bitmap, from->bitmap, sizeof to->bitmap);
}

/* A key without room for the gap is spent: it seals nothing more. `counter` is at most the limit. */
static uint64_t after_gap(uint64_t counter)
{
	return counter < TRANSPORT_COUNTER_LIMIT - HANDOVER_GAP ? counter + HANDOVER_GAP : TRANSPORT_COUNTER_LIMIT;
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
	key->send_counter = after_gap(from->send_counter);
	key->opened = from->opened;
	key->first_opened = from->first_opened;
	key->seen = from->seen;
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
		if ((record->keys & 1u << i) == 0)
			continue;
		*result = make_key(from, engine, keys[i]);
		if (*result != 0) {
			session_free(session);
			return NULL;
		}
		size_t size = sizeof *from + (from->awake ? WINDOWS * sizeof(struct handover_window) : 0);
		from = (const struct handover_key *)(const void *)((const uint8_t *)from + size);
	}
	return session;
}
