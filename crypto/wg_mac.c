// SPDX-License-Identifier: Apache-2.0
#include "crypto/wg_mac.h"

#include <string.h>

#include "crypto/blake2s.h"

_Static_assert((int)KEY_SIZE == (int)BLAKE2S_SIZE, "a whole hash");

static void labelled_key(uint8_t key[KEY_SIZE], const char *label, const uint8_t public_key[KEY_SIZE])
{
	struct blake2s state;
	blake2s_init(&state, KEY_SIZE, NULL, 0);
	blake2s_update(&state, label, strlen(label));
	blake2s_update(&state, public_key, KEY_SIZE);
	blake2s_final(&state, key);
}

void wg_mac1_key(uint8_t key[KEY_SIZE], const uint8_t public_key[KEY_SIZE])
{
	labelled_key(key, "mac1----", public_key);
}

void wg_cookie_key(uint8_t key[KEY_SIZE], const uint8_t public_key[KEY_SIZE])
{
	labelled_key(key, "cookie--", public_key);
}

void wg_mac(uint8_t mac[MAC_SIZE], const uint8_t *key, size_t key_size, const void *data, size_t size)
{
	struct blake2s state;
	blake2s_init(&state, MAC_SIZE, key, key_size);
	blake2s_update(&state, data, size);
	blake2s_final(&state, mac);
}
