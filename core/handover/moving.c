// SPDX-License-Identifier: Apache-2.0
#include "core/handover/moving.h"

#include "core/handover/session_record.h"

enum { WORD_BITS = 64, WORDS = HANDOVER_WINDOW_WORDS };

/* --- writing ------------------------------------------------------------------------------------------------------ */

void handover_write_endpoint(struct handover_endpoint *to, const struct endpoint *from)
{
	memcpy(to->remote, &from->remote.sin6_addr, sizeof to->remote);
	memcpy(to->local, &from->local, sizeof to->local);
	to->scope = from->remote.sin6_scope_id;
	to->port = from->remote.sin6_port;
	to->family = from->remote.sin6_family;
}

static uint64_t word(const _Atomic uint64_t *from)
{
	return atomic_load_explicit(from, memory_order_relaxed);
}

static unsigned keys_of(const struct session *session)
{
	return (session->current != NULL ? HANDOVER_CURRENT : 0u) |
	       (session->previous != NULL ? HANDOVER_PREVIOUS : 0u) | (session->next != NULL ? HANDOVER_NEXT : 0u);
}

void handover_write_moving(struct handover_moving *to, const struct session *session)
{
	const struct session_view *view = &session->view;
	struct limits_ready ready = limits_ready(session);
	*to = (struct handover_moving){
		.received = session->received,
		.sent = session->sent,
		.data_moved = session->data_moved,
		.keyed = word(&view->keyed),
		.connected = word(&view->connected),
		.awaiting_reply_since = session->awaiting_reply_since,
		.keepalive_owed_since = session->keepalive_owed_since,
		.path_deadline = session->path_deadline,
		.path_credit = session->path_credit,
		.path_nonce = session->path_nonce,
		.rx_packets = word(&view->rx_packets),
		.rx_bytes = word(&view->rx_bytes),
		.tx_packets = word(&view->tx_packets),
		.tx_bytes = word(&view->tx_bytes),
		.up_ready = ready.up,
		.down_ready = ready.down,
		.rekeys = atomic_load_explicit(&view->rekeys, memory_order_relaxed),
		.roams = atomic_load_explicit(&view->roams, memory_order_relaxed),
		.mtu = session->mtu,
		.state = session_is_active(session) ? SESSION_ACTIVE : SESSION_PENDING,
		.keys = (uint8_t)keys_of(session),
	};
	handover_write_endpoint(&to->endpoint, &session->endpoint);
	handover_write_endpoint(&to->proven, &session->proven);
	memcpy(to->path_key, session->path_key, sizeof to->path_key);
}

/* All counters below it were seen, or have to count as seen. */
static uint64_t seen(const struct transport_key *key)
{
	const struct transport_state *live = key->live;
	if (live == NULL)
		return key->seen;
	return live->replay.next > live->replay_sparse.next ? live->replay.next : live->replay_sparse.next;
}

void handover_write_counters(struct handover_counters *to, const struct transport_key *key)
{
	*to = (struct handover_counters){.send_counter = key->send_counter,
					 .opened = key->opened,
					 .first_opened = key->first_opened,
					 .seen = seen(key)};
}

static const struct transport_key *key_of(const struct session *session, unsigned number)
{
	const struct transport_key *const keys[HANDOVER_KEYS] = {session->current, session->previous, session->next};
	return keys[number];
}

static void trace_key(struct handover_traced_key *trace, const struct transport_key *key)
{
	trace->key = key;
	if (key == NULL)
		return;
	handover_write_counters(&trace->counters, key);
	trace->live = key->live;
	if (key->live == NULL)
		return;
	trace->next[0] = key->live->replay.next;
	trace->next[1] = key->live->replay_sparse.next;
}

void handover_trace(struct handover_trace *trace, const struct session *session)
{
	*trace = (struct handover_trace){.session = session, .id = session->id};
	handover_write_moving(&trace->moving, session);
	for (unsigned i = 0; i < HANDOVER_KEYS; i++) {
		trace_key(&trace->key[i], key_of(session, i));
		trace->keys += trace->key[i].key != NULL;
	}
}

size_t handover_moved_most(const struct handover_trace *trace)
{
	size_t windows = HANDOVER_WINDOWS * sizeof(struct handover_window);
	return sizeof(struct handover_moved) + trace->keys * (sizeof(struct handover_moved_key) + windows);
}

/* The words that counters from `from` up to below `to` are in. */
struct span {
	uint64_t first, count;
};

