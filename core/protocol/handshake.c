// SPDX-License-Identifier: Apache-2.0
#include "core/protocol/handshake.h"

#include <sodium.h>

_Static_assert(WIRE_COOKIE_SEALED == WIRE_COOKIE_NONCE + COOKIE_NONCE_SIZE, "nonce of COOKIE");
_Static_assert(WIRE_COOKIE_SIZE == WIRE_COOKIE_SEALED + COOKIE_SEALED_SIZE, "sealed cookie");
_Static_assert((int)WIRE_CHALLENGE_SIZE == (int)COOKIE_SIZE, "the challenge is a cookie");

void handshake_identity_init(struct handshake_identity *identity, const uint8_t private_key[KEY_SIZE])
{
	memcpy(identity->keys.private_key, private_key, KEY_SIZE);
	noise_public_key(private_key, identity->keys.public_key);
	mac1_key(identity->mac1_key, identity->keys.public_key);
	cookie_key(identity->cookie_key, identity->keys.public_key);
}

bool handshake_remote_init(struct handshake_remote *remote, const struct handshake_identity *own,
			   const uint8_t public_key[KEY_SIZE], const uint8_t preshared_key[KEY_SIZE])
{
	memcpy(remote->public_key, public_key, KEY_SIZE);
	memcpy(remote->preshared_key, preshared_key, KEY_SIZE);
	mac1_key(remote->mac1_key, public_key);
	cookie_key(remote->cookie_key, public_key);
	return noise_dh(own->keys.private_key, public_key, remote->static_static);
}

bool handshake_write_hello(struct handshake_initiator *initiator, const struct handshake_identity *own,
			   const struct handshake_remote *remote, uint32_t session_id, const struct wire_hello *hello,
			   const uint8_t random[HANDSHAKE_HELLO_RANDOM], uint8_t message[WIRE_HELLO_SIZE])
{
	initiator->session_id = session_id;
	initiator->magic = load_be32(random + KEY_SIZE);
	wire_header(message, WIRE_VERSION, WIRE_HELLO, session_id);
	store_be32(message + WIRE_HEADER_SIZE, initiator->magic);

	uint8_t prologue[WIRE_PROLOGUE_SIZE];
	wire_prologue(prologue, session_id, initiator->magic);
	noise_initiator_start(&initiator->noise, &noise_blake2b, &own->keys, remote->public_key, remote->static_static,
			      prologue, sizeof prologue);
	uint8_t payload[WIRE_HELLO_PAYLOAD_SIZE];
	wire_hello_encode(payload, hello);
	if (!noise_initiator_write(&initiator->noise, random, payload, sizeof payload, message + WIRE_HELLO_NOISE))
		return false;

	mac_compute(initiator->mac1, remote->mac1_key, message, WIRE_HELLO_MAC1);
	memcpy(message + WIRE_HELLO_MAC1, initiator->mac1, MAC_SIZE);
	memset(message + WIRE_HELLO_MAC2, 0, MAC_SIZE);
	return true;
}

void handshake_add_mac2(const uint8_t cookie[COOKIE_SIZE], uint8_t message[WIRE_HELLO_SIZE])
{
	cookie_mac(message + WIRE_HELLO_MAC2, cookie, message, WIRE_HELLO_MAC2);
}

bool handshake_read_cookie(const struct handshake_initiator *initiator, const struct handshake_remote *remote,
			   const uint8_t *message, size_t length, uint8_t cookie[COOKIE_SIZE])
{
	return length == WIRE_COOKIE_SIZE && wire_magic(message) == initiator->magic &&
	       wire_session_id(message) == initiator->session_id &&
	       cookie_open(cookie, remote->cookie_key, message + WIRE_COOKIE_NONCE, initiator->mac1,
			   message + WIRE_COOKIE_SEALED);
}

bool handshake_read_welcome(struct handshake_initiator *initiator, const struct handshake_remote *remote,
			    const uint8_t *message, size_t length, struct wire_welcome *welcome,
			    struct noise_keys *secrets)
{
	if (length < WIRE_WELCOME_MIN || length > WIRE_WELCOME_MAX || wire_magic(message) != initiator->magic)
		return false;

