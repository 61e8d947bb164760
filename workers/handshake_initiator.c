// SPDX-License-Identifier: Apache-2.0
/* WireGuard handshakes that we initiate (core/protocol/WIREGUARD.md, 5): the public-key work of both messages. A worker
 * says when, to which peer, and for which epoch (workers/initiator.h); it gets the keys. */
#include "workers/handshake_protocol.h"

#include <sodium.h>

#include "core/protocol/messages.h"
#include "crypto/wg_mac.h"

_Static_assert((int)WG_RESPONSE_SIZE <= (int)WIRE_HELLO_SIZE, "fits into the queue");
_Static_assert(WG_COOKIE_S >= WG_REKEY_ATTEMPT_S, "what is forgotten is not awaited any more");

/* --- initiation --------------------------------------------------------------------------------------------------- */

/* A peer that may be initiated to, or NULL: it is gone. */
static struct peer *find_peer(const struct handshaker *h, const uint8_t public_key[KEY_SIZE])
{
	struct peer *peer = peers_find(&h->params.common->registry->peers, public_key);
	return peer != NULL && peer_protocol(peer) == PEER_WIREGUARD ? peer : NULL;
}

static bool fill_remote(const struct handshaker *h, struct peer *peer, struct handshake_remote *remote)
{
	memcpy(remote->public_key, peer->public_key, KEY_SIZE);
	peer_preshared_key(peer, remote->preshared_key);
	wg_mac1_key(remote->mac1_key, peer->public_key);
	wg_cookie_key(remote->cookie_key, peer->public_key);
	return peer_static_static(peer, h->params.common->wireguard->keys.private_key, remote->static_static);
}

static bool write_initiation(struct handshaker *h, struct sent_initiation *initiation,
			     const struct handshake_remote *remote, uint8_t message[WG_INITIATION_SIZE])
{
	uint8_t timestamp[WG_TIMESTAMP_SIZE];
	struct noise_keypair ephemeral;
	wg_timestamp(timestamp, clock_wall(h->params.clock));
	ephemerals_take(&h->ephemerals, &ephemeral);
	bool written = wg_write_initiation(&initiation->noise, h->params.common->wireguard, remote,
					   wg_index(initiation->session_id, initiation->epoch), timestamp,
					   ephemeral.private_key, message);
	sodium_memzero(&ephemeral, sizeof ephemeral);
	if (written && initiation->has_cookie)
		wg_add_mac2(initiation->cookie, message, WG_INITIATION_SIZE);
	return written;
}

static void send_initiation(struct handshaker *h, const struct endpoint *to, uint8_t message[WG_INITIATION_SIZE])
{
	const struct udp_message datagram = {.data = message, .length = WG_INITIATION_SIZE, .endpoint = *to};
	stats_add(&h->loop.stats, udp_tx_calls, 1);
	if (h->params.udp->ops->send(h->params.udp, &datagram, 1) != 1)
		return; /* no route, or no room: the worker's next one may leave */
	message_count_sent(&h->loop.stats, message);
	stats_add(&h->loop.stats, udp_tx_packets, 1);
	stats_add(&h->loop.stats, udp_tx_bytes, WG_INITIATION_SIZE);
	stats_add(&h->loop.stats, udp_tx_control, 1);
}

void handshaker_initiate(struct handshaker *h, const struct inbox_message *request)
{
	struct peer *peer = h->params.common->wireguard != NULL ? find_peer(h, request->initiate.peer) : NULL;
	struct handshake_remote remote;
	uint8_t message[WG_INITIATION_SIZE];
	if (peer == NULL)
		return;
	struct sent_initiation *initiation = NULL;
	if (fill_remote(h, peer, &remote))
		initiation = initiations_begin(&h->initiations, request->session_id, peer->public_key, h->now);
	if (initiation != NULL) {
		initiation->epoch = request->initiate.epoch;
		initiation->waits = write_initiation(h, initiation, &remote, message);
	}
	sodium_memzero(&remote, sizeof remote);
	if (initiation != NULL && initiation->waits)
		send_initiation(h, &request->initiate.to, message);
}

