// SPDX-License-Identifier: Apache-2.0
#include <sodium.h>

#include "crypto/aead_backend.h"

_Static_assert(sizeof(crypto_aead_aes256gcm_state) <= AEAD_SCHEDULE_SIZE, "the expanded key fits");

static void gcm_expand(const struct aead_engine *engine, struct aead_key *key, const uint8_t raw[AEAD_KEY_SIZE],
		       const uint8_t iv[AEAD_IV_SIZE])
{
	(void)engine;
	crypto_aead_aes256gcm_beforenm((crypto_aead_aes256gcm_state *)key->schedule, raw);
	memcpy(key->iv, iv, AEAD_IV_SIZE);
}

static void gcm_seal(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	(void)engine;
	for (struct aead_op *op = ops; op < ops + count; op++) {
		uint8_t nonce[AEAD_IV_SIZE];
		aead_nonce(nonce, key, op->counter);
		crypto_aead_aes256gcm_encrypt_detached_afternm(op->output, op->tag, NULL, op->input, op->length,
							       op->header, AEAD_AAD_SIZE, NULL, nonce,
							       (const crypto_aead_aes256gcm_state *)key->schedule);
	}
}

/* libsodium compares the tag before it decrypts, and zeroes the output of a forgery. */
static void gcm_open(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	(void)engine;
	for (struct aead_op *op = ops; op < ops + count; op++) {
		uint8_t nonce[AEAD_IV_SIZE];
		aead_nonce(nonce, key, op->counter);
		op->authentic = crypto_aead_aes256gcm_decrypt_detached_afternm(
					op->output, NULL, op->input, op->length, op->tag, op->header, AEAD_AAD_SIZE,
					nonce, (const crypto_aead_aes256gcm_state *)key->schedule) == 0;
	}
}

static void chacha_expand(const struct aead_engine *engine, struct aead_key *key, const uint8_t raw[AEAD_KEY_SIZE],
			  const uint8_t iv[AEAD_IV_SIZE])
{
	(void)engine;
	memcpy(key->schedule, raw, AEAD_KEY_SIZE);
	memcpy(key->iv, iv, AEAD_IV_SIZE);
}

static void chacha_seal(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	(void)engine;
	for (struct aead_op *op = ops; op < ops + count; op++) {
		uint8_t nonce[AEAD_IV_SIZE];
		aead_nonce(nonce, key, op->counter);
		crypto_aead_chacha20poly1305_ietf_encrypt_detached(op->output, op->tag, NULL, op->input, op->length,
								   op->header, AEAD_AAD_SIZE, NULL, nonce,
								   key->schedule);
	}
}

static void chacha_open(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	(void)engine;
	for (struct aead_op *op = ops; op < ops + count; op++) {
		uint8_t nonce[AEAD_IV_SIZE];
		aead_nonce(nonce, key, op->counter);
		op->authentic = crypto_aead_chacha20poly1305_ietf_decrypt_detached(
					op->output, NULL, op->input, op->length, op->tag, op->header, AEAD_AAD_SIZE,
					nonce, key->schedule) == 0;
	}
}

static void wireguard_expand(const struct aead_engine *engine, struct aead_key *key, const uint8_t raw[AEAD_KEY_SIZE],
			     const uint8_t iv[AEAD_IV_SIZE])
{
	(void)engine;
	(void)iv;
	memcpy(key->schedule, raw, AEAD_KEY_SIZE);
	memset(key->iv, 0, AEAD_IV_SIZE);
}

static void wireguard_seal(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	(void)engine;
	for (struct aead_op *op = ops; op < ops + count; op++) {
		uint8_t nonce[AEAD_IV_SIZE];
		aead_nonce_wireguard(nonce, op->counter);
		crypto_aead_chacha20poly1305_ietf_encrypt_detached(op->output, op->tag, NULL, op->input, op->length,
								   NULL, 0, NULL, nonce, key->schedule);
	}
}

static void wireguard_open(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count)
{
	(void)engine;
	for (struct aead_op *op = ops; op < ops + count; op++) {
		uint8_t nonce[AEAD_IV_SIZE];
		aead_nonce_wireguard(nonce, op->counter);
		op->authentic = crypto_aead_chacha20poly1305_ietf_decrypt_detached(op->output, NULL, op->input,
										   op->length, op->tag, NULL, 0, nonce,
										   key->schedule) == 0;
	}
}

static const struct aead_vtable aes_256_gcm = {
	.suite = AEAD_AES_256_GCM,
	.expand = gcm_expand,
	.seal = gcm_seal,
	.open = gcm_open,
};

static const struct aead_vtable chacha20_poly1305 = {
	.suite = AEAD_CHACHA20_POLY1305,
	.expand = chacha_expand,
	.seal = chacha_seal,
	.open = chacha_open,
};

static const struct aead_vtable wireguard = {
	.suite = AEAD_WIREGUARD,
	.expand = wireguard_expand,
	.seal = wireguard_seal,
	.open = wireguard_open,
};

/* ChaCha20-Poly1305 needs no hardware support. */
static int probe(unsigned path, struct error *error)
{
	(void)path;
	(void)error;
	return 0;
}

static int init(struct aead_engine *engine, unsigned path, struct error *error)
{
	(void)path;
	(void)error;
	if (crypto_aead_aes256gcm_is_available())
		engine->suites[AEAD_AES_256_GCM] = &aes_256_gcm;
	engine->suites[AEAD_CHACHA20_POLY1305] = &chacha20_poly1305;
	engine->suites[AEAD_WIREGUARD] = &wireguard;
	engine->description = "sodium";
	return 0;
}

static const char *const names[] = {"sodium", NULL};

extern const struct aead_backend aead_backend_sodium;
const struct aead_backend aead_backend_sodium = {.names = names, .probe = probe, .init = init};
