// SPDX-License-Identifier: Apache-2.0
#include "core/protocol/wg_handshake.h"

#include <sodium.h>

#include "core/base/clock.h"
#include "crypto/replay.h"
#include "crypto/wg_mac.h"

_Static_assert(WG_INITIATION_NOISE_SIZE == NOISE_MESSAGE1_OVERHEAD + WG_TIMESTAMP_SIZE, "message 1 of Noise");
_Static_assert((int)WG_RESPONSE_NOISE_SIZE == (int)NOISE_MESSAGE2_OVERHEAD, "message 2, without payload");
_Static_assert(WG_MACS_SIZE == 2 * MAC_SIZE, "mac1 and mac2");
_Static_assert(WG_COOKIE_SEALED == WG_COOKIE_NONCE + COOKIE_NONCE_SIZE, "nonce of a cookie reply");
_Static_assert(WG_COOKIE_REPLY_SIZE == WG_COOKIE_SEALED + COOKIE_SEALED_SIZE, "sealed cookie");
_Static_assert((int)WG_TIMESTAMP_SIZE == (int)WIRE_TIMESTAMP_SIZE, "TAI64N in both");
_Static_assert(WG_REJECT_AFTER_MESSAGES == REPLAY_COUNTER_LIMIT, "the window ends where keys do");