/* --- response ----------------------------------------------------------------------------------------------------- */

static bool check_mac1(const struct handshaker *h, const uint8_t *message)
{
	return wg_check_mac1(h->params.common->wireguard, message, WG_RESPONSE_SIZE);
}

static bool source_proven(const struct handshaker *h, const struct endpoint *from, const uint8_t *message)
{
	return handshaker_wireguard_proven(h, from, message, WG_RESPONSE_SIZE);
}

static void write_cookie(const struct handshaker *h, const struct endpoint *from, const uint8_t *message,
			 uint64_t number, const uint8_t nonce[COOKIE_NONCE_SIZE], uint8_t *answer)
{
	(void)number;
	handshaker_wireguard_cookie(h, from, message, WG_RESPONSE_SIZE, nonce, answer);
}

/* NULL: no memory. */
static struct inbox_message *make_initiated(struct handshaker *h, const struct sent_initiation *initiation,
					    const struct noise_keys *secrets, uint32_t peer_index,
					    const struct endpoint *from)
{
	struct inbox_message *message = calloc(1, sizeof *message);
	if (message == NULL)
		return NULL;
	message->kind = INBOX_INITIATED;
	message->session_id = initiation->session_id;
	message->initiated.from = *from;
	message->initiated.mtu = h->params.common->mtu;
	message->initiated.key = transport_key_new_wireguard(h->params.aead, initiation->epoch, secrets,
							     TRANSPORT_CLIENT, peer_index, h->now);
	if (message->initiated.key != NULL)
		return message;
	free(message);
	return NULL;
}

/* It waited in the queue: another response may have been the right one, or another initiation have followed. */
static enum drop_reason answer(struct handshaker *h, const struct waiting_hello *waiting)
{
	const uint8_t *message = waiting->message;
	struct sent_initiation *initiation = initiations_awaited(&h->initiations, wg_receiver(message, WG_RESPONSE),
								 h->now);
	if (initiation == NULL)
		return DROP_UNEXPECTED;
	const struct peer *peer = find_peer(h, initiation->peer);
	if (peer == NULL)
		return DROP_UNKNOWN_PEER;
	struct handshake_remote remote = {0}; /* nothing else of it is needed */
	struct noise_keys secrets;
	uint32_t peer_index;
	peer_preshared_key(peer, remote.preshared_key);
	bool opened = wg_read_response(&initiation->noise, &remote, message, &peer_index, &secrets);
	sodium_memzero(&remote, sizeof remote);
	if (!opened)
		return DROP_HANDSHAKE_FORGED;
	initiation->waits = false;
	struct inbox_message *keys = make_initiated(h, initiation, &secrets, peer_index, &waiting->from);
	sodium_memzero(&secrets, sizeof secrets);
	if (keys != NULL)
		handshaker_post(h, keys);
	return DROP_NONE;
}

const struct handshake_protocol handshake_wireguard_response = {
	.size = WG_RESPONSE_SIZE,
	.cookie_size = WG_COOKIE_REPLY_SIZE,
	.check_mac1 = check_mac1,
	.source_proven = source_proven,
	.write_cookie = write_cookie,
	.answer = answer,
};

/* --- cookie reply ------------------------------------------------------------------------------------------------- */

enum drop_reason handshaker_take_cookie(struct handshaker *h, const uint8_t *message)
{
	uint32_t index = wg_receiver(message, WG_COOKIE_REPLY);
	struct sent_initiation *initiation = initiations_awaited(&h->initiations, index, h->now);
	uint8_t cookie_key[KEY_SIZE];
	if (initiation == NULL || initiation->replied)
		return DROP_UNEXPECTED;
	wg_cookie_key(cookie_key, initiation->peer);
	if (!wg_read_cookie_reply(cookie_key, index, initiation->noise.mac1, message, initiation->cookie))
		return DROP_HANDSHAKE_FORGED;
	initiation->has_cookie = initiation->replied = true;
	initiation->cookie_at = h->now;
	message_count_received(&h->loop.stats, message);
	return DROP_NONE;
}