static struct span span_of(uint64_t from, uint64_t to)
{
	uint64_t first = from / WORD_BITS;
	uint64_t count = to > from ? (to - 1) / WORD_BITS - first + 1 : 0;
	return count < WORDS ? (struct span){first, count} : (struct span){to / WORD_BITS, WORDS};
}

/* How many of these counters were accepted. */
static uint64_t accepted(const struct replay_window *window, const struct span *span, uint64_t from)
{
	uint64_t sum = 0;
	for (uint64_t i = 0; i < span->count; i++) {
		uint64_t bits = window->bitmap[(span->first + i) % WORDS];
		if (i == 0)
			bits &= ~0ull << from % WORD_BITS;
		sum += (unsigned)__builtin_popcountll(bits);
	}
	return sum;
}

/* A key that slept and woke has windows that begin at what it has seen, though it opened nothing. */
static bool windows_stood(const struct handover_traced_key *trace, const struct transport_key *key)
{
	return trace->live != NULL && key->opened == trace->counters.opened &&
	       key->live->replay.next == trace->next[0] && key->live->replay_sparse.next == trace->next[1];
}

/* Only what was accepted changes a window: a bit each. Where all of these are above what was accepted before, only
 * words from there on changed; else, and of a key that slept, it may be any. */
static void find_spans(const struct handover_traced_key *trace, const struct transport_key *key,
		       struct span spans[HANDOVER_WINDOWS])
{
	const struct replay_window *const windows[HANDOVER_WINDOWS] = {&key->live->replay, &key->live->replay_sparse};
	uint64_t opened = key->opened - trace->counters.opened, sum = 0;
	if (windows_stood(trace, key)) {
		spans[0].count = spans[1].count = 0;
		return;
	}
	for (unsigned i = 0; i < HANDOVER_WINDOWS; i++) {
		spans[i] = span_of(trace->next[i], windows[i]->next);
		sum += spans[i].count < WORDS ? accepted(windows[i], &spans[i], trace->next[i]) : 0;
	}
	if (trace->live == key->live && sum == opened)
		return;
	for (unsigned i = 0; i < HANDOVER_WINDOWS; i++)
		spans[i] = (struct span){0, WORDS};
}

static uint64_t *write_words(uint64_t *to, const struct replay_window *window, const struct span *span)
{
	for (uint64_t i = 0; i < span->count; i++)
		*to++ = window->bitmap[(span->first + i) % WORDS];
	return to;
}

/* NULL: it had not this key. */
static const struct handover_traced_key *traced(const struct handover_trace *trace, const struct transport_key *key)
{
	for (unsigned i = 0; i < HANDOVER_KEYS; i++) {
		if (trace->key[i].key == key)
			return &trace->key[i];
	}
	return NULL;
}

struct moved_key {
	const struct transport_key *key;
	const struct handover_traced_key *trace;
	struct span spans[HANDOVER_WINDOWS];
};

static size_t size_of(const struct moved_key *key)
{
	return sizeof(struct handover_moved_key) + (key->spans[0].count + key->spans[1].count) * sizeof(uint64_t);
}

static uint8_t *write_moved_key(uint8_t *at, const struct moved_key *from, const struct handover_trace *trace)
{
	struct handover_moved_key *to = (struct handover_moved_key *)(void *)at;
	const struct transport_state *live = from->key->live;
	handover_write_counters(&to->counters, from->key);
	to->was = (uint8_t)(from->trace - trace->key);
	to->awake = live != NULL;
	for (unsigned i = 0; i < HANDOVER_WINDOWS; i++) {
		to->first[i] = (uint16_t)(from->spans[i].first % WORDS);
		to->count[i] = (uint16_t)from->spans[i].count;
	}
	uint64_t *words = (uint64_t *)(void *)(to + 1);
	if (live == NULL)
		return (uint8_t *)words;
	to->next[0] = live->replay.next;
	to->next[1] = live->replay_sparse.next;
	words = write_words(words, &live->replay, &from->spans[0]);
	return (uint8_t *)write_words(words, &live->replay_sparse, &from->spans[1]);
}

/* Returns how many keys it has, or -EBUSY. `moved`: whether anything of them did. */
static int find_keys(const struct handover_trace *trace, struct moved_key keys[HANDOVER_KEYS], bool *moved)
{
	int count = 0;
	*moved = false;
	for (unsigned i = 0; i < HANDOVER_KEYS; i++) {
		const struct transport_key *key = key_of(trace->session, i);
		if (key == NULL)
			continue;
		const struct handover_traced_key *then = traced(trace, key);
		if (then == NULL)
			return -EBUSY;
		struct moved_key *to = &keys[count++];
		*to = (struct moved_key){.key = key, .trace = then};
		*moved |= then != &trace->key[i] || key->send_counter != then->counters.send_counter ||
			  key->opened != then->counters.opened;
		if (key->live != NULL)
			find_spans(then, key, to->spans);
	}
	return count;
}

