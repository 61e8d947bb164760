// SPDX-License-Identifier: Apache-2.0
#include "workers/gateway_role.h"

#include "core/base/hot.h"
#include "workers/endpoint_loop.h"
#include "workers/gateway_events.h"
#include "workers/gateway_fence.h"
#include "workers/gateway_path.h"
#include "workers/gateway_timers.h"
#include "workers/initiator.h"

enum { GATEWAY_BYES_AT_ONCE = 64 };

void gateway_role_limits(struct gateway_role *role, unsigned share)
{
	uint32_t buckets = SHARED_LIMITER_BUCKETS;
	while (buckets > 1 && buckets * share > SHARED_LIMITER_BUCKETS)
		buckets /= 2;
	shared_limiter_init(&role->resets, buckets, token_rate_make(GATEWAY_RESET_RATE, GATEWAY_RESET_RATE));
}

static struct gateway_role *gateway(struct worker *worker)
{
	return worker->role_state;
}

static void bump(_Atomic uint32_t *gauge, int by)
{
	uint32_t value = atomic_load_explicit(gauge, memory_order_relaxed);
	atomic_store_explicit(gauge, (uint32_t)((int)value + by), memory_order_relaxed);
}

static void count_active(struct gateway_role *role, const struct session *session, int by)
{
	bump(&role->active, by);
	if (peer_protocol(session->peer) == PEER_WIREGUARD)
		bump(&role->wireguard, by);
}

/* --- end of sessions ---------------------------------------------------------------------------------------------- */

static void say_bye(struct worker *worker, struct session *session, enum wire_bye_reason reason)
{
	uint8_t payload = (uint8_t)reason;
	gateway_path_go_back(session);
	(void)worker_send_control(worker, session, WIRE_BYE, &payload, sizeof payload);
}

static void end_session(struct worker *worker, struct session *session, const char *why)
{
	struct gateway_role *role = gateway(worker);
	if (session_is_active(session)) {
		gateway_tell_disconnect(worker, session, why);
		registry_detach(role->registry, session);
		count_active(role, session, -1);
		stats_add(&worker->loop.stats, sessions_ended, 1);
	} else {
		bump(&role->pending, -1);
		registry_detach(role->registry, session); /* it may have stood */
	}
	worker_end_session(worker, session);
}

static void end_with_bye(struct worker *worker, struct session *session, enum wire_bye_reason reason)
{
	if (session_is_active(session))
		say_bye(worker, session, reason);
	end_session(worker, session, wire_bye_text(reason));
}

static void gateway_retire(struct worker *worker, struct session *session)
{
	registry_retire(gateway(worker)->registry, session);
}

/* Before anything more is taken from socket or TUN. */
HOT static void gateway_turn(struct worker *worker)
{
	struct session *session, *following;
	struct block_set lost;
	if (likely(!gateway_fence_follow(worker, &lost)))
		return;
	cds_list_for_each_entry_safe(session, following, &worker->sessions, node)
	{
		if (block_set_has(&lost, block_of_session(session->id)))
			end_with_bye(worker, session, WIRE_BYE_RESTARTING);
	}
}

/* --- timers: a session is looked at when something may be due ----------------------------------------------------- */

static void set_timer(struct worker *worker, struct session *session)
{
	worker_set_timer(worker, session, gateway_next_look(worker, session));
}

static void gateway_expire(struct worker *worker, struct session *session)
{
	bool pending = session->next != NULL;
	session_expire_keys(session, worker->now);
	if (pending && session->next == NULL)
		gateway_tell_unconfirmed(worker, session);
	initiator_tick(worker, session);
	if (!session_is_active(session)) {
		if (session->next == NULL && !initiator_stands(session))
			end_session(worker, session, "");
		else
			set_timer(worker, session);
		return;
	}
	if (worker->now >= gateway_silence_due(worker, session)) {
		end_with_bye(worker, session, WIRE_BYE_TIMED_OUT);
		return;
	}
	if (worker->now >= session_hibernation_due(session))
		session_hibernate(session);
	struct endpoint tried = session->endpoint;
	gateway_path_tick(worker, session);
	gateway_tell_roam(worker, session, &tried, "no answer from there");
	session_show_endpoint(session); /* it may have gone back */
	if (session->keepalive_owed_since != 0 && worker->now - session->keepalive_owed_since >= SESSION_KEEPALIVE_NS &&
	    !worker_send_control(worker, session, WIRE_KEEPALIVE, NULL, 0))
		session->keepalive_owed_since = worker->now; /* without a key or room: later */
	if (worker->now >= gateway_keepalive_due(session))
		(void)worker_send_control(worker, session, WIRE_KEEPALIVE, NULL, 0);
	set_timer(worker, session);
}

