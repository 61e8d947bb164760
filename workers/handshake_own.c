// SPDX-License-Identifier: Apache-2.0
/* HELLO of the own protocol (core/protocol/PROTOCOL.md): checked, and answered by WELCOME. */
#include "workers/handshake_protocol.h"

#include <sodium.h>

enum { HANDSHAKE_BACK_OFF_S = 60 /* later than they would, clients renew keys when we are short of time */ };

/* One HELLO on its way through the checks. */
struct hello {
	const uint8_t *message;
	const struct endpoint *from;
	uint8_t client_key[KEY_SIZE];
	struct handshake_responder responder; /* holds copies of our keys */
	struct peer *peer;
	bool other_protocol; /* the key is that of a WireGuard peer */
	struct wire_hello payload;
	uint8_t suite;
	struct registry_grant grant;
};

/* --- mac1, mac2, COOKIE ------------------------------------------------------------------------------------------- */

static bool check_mac1(const struct handshaker *h, const uint8_t *message)
{
	return handshake_check_mac1(h->params.common->identity, message);
}

static bool source_proven(const struct handshaker *h, const struct endpoint *from, const uint8_t *message)
{
	const struct sockaddr_in6 *remote = &from->remote;
	return handshake_check_mac2(h->params.common->jar, remote->sin6_addr.s6_addr, remote->sin6_port, h->now,
				    message);
}

static void write_cookie(const struct handshaker *h, const struct endpoint *from, const uint8_t *message,
			 uint64_t number, const uint8_t nonce[COOKIE_NONCE_SIZE], uint8_t *answer)
{
	const struct handshaker_common *common = h->params.common;
	const uint8_t *address = from->remote.sin6_addr.s6_addr;
	uint16_t port = from->remote.sin6_port;
	uint8_t cookie[COOKIE_SIZE];
	if (number != 0)
		cookie_make_numbered(common->jar, address, port, number, cookie);
	else
		cookie_make(common->jar, address, port, h->now, cookie);
	handshake_write_cookie(common->identity, message, cookie, nonce, answer);
}

static uint64_t challenge_number(const struct handshaker *h, const struct hello *hello)
{
	const struct sockaddr_in6 *remote = &hello->from->remote;
	return cookie_number(h->params.common->jar, remote->sin6_addr.s6_addr, remote->sin6_port, h->now,
			     hello->payload.challenge);
}

/* --- WELCOME ------------------------------------------------------------------------------------------------------ */

static uint8_t choose_suite(const struct handshaker *h, const struct wire_hello *payload)
{
	for (size_t i = 0; i < WIRE_SUITES_MAX; i++) {
		uint8_t suite = payload->suites[i];
		if (suite != 0 && suite < 32 && (h->params.common->suites & 1u << suite) != 0 &&
		    aead_engine_suite(h->params.aead, suite) != NULL)
			return suite;
	}
	return 0;
}

static void fill_welcome(const struct handshaker *h, const struct hello *hello, struct wire_welcome *welcome)
{
	const struct handshaker_common *common = h->params.common;
	uint16_t mtu = hello->payload.mtu < common->mtu ? hello->payload.mtu : common->mtu;
	*welcome = (struct wire_welcome){
		.session_id = hello->grant.session_id,
		.suite = hello->suite,
		.epoch = hello->grant.epoch,
		.mtu = mtu < WIRE_MTU_MIN ? WIRE_MTU_MIN : mtu,
		.capabilities = common->capabilities,
		.back_off = handshaker_under_load(h) ? HANDSHAKE_BACK_OFF_S : 0,
		.rekey_interval = common->rekey_interval,
		.session_timeout = common->session_timeout,
		.address4 = hello->grant.address4,
		.address6 = hello->grant.address6,
		.gateway4 = common->registry->pool.gateway4.address,
		.gateway6 = common->registry->pool.gateway6.address,
	};
	if (common->registry->no_ipv6)
		welcome->gateway6 = (struct ip_address){0};
	welcome->dns_count = common->dns_count;
	memcpy(welcome->dns, common->dns, sizeof welcome->dns);
	welcome->route_count = common->route_count;
	memcpy(welcome->routes, common->routes, sizeof welcome->routes);
	reset_token(common->reset_secret, welcome->session_id, welcome->reset_token);
}

/* The keys and the WELCOME with them, for the session's worker. NULL: no memory, or a key of the client's is no point
 * of the curve. */