void handover_put_moved(struct handover_writer *writer, const struct handover_trace *trace, uint32_t index)
{
	struct moved_key keys[HANDOVER_KEYS];
	struct handover_moving moving;
	bool moved;
	handover_write_moving(&moving, trace->session);
	int count = find_keys(trace, keys, &moved);
	if (count < 0) {
		writer->result = error_set(writer->error, count, "hand-over: session %08x has new keys: try again",
					   trace->id);
		return;
	}
	if (!moved && memcmp(&moving, &trace->moving, sizeof moving) == 0)
		return;
	size_t size = sizeof(struct handover_moved);
	for (int i = 0; i < count; i++)
		size += size_of(&keys[i]);
	struct handover_moved *to = handover_put(writer, HANDOVER_MOVED, size);
	if (to == NULL)
		return;
	to->index = index;
	to->id = trace->id;
	to->moving = moving;
	uint8_t *at = (uint8_t *)(to + 1);
	for (int i = 0; i < count; i++)
		at = write_moved_key(at, &keys[i], trace);
}

/* --- checking ----------------------------------------------------------------------------------------------------- */

bool handover_endpoint_valid(const struct handover_endpoint *endpoint)
{
	return endpoint->family == AF_INET6 || endpoint->family == AF_UNSPEC;
}

bool handover_moving_valid(const struct handover_moving *moving, uint64_t now)
{
	const uint64_t past[] = {moving->received,
				 moving->sent,
				 moving->data_moved,
				 moving->keyed,
				 moving->connected,
				 moving->awaiting_reply_since,
				 moving->keepalive_owed_since};
	for (size_t i = 0; i < ARRAY_SIZE(past); i++) {
		if (past[i] > now)
			return false;
	}
	bool pending = moving->state == SESSION_PENDING;
	return (pending || moving->state == SESSION_ACTIVE) && moving->keys < HANDOVER_NEXT << 1 &&
	       (!pending || (moving->keys & ~HANDOVER_NEXT) == 0) && moving->mtu >= WIRE_MTU_MIN &&
	       (moving->path_deadline == 0 || moving->path_deadline <= now + SESSION_PATH_NS) &&
	       handover_endpoint_valid(&moving->endpoint) && handover_endpoint_valid(&moving->proven);
}

bool handover_counters_valid(const struct handover_counters *counters, uint64_t now)
{
	return counters->send_counter <= TRANSPORT_COUNTER_LIMIT && counters->seen <= REPLAY_COUNTER_LIMIT &&
	       counters->first_opened <= now;
}

/* Bytes of the key, its words included; 0: it is none, or does not fit. */
static size_t moved_key_size(const struct handover_moved_key *key, size_t left, uint64_t now)
{
	if (left < sizeof *key || key->was >= HANDOVER_KEYS || key->awake > 1 ||
	    !handover_counters_valid(&key->counters, now))
		return 0;
	size_t size = sizeof *key;
	for (unsigned i = 0; i < HANDOVER_WINDOWS; i++) {
		if (key->first[i] >= WORDS || key->count[i] > WORDS || (!key->awake && key->count[i] != 0) ||
		    key->next[i] > REPLAY_COUNTER_LIMIT)
			return 0;
		size += key->count[i] * sizeof(uint64_t);
	}
	return size <= left ? size : 0;
}

