// SPDX-License-Identifier: Apache-2.0
/* UDP -> TUN, one datagram's way from top to bottom. Nothing that it says has an effect before its tag was verified:
 *
 *   uplink_trains     walks the datagrams of messages that intake.c received, writes what became of them
 *   uplink_copies     the same for what others received for us
 *   uplink_datagram   protocol (ours or WireGuard's), length, version, type
 *   uplink_transport  session, key; datagrams of one key are collected. Compiled once for each protocol
 *   uplink_open       opens what was collected, in place
 *   uplink_deliver    tag, replay window, confirmation, endpoint, then by type
 *   uplink_data       inner packet: shape, source and destination, ECN; then to the coalescer
 *
 * What differs between the protocols is in core/protocol/dialect.h. A session's keys are of one for good.
 *
 * Each way out is one drop reason, counted once. */
#include "workers/uplink.h"

#include <stdlib.h>

#include "core/base/hot.h"
#include "core/protocol/messages.h"
#include "tun/ecn.h"
#include "tun/mss.h"
#include "workers/worker.h"

enum {
	UPLINK_COPIES = 64, /* a turn */
	UPLINK_OPEN = 16, /* opened together: what was opened is still in the first-level cache when it is looked at */
};

/* Datagrams of one key, waiting to be opened. */
struct uplink {
	uint64_t names; /* message_head_names() of them; 0: none */
	struct session *session;
	struct transport_key *key;
	size_t count;
	struct aead_op ops[UPLINK_OPEN];
	uint8_t *messages[UPLINK_OPEN];
	const struct udp_message *trains[UPLINK_OPEN]; /* where each came from */
};

int uplink_init(struct worker *worker)
{
	worker->uplink = calloc(1, sizeof *worker->uplink);
	return worker->uplink != NULL ? 0 : -ENOMEM;
}

void uplink_deinit(struct worker *worker)
{
	free(worker->uplink);
}

/* Bytes of the IP packet, without the virtio-net header. */
static uint64_t frame_bytes(const struct tun_frame *frame)
{
	uint64_t bytes = 0;
	for (int i = 1; i < frame->iov_count; i++)
		bytes += frame->iov[i].iov_len;
	return bytes;
}

HOT static void write_frames(struct worker *worker)
{
	size_t count;
	const struct tun_frame *frames = coalescer_frames(worker->coalescer, &count);
	stage_skip(&worker->loop.stages);
	for (size_t i = 0; i < count; i++) {
		int result = worker->tun->ops->write(worker->tun, &frames[i]);
		stage_lap(&worker->loop.stages, STAGE_TUN_WRITE);
		if (unlikely(result != 0)) {
			stats_drop(&worker->loop.stats, DROP_TUN_WRITE, frames[i].packets);
			continue;
		}
		stats_add(&worker->loop.stats, tun_tx_frames, 1);
		stats_add(&worker->loop.stats, tun_tx_packets, frames[i].packets);
		stats_add(&worker->loop.stats, tun_tx_bytes, frame_bytes(&frames[i]));
	}
	coalescer_reset(worker->coalescer);
}

HOT static void pass_on(struct worker *worker, struct session *session, const struct inner *inner)
{
	session_count(&session->view.rx_packets, 1);
	session_count(&session->view.rx_bytes, inner->length);
	if (unlikely(!coalescer_add(worker->coalescer, inner))) {
		write_frames(worker);
		(void)coalescer_add(worker->coalescer, inner); /* an empty one takes any packet */
	}
	stage_lap(&worker->loop.stages, STAGE_COALESCE);
}

size_t uplink_release(struct worker *worker, struct session *session, struct shaper *shaper)
{
	struct shaper_packet *packet;
	bool congested;
	size_t count = 0;
	for (; limits_quota_allows(worker, session->limits) &&
	       (packet = shaper_next(shaper, worker->now, &congested)) != NULL;
	     count++) {
		struct inner inner;
		/* Marked, where its sender understands that. */
		bool passes = inner_parse(&inner, packet->data, packet->length) &&
			      (!congested || ecn_decapsulate(&inner, ECN_CE));
		if (passes) {
			limits_count(session->limits, inner.length);
			pass_on(worker, session, &inner);
		} else {
			stats_drop(&worker->loop.stats, DROP_LIMIT_UP, 1);
		}
		shaper_release(shaper, &worker->limits.pool, worker->now, passes);
	}
	return count;
}

void uplink_flush(struct worker *worker)
{
	write_frames(worker);
}

/* WireGuard's, without a packet in it: that it came is all that it says. Our DATA is never empty. */
static enum drop_reason uplink_empty(struct worker *worker)
{
	wire_count_received(&worker->loop.stats, WIRE_KEEPALIVE);
	return DROP_NONE;
}

