// SPDX-License-Identifier: Apache-2.0
/* Noise_IKpsk2_25519_ChaChaPoly with BLAKE2b or BLAKE2s (The Noise Protocol Framework, revision 34). The own protocol
 * has BLAKE2b, WireGuard BLAKE2s; a static key is for one of them alone (section 14, "Static key reuse").
 *
 * Pure: no socket, no clock, no random numbers (the caller passes the ephemeral key), no allocation. The state
 * is a plain value that holds secrets: the owner wipes it unless noise_split() did. Functions that read hostile input
 * return false and leave the state as it was, so the caller can go on with the next message; the payload buffer then
 * holds nothing of the message. All-zero DH results fail.
 *
 *   initiator                                         responder
 *   noise_initiator_start                             noise_responder_start
 *   noise_initiator_write  -> e, es, s, ss, payload   noise_responder_read_static   (e, es, s: identity)
 *                                                     noise_responder_read_payload  (ss, payload)
 *   noise_initiator_read   <- e, ee, se, psk, payload noise_responder_write
 *   noise_split                                       noise_split
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	NOISE_KEY_SIZE = 32, /* Curve25519 keys, PSK, split keys */
	NOISE_HASH_MAX = 64, /* BLAKE2b-512 */
	NOISE_BLOCK_MAX = 128,
	NOISE_TAG_SIZE = 16,
	NOISE_MESSAGE1_OVERHEAD = 32 + 32 + 16 + 16, /* e, encrypted s, payload tag */
	NOISE_MESSAGE2_OVERHEAD = 32 + 16,	     /* e, payload tag */
};

struct noise_keypair {
	uint8_t private_key[NOISE_KEY_SIZE];
	uint8_t public_key[NOISE_KEY_SIZE];
};

/* A hash function, as revision 34 calls its properties in section 4.3. */
struct noise_hash {
	const char *protocol_name;
	uint8_t size;	    /* HASHLEN, at least NOISE_KEY_SIZE */
	uint8_t block_size; /* BLOCKLEN */
	/* HASH(first || second): `size` bytes to `output`, which may be one of the inputs. An input may be NULL with
	 * size 0. Any thread. */
	void (*hash)(uint8_t *output, const void *first, size_t first_size, const void *second, size_t second_size);
};

extern const struct noise_hash noise_blake2b, noise_blake2s;

struct noise_handshake {
	const struct noise_hash *function;
	uint8_t hash[NOISE_HASH_MAX]; /* of this and the next the function's `size` bytes */
	uint8_t chaining_key[NOISE_HASH_MAX];
	uint8_t cipher_key[NOISE_KEY_SIZE];
	uint64_t nonce;
	struct noise_keypair own;	/* static */
	struct noise_keypair ephemeral; /* own */
	uint8_t remote_static[NOISE_KEY_SIZE];
	uint8_t remote_ephemeral[NOISE_KEY_SIZE];
	uint8_t static_static[NOISE_KEY_SIZE]; /* DH(own static, remote static) */
};

/* The keys of the two directions after a handshake. */
struct noise_keys {
	uint8_t initiator_to_responder[NOISE_KEY_SIZE];
	uint8_t responder_to_initiator[NOISE_KEY_SIZE];
};

/* Derives the public half (clamping as RFC 7748 says). Any thread. */
void noise_public_key(const uint8_t private_key[NOISE_KEY_SIZE], uint8_t public_key[NOISE_KEY_SIZE]);

/* X25519; false when the result is all zero. Costs about 45 us: results for two static keys are worth caching. */
bool noise_dh(const uint8_t private_key[NOISE_KEY_SIZE], const uint8_t public_key[NOISE_KEY_SIZE],
	      uint8_t shared[NOISE_KEY_SIZE]);

/* Starts a handshake. `static_static` is noise_dh(own, remote), computed by the caller once per peer. */
void noise_initiator_start(struct noise_handshake *state, const struct noise_hash *function,
			   const struct noise_keypair *own, const uint8_t remote_static[NOISE_KEY_SIZE],
			   const uint8_t static_static[NOISE_KEY_SIZE], const void *prologue, size_t prologue_length);
void noise_responder_start(struct noise_handshake *state, const struct noise_hash *function,
			   const struct noise_keypair *own, const void *prologue, size_t prologue_length);

/* Writes message 1: NOISE_MESSAGE1_OVERHEAD + payload_length bytes to `message`. False when a DH result is zero. */
bool noise_initiator_write(struct noise_handshake *state, const uint8_t ephemeral_private[NOISE_KEY_SIZE],
			   const void *payload, size_t payload_length, uint8_t *message);

/* Reads e, es, s of message 1 and yields the initiator's static key (also kept in the state). At this point the
 * message is known to be encrypted for our static key; that the sender owns the initiator's key is proven by
 * noise_responder_read_payload(). */
bool noise_responder_read_static(struct noise_handshake *state, const uint8_t *message, size_t message_length,
				 uint8_t remote_static[NOISE_KEY_SIZE]);

/* Reads ss and the payload of the same message 1; writes message_length − NOISE_MESSAGE1_OVERHEAD bytes to
 * `payload`. */
bool noise_responder_read_payload(struct noise_handshake *state, const uint8_t static_static[NOISE_KEY_SIZE],
				  const uint8_t *message, size_t message_length, uint8_t *payload);

/* Writes message 2: NOISE_MESSAGE2_OVERHEAD + payload_length bytes. `ephemeral` is used for this message alone; the
 * public half is passed along, so that the pair may be made ahead of time. False when a DH result is zero. */
bool noise_responder_write(struct noise_handshake *state, const struct noise_keypair *ephemeral,
			   const uint8_t psk[NOISE_KEY_SIZE], const void *payload, size_t payload_length,
			   uint8_t *message);

/* Reads message 2; writes message_length − NOISE_MESSAGE2_OVERHEAD bytes to `payload`. On false the state is as
 * before, so a forged WELCOME does not end the handshake. */
bool noise_initiator_read(struct noise_handshake *state, const uint8_t psk[NOISE_KEY_SIZE], const uint8_t *message,
			  size_t message_length, uint8_t *payload);

/* Noise Split(): the keys of both directions. The state is wiped. */
void noise_split(struct noise_handshake *state, struct noise_keys *keys);