/* The paper, 5.4: "Identifier", without its terminator. */
static const char identifier[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";
enum { IDENTIFIER_SIZE = sizeof identifier - 1 };

void wg_identity_init(struct handshake_identity *identity, const uint8_t private_key[KEY_SIZE])
{
	memcpy(identity->keys.private_key, private_key, KEY_SIZE);
	noise_public_key(private_key, identity->keys.public_key);
	wg_mac1_key(identity->mac1_key, identity->keys.public_key);
	wg_cookie_key(identity->cookie_key, identity->keys.public_key);
}

bool wg_remote_init(struct handshake_remote *remote, const struct handshake_identity *own,
		    const uint8_t public_key[KEY_SIZE], const uint8_t preshared_key[KEY_SIZE])
{
	memcpy(remote->public_key, public_key, KEY_SIZE);
	memcpy(remote->preshared_key, preshared_key, KEY_SIZE);
	wg_mac1_key(remote->mac1_key, public_key);
	wg_cookie_key(remote->cookie_key, public_key);
	return noise_dh(own->keys.private_key, public_key, remote->static_static);
}

/* Both MACs end the message; mac1 covers what is before it, mac2 mac1 too. */
static size_t mac1_at(size_t length)
{
	return length - WG_MACS_SIZE;
}

static size_t mac2_at(size_t length)
{
	return length - MAC_SIZE;
}

/* mac2 is none. */
static void add_macs(const uint8_t mac1_key[KEY_SIZE], uint8_t *message, size_t length)
{
	wg_mac(message + mac1_at(length), mac1_key, KEY_SIZE, message, mac1_at(length));
	memset(message + mac2_at(length), 0, MAC_SIZE);
}

void wg_add_mac2(const uint8_t cookie[COOKIE_SIZE], uint8_t *message, size_t length)
{
	wg_mac(message + mac2_at(length), cookie, COOKIE_SIZE, message, mac2_at(length));
}

bool wg_check_mac1(const struct handshake_identity *own, const uint8_t *message, size_t length)
{
	uint8_t expected[MAC_SIZE];
	wg_mac(expected, own->mac1_key, KEY_SIZE, message, mac1_at(length));
	return sodium_memcmp(message + mac1_at(length), expected, MAC_SIZE) == 0;
}

bool wg_check_mac2(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
		   const uint8_t *message, size_t length)
{
	const uint8_t *mac2 = message + mac2_at(length);
	if (sodium_is_zero(mac2, MAC_SIZE))
		return false; /* a peer's first one has none: that is cheap to see */
	return cookie_mac_verify_wg(jar, address, port, now, mac2, message, mac2_at(length));
}

void wg_write_cookie_reply(const struct handshake_identity *own, const uint8_t *message, size_t length,
			   const uint8_t cookie[COOKIE_SIZE], const uint8_t nonce[COOKIE_NONCE_SIZE],
			   uint8_t reply[WG_COOKIE_REPLY_SIZE])
{
	wg_header(reply, WG_COOKIE_REPLY, wg_sender(message));
	memcpy(reply + WG_COOKIE_NONCE, nonce, COOKIE_NONCE_SIZE);
	cookie_seal(reply + WG_COOKIE_SEALED, own->cookie_key, nonce, message + mac1_at(length), cookie);
}

bool wg_read_cookie_reply(const uint8_t cookie_key[KEY_SIZE], uint32_t index, const uint8_t mac1[MAC_SIZE],
			  const uint8_t reply[WG_COOKIE_REPLY_SIZE], uint8_t cookie[COOKIE_SIZE])
{
	return wg_receiver(reply, WG_COOKIE_REPLY) == index &&
	       cookie_open(cookie, cookie_key, reply + WG_COOKIE_NONCE, mac1, reply + WG_COOKIE_SEALED);
}

void wg_timestamp(uint8_t timestamp[WG_TIMESTAMP_SIZE], uint64_t wall_ns)
{
	wire_timestamp(timestamp, wall_ns - wall_ns % NS_PER_S % (1u << 24));
}

bool wg_write_initiation(struct wg_initiator *initiator, const struct handshake_identity *own,
			 const struct handshake_remote *remote, uint32_t index,
			 const uint8_t timestamp[WG_TIMESTAMP_SIZE], const uint8_t ephemeral_private[KEY_SIZE],
			 uint8_t message[WG_INITIATION_SIZE])
{
	initiator->index = index;
	wg_header(message, WG_INITIATION, index);
	noise_initiator_start(&initiator->noise, &noise_blake2s, &own->keys, remote->public_key, remote->static_static,
			      identifier, IDENTIFIER_SIZE);
	if (!noise_initiator_write(&initiator->noise, ephemeral_private, timestamp, WG_TIMESTAMP_SIZE,
				   message + WG_INITIATION_NOISE))
		return false;
	add_macs(remote->mac1_key, message, WG_INITIATION_SIZE);
	memcpy(initiator->mac1, message + WG_INITIATION_MAC1, MAC_SIZE);
	return true;
}

bool wg_read_response(struct wg_initiator *initiator, const struct handshake_remote *remote,
		      const uint8_t message[WG_RESPONSE_SIZE], uint32_t *peer_index, struct noise_keys *secrets)
{
	uint8_t nothing[1]; /* the payload, of no bytes */
	if (wg_receiver(message, WG_RESPONSE) != initiator->index ||
	    !noise_initiator_read(&initiator->noise, remote->preshared_key, message + WG_RESPONSE_NOISE,
				  WG_RESPONSE_NOISE_SIZE, nothing))
		return false;
	*peer_index = wg_sender(message);
	noise_split(&initiator->noise, secrets);
	sodium_memzero(initiator, sizeof *initiator);
	return true;
}

bool wg_read_static(struct wg_responder *responder, const struct handshake_identity *own,
		    const uint8_t message[WG_INITIATION_SIZE], uint8_t peer_key[KEY_SIZE])
{
	responder->peer_index = wg_sender(message);
	noise_responder_start(&responder->noise, &noise_blake2s, &own->keys, identifier, IDENTIFIER_SIZE);
	return noise_responder_read_static(&responder->noise, message + WG_INITIATION_NOISE, WG_INITIATION_NOISE_SIZE,
					   peer_key);
}

bool wg_read_timestamp(struct wg_responder *responder, const uint8_t static_static[KEY_SIZE],
		       const uint8_t message[WG_INITIATION_SIZE], uint8_t timestamp[WG_TIMESTAMP_SIZE])
{
	return noise_responder_read_payload(&responder->noise, static_static, message + WG_INITIATION_NOISE,
					    WG_INITIATION_NOISE_SIZE, timestamp);
}

bool wg_write_response(struct wg_responder *responder, const uint8_t preshared_key[KEY_SIZE], uint32_t index,
		       const struct noise_keypair *ephemeral, uint8_t message[WG_RESPONSE_SIZE],
		       struct noise_keys *secrets)
{
	wg_header(message, WG_RESPONSE, index);
	store_be32(message + WG_RESPONSE_RECEIVER, responder->peer_index);
	if (!noise_responder_write(&responder->noise, ephemeral, preshared_key, NULL, 0, message + WG_RESPONSE_NOISE))
		return false;
	uint8_t mac1_key[KEY_SIZE];
	wg_mac1_key(mac1_key, responder->noise.remote_static);
	add_macs(mac1_key, message, WG_RESPONSE_SIZE);
	noise_split(&responder->noise, secrets);
	return true;
}
