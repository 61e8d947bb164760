// SPDX-License-Identifier: Apache-2.0
#include "workers/gateway_role.h"

#include <sodium.h>

#include "core/base/log.h"
#include "workers/gateway_path.h"

enum {
	GATEWAY_HELLOS_PER_TURN = 32,
	GATEWAY_BYES_AT_ONCE = 64,
	GATEWAY_LOG_PER_TICK = 25,     /* 100 lines a second */
	GATEWAY_RESETS_PER_TICK = 500, /* 2000 a second */
};

static struct gateway_role *gateway(struct worker *worker)
{
	return worker->role_state;
}

void gateway_role_init(struct gateway_role *role)
{
	key_derive(role->reset_secret, sizeof role->reset_secret, role->identity->keys.private_key, KEY_SIZE,
		   "shardtun1 reset", NULL, 0);
	atomic_init(&role->active, 0);
	atomic_init(&role->pending, 0);
}

static void bump(_Atomic uint32_t *gauge, int by)
{
	uint32_t value = atomic_load_explicit(gauge, memory_order_relaxed);
	atomic_store_explicit(gauge, (uint32_t)((int)value + by), memory_order_relaxed);
}

/* A peer that connects without end fills neither disk nor time. */
static bool may_log(struct gateway_role *role)
{
	if (role->log_left == 0) {
		role->log_missed++;
		return false;
	}
	role->log_left--;
	return true;
}

static void log_session(struct gateway_role *role, const char *event, const struct session *session)
{
	if (!may_log(role))
		return;

	char name[KEY_TEXT_SIZE], from[ENDPOINT_TEXT_MAX], address4[IP_TEXT_MAX], address6[IP_TEXT_MAX];
	key_format(session->peer->public_key, name);
	log_info("session %08x %s: peer %s at %s, addresses %s %s", session->id, event, name,
		 sockaddr_format(&session->endpoint.remote, from),
		 ip_address_format(&session->inner4.address, address4),
		 ip_address_format(&session->inner6.address, address6));
}

/* --- end of sessions -------------------------------------------------------------------------------------------------
 */

/* Frees the address unless another session of the peer goes on with it. */
static void give_back_address(struct gateway_role *role, const struct session *session, const struct session *other)
{
	if (other == NULL || other->pool_index != session->pool_index)
		pool_release(role->pool, session->pool_index);
}

static void drop_pending(struct worker *worker, struct peer *peer)
{
	struct session *session = peer->pending;
	if (session == NULL)
		return;
	give_back_address(gateway(worker), session, peer->active);
	peer->pending = NULL;
	bump(&gateway(worker)->pending, -1);
	worker_end_session(worker, session);
}

static void end_active(struct worker *worker, struct session *session, const char *why)
{
	struct peer *peer = session->peer;
	log_session(gateway(worker), why, session);
	give_back_address(gateway(worker), session, peer->pending);
	peer->active = NULL;
	bump(&gateway(worker)->active, -1);
	stats_add(&worker->stats, sessions_ended, 1);
	worker_end_session(worker, session);
}

static void say_bye(struct worker *worker, struct session *session, enum wire_bye_reason reason)
{
	uint8_t payload = (uint8_t)reason;
	gateway_path_go_back(session);
	(void)worker_send_control(worker, session, WIRE_BYE, &payload, sizeof payload);
}

/* --- HELLO
 * ------------------------------------------------------------------------------------------------------------ */

static uint8_t choose_suite(const struct worker *worker, const struct gateway_role *role,
			    const struct wire_hello *hello)
{
	for (size_t i = 0; i < WIRE_SUITES_MAX; i++) {
		uint8_t suite = hello->suites[i];
		if (suite != 0 && suite < 32 && (role->suites & 1u << suite) != 0 &&
		    aead_engine_suite(worker->aead, suite) != NULL)
			return suite;
	}
	return 0;
}

static uint32_t reserve_wish(struct gateway_role *role, const struct ip_address *wish)
{
	uint32_t index;
	if (wish->family == 0 || !pool_index(role->pool, wish, &index) || role->pool->held[index])
		return POOL_NONE;
	return pool_reserve(role->pool, index);
}

/* The peer's own address, the one it has, had or would like, or any. */
static uint32_t reserve_address(struct gateway_role *role, const struct peer *peer, const struct wire_hello *hello)
{
	if (peer->active != NULL)
		return peer->active->pool_index; /* goes over when the new session is confirmed */
	if (peer->fixed_index != POOL_NONE)
		return pool_reserve(role->pool, peer->fixed_index);
	uint32_t index = POOL_NONE;
	if (peer->last_index != POOL_NONE)
		index = pool_reserve(role->pool, peer->last_index);
	if (index == POOL_NONE)
		index = reserve_wish(role, &hello->wish4);
	if (index == POOL_NONE)
		index = reserve_wish(role, &hello->wish6);
	if (index == POOL_NONE)
		index = pool_reserve(role->pool, POOL_NONE);
	return index;
}

