// SPDX-License-Identifier: Apache-2.0
#include "crypto/noise.h"

#include <sodium.h>
#include <string.h>

#include "crypto/blake2s.h"

enum {
	SEALED_STATIC_SIZE = NOISE_KEY_SIZE + NOISE_TAG_SIZE,
	MESSAGE1_STATIC = NOISE_KEY_SIZE, /* offsets */
	MESSAGE1_PAYLOAD = NOISE_KEY_SIZE + SEALED_STATIC_SIZE,
	MESSAGE2_PAYLOAD = NOISE_KEY_SIZE,
};

static void hash_blake2b(uint8_t *output, const void *first, size_t first_size, const void *second, size_t second_size)
{
	crypto_generichash_blake2b_state state;
	crypto_generichash_blake2b_init(&state, NULL, 0, noise_blake2b.size);
	crypto_generichash_blake2b_update(&state, first, first_size);
	crypto_generichash_blake2b_update(&state, second, second_size);
	crypto_generichash_blake2b_final(&state, output, noise_blake2b.size);
	sodium_memzero(&state, sizeof state);
}

static void hash_blake2s(uint8_t *output, const void *first, size_t first_size, const void *second, size_t second_size)
{
	struct blake2s state;
	blake2s_init(&state, BLAKE2S_SIZE, NULL, 0);
	blake2s_update(&state, first, first_size);
	blake2s_update(&state, second, second_size);
	blake2s_final(&state, output);
}

const struct noise_hash noise_blake2b = {"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b", 64, 128, hash_blake2b};
const struct noise_hash noise_blake2s = {"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s", BLAKE2S_SIZE, BLAKE2S_BLOCK_SIZE,
					 hash_blake2s};

