// SPDX-License-Identifier: Apache-2.0
/* HELLO, COOKIE and WELCOME as messages: layout, macs and Noise put together. Pure like crypto/noise.h: no socket, no
 * clock, no table; random bytes come from the caller. Each side's state is a plain value; a failed read leaves it as it
 * was. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/protocol/wire.h"
#include "crypto/cookie.h"
#include "crypto/keys.h"
#include "crypto/noise.h"

/* The long-term keys of one side. The caller keeps them in locked memory. */
struct handshake_identity {
	struct noise_keypair keys;
	uint8_t mac1_key[KEY_SIZE];   /* of messages to this side */
	uint8_t cookie_key[KEY_SIZE]; /* of COOKIE from this side */
};

void handshake_identity_init(struct handshake_identity *identity, const uint8_t private_key[KEY_SIZE]);

/* The client's keys for one gateway. */
struct handshake_remote {
	uint8_t public_key[KEY_SIZE];
	uint8_t preshared_key[KEY_SIZE];
	uint8_t static_static[KEY_SIZE];
	uint8_t mac1_key[KEY_SIZE];   /* of messages to the gateway */
	uint8_t cookie_key[KEY_SIZE]; /* of its COOKIEs */
};

/* False when the public key is no usable point. Costs one DH. */
bool handshake_remote_init(struct handshake_remote *remote, const struct handshake_identity *own,
			   const uint8_t public_key[KEY_SIZE], const uint8_t preshared_key[KEY_SIZE]);

/* --- client ------------------------------------------------------------------------------------------------------- */

struct handshake_initiator {
	struct noise_handshake noise;
	uint32_t session_id;
	uint32_t magic;
	uint8_t mac1[MAC_SIZE];
};

/* Writes a HELLO of WIRE_HELLO_SIZE bytes without mac2. `session_id`: to rekey or resume, or 0. `random`: 36 fresh
 * random bytes (ephemeral key, magic). False when a DH result is zero. */
enum { HANDSHAKE_HELLO_RANDOM = KEY_SIZE + 4 };
bool handshake_write_hello(struct handshake_initiator *initiator, const struct handshake_identity *own,
			   const struct handshake_remote *remote, uint32_t session_id, const struct wire_hello *hello,
			   const uint8_t random[HANDSHAKE_HELLO_RANDOM], uint8_t message[WIRE_HELLO_SIZE]);

/* Puts mac2 into a HELLO: the cookie proves where it comes from, to a gateway under load. */
void handshake_add_mac2(const uint8_t cookie[COOKIE_SIZE], uint8_t message[WIRE_HELLO_SIZE]);

/* Reads a COOKIE (its first byte is checked already) that answers this HELLO. The initiator stays valid: a WELCOME may
 * still arrive. False, with `cookie` as it was, when it answers another one or does not open. */
bool handshake_read_cookie(const struct handshake_initiator *initiator, const struct handshake_remote *remote,
			   const uint8_t *message, size_t length, uint8_t cookie[COOKIE_SIZE]);

/* Reads a WELCOME (its first byte is checked already). On true the secrets and the decoded payload are filled, and the
 * initiator is spent; on false it is unchanged. */
bool handshake_read_welcome(struct handshake_initiator *initiator, const struct handshake_remote *remote,
			    const uint8_t *message, size_t length, struct wire_welcome *welcome,
			    struct noise_keys *secrets);

/* --- gateway ------------------------------------------------------------------------------------------------------ */

struct handshake_responder {
	struct noise_handshake noise;
	uint32_t magic;
};

/* Whether mac1 of a HELLO (of the right size) was made for this side's key: one hash. */
bool handshake_check_mac1(const struct handshake_identity *own, const uint8_t message[WIRE_HELLO_SIZE]);

/* Whether mac2 of a HELLO shows that its sender receives what is sent to this address and port, as crypto/cookie.h
 * takes them: two hashes, four when the cookie is not of this period. */
bool handshake_check_mac2(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
			  const uint8_t message[WIRE_HELLO_SIZE]);

/* Writes a COOKIE that answers a HELLO, which needs no more than a right mac1. `nonce`: 24 fresh random bytes. */
void handshake_write_cookie(const struct handshake_identity *own, const uint8_t hello[WIRE_HELLO_SIZE],
			    const uint8_t cookie[COOKIE_SIZE], const uint8_t nonce[COOKIE_NONCE_SIZE],
			    uint8_t message[WIRE_COOKIE_SIZE]);

/* Decrypts the client's static key: one DH. */
bool handshake_read_static(struct handshake_responder *responder, const struct handshake_identity *own,
			   const uint8_t message[WIRE_HELLO_SIZE], uint8_t client_key[KEY_SIZE]);

/* Decrypts the payload. `static_static` is noise_dh(own, client_key), which the caller caches for each peer. */
bool handshake_read_payload(struct handshake_responder *responder, const uint8_t static_static[KEY_SIZE],
			    const uint8_t message[WIRE_HELLO_SIZE], struct wire_hello *hello);

/* Writes a WELCOME to `message` (WIRE_WELCOME_MAX bytes) and yields the secrets. Returns its length, 0 when the payload
 * does not fit or a DH result is zero. `ephemeral`: used for nothing else. The responder is spent. */
size_t handshake_write_welcome(struct handshake_responder *responder, const uint8_t preshared_key[KEY_SIZE],
			       const struct wire_welcome *welcome, const struct noise_keypair *ephemeral,
			       uint8_t message[WIRE_WELCOME_MAX], struct noise_keys *secrets);
