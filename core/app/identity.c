// SPDX-License-Identifier: Apache-2.0
#include "core/app/identity.h"

#include <sodium.h>

struct handshake_identity *identity_load(const char *private_key_file, struct error *error)
{
	struct handshake_identity *identity = secret_new(sizeof *identity);
	if (identity == NULL) {
		error_set(error, -ENOMEM, "private key: out of memory");
		return NULL;
	}
	uint8_t private_key[KEY_SIZE];
	int result = key_read_file(private_key_file, private_key, error);
	if (result == 0)
		handshake_identity_init(identity, private_key);
	sodium_memzero(private_key, sizeof private_key);
	if (result != 0) {
		secret_free(identity);
		return NULL;
	}
	return identity;
}

int identity_load_remote(const char *public_key_text, const char *preshared_key_file, uint8_t public_key[KEY_SIZE],
			 uint8_t preshared_key[KEY_SIZE], struct error *error)
{
	if (!key_parse(public_key_text, public_key))
		return error_set(error, -EINVAL, "PublicKey = %s: no base64 Curve25519 key", public_key_text);
	memset(preshared_key, 0, KEY_SIZE);
	return preshared_key_file != NULL ? key_read_file(preshared_key_file, preshared_key, error) : 0;
}

void identity_suites(enum config_cipher cipher, const struct aead_engine *engine, uint8_t suites[WIRE_SUITES_MAX])
{
	static const struct {
		enum config_cipher option;
		enum aead_suite suite;
	} preference[] = {
		{CONFIG_CIPHER_AES_256_GCM, AEAD_AES_256_GCM},
		{CONFIG_CIPHER_CHACHA20_POLY1305, AEAD_CHACHA20_POLY1305},
	};
	size_t count = 0;
	memset(suites, 0, WIRE_SUITES_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(preference); i++) {
		if ((cipher & preference[i].option) != 0 && aead_engine_suite(engine, preference[i].suite) != NULL)
			suites[count++] = (uint8_t)preference[i].suite;
	}
}