static struct session *new_pending(struct worker *worker, struct peer *peer, const struct wire_hello *hello)
{
	struct gateway_role *role = gateway(worker);
	uint32_t id = session_table_new_id(&worker->table);
	uint32_t index = id != 0 ? reserve_address(role, peer, hello) : POOL_NONE;
	struct session *session = index != POOL_NONE ? session_new(id, worker->now) : NULL;
	if (session == NULL) {
		if (index != POOL_NONE && peer->active == NULL)
			pool_release(role->pool, index);
		return NULL;
	}
	session->peer = peer;
	session->pool_index = index;
	pool_addresses(role->pool, index, &session->inner4, &session->inner6);
	gateway_path_init(session);
	peer->pending = session;
	bump(&role->pending, 1);
	worker_add_session(worker, session);
	return session;
}

/* The session that the handshake makes keys for: the peer's own active one, named by its ID (a rekey), or its pending
 * one. NULL: no ID or address is free. */
static struct session *session_for(struct worker *worker, struct peer *peer, uint32_t named,
				   const struct wire_hello *hello)
{
	if (peer->active != NULL && peer->active->id == named) {
		drop_pending(worker, peer);
		return peer->active;
	}
	struct session *session = peer->pending != NULL ? peer->pending : new_pending(worker, peer, hello);
	if (session != NULL && peer->active != NULL)
		session_set_next(peer->active, NULL, worker->now); /* at most one handshake is pending */
	return session;
}

/* What only this gateway can know about a session ID, also after it lost all else in a crash. */
static void reset_token(const struct gateway_role *role, uint32_t session_id, uint8_t token[WIRE_RESET_TOKEN_SIZE])
{
	uint8_t id[4];
	store_be32(id, session_id);
	key_derive(token, WIRE_RESET_TOKEN_SIZE, role->reset_secret, KEY_SIZE, "", id, sizeof id);
}

static void fill_welcome(const struct gateway_role *role, const struct session *session, uint8_t suite, uint16_t mtu,
			 struct wire_welcome *welcome)
{
	*welcome = (struct wire_welcome){
		.session_id = session->id,
		.suite = suite,
		.epoch = session->current != NULL ? (uint8_t)wire_next_epoch(session->current->epoch) : 1,
		.mtu = mtu,
		.rekey_interval = role->rekey_interval,
		.session_timeout = role->session_timeout,
		.address4 = session->inner4,
		.address6 = session->inner6,
		.gateway4 = role->pool->gateway4.address,
		.gateway6 = role->pool->gateway6.address,
	};
	reset_token(role, session->id, welcome->reset_token);
}

static bool answer(struct worker *worker, struct handshake_responder *responder, struct session *session, uint8_t suite,
		   const struct wire_hello *hello, const struct endpoint *from)
{
	struct gateway_role *role = gateway(worker);
	uint16_t mtu = hello->mtu < role->mtu ? hello->mtu : role->mtu;
	struct wire_welcome welcome;
	fill_welcome(role, session, suite, mtu < WIRE_MTU_MIN ? WIRE_MTU_MIN : mtu, &welcome);

	uint8_t ephemeral[KEY_SIZE], message[WIRE_WELCOME_MAX];
	struct noise_keys secrets;
	randombytes_buf(ephemeral, sizeof ephemeral);
	size_t length = handshake_write_welcome(responder, session->peer->preshared_key, &welcome, ephemeral, message,
						&secrets);
	struct transport_key *key = NULL;
	if (length != 0)
		key = transport_key_new(worker->aead, suite, welcome.epoch, &secrets, TRANSPORT_GATEWAY, worker->now);
	sodium_memzero(ephemeral, sizeof ephemeral);
	sodium_memzero(&secrets, sizeof secrets);
	if (key == NULL)
		return false;

	session_set_next(session, key, worker->now);
	session->next_from = *from;
	session->next_mtu = welcome.mtu;
	if (worker_send_plain(worker, from, message, (uint32_t)length))
		stats_add(&worker->stats, tx_welcome, 1);
	return true;
}

static bool read_payload(struct worker *worker, struct handshake_responder *responder, struct peer *peer,
			 const uint8_t *message, struct wire_hello *hello)
{
	if (!peer->has_static_static)
		peer->has_static_static = noise_dh(gateway(worker)->identity->keys.private_key, peer->public_key,
						   peer->static_static);
	return peer->has_static_static && handshake_read_payload(responder, peer->static_static, message, hello);
}