static enum drop_reason uplink_data(struct worker *worker, struct session *session, const struct transport_key *key,
				    uint8_t *packet, uint32_t length, uint8_t outer_ecn)
{
	struct inner inner;
	bool good = transport_key_is_own(key) ? inner_parse(&inner, packet, length)
					      : inner_parse_padded(&inner, packet, length);
	if (unlikely(!good))
		return length != 0 ? DROP_INNER_MALFORMED : uplink_empty(worker);
	enum drop_reason reason = worker->role->admit(worker, session, &inner);
	if (unlikely(reason != DROP_NONE))
		return reason;
	if (unlikely(!ecn_decapsulate(&inner, outer_ecn)))
		return DROP_ECN;

	session->data_moved = worker->now;
	if (session->keepalive_owed_since == 0) {
		session->keepalive_owed_since = worker->now;
		worker_set_timer_before(worker, session, worker->now + SESSION_KEEPALIVE_NS);
	}
	(void)mss_clamp(&inner, session->mtu, false);
	stage_lap(&worker->loop.stages, STAGE_REPLAY);
	struct session_limits *limits = session->limits;
	if (unlikely(limits != NULL)) {
		if (!limits_pass(worker, limits, &limits->up, 0, packet, inner.length))
			return DROP_NONE;
		limits_count(limits, inner.length);
	}
	pass_on(worker, session, &inner);
	return DROP_NONE;
}

/* Only a packet under the newest confirmed key, with a counter above all before, moves the endpoint. What comes from
 * one that is not proven yet is credit for what may be sent there. */
static void follow_endpoint(struct worker *worker, struct session *session, const struct transport_key *key,
			    enum replay_verdict verdict, const struct endpoint *from, uint32_t bytes)
{
	bool elsewhere = !endpoint_equal(&session->endpoint, from);
	if (unlikely(elsewhere) && key == session->current && verdict == REPLAY_FRESH)
		worker->role->moved(worker, session, from, bytes);
	else if (unlikely(session->path_deadline != 0) && !elsewhere)
		session->path_credit += SESSION_PATH_FACTOR * bytes;
}

static enum drop_reason uplink_control(struct worker *worker, struct session *session, enum wire_type type,
				       const uint8_t *payload, uint32_t length, const struct endpoint *from)
{
	worker_control *take = worker->role->control[type];
	if (take == NULL)
		return DROP_TYPE;
	take(worker, session, payload, length, from);
	wire_count_received(&worker->loop.stats, type);
	return DROP_NONE;
}

static enum drop_reason uplink_deliver(struct worker *worker, const struct uplink *opening, size_t i)
{
	struct session *session = opening->session;
	struct transport_key *key = opening->key;
	const struct aead_op *op = &opening->ops[i];
	owner_check(&session->owner, "session");
	if (unlikely(!op->authentic))
		return DROP_FORGED;
	enum replay_verdict verdict = transport_accept(worker->aead, key, op);
	if (unlikely(verdict == REPLAY_REJECT))
		return DROP_REPLAY;

	const struct endpoint *from = &opening->trains[i]->endpoint;
	uint32_t bytes = op->length + key->dialect->overhead;
	key->opened++;
	if (unlikely(key->first_opened == 0)) {
		key->first_opened = worker->now;
		worker->role->confirmed(worker, session, key, from, bytes);
	} else {
		follow_endpoint(worker, session, key, verdict, from, bytes);
	}
	session->received = worker->now;
	session->awaiting_reply_since = 0;
	atomic_store_explicit(&session->view.received, worker->now, memory_order_relaxed);

	enum wire_type type = (enum wire_type)wire_type(opening->messages[i]);
	if (likely(wire_is_data(type)))
		return uplink_data(worker, session, key, op->output, op->length, opening->trains[i]->ecn);
	return uplink_control(worker, session, type, op->output, op->length, from);
}

HOT static void uplink_open(struct worker *worker)
{
	struct uplink *opening = worker->uplink;
	if (opening->count == 0)
		return;
	stage_lap_many(&worker->loop.stages, STAGE_LOOKUP, (uint32_t)opening->count);
	transport_open(worker->aead, opening->key, opening->ops, opening->count);
	stage_lap_many(&worker->loop.stages, STAGE_OPEN, (uint32_t)opening->count);

	bool ended = false;
	for (size_t i = 0; i < opening->count; i++) {
		enum drop_reason reason = ended ? DROP_SESSION : uplink_deliver(worker, opening, i);
		if (unlikely(reason != DROP_NONE))
			stats_drop(&worker->loop.stats, reason, 1);
		if (unlikely(wire_type(opening->messages[i]) == WIRE_BYE))
			ended = session_table_find(worker->table, opening->session->id) != opening->session;
	}
	opening->count = 0;
	if (unlikely(ended))
		opening->names = 0;
	stage_skip(&worker->loop.stages);
}

/* Whether another worker owns the session: a GRO batch is steered by its first datagram alone. */
static bool foreign(const struct worker *worker, uint32_t session_id)
{
	return worker->handoff != NULL && session_shard(&worker->table->sharding, session_id) != worker->index;
}