static struct inbox_message *make_install(struct handshaker *h, struct hello *hello)
{
	struct inbox_message *message = handshaker_new_install(&hello->grant, hello->from);
	if (message == NULL)
		return NULL;
	struct wire_welcome welcome;
	struct noise_keys secrets;
	struct noise_keypair ephemeral;
	fill_welcome(h, hello, &welcome);
	ephemerals_take(&h->ephemerals, &ephemeral);
	uint8_t preshared_key[KEY_SIZE];
	peer_preshared_key(hello->peer, preshared_key);
	size_t length = handshake_write_welcome(&hello->responder, preshared_key, &welcome, &ephemeral,
						message->install.answer, &secrets);
	sodium_memzero(preshared_key, sizeof preshared_key);
	struct transport_key *key = NULL;
	if (length != 0)
		key = transport_key_new(h->params.aead, hello->suite, welcome.epoch, &secrets, TRANSPORT_GATEWAY,
					h->now);
	sodium_memzero(&ephemeral, sizeof ephemeral);
	sodium_memzero(&secrets, sizeof secrets);
	if (key == NULL) {
		free(message);
		return NULL;
	}
	key->peer_capabilities = hello->payload.capabilities;
	message->install.key = key;
	message->install.mtu = welcome.mtu;
	message->install.answer_length = (uint32_t)length;
	return message;
}

/* --- HELLO -------------------------------------------------------------------------------------------------------- */

/* It is authentic: what it is not yet is new. The client may have a wrong clock, or we may have started after it. */
static enum drop_reason begin(struct handshaker *h, struct hello *hello)
{
	const struct registry_request request = {.session_id = wire_session_id(hello->message),
						 .hello = &hello->payload,
						 .cookie = challenge_number(h, hello),
						 .period = cookie_period(h->now),
						 .now = h->now};
	enum drop_reason reason = registry_begin(h->params.common->registry, hello->peer, &request, &hello->grant);
	uint64_t number = hello->grant.cookie;
	if (reason != DROP_NONE && number != 0)
		handshaker_give_cookie(h, &handshake_own, hello->from, hello->message,
				       number != request.period ? number : 0);
	return reason;
}

/* The public-key work: nothing has an effect before the payload was authenticated. */
static enum drop_reason check(struct handshaker *h, struct hello *hello)
{
	const struct handshaker_common *common = h->params.common;
	uint8_t static_static[KEY_SIZE];
	if (!handshake_read_static(&hello->responder, common->identity, hello->message, hello->client_key))
		return DROP_HANDSHAKE_FORGED;
	struct peer *peer = peers_find(&common->registry->peers, hello->client_key);
	hello->other_protocol = peer != NULL && peer_protocol(peer) != PEER_SHARDTUN;
	if (peer == NULL || hello->other_protocol)
		return DROP_UNKNOWN_PEER;
	hello->peer = peer;
	bool opened = peer_static_static(hello->peer, common->identity->keys.private_key, static_static) &&
		      handshake_read_payload(&hello->responder, static_static, hello->message, &hello->payload);
	sodium_memzero(static_static, sizeof static_static);
	if (!opened)
		return DROP_HANDSHAKE_FORGED;
	hello->suite = choose_suite(h, &hello->payload);
	return hello->suite != 0 ? begin(h, hello) : DROP_NO_SUITE;
}

static enum drop_reason install(struct handshaker *h, struct hello *hello)
{
	struct inbox_message *message = make_install(h, hello);
	if (message == NULL) {
		registry_abandon(h->params.common->registry, &hello->grant);
		return DROP_HANDSHAKE_FORGED;
	}
	handshaker_post(h, message);
	return DROP_NONE;
}

/* The session that the HELLO was to renew; 0: the one that it names, if any, is none of this peer's. */
static uint32_t renewed(const struct handshaker *h, const struct hello *hello)
{
	uint32_t id = wire_session_id(hello->message);
	const struct session *session = session_table_find(&h->params.common->registry->table, id);
	return session != NULL && session->peer == hello->peer ? id : 0;
}

static void tell_refused(struct handshaker *h, const struct hello *hello, enum drop_reason reason)
{
	struct handshake_refusal refusal = {.from = hello->from,
					    .client_key = hello->client_key,
					    .peer = hello->peer,
					    .session_id = renewed(h, hello),
					    .other_protocol = hello->other_protocol,
					    .reason = reason};
	handshaker_tell_refused(h, &refusal);
}

static enum drop_reason answer(struct handshaker *h, const struct waiting_hello *waiting)
{
	struct hello hello = {.message = waiting->message, .from = &waiting->from};
	enum drop_reason reason = check(h, &hello);
	if (reason == DROP_NONE)
		reason = install(h, &hello);
	else if (reason == DROP_BLOCK && handshaker_forward(h, waiting, hello.peer))
		reason = DROP_NONE;
	else
		tell_refused(h, &hello, reason);
	sodium_memzero(&hello, sizeof hello);
	return reason;
}

const struct handshake_protocol handshake_own = {
	.size = WIRE_HELLO_SIZE,
	.cookie_size = WIRE_COOKIE_SIZE,
	.check_mac1 = check_mac1,
	.source_proven = source_proven,
	.write_cookie = write_cookie,
	.answer = answer,
};