/* Each HELLO costs two public-key operations: a flood of them shall not hold up a turn for long. */
static bool within_budget(struct worker *worker)
{
	struct gateway_role *role = gateway(worker);
	if (role->hello_turn != worker->turns) {
		role->hello_turn = worker->turns;
		role->hello_count = 0;
	}
	return role->hello_count++ < GATEWAY_HELLOS_PER_TURN;
}

static enum drop_reason hello(struct worker *worker, const struct datagram *datagram,
			      struct handshake_responder *responder)
{
	struct gateway_role *role = gateway(worker);
	uint8_t client_key[KEY_SIZE];
	if (!handshake_check_mac1(role->identity, datagram->data))
		return DROP_MAC1;
	if (!within_budget(worker))
		return DROP_HELLO_RATE;
	if (!handshake_read_static(responder, role->identity, datagram->data, client_key))
		return DROP_HANDSHAKE_FORGED;
	struct peer *peer = peers_find(role->peers, client_key);
	if (peer == NULL)
		return DROP_UNKNOWN_PEER;
	struct wire_hello payload;
	if (!read_payload(worker, responder, peer, datagram->data, &payload))
		return DROP_HANDSHAKE_FORGED;
	if (memcmp(payload.timestamp, peer->timestamp, sizeof peer->timestamp) <= 0)
		return DROP_STALE;
	uint8_t suite = choose_suite(worker, role, &payload);
	if (suite == 0)
		return DROP_NO_SUITE;

	struct session *session = session_for(worker, peer, wire_session_id(datagram->data), &payload);
	if (session == NULL || !answer(worker, responder, session, suite, &payload, datagram->from))
		return DROP_NO_ADDRESS;
	memcpy(peer->timestamp, payload.timestamp, sizeof peer->timestamp);
	stats_add(&worker->stats, rx_hello, 1);
	return DROP_NONE;
}

static enum drop_reason gateway_handshake(struct worker *worker, const struct datagram *datagram)
{
	if (wire_type(datagram->data) != WIRE_HELLO)
		return DROP_TYPE;
	if (datagram->length != WIRE_HELLO_SIZE)
		return datagram->length < WIRE_HELLO_SIZE ? DROP_RUNT : DROP_OVERSIZED;
	struct handshake_responder responder; /* holds copies of our keys */
	enum drop_reason reason = hello(worker, datagram, &responder);
	sodium_memzero(&responder, sizeof responder);
	return reason;
}

/* Tells a client whose session we do not know, after a crash of ours for instance, so that it need not wait for
 * silence. Smaller than what it answers, and limited: it is sent to an address that nobody has proven. */
static void gateway_unknown_session(struct worker *worker, uint32_t session_id, const struct endpoint *from)
{
	struct gateway_role *role = gateway(worker);
	if (!role->reset || role->resets_left == 0 || role->reset_last == session_id)
		return;
	uint8_t message[WIRE_RESET_SIZE];
	wire_header(message, WIRE_VERSION, WIRE_RESET, session_id);
	reset_token(role, session_id, message + WIRE_HEADER_SIZE);
	if (!worker_send_plain(worker, from, message, sizeof message))
		return;
	role->resets_left--;
	role->reset_last = session_id;
	stats_add(&worker->stats, tx_reset, 1);
}

/* --- data path -------------------------------------------------------------------------------------------------------
 */

static struct session *gateway_route(struct worker *worker, const struct inner *inner)
{
	const uint8_t *destination = inner->data + (inner->version == 4 ? 16 : 24);
	uint32_t id = pool_lookup(gateway(worker)->pool, inner->version, destination);
	return id != 0 ? session_table_find(&worker->table, id) : NULL;
}

static enum drop_reason gateway_admit(struct worker *worker, const struct session *session, const struct inner *inner)
{
	const struct gateway_role *role = gateway(worker);
	struct ip_address destination;
	if (inner->version == 4) {
		if (session->inner4.address.family == 0 ||
		    memcmp(inner->data + 12, session->inner4.address.bytes, 4) != 0)
			return DROP_INNER_SOURCE;
	} else if (session->inner6.address.family == 0 ||
		   memcmp(inner->data + 8, session->inner6.address.bytes, 16) != 0) {
		return DROP_INNER_SOURCE;
	}
	if (role->client_to_client)
		return DROP_NONE;
	inner_destination(inner, &destination);
	const struct ip_address *own = &(inner->version == 4 ? &role->pool->gateway4 : &role->pool->gateway6)->address;
	if (pool_covers(role->pool, &destination) && !ip_address_equal(&destination, own))
		return DROP_INNER_DESTINATION;
	return DROP_NONE;
}