	struct noise_handshake noise = initiator->noise;
	uint8_t payload[WIRE_WELCOME_PAYLOAD_MAX];
	bool good = noise_initiator_read(&noise, remote->preshared_key, message + WIRE_WELCOME_NOISE,
					 length - WIRE_WELCOME_NOISE, payload) &&
		    wire_welcome_decode(welcome, payload, length - WIRE_WELCOME_NOISE - NOISE_MESSAGE2_OVERHEAD) &&
		    welcome->session_id == wire_session_id(message);
	if (good) {
		noise_split(&noise, secrets);
		sodium_memzero(initiator, sizeof *initiator);
	}
	sodium_memzero(&noise, sizeof noise);
	return good;
}

bool handshake_check_mac1(const struct handshake_identity *own, const uint8_t message[WIRE_HELLO_SIZE])
{
	return mac_verify(message + WIRE_HELLO_MAC1, own->mac1_key, message, WIRE_HELLO_MAC1);
}

bool handshake_check_mac2(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
			  const uint8_t message[WIRE_HELLO_SIZE])
{
	if (sodium_is_zero(message + WIRE_HELLO_MAC2, MAC_SIZE))
		return false; /* a client's first HELLO has none: that is cheap to see */
	return cookie_mac_verify(jar, address, port, now, message + WIRE_HELLO_MAC2, message, WIRE_HELLO_MAC2);
}

void handshake_write_cookie(const struct handshake_identity *own, const uint8_t hello[WIRE_HELLO_SIZE],
			    const uint8_t cookie[COOKIE_SIZE], const uint8_t nonce[COOKIE_NONCE_SIZE],
			    uint8_t message[WIRE_COOKIE_SIZE])
{
	wire_header(message, WIRE_VERSION, WIRE_COOKIE, wire_session_id(hello));
	store_be32(message + WIRE_HEADER_SIZE, wire_magic(hello));
	memcpy(message + WIRE_COOKIE_NONCE, nonce, COOKIE_NONCE_SIZE);
	cookie_seal(message + WIRE_COOKIE_SEALED, own->cookie_key, nonce, hello + WIRE_HELLO_MAC1, cookie);
}

bool handshake_read_static(struct handshake_responder *responder, const struct handshake_identity *own,
			   const uint8_t message[WIRE_HELLO_SIZE], uint8_t client_key[KEY_SIZE])
{
	uint8_t prologue[WIRE_PROLOGUE_SIZE];
	responder->magic = wire_magic(message);
	wire_prologue(prologue, wire_session_id(message), responder->magic);
	noise_responder_start(&responder->noise, &noise_blake2b, &own->keys, prologue, sizeof prologue);
	return noise_responder_read_static(&responder->noise, message + WIRE_HELLO_NOISE, WIRE_HELLO_NOISE_SIZE,
					   client_key);
}

bool handshake_read_payload(struct handshake_responder *responder, const uint8_t static_static[KEY_SIZE],
			    const uint8_t message[WIRE_HELLO_SIZE], struct wire_hello *hello)
{
	uint8_t payload[WIRE_HELLO_PAYLOAD_SIZE];
	if (!noise_responder_read_payload(&responder->noise, static_static, message + WIRE_HELLO_NOISE,
					  WIRE_HELLO_NOISE_SIZE, payload))
		return false;
	wire_hello_decode(hello, payload);
	return true;
}

size_t handshake_write_welcome(struct handshake_responder *responder, const uint8_t preshared_key[KEY_SIZE],
			       const struct wire_welcome *welcome, const struct noise_keypair *ephemeral,
			       uint8_t message[WIRE_WELCOME_MAX], struct noise_keys *secrets)
{
	uint8_t payload[WIRE_WELCOME_PAYLOAD_MAX];
	size_t length = wire_welcome_encode(payload, welcome);
	if (length == 0)
		return 0;

	wire_header(message, WIRE_VERSION, WIRE_WELCOME, welcome->session_id);
	store_be32(message + WIRE_HEADER_SIZE, responder->magic);
	if (!noise_responder_write(&responder->noise, ephemeral, preshared_key, payload, length,
				   message + WIRE_WELCOME_NOISE))
		return 0;
	noise_split(&responder->noise, secrets);
	sodium_memzero(responder, sizeof *responder);
	return WIRE_WELCOME_NOISE + NOISE_MESSAGE2_OVERHEAD + length;
}