/* --- requests of other threads ------------------------------------------------------------------------------------ */

static struct session *find(struct worker *worker, uint32_t id)
{
	return id != 0 ? session_table_find(worker->table, id) : NULL;
}

/* A peer that has an Endpoint is reached before it is connected: packets for it begin a handshake. */
static void follow_contact(struct worker *worker, struct session *session)
{
	initiator_follow(worker, session);
	if (!session_is_active(session) && initiator_stands(session))
		registry_attach(gateway(worker)->registry, session);
}

static void add_session(struct worker *worker, struct session *session)
{
	gateway_path_init(session);
	worker_add_session(worker, session);
	bump(&gateway(worker)->pending, 1);
	follow_contact(worker, session);
}

/* Whether this handshake was begun after the last one that was about the session. */
static bool is_later(const struct inbox_message *message, const struct session *session)
{
	return (int32_t)(message->install.order - session->order) > 0;
}

/* The session whose place this one takes when it is confirmed, if it is still there. */
static struct session *replaced(struct worker *worker, const struct session *session)
{
	return find(worker, session_is_active(session) ? 0 : session->replaces);
}

/* A WireGuard session may have got a key meanwhile that we initiated: of another epoch, and no reason to refuse one. */
static bool epoch_follows(const struct session *session, const struct transport_key *key)
{
	unsigned current = atomic_load_explicit(&session->view.epoch, memory_order_relaxed);
	return transport_key_is_own(key) ? key->epoch == wire_next_epoch(current) : key->epoch != current;
}

/* The session that the handshake is about, if it may still have these keys: it, or the peer, may be gone meanwhile, a
 * later handshake may have been here first, or an earlier one been confirmed. */
static struct session *session_for(struct worker *worker, const struct inbox_message *message)
{
	if (message->install.made != NULL)
		add_session(worker, message->install.made);
	struct session *session = find(worker, message->session_id);
	if (session == NULL)
		return NULL;
	bool removed = atomic_load_explicit(&session->peer->removed, memory_order_relaxed);
	if (removed || gateway_fence_foreign(gateway(worker), session->id)) {
		end_with_bye(worker, session, removed ? WIRE_BYE_REMOVED : WIRE_BYE_RESTARTING);
		return NULL;
	}
	if (!is_later(message, session))
		return NULL;
	/* A new session and a rekey of the one that it replaces are handshakes of one peer. */
	const struct session *old = replaced(worker, session);
	bool overtaken = old != NULL && !is_later(message, old);
	if (!overtaken && epoch_follows(session, message->install.key))
		return session;
	if (overtaken || message->install.made != NULL)
		end_session(worker, session, ""); /* no timer would ever end it */
	return NULL;
}

/* A peer has at most one handshake that waits: for new keys of its session, or for a new session. */
static void forget_other_handshake(struct worker *worker, struct session *session, const struct inbox_message *message)
{
	struct session *pending = find(worker, message->install.cancels);
	if (pending != NULL && !session_is_active(pending))
		end_session(worker, pending, "");
	struct session *active = replaced(worker, session);
	if (active == NULL)
		return;
	session_set_next(active, NULL, worker->now);
	active->order = message->install.order; /* what is forgotten does not come back */
}

static void install(struct worker *worker, struct inbox_message *message)
{
	struct session *session = session_for(worker, message);
	if (session == NULL || limits_apply(worker, session) != 0) {
		transport_key_free(message->install.key);
		stats_add(&worker->loop.stats, handshakes_late, 1);
		return;
	}
	forget_other_handshake(worker, session, message);
	worker_wake_next(worker, session, message->install.key);
	session_set_next(session, message->install.key, worker->now);
	session->order = message->install.order;
	session->next_from = message->install.from;
	session->next_mtu = message->install.mtu;
	set_timer(worker, session);
	/* Now that the keys are there, whatever the client sends under them finds them. */
	(void)worker_send_plain(worker, &message->install.from, message->install.answer,
				message->install.answer_length);
}