static void activate(struct worker *worker, struct session *session)
{
	struct gateway_role *role = gateway(worker);
	struct peer *peer = session->peer;
	struct session *old = peer->active;
	peer->pending = NULL;
	bump(&role->pending, -1);
	pool_activate(role->pool, session->pool_index, session->id);
	if (old != NULL) {
		say_bye(worker, old, WIRE_BYE_REPLACED);
		peer->pending = session; /* so that ending the old one leaves the address with the new one */
		end_active(worker, old, "replaced");
		peer->pending = NULL;
	}
	peer->active = session;
	peer->last_index = session->pool_index;
	session->state = SESSION_ACTIVE;
	bump(&role->active, 1);
	stats_add(&worker->stats, sessions_started, 1);
}

static void gateway_confirmed(struct worker *worker, struct session *session, const struct transport_key *key,
			      const struct endpoint *from, uint32_t bytes)
{
	if (key != session->next)
		return;
	(void)session_promote(session);
	gateway_path_confirmed(worker, session, from, bytes);
	session->mtu = session->next_mtu;
	if (session->state == SESSION_ACTIVE) {
		stats_add(&worker->stats, rekeys, 1);
		return;
	}
	activate(worker, session);
	log_session(gateway(worker), "connected", session);
}

static enum drop_reason gateway_control(struct worker *worker, struct session *session, enum wire_type type,
					const uint8_t *payload, uint32_t length, const struct endpoint *from)
{
	switch (type) {
	case WIRE_CLIENT_ACK:
		(void)worker_send_control(worker, session, WIRE_KEEPALIVE, NULL, 0);
		return DROP_NONE;
	case WIRE_KEEPALIVE:
		if (length == WIRE_PROBE_SIZE && payload[0] == WIRE_PONG)
			gateway_path_pong(worker, session, load_be64(payload + 1), from);
		return DROP_NONE;
	case WIRE_BYE:
		/* Two in one batch: the first ended it. */
		if (session->peer->active == session)
			end_active(worker, session, wire_bye_text(payload[0]));
		return DROP_NONE;
	default:
		return DROP_TYPE;
	}
}

/* --- timers ----------------------------------------------------------------------------------------------------------
 */

static void tick_session(struct worker *worker, struct session *session)
{
	session_expire_keys(session, worker->now);
	if (session->state == SESSION_PENDING) {
		if (session->next == NULL)
			drop_pending(worker, session->peer);
		return;
	}
	if (worker->now - session->received >= gateway(worker)->session_timeout * NS_PER_S) {
		say_bye(worker, session, WIRE_BYE_TIMED_OUT);
		end_active(worker, session, "timed out");
		return;
	}
	gateway_path_tick(worker, session);
	if (session->unreplied != 0 && worker->now - session->unreplied >= SESSION_KEEPALIVE_NS)
		(void)worker_send_control(worker, session, WIRE_KEEPALIVE, NULL, 0);
}

static void gateway_tick(struct worker *worker)
{
	struct gateway_role *role = gateway(worker);
	role->log_left = GATEWAY_LOG_PER_TICK;
	role->resets_left = GATEWAY_RESETS_PER_TICK;
	role->reset_last = 0;
	if (role->log_missed != 0)
		log_info("%u lines about sessions left out", role->log_missed);
	role->log_missed = 0;

	struct session *session, *following;
	cds_list_for_each_entry_safe(session, following, &worker->sessions, node)
	{
		tick_session(worker, session);
	}
}

static bool gateway_stop(struct worker *worker)
{
	struct session *session, *following;
	size_t said = 0;
	cds_list_for_each_entry_safe(session, following, &worker->sessions, node)
	{
		if (said++ == GATEWAY_BYES_AT_ONCE)
			return true;
		if (session->state == SESSION_PENDING) {
			drop_pending(worker, session->peer);
			continue;
		}
		say_bye(worker, session, WIRE_BYE_RESTARTING);
		end_active(worker, session, wire_bye_text(WIRE_BYE_RESTARTING));
	}
	return false;
}

const struct worker_role gateway_worker_role = {
	.handshake = gateway_handshake,
	.route = gateway_route,
	.admit = gateway_admit,
	.confirmed = gateway_confirmed,
	.control = gateway_control,
	.moved = gateway_path_moved,
	.unknown_session = gateway_unknown_session,
	.tick = gateway_tick,
	.stop = gateway_stop,
};