/* HMAC (RFC 2104), which Noise prescribes even for a hash that has a keyed mode. `output` may be the data. */
static void hmac(const struct noise_hash *function, uint8_t *output, const uint8_t *key, const void *data, size_t size)
{
	uint8_t pad[NOISE_BLOCK_MAX];
	uint8_t inner[NOISE_HASH_MAX];

	memset(pad, 0x36, function->block_size);
	for (size_t i = 0; i < function->size; i++)
		pad[i] ^= key[i];
	function->hash(inner, pad, function->block_size, data, size);
	for (size_t i = 0; i < function->block_size; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	function->hash(output, pad, function->block_size, inner, function->size);
	sodium_memzero(pad, sizeof pad);
	sodium_memzero(inner, sizeof inner);
}

/* HKDF of Noise, section 4.3, with `count` outputs. `outputs[0]` may be the chaining key. */
static void hkdf(const struct noise_hash *function, const uint8_t *chaining_key, const void *input, size_t size,
		 uint8_t *const outputs[], size_t count)
{
	uint8_t secret[NOISE_HASH_MAX];
	uint8_t block[NOISE_HASH_MAX + 1];

	hmac(function, secret, chaining_key, input, size);
	for (size_t i = 0; i < count; i++) {
		/* The first block has no predecessor to chain. */
		size_t chained = i == 0 ? 0 : function->size;
		block[chained] = (uint8_t)(i + 1);
		hmac(function, block, secret, block, chained + 1);
		memcpy(outputs[i], block, function->size);
	}
	sodium_memzero(secret, sizeof secret);
	sodium_memzero(block, sizeof block);
}

static void mix_hash(struct noise_handshake *state, const void *data, size_t size)
{
	state->function->hash(state->hash, state->hash, state->function->size, data, size);
}

static void mix_key(struct noise_handshake *state, const uint8_t input[NOISE_KEY_SIZE])
{
	uint8_t cipher_key[NOISE_HASH_MAX];
	hkdf(state->function, state->chaining_key, input, NOISE_KEY_SIZE,
	     (uint8_t *[]){state->chaining_key, cipher_key}, 2);
	memcpy(state->cipher_key, cipher_key, NOISE_KEY_SIZE);
	state->nonce = 0;
	sodium_memzero(cipher_key, sizeof cipher_key);
}

static void mix_key_and_hash(struct noise_handshake *state, const uint8_t input[NOISE_KEY_SIZE])
{
	uint8_t hash_input[NOISE_HASH_MAX], cipher_key[NOISE_HASH_MAX];
	hkdf(state->function, state->chaining_key, input, NOISE_KEY_SIZE,
	     (uint8_t *[]){state->chaining_key, hash_input, cipher_key}, 3);
	mix_hash(state, hash_input, state->function->size);
	memcpy(state->cipher_key, cipher_key, NOISE_KEY_SIZE);
	state->nonce = 0;
	sodium_memzero(hash_input, sizeof hash_input);
	sodium_memzero(cipher_key, sizeof cipher_key);
}

static bool mix_dh(struct noise_handshake *state, const uint8_t private_key[NOISE_KEY_SIZE],
		   const uint8_t public_key[NOISE_KEY_SIZE])
{
	uint8_t shared[NOISE_KEY_SIZE];
	bool valid = noise_dh(private_key, public_key, shared);
	if (valid)
		mix_key(state, shared);
	sodium_memzero(shared, sizeof shared);
	return valid;
}

static bool mix_static_static(struct noise_handshake *state)
{
	if (sodium_is_zero(state->static_static, NOISE_KEY_SIZE))
		return false;
	mix_key(state, state->static_static);
	return true;
}

/* The "e" token: with a PSK in the handshake the ephemeral is mixed into the key as well (section 9.2). */
static void mix_ephemeral(struct noise_handshake *state, const uint8_t public_key[NOISE_KEY_SIZE])
{
	mix_hash(state, public_key, NOISE_KEY_SIZE);
	mix_key(state, public_key);
}

static void cipher_nonce(uint8_t nonce[crypto_aead_chacha20poly1305_IETF_NPUBBYTES], uint64_t counter)
{
	memset(nonce, 0, 4);
	memcpy(nonce + 4, &counter, sizeof counter); /* little-endian, which core/base/bytes.h asserts of the host */
}

static void encrypt_and_hash(struct noise_handshake *state, const void *plaintext, size_t size, uint8_t *output)
{
	uint8_t nonce[crypto_aead_chacha20poly1305_IETF_NPUBBYTES];
	cipher_nonce(nonce, state->nonce++);
	crypto_aead_chacha20poly1305_ietf_encrypt(output, NULL, plaintext, size, state->hash, state->function->size,
						  NULL, nonce, state->cipher_key);
	mix_hash(state, output, size + NOISE_TAG_SIZE);
}

static bool decrypt_and_hash(struct noise_handshake *state, const uint8_t *input, size_t size, uint8_t *plaintext)
{
	uint8_t nonce[crypto_aead_chacha20poly1305_IETF_NPUBBYTES];
	cipher_nonce(nonce, state->nonce++);
	if (crypto_aead_chacha20poly1305_ietf_decrypt(plaintext, NULL, NULL, input, size, state->hash,
						      state->function->size, nonce, state->cipher_key) != 0)
		return false;
	mix_hash(state, input, size);
	return true;
}

/* Each step works on a copy, which replaces the state on success; the copy is wiped in either case. */
static bool commit(struct noise_handshake *state, struct noise_handshake *next, bool valid)
{
	if (valid)
		*state = *next;
	sodium_memzero(next, sizeof *next);
	return valid;
}

static void take_remote_ephemeral(struct noise_handshake *state, const uint8_t public_key[NOISE_KEY_SIZE])
{
	memcpy(state->remote_ephemeral, public_key, NOISE_KEY_SIZE);
	mix_ephemeral(state, public_key);
}

void noise_public_key(const uint8_t private_key[NOISE_KEY_SIZE], uint8_t public_key[NOISE_KEY_SIZE])
{
	crypto_scalarmult_base(public_key, private_key);
}

bool noise_dh(const uint8_t private_key[NOISE_KEY_SIZE], const uint8_t public_key[NOISE_KEY_SIZE],
	      uint8_t shared[NOISE_KEY_SIZE])
{
	/* libsodium fails for exactly the points that yield zero. */
	return crypto_scalarmult(shared, private_key, public_key) == 0;
}

/* Section 5.2, InitializeSymmetric: a name that is longer than a hash is hashed. */
static void start(struct noise_handshake *state, const struct noise_hash *function, const struct noise_keypair *own,
		  const void *prologue, size_t prologue_length, const uint8_t responder_static[NOISE_KEY_SIZE])
{
	const char *name = function->protocol_name;
	state->function = function;
	if (strlen(name) <= function->size)
		memcpy(state->hash, name, strlen(name));
	else
		function->hash(state->hash, name, strlen(name), NULL, 0);
	memcpy(state->chaining_key, state->hash, function->size);
	state->own = *own;
	mix_hash(state, prologue, prologue_length);
	mix_hash(state, responder_static, NOISE_KEY_SIZE);
}

void noise_initiator_start(struct noise_handshake *state, const struct noise_hash *function,
			   const struct noise_keypair *own, const uint8_t remote_static[NOISE_KEY_SIZE],
			   const uint8_t static_static[NOISE_KEY_SIZE], const void *prologue, size_t prologue_length)
{
	memset(state, 0, sizeof *state);
	memcpy(state->remote_static, remote_static, NOISE_KEY_SIZE);
	memcpy(state->static_static, static_static, NOISE_KEY_SIZE);
	start(state, function, own, prologue, prologue_length, remote_static);
}

void noise_responder_start(struct noise_handshake *state, const struct noise_hash *function,
			   const struct noise_keypair *own, const void *prologue, size_t prologue_length)
{
	memset(state, 0, sizeof *state);
	start(state, function, own, prologue, prologue_length, own->public_key);
}

bool noise_initiator_write(struct noise_handshake *state, const uint8_t ephemeral_private[NOISE_KEY_SIZE],
			   const void *payload, size_t payload_length, uint8_t *message)
{
	struct noise_handshake next = *state;

	memcpy(next.ephemeral.private_key, ephemeral_private, NOISE_KEY_SIZE);
	noise_public_key(ephemeral_private, next.ephemeral.public_key);
	mix_ephemeral(&next, next.ephemeral.public_key);
	bool valid = mix_dh(&next, next.ephemeral.private_key, next.remote_static);
	if (valid) {
		memcpy(message, next.ephemeral.public_key, NOISE_KEY_SIZE);
		encrypt_and_hash(&next, next.own.public_key, NOISE_KEY_SIZE, message + MESSAGE1_STATIC);
		valid = mix_static_static(&next);
	}
	if (valid)
		encrypt_and_hash(&next, payload, payload_length, message + MESSAGE1_PAYLOAD);
	return commit(state, &next, valid);
}

bool noise_responder_read_static(struct noise_handshake *state, const uint8_t *message, size_t message_length,
				 uint8_t remote_static[NOISE_KEY_SIZE])
{
	if (message_length < NOISE_MESSAGE1_OVERHEAD)
		return false;
	struct noise_handshake next = *state;

	take_remote_ephemeral(&next, message);
	bool valid = mix_dh(&next, next.own.private_key, next.remote_ephemeral) &&
		     decrypt_and_hash(&next, message + MESSAGE1_STATIC, SEALED_STATIC_SIZE, next.remote_static);
	if (valid)
		memcpy(remote_static, next.remote_static, NOISE_KEY_SIZE);
	return commit(state, &next, valid);
}

bool noise_responder_read_payload(struct noise_handshake *state, const uint8_t static_static[NOISE_KEY_SIZE],
				  const uint8_t *message, size_t message_length, uint8_t *payload)
{
	if (message_length < NOISE_MESSAGE1_OVERHEAD)
		return false;
	struct noise_handshake next = *state;

	memcpy(next.static_static, static_static, NOISE_KEY_SIZE);
	bool valid = mix_static_static(&next) &&
		     decrypt_and_hash(&next, message + MESSAGE1_PAYLOAD, message_length - MESSAGE1_PAYLOAD, payload);
	return commit(state, &next, valid);
}

bool noise_responder_write(struct noise_handshake *state, const struct noise_keypair *ephemeral,
			   const uint8_t psk[NOISE_KEY_SIZE], const void *payload, size_t payload_length,
			   uint8_t *message)
{
	struct noise_handshake next = *state;

	next.ephemeral = *ephemeral;
	mix_ephemeral(&next, next.ephemeral.public_key);
	bool valid = mix_dh(&next, next.ephemeral.private_key, next.remote_ephemeral) &&
		     mix_dh(&next, next.ephemeral.private_key, next.remote_static);
	if (valid) {
		mix_key_and_hash(&next, psk);
		memcpy(message, next.ephemeral.public_key, NOISE_KEY_SIZE);
		encrypt_and_hash(&next, payload, payload_length, message + MESSAGE2_PAYLOAD);
	}
	return commit(state, &next, valid);
}

bool noise_initiator_read(struct noise_handshake *state, const uint8_t psk[NOISE_KEY_SIZE], const uint8_t *message,
			  size_t message_length, uint8_t *payload)
{
	if (message_length < NOISE_MESSAGE2_OVERHEAD)
		return false;
	struct noise_handshake next = *state;

	take_remote_ephemeral(&next, message);
	bool valid = mix_dh(&next, next.ephemeral.private_key, next.remote_ephemeral) &&
		     mix_dh(&next, next.own.private_key, next.remote_ephemeral);
	if (valid) {
		mix_key_and_hash(&next, psk);
		valid = decrypt_and_hash(&next, message + MESSAGE2_PAYLOAD, message_length - MESSAGE2_PAYLOAD, payload);
	}
	return commit(state, &next, valid);
}

void noise_split(struct noise_handshake *state, struct noise_keys *keys)
{
	uint8_t first[NOISE_HASH_MAX], second[NOISE_HASH_MAX];
	hkdf(state->function, state->chaining_key, NULL, 0, (uint8_t *[]){first, second}, 2);
	memcpy(keys->initiator_to_responder, first, NOISE_KEY_SIZE);
	memcpy(keys->responder_to_initiator, second, NOISE_KEY_SIZE);
	sodium_memzero(first, sizeof first);
	sodium_memzero(second, sizeof second);
	sodium_memzero(state, sizeof *state);
}