/* The address goes from the peer's old session to this one, and the old one ends. */
static void activate(struct worker *worker, struct session *session)
{
	struct gateway_role *role = gateway(worker);
	bump(&role->pending, -1);
	count_active(role, session, 1);
	registry_attach(role->registry, session);
	struct session *old = find(worker, session->replaces);
	if (old != NULL)
		end_with_bye(worker, old, WIRE_BYE_REPLACED);
	if (session->initiator != NULL)
		atomic_store_explicit(&session->view.connected, worker->now, memory_order_relaxed);
	session_set_active(session);
	stats_add(&worker->loop.stats, sessions_started, 1);
	gateway_tell_connect(worker, session);
}

/* New keys are the session's current ones: `previous` is where it was. */
static void keys_changed(struct worker *worker, struct session *session, const struct endpoint *previous)
{
	if (session_is_active(session)) {
		stats_add(&worker->loop.stats, rekeys, 1);
		session_count32(&session->view.rekeys, 1);
		gateway_tell_roam(worker, session, previous, NULL);
	} else {
		activate(worker, session);
	}
	session_show_endpoint(session);
	initiator_settle(worker, session);
	set_timer(worker, session);
}

/* The control plane made it for a peer that has an Endpoint. */
static void stand(struct worker *worker, struct session *session)
{
	add_session(worker, session);
	if (atomic_load_explicit(&session->peer->removed, memory_order_relaxed) ||
	    gateway_fence_foreign(gateway(worker), session->id))
		end_session(worker, session, "");
	else
		set_timer(worker, session);
}

/* The peer that answered has the keys, and it is where the answer came from. */
static bool install_initiated(struct worker *worker, struct session *session, const struct inbox_message *message)
{
	struct transport_key *key = message->initiated.key;
	struct endpoint previous = session->endpoint;
	if (atomic_load_explicit(&session->peer->removed, memory_order_relaxed) ||
	    atomic_load_explicit(&session->view.epoch, memory_order_relaxed) == key->epoch ||
	    !endpoint_may_move(worker, gateway(worker)->registry, session, &message->initiated.from) ||
	    limits_apply(worker, session) != 0)
		return false;
	worker_wake_next(worker, session, key);
	session_install_initiated(session, key);
	session->endpoint = message->initiated.from;
	session->mtu = message->initiated.mtu;
	session->received = worker->now;
	session->awaiting_reply_since = 0;
	atomic_store_explicit(&session->view.received, worker->now, memory_order_relaxed);
	keys_changed(worker, session, &previous);
	if (staging_is_empty(&session->initiator->staged))
		(void)worker_send_control(worker, session, WIRE_KEEPALIVE, NULL, 0);
	return true;
}

static void take_initiated(struct worker *worker, const struct inbox_message *message)
{
	struct session *session = find(worker, message->session_id);
	if (session != NULL && session->initiator != NULL && install_initiated(worker, session, message))
		return;
	transport_key_free(message->initiated.key);
	stats_add(&worker->loop.stats, handshakes_late, 1);
}

/* An address that was added may be that of the endpoint. */
static bool leads_into_itself(struct worker *worker, struct session *session)
{
	return session->endpoint.remote.sin6_port != 0 &&
	       !endpoint_may_move(worker, gateway(worker)->registry, session, &session->endpoint);
}

/* Limits, networks or contact of its peer are others. */
static void follow_peer(struct worker *worker, struct session *session)
{
	(void)limits_apply(worker, session); /* without memory: as before, until its next keys */
	follow_contact(worker, session);
	if (session_is_active(session))
		registry_attach_networks(gateway(worker)->registry, session);
	if (leads_into_itself(worker, session))
		end_with_bye(worker, session, WIRE_BYE_RESTARTING);
	else
		gateway_expire(worker, session); /* it may have stood for an Endpoint that is gone */
}

static void gateway_inbox(struct worker *worker, struct inbox_message *message)
{
	struct session *session;
	switch (message->kind) {
	case INBOX_INSTALL:
		install(worker, message);
		break;
	case INBOX_END:
		session = find(worker, message->session_id);
		if (session != NULL)
			end_with_bye(worker, session, message->end.reason);
		break;
	case INBOX_LIMITS:
		session = find(worker, message->session_id);
		if (session != NULL)
			follow_peer(worker, session);
		break;
	case INBOX_STAND:
		stand(worker, message->stand.made);
		break;
	case INBOX_INITIATED:
		take_initiated(worker, message);
		break;
	case INBOX_INITIATE: /* a handshake thread's */
	case INBOX_FORWARDED:
		break;
	}
}