/* A message may overtake the keys that it needs: what waits in the inbox is looked at before we say no. */
HOT static struct session *find_session(struct worker *worker, const struct message_head *head,
					struct transport_key **key)
{
	for (;;) {
		struct session *session = session_table_find(worker->table, head->session_id);
		*key = session != NULL ? session_key(session, head->epoch) : NULL;
		if (likely(*key != NULL) || worker_read_inbox(worker) == 0)
			return session;
	}
}

/* `dialect` is a constant to each caller. */
static ALWAYS_INLINE enum drop_reason uplink_transport(struct worker *worker, const struct udp_message *train,
						       uint8_t *message, uint32_t length, const struct dialect *dialect)
{
	struct uplink *opening = worker->uplink;
	struct message_head head;
	message_head_read(&head, dialect, message);
	uint64_t names = message_head_names(&head, dialect);
	if (opening->count == UPLINK_OPEN || opening->names != names) {
		struct transport_key *key;
		uplink_open(worker);
		opening->names = 0;
		if (unlikely(foreign(worker, head.session_id)))
			return handoff_pass(worker->handoff, &train->endpoint, train->ecn, message, length,
					    &worker->loop.stats);
		struct session *session = find_session(worker, &head, &key);
		if (unlikely(session == NULL)) {
			bool answers = dialect == &dialect_own && (wire_messages[head.type].flags & WIRE_RESETS) != 0;
			return worker->role->unknown_session(worker, head.session_id,
							     answers ? &train->endpoint : NULL);
		}
		if (unlikely(key == NULL))
			return DROP_EPOCH;
		if (unlikely(key->dialect != dialect))
			return DROP_PROTOCOL;
		opening->names = names;
		opening->session = session;
		opening->key = key;
	}
	transport_open_op(&opening->ops[opening->count], &head, message, length);
	opening->messages[opening->count] = message;
	opening->trains[opening->count] = train;
	opening->count++;
	return DROP_NONE;
}

static enum drop_reason uplink_handshake(struct worker *worker, const struct udp_message *train, const uint8_t *message,
					 uint32_t length)
{
	/* It may change or end the session that datagrams are collected for. */
	uplink_open(worker);
	worker->uplink->names = 0;

	struct datagram datagram = {.data = message, .length = length, .ecn = train->ecn, .from = &train->endpoint};
	enum drop_reason reason = worker->role->handshake(worker, &datagram);
	stage_lap(&worker->loop.stages, STAGE_HANDSHAKE);
	return reason;
}

HOT static enum drop_reason uplink_datagram(struct worker *worker, const struct udp_message *train, uint8_t *message,
					    uint32_t length)
{
	bool wireguard = message_is_wireguard(message);
	struct wire_verdict verdict = message_classify(worker->role->side, message, length);
	if (unlikely(verdict.reason != DROP_NONE))
		return verdict.reason;
	if (unlikely(!wire_is_transport(verdict.class)))
		return uplink_handshake(worker, train, message, length);
	if (unlikely(wireguard))
		return uplink_transport(worker, train, message, length, &dialect_wireguard);
	return uplink_transport(worker, train, message, length, &dialect_own);
}

/* Datagrams that another thread received for this one, and counted. They stay in the ring until they are written. */
HOT size_t uplink_copies(struct worker *worker)
{
	const struct udp_message *copy;
	uint32_t count = 0;
	worker->uplink->names = 0;
	for (;
	     worker->copies != NULL && count < UPLINK_COPIES && (copy = copy_ring_peek(worker->copies, count)) != NULL;
	     count++) {
		enum drop_reason reason = uplink_datagram(worker, copy, copy->data, copy->length);
		if (reason != DROP_NONE)
			stats_drop(&worker->loop.stats, reason, 1);
	}
	if (count == 0)
		return 0;
	uplink_open(worker);
	write_frames(worker);
	copy_ring_pop(worker->copies, count);
	return count;
}

/* Returns the number of datagrams. */
static uint32_t uplink_train(struct worker *worker, const struct udp_message *train)
{
	struct udp_datagrams datagrams = udp_datagrams(train);
	while (udp_datagrams_next(&datagrams)) {
		enum drop_reason reason = unlikely(train->truncated)
						  ? DROP_TRUNCATED
						  : uplink_datagram(worker, train, datagrams.data, datagrams.length);
		if (unlikely(reason != DROP_NONE))
			stats_drop(&worker->loop.stats, reason, 1);
	}
	stats_add(&worker->loop.stats, udp_rx_packets, datagrams.count);
	stats_add(&worker->loop.stats, udp_rx_bytes, train->length);
	return datagrams.count;
}

HOT uint32_t uplink_trains(struct worker *worker, const struct udp_message *messages, size_t count)
{
	uint32_t datagrams = 0;
	worker->uplink->count = 0;
	worker->uplink->names = 0;
	for (size_t i = 0; i < count; i++)
		datagrams += uplink_train(worker, &messages[i]);
	uplink_open(worker);
	write_frames(worker);
	return datagrams;
}
