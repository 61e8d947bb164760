// SPDX-License-Identifier: Apache-2.0
/* The initiation of a WireGuard client (core/protocol/WIREGUARD.md): checked, and answered by a response. We are the
 * responder here; nothing is sent under the new keys before the client used them. */
#include "workers/handshake_protocol.h"

#include <sodium.h>

#include "core/protocol/wg_handshake.h"

_Static_assert((int)WG_INITIATION_SIZE <= (int)WIRE_HELLO_SIZE, "fits into the queue");
_Static_assert((int)WG_COOKIE_REPLY_SIZE <= (int)HANDSHAKER_COOKIE_MAX, "fits into the cookies of a turn");
_Static_assert((int)WG_RESPONSE_SIZE <= (int)WIRE_WELCOME_MAX, "fits into the inbox");

/* One initiation on its way through the checks. */
struct initiation {
	const uint8_t *message;
	const struct endpoint *from;
	uint8_t client_key[KEY_SIZE];
	struct wg_responder responder; /* holds copies of our keys */
	struct peer *peer;
	bool other_protocol; /* the key is that of a peer that does not speak it */
	struct registry_grant grant;
};

/* --- mac1, mac2, cookie reply ------------------------------------------------------------------------------------- */

static bool check_mac1(const struct handshaker *h, const uint8_t *message)
{
	return wg_check_mac1(h->params.common->wireguard, message, WG_INITIATION_SIZE);
}

bool handshaker_wireguard_proven(const struct handshaker *h, const struct endpoint *from, const uint8_t *message,
				 size_t length)
{
	const struct sockaddr_in6 *remote = &from->remote;
	return wg_check_mac2(h->params.common->jar, remote->sin6_addr.s6_addr, remote->sin6_port, h->now, message,
			     length);
}

static bool source_proven(const struct handshaker *h, const struct endpoint *from, const uint8_t *message)
{
	return handshaker_wireguard_proven(h, from, message, WG_INITIATION_SIZE);
}

void handshaker_wireguard_cookie(const struct handshaker *h, const struct endpoint *from, const uint8_t *message,
				 size_t length, const uint8_t nonce[COOKIE_NONCE_SIZE], uint8_t *answer)
{
	const struct handshaker_common *common = h->params.common;
	uint8_t cookie[COOKIE_SIZE];
	cookie_make_wg(common->jar, from->remote.sin6_addr.s6_addr, from->remote.sin6_port, h->now, cookie);
	wg_write_cookie_reply(common->wireguard, message, length, cookie, nonce, answer);
}

/* There are no numbered ones in this protocol. */
static void write_cookie(const struct handshaker *h, const struct endpoint *from, const uint8_t *message,
			 uint64_t number, const uint8_t nonce[COOKIE_NONCE_SIZE], uint8_t *answer)
{
	(void)number;
	handshaker_wireguard_cookie(h, from, message, WG_INITIATION_SIZE, nonce, answer);
}

/* --- response ----------------------------------------------------------------------------------------------------- */

/* The keys and the response with them, for the session's worker. NULL: no memory, or a key of the client's is no point
 * of the curve. */
static struct inbox_message *make_install(struct handshaker *h, struct initiation *initiation)
{
	struct inbox_message *message = handshaker_new_install(&initiation->grant, initiation->from);
	if (message == NULL)
		return NULL;
	const struct registry_grant *grant = &initiation->grant;
	struct noise_keys secrets;
	struct noise_keypair ephemeral;
	ephemerals_take(&h->ephemerals, &ephemeral);
	struct transport_key *key = NULL;
	uint8_t preshared_key[KEY_SIZE];
	peer_preshared_key(initiation->peer, preshared_key);
	if (wg_write_response(&initiation->responder, preshared_key, wg_index(grant->session_id, grant->epoch),
			      &ephemeral, message->install.answer, &secrets))
		key = transport_key_new_wireguard(h->params.aead, grant->epoch, &secrets, TRANSPORT_GATEWAY,
						  initiation->responder.peer_index, h->now);
	sodium_memzero(preshared_key, sizeof preshared_key);
	sodium_memzero(&ephemeral, sizeof ephemeral);
	sodium_memzero(&secrets, sizeof secrets);
	if (key == NULL) {
		free(message);
		return NULL;
	}
	message->install.key = key;
	message->install.mtu = h->params.common->mtu;
	message->install.answer_length = WG_RESPONSE_SIZE;
	return message;
}

/* --- initiation --------------------------------------------------------------------------------------------------- */

/* The public-key work: nothing has an effect before the timestamp was authenticated. */
static enum drop_reason check(struct handshaker *h, struct initiation *initiation)
{
	const struct handshaker_common *common = h->params.common;
	uint8_t static_static[KEY_SIZE], timestamp[WG_TIMESTAMP_SIZE];
	if (!wg_read_static(&initiation->responder, common->wireguard, initiation->message, initiation->client_key))
		return DROP_HANDSHAKE_FORGED;
	struct peer *peer = peers_find(&common->registry->peers, initiation->client_key);
	initiation->other_protocol = peer != NULL && peer_protocol(peer) != PEER_WIREGUARD;
	if (peer == NULL || initiation->other_protocol)
		return DROP_UNKNOWN_PEER;
	initiation->peer = peer;
	bool opened = peer_static_static(peer, common->wireguard->keys.private_key, static_static) &&
		      wg_read_timestamp(&initiation->responder, static_static, initiation->message, timestamp);
	sodium_memzero(static_static, sizeof static_static);
	if (!opened)
		return DROP_HANDSHAKE_FORGED;
	return registry_begin_wireguard(common->registry, peer, timestamp, h->now, &initiation->grant);
}

static enum drop_reason install(struct handshaker *h, struct initiation *initiation)
{
	struct inbox_message *message = make_install(h, initiation);
	if (message == NULL) {
		registry_abandon(h->params.common->registry, &initiation->grant);
		return DROP_HANDSHAKE_FORGED;
	}
	handshaker_post(h, message);
	return DROP_NONE;
}

static void tell_refused(struct handshaker *h, const struct initiation *initiation, enum drop_reason reason)
{
	struct handshake_refusal refusal = {.from = initiation->from,
					    .client_key = initiation->client_key,
					    .peer = initiation->peer,
					    .protocol = peer_protocol_name(PEER_WIREGUARD),
					    .other_protocol = initiation->other_protocol,
					    .reason = reason};
	handshaker_tell_refused(h, &refusal);
}

static enum drop_reason answer(struct handshaker *h, const struct waiting_hello *waiting)
{
	struct initiation initiation = {.message = waiting->message, .from = &waiting->from};
	enum drop_reason reason = check(h, &initiation);
	if (reason == DROP_NONE)
		reason = install(h, &initiation);
	else if (reason == DROP_BLOCK && handshaker_forward(h, waiting, initiation.peer))
		reason = DROP_NONE;
	else
		tell_refused(h, &initiation, reason);
	sodium_memzero(&initiation, sizeof initiation);
	return reason;
}

const struct handshake_protocol handshake_wireguard = {
	.size = WG_INITIATION_SIZE,
	.cookie_size = WG_COOKIE_REPLY_SIZE,
	.check_mac1 = check_mac1,
	.source_proven = source_proven,
	.write_cookie = write_cookie,
	.answer = answer,
};