/* --- datagrams ---------------------------------------------------------------------------------------------------- */

/* A HELLO that arrived in a GRO batch of other datagrams is passed to its handshake thread. */
static enum drop_reason gateway_handshake(struct worker *worker, const struct datagram *datagram)
{
	if (worker->handoff == NULL)
		return DROP_TYPE;
	return handoff_pass(worker->handoff, datagram->from, datagram->ecn, datagram->data, datagram->length,
			    &worker->loop.stats);
}

/* Answers with RESET for an unknown session, after a crash for instance, so that the client need not wait for its
 * timeout. The address is unproven: so RESET is smaller than what it answers, and limited by source to save the
 * worker's time. A session of a block that is not ours may live elsewhere: no RESET. */
static enum drop_reason gateway_unknown_session(struct worker *worker, uint32_t session_id, const struct endpoint *from)
{
	struct gateway_role *role = gateway(worker);
	if (gateway_fence_foreign(role, session_id))
		return DROP_BLOCK;
	if (from == NULL || role->reset_secret == NULL || role->reset_last == session_id ||
	    !shared_limiter_allow(&role->resets, from->remote.sin6_addr.s6_addr, worker->now))
		return DROP_SESSION;
	uint8_t message[WIRE_RESET_SIZE];
	reset_write(message, role->reset_secret, session_id);
	if (worker_send_plain(worker, from, message, sizeof message))
		role->reset_last = session_id;
	return DROP_SESSION;
}

HOT static uint32_t gateway_route(struct worker *worker, const struct inner *inner)
{
	return registry_route(gateway(worker)->registry, inner->version, inner_destination_bytes(inner));
}

static inline bool is_own(const struct ip_address *own, const uint8_t *source, size_t size)
{
	return own->family != 0 && memcmp(source, own->bytes, size) == 0;
}

/* The session's own address, or one in a network behind its peer. */
static bool owns_source(const struct gateway_role *role, const struct session *session, const struct inner *inner)
{
	const uint8_t *source = inner_source_bytes(inner);
	bool own = inner->version == 4 ? is_own(&session->inner4.address, source, 4)
				       : is_own(&session->inner6.address, source, 16);
	if (likely(own))
		return true;
	return peer_has_networks(session->peer) &&
	       registry_network_session(role->registry, inner->version, source) == session->id;
}

HOT static enum drop_reason gateway_admit(struct worker *worker, const struct session *session,
					  const struct inner *inner)
{
	const struct gateway_role *role = gateway(worker);
	const struct pool *pool = &role->registry->pool;
	if (!owns_source(role, session, inner))
		return DROP_INNER_SOURCE;
	if (role->client_to_client)
		return DROP_NONE;
	struct ip_address destination;
	inner_destination(inner, &destination);
	const struct ip_address *own = &(inner->version == 4 ? &pool->gateway4 : &pool->gateway6)->address;
	if (pool_covers(pool, &destination) && !ip_address_equal(&destination, own))
		return DROP_INNER_DESTINATION;
	if (networks_find(&role->registry->networks, inner->version, inner_destination_bytes(inner)) != NULL)
		return DROP_INNER_DESTINATION;
	return DROP_NONE;
}

/* --- sessions that live ------------------------------------------------------------------------------------------- */

static void gateway_confirmed(struct worker *worker, struct session *session, const struct transport_key *key,
			      const struct endpoint *from, uint32_t bytes)
{
	const struct registry *registry = gateway(worker)->registry;
	if (key != session->next || !endpoint_may_move(worker, registry, session, from) ||
	    !endpoint_may_move(worker, registry, session, &session->next_from))
		return;
	struct endpoint previous = session->endpoint;
	(void)session_promote(session);
	sparse_sessions_mark(worker->sparse, session->id, (key->peer_capabilities & WIRE_MARKS_SPARSE) != 0);
	gateway_path_confirmed(worker, session, from, bytes);
	session->mtu = session->next_mtu;
	session->received = worker->now;
	keys_changed(worker, session, &previous);
}

static void gateway_moved(struct worker *worker, struct session *session, const struct endpoint *from, uint32_t bytes)
{
	struct endpoint previous = session->endpoint;
	if (!endpoint_may_move(worker, gateway(worker)->registry, session, from))
		return;
	gateway_path_moved(worker, session, from, bytes);
	session_count32(&session->view.roams, 1);
	gateway_tell_roam(worker, session, &previous, NULL);
	session_show_endpoint(session);
	set_timer(worker, session);
}

