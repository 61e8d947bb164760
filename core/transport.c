// SPDX-License-Identifier: Apache-2.0
#include "core/transport.h"

#include <sodium.h>
#include <stdlib.h>

#include "crypto/keys.h"

void transport_derive(const uint8_t secret[NOISE_KEY_SIZE], unsigned suite, uint8_t key[AEAD_KEY_SIZE],
		      uint8_t iv[AEAD_IV_SIZE])
{
	uint8_t output[AEAD_KEY_SIZE + AEAD_IV_SIZE];
	uint8_t number = (uint8_t)suite;
	key_derive(output, sizeof output, secret, NOISE_KEY_SIZE, "shardtun1 data", &number, sizeof number);
	memcpy(key, output, AEAD_KEY_SIZE);
	memcpy(iv, output + AEAD_KEY_SIZE, AEAD_IV_SIZE);
	sodium_memzero(output, sizeof output);
}

static void expand(const struct aead_engine *engine, const struct aead_vtable *aead, struct aead_key *key,
		   const uint8_t secret[NOISE_KEY_SIZE])
{
	uint8_t raw[AEAD_KEY_SIZE], iv[AEAD_IV_SIZE];
	transport_derive(secret, aead->suite, raw, iv);
	aead->expand(engine, key, raw, iv);
	sodium_memzero(raw, sizeof raw);
	sodium_memzero(iv, sizeof iv);
}

struct transport_key *transport_key_new(const struct aead_engine *engine, unsigned suite, uint8_t epoch,
					const struct noise_keys *secrets, enum transport_side side, uint64_t now)
{
	const struct aead_vtable *aead = aead_engine_suite(engine, suite);
	if (aead == NULL)
		return NULL;
	struct transport_key *key = aligned_alloc(CACHE_LINE, sizeof *key);
	if (key == NULL)
		return NULL;

	memset(key, 0, sizeof *key);
	key->aead = aead;
	key->epoch = epoch;
	key->born = now;
	bool client = side == TRANSPORT_CLIENT;
	expand(engine, aead, &key->seal, client ? secrets->initiator_to_responder : secrets->responder_to_initiator);
	expand(engine, aead, &key->open, client ? secrets->responder_to_initiator : secrets->initiator_to_responder);
	return key;
}

void transport_key_free(struct transport_key *key)
{
	if (key == NULL)
		return;
	sodium_memzero(key, sizeof *key);
	free(key);
}
