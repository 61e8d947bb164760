// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/identity.h"

#include <sodium.h>

/* From `text`, or from `file` if that is NULL. The configuration has checked only that the text looks like a key. */
static int load_key(const char *option, const char *text, const char *file, uint8_t key[KEY_SIZE], struct error *error)
{
	if (text == NULL)
		return key_read_file(file, key, error);
	return key_parse(text, key) ? 0 : error_set(error, -EINVAL, "%s = (hidden): no base64 Curve25519 key", option);
}

struct handshake_identity *identity_load(const struct config_common *common, struct error *error)
{
	struct handshake_identity *identity = secret_new(sizeof *identity);
	if (identity == NULL) {
		error_set(error, -ENOMEM, "private key: out of memory");
		return NULL;
	}
	uint8_t private_key[KEY_SIZE];
	int result = load_key("PrivateKey", common->private_key, common->private_key_file, private_key, error);
	if (result == 0)
		handshake_identity_init(identity, private_key);
	sodium_memzero(private_key, sizeof private_key);
	if (result != 0) {
		secret_free(identity);
		return NULL;
	}
	return identity;
}

static int wireguard_key(const char *file, const struct handshake_identity *own, uint8_t key[KEY_SIZE],
			 struct error *error)
{
	if (file == NULL) {
		key_derive(key, KEY_SIZE, own->keys.private_key, KEY_SIZE, "shardtun1 wireguard", NULL, 0);
		return 0;
	}
	int result = key_read_file(file, key, error);
	if (result == 0 && sodium_memcmp(key, own->keys.private_key, KEY_SIZE) == 0)
		return error_set(
			error, -EINVAL,
			"WireGuardPrivateKeyFile = %s: holds the gateway's other private key, and a key is for one "
			"protocol; take this option away, or give another key",
			file);
	return result;
}

int identity_load_wireguard(const struct gateway_config *config, const struct handshake_identity *own,
			    struct noise_keypair **keys, struct error *error)
{
	*keys = NULL;
	struct noise_keypair *made = secret_new(sizeof *made);
	if (made == NULL)
		return error_set(error, -ENOMEM, "private key: out of memory");
	int result = wireguard_key(config->wireguard_key_file, own, made->private_key, error);
	if (result != 0 || !config->wireguard) {
		secret_free(made);
		return result;
	}
	noise_public_key(made->private_key, made->public_key);
	*keys = made;
	return 0;
}

int identity_load_remote(const struct identity_remote *remote, uint8_t public_key[KEY_SIZE],
			 uint8_t preshared_key[KEY_SIZE], struct error *error)
{
	if (!key_parse(remote->public_key, public_key))
		return error_set(error, -EINVAL, "PublicKey = %s: no base64 Curve25519 key", remote->public_key);
	memset(preshared_key, 0, KEY_SIZE);
	if (remote->preshared_key == NULL && remote->preshared_key_file == NULL)
		return 0;
	return load_key("PresharedKey", remote->preshared_key, remote->preshared_key_file, preshared_key, error);
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