static void gateway_client_ack(struct worker *worker, struct session *session, const uint8_t *payload, uint32_t length,
			       const struct endpoint *from)
{
	(void)payload, (void)length, (void)from;
	(void)worker_send_control(worker, session, WIRE_KEEPALIVE, NULL, 0);
}

static void gateway_keepalive(struct worker *worker, struct session *session, const uint8_t *payload, uint32_t length,
			      const struct endpoint *from)
{
	struct wire_probe probe;
	if (wire_probe_read(&probe, payload, length) && probe.kind == WIRE_PONG)
		gateway_path_pong(worker, session, probe.nonce, from);
}

static void gateway_bye(struct worker *worker, struct session *session, const uint8_t *payload, uint32_t length,
			const struct endpoint *from)
{
	(void)length, (void)from;
	/* Two in one batch: the first ended it. */
	if (find(worker, session->id) == session)
		end_session(worker, session, wire_bye_text(wire_bye_reason(payload)));
}

static void gateway_tick(struct worker *worker)
{
	gateway(worker)->reset_last = 0;
}

static bool gateway_stop(struct worker *worker)
{
	struct session *session, *following;
	size_t said = 0;
	cds_list_for_each_entry_safe(session, following, &worker->sessions, node)
	{
		if (said++ == GATEWAY_BYES_AT_ONCE)
			return true;
		if (atomic_load_explicit(&gateway(worker)->leaving, memory_order_relaxed))
			end_session(worker, session, wire_bye_text(WIRE_BYE_RESTARTING));
		else
			end_with_bye(worker, session, WIRE_BYE_RESTARTING);
	}
	return false;
}

static void follow_marks(struct worker *worker, const struct session *session)
{
	if (session->current != NULL)
		sparse_sessions_mark(worker->sparse, session->id,
				     (session->current->peer_capabilities & WIRE_MARKS_SPARSE) != 0);
}

int gateway_role_adopt(struct worker *worker, struct session *session, const struct limits_ready *ready)
{
	struct gateway_role *role = gateway(worker);
	struct endpoint last = session->endpoint;
	uint64_t deadline = session->path_deadline;
	worker_add_session(worker, session);
	follow_contact(worker, session);
	if (last.remote.sin6_port != 0) { /* not where it is configured to be, if it was elsewhere since */
		session->endpoint = last;
		session->path_deadline = deadline;
	}
	session_show_endpoint(session);
	if (session_is_active(session)) {
		registry_attach(role->registry, session);
		count_active(role, session, 1);
	} else {
		bump(&role->pending, 1);
	}
	follow_marks(worker, session);
	int result = limits_resume(worker, session, ready);
	set_timer(worker, session);
	return result;
}

void gateway_role_forget(struct worker *worker, struct session *session)
{
	struct gateway_role *role = gateway(worker);
	if (find(worker, session->id) != session)
		return;
	if (session_is_active(session))
		count_active(role, session, -1);
	else
		bump(&role->pending, -1);
	registry_detach(role->registry, session);
	worker_end_session(worker, session);
}

void gateway_role_resume(struct worker *worker, struct session *session, bool confirmed, bool rekeyed)
{
	struct gateway_role *role = gateway(worker);
	if (confirmed) {
		bump(&role->pending, -1);
		count_active(role, session, 1);
		registry_attach(role->registry, session);
		struct session *old = find(worker, session->replaces);
		if (old != NULL)
			gateway_role_forget(worker, old);
	}
	if (rekeyed)
		follow_marks(worker, session);
	session_show_endpoint(session);
	worker_set_timer_before(worker, session, gateway_next_look(worker, session));
}

const struct worker_role gateway_worker_role = {
	.side = WIRE_SIDE_GATEWAY,
	.handshake = gateway_handshake,
	.route = gateway_route,
	.admit = gateway_admit,
	.keyless = initiator_keyless,
	.confirmed = gateway_confirmed,
	.control = {[WIRE_CLIENT_ACK] = gateway_client_ack,
		    [WIRE_KEEPALIVE] = gateway_keepalive,
		    [WIRE_BYE] = gateway_bye},
	.moved = gateway_moved,
	.unknown_session = gateway_unknown_session,
	.turn = gateway_turn,
	.inbox = gateway_inbox,
	.expire = gateway_expire,
	.tick = gateway_tick,
	.retire = gateway_retire,
	.stop = gateway_stop,
};
