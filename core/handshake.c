// SPDX-License-Identifier: Apache-2.0
#include "core/handshake.h"

#include <sodium.h>

void handshake_identity_init(struct handshake_identity *identity, const uint8_t private_key[KEY_SIZE])
{
	memcpy(identity->keys.private_key, private_key, KEY_SIZE);
	noise_public_key(private_key, identity->keys.public_key);
	mac1_key(identity->mac1_key, identity->keys.public_key);
}

bool handshake_remote_init(struct handshake_remote *remote, const struct handshake_identity *own,
			   const uint8_t public_key[KEY_SIZE], const uint8_t preshared_key[KEY_SIZE])
{
	memcpy(remote->public_key, public_key, KEY_SIZE);
	memcpy(remote->preshared_key, preshared_key, KEY_SIZE);
	mac1_key(remote->mac1_key, public_key);
	return noise_dh(own->keys.private_key, public_key, remote->static_static);
}

bool handshake_write_hello(struct handshake_initiator *initiator, const struct handshake_identity *own,
			   const struct handshake_remote *remote, uint32_t session_id, const struct wire_hello *hello,
			   const uint8_t random[HANDSHAKE_HELLO_RANDOM], uint8_t message[WIRE_HELLO_SIZE])
{
	initiator->magic = load_be32(random + KEY_SIZE);
	wire_header(message, WIRE_VERSION, WIRE_HELLO, session_id);
	store_be32(message + WIRE_HEADER_SIZE, initiator->magic);

	uint8_t prologue[WIRE_PROLOGUE_SIZE];
	wire_prologue(prologue, session_id, initiator->magic);
	noise_initiator_start(&initiator->noise, &own->keys, remote->public_key, remote->static_static, prologue,
			      sizeof prologue);
	uint8_t payload[WIRE_HELLO_PAYLOAD_SIZE];
	wire_hello_encode(payload, hello);
	if (!noise_initiator_write(&initiator->noise, random, payload, sizeof payload, message + WIRE_HELLO_NOISE))
		return false;

	mac_compute(message + WIRE_HELLO_MAC1, remote->mac1_key, message, WIRE_HELLO_MAC1);
	memset(message + WIRE_HELLO_MAC2, 0, MAC_SIZE);
	return true;
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

bool handshake_read_static(struct handshake_responder *responder, const struct handshake_identity *own,
			   const uint8_t message[WIRE_HELLO_SIZE], uint8_t client_key[KEY_SIZE])
{
	uint8_t prologue[WIRE_PROLOGUE_SIZE];
	responder->magic = wire_magic(message);
	wire_prologue(prologue, wire_session_id(message), responder->magic);
	noise_responder_start(&responder->noise, &own->keys, prologue, sizeof prologue);
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
			       const struct wire_welcome *welcome, const uint8_t ephemeral[KEY_SIZE],
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
