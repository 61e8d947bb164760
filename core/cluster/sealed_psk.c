// SPDX-License-Identifier: Apache-2.0
#include "core/cluster/sealed_psk.h"

#include <sodium.h>
#include <string.h>

enum { NONCE = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, TAG = crypto_aead_xchacha20poly1305_ietf_ABYTES };
_Static_assert((int)SEALED_PSK_SIZE == NONCE + (int)KEY_SIZE + TAG && SEALED_PSK_SIZE % 3 == 0,
	       "base64 without padding");

static void derive(const uint8_t private_key[KEY_SIZE], uint8_t key[KEY_SIZE])
{
	key_derive(key, KEY_SIZE, private_key, KEY_SIZE, "shardtun1 cluster psk", NULL, 0);
}

void sealed_psk_write(const uint8_t private_key[KEY_SIZE], const uint8_t peer[KEY_SIZE], const uint8_t psk[KEY_SIZE],
		      char text[SEALED_PSK_TEXT_SIZE])
{
	uint8_t key[KEY_SIZE], sealed[SEALED_PSK_SIZE];
	derive(private_key, key);
	randombytes_buf(sealed, NONCE);
	(void)crypto_aead_xchacha20poly1305_ietf_encrypt(sealed + NONCE, NULL, psk, KEY_SIZE, peer, KEY_SIZE, NULL,
							 sealed, key);
	(void)sodium_bin2base64(text, SEALED_PSK_TEXT_SIZE, sealed, sizeof sealed, sodium_base64_VARIANT_ORIGINAL);
	sodium_memzero(key, sizeof key);
}

bool sealed_psk_read(const uint8_t private_key[KEY_SIZE], const uint8_t peer[KEY_SIZE], const char *text,
		     uint8_t psk[KEY_SIZE])
{
	uint8_t key[KEY_SIZE], sealed[SEALED_PSK_SIZE], opened[KEY_SIZE];
	size_t size = 0;
	if (strlen(text) != SEALED_PSK_TEXT_SIZE - 1 ||
	    sodium_base642bin(sealed, sizeof sealed, text, SEALED_PSK_TEXT_SIZE - 1, NULL, &size, NULL,
			      sodium_base64_VARIANT_ORIGINAL) != 0 ||
	    size != sizeof sealed)
		return false;
	derive(private_key, key);
	bool right = crypto_aead_xchacha20poly1305_ietf_decrypt(opened, NULL, NULL, sealed + NONCE, KEY_SIZE + TAG,
								peer, KEY_SIZE, sealed, key) == 0;
	if (right)
		memcpy(psk, opened, KEY_SIZE);
	sodium_memzero(key, sizeof key);
	sodium_memzero(opened, sizeof opened);
	return right;
}