bool handover_moved_valid(const struct handover_moved *record, uint64_t now)
{
	if (record->record.size < sizeof *record || !handover_moving_valid(&record->moving, now))
		return false;
	const uint8_t *at = (const uint8_t *)(record + 1);
	size_t left = record->record.size - sizeof *record;
	unsigned were = 0;
	for (unsigned bit = HANDOVER_CURRENT; bit <= HANDOVER_NEXT; bit <<= 1) {
		if ((record->moving.keys & bit) == 0)
			continue;
		const struct handover_moved_key *key = (const struct handover_moved_key *)(const void *)at;
		size_t size = moved_key_size(key, left, now);
		if (size == 0 || (were & 1u << key->was) != 0)
			return false;
		were |= 1u << key->was;
		at += size;
		left -= size;
	}
	return left == 0;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

void handover_read_endpoint(struct endpoint *to, const struct handover_endpoint *from)
{
	to->remote = (struct sockaddr_in6){
		.sin6_family = from->family, .sin6_port = from->port, .sin6_scope_id = from->scope};
	memcpy(&to->remote.sin6_addr, from->remote, sizeof from->remote);
	memcpy(&to->local, from->local, sizeof from->local);
}

static void set(_Atomic uint64_t *to, uint64_t value)
{
	atomic_store_explicit(to, value, memory_order_relaxed);
}

static void read_view(struct session_view *view, const struct handover_moving *from)
{
	if (from->state == SESSION_ACTIVE) /* once confirmed it stays so */
		atomic_store_explicit(&view->state, SESSION_ACTIVE, memory_order_release);
	atomic_store_explicit(&view->rekeys, from->rekeys, memory_order_relaxed);
	atomic_store_explicit(&view->roams, from->roams, memory_order_relaxed);
	set(&view->received, from->received);
	set(&view->keyed, from->keyed);
	set(&view->connected, from->connected);
	set(&view->rx_packets, from->rx_packets);
	set(&view->rx_bytes, from->rx_bytes);
	set(&view->tx_packets, from->tx_packets);
	set(&view->tx_bytes, from->tx_bytes);
}

void handover_read_moving(struct session *session, const struct handover_moving *from)
{
	session->mtu = from->mtu;
	session->received = from->received;
	session->sent = from->sent;
	session->data_moved = from->data_moved;
	session->awaiting_reply_since = from->awaiting_reply_since;
	session->keepalive_owed_since = from->keepalive_owed_since;
	session->path_deadline = from->path_deadline;
	session->path_credit = from->path_credit;
	session->path_nonce = from->path_nonce;
	handover_read_endpoint(&session->endpoint, &from->endpoint);
	handover_read_endpoint(&session->proven, &from->proven);
	memcpy(session->path_key, from->path_key, sizeof session->path_key);
	read_view(&session->view, from);
}

/* A key without room for the gap is spent: it seals nothing more. `counter` is at most the limit. */
static uint64_t after_gap(uint64_t counter)
{
	return counter < TRANSPORT_COUNTER_LIMIT - HANDOVER_GAP ? counter + HANDOVER_GAP : TRANSPORT_COUNTER_LIMIT;
}

void handover_read_counters(struct transport_key *key, const struct handover_counters *from)
{
	key->send_counter = after_gap(from->send_counter);
	key->opened = from->opened;
	key->first_opened = from->first_opened;
	key->seen = from->seen;
}

static const uint64_t *read_words(struct replay_window *to, const uint64_t *words, const struct handover_moved_key *key,
				  unsigned number)
{
	to->next = key->next[number];
	for (unsigned i = 0; i < key->count[number]; i++)
		to->bitmap[(key->first[number] + i) % WORDS] = words[i];
	return words + key->count[number];
}

/* One that went to sleep since may have moved before. Without memory for one that woke, what it has seen counts. */
static void read_key(struct transport_key *key, const struct handover_moved_key *from, const struct aead_engine *engine)
{
	if (!from->awake)
		transport_key_hibernate(key);
	handover_read_counters(key, &from->counters);
	if (!from->awake || !transport_key_wake(engine, key))
		return;
	const uint64_t *words = (const uint64_t *)(const void *)(from + 1);
	words = read_words(&key->live->replay, words, from, 0);
	(void)read_words(&key->live->replay_sparse, words, from, 1);
}

void handover_read_moved(struct session *session, const struct handover_moved *record, const struct aead_engine *engine)
{
	struct transport_key **keys[HANDOVER_KEYS] = {&session->current, &session->previous, &session->next};
	struct transport_key *had[HANDOVER_KEYS] = {session->current, session->previous, session->next};
	const uint8_t *at = (const uint8_t *)(record + 1);
	for (unsigned i = 0; i < HANDOVER_KEYS; i++) {
		*keys[i] = NULL;
		if ((record->moving.keys & 1u << i) == 0)
			continue;
		const struct handover_moved_key *from = (const struct handover_moved_key *)(const void *)at;
		*keys[i] = had[from->was];
		had[from->was] = NULL;
		if (*keys[i] != NULL)
			read_key(*keys[i], from, engine);
		at += sizeof *from + (from->count[0] + from->count[1]) * sizeof(uint64_t);
	}
	for (unsigned i = 0; i < HANDOVER_KEYS; i++)
		transport_key_free(had[i]);
	session_show_keys(session);
	handover_read_moving(session, &record->moving);
	limits_set_ready(session, &(struct limits_ready){record->moving.up_ready, record->moving.down_ready});
}
