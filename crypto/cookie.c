// SPDX-License-Identifier: Apache-2.0
#include "crypto/cookie.h"

#include <sodium.h>
#include <string.h>

#include "core/base/bytes.h"

_Static_assert(COOKIE_NONCE_SIZE == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce of XChaCha20-Poly1305");
_Static_assert(COOKIE_SEALED_SIZE == COOKIE_SIZE + crypto_aead_xchacha20poly1305_ietf_ABYTES, "and its tag");
_Static_assert(COOKIE_KEEP_NS < COOKIE_ROTATION_NS, "a client's cookie is valid for as long as it keeps it");

/* This one and the one before. Before the first there was none, and its cookies were never handed out. */
enum { PERIODS_VALID = 2 };

void cookie_jar_init(struct cookie_jar *jar)
{
	randombytes_buf(jar->secret, sizeof jar->secret);
}

static void cookie_of_period(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t period,
			     uint8_t cookie[COOKIE_SIZE])
{
	uint8_t input[8 + 16 + 2];
	store_be64(input, period);
	memcpy(input + 8, address, 16);
	memcpy(input + 24, &port, sizeof port);
	key_derive(cookie, COOKIE_SIZE, jar->secret, sizeof jar->secret, "", input, sizeof input);
}

void cookie_make(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
		 uint8_t cookie[COOKIE_SIZE])
{
	cookie_of_period(jar, address, port, now / COOKIE_ROTATION_NS, cookie);
}

bool cookie_valid(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
		  const uint8_t cookie[COOKIE_SIZE])
{
	for (uint64_t age = 0; age < PERIODS_VALID; age++) {
		uint8_t expected[COOKIE_SIZE];
		cookie_of_period(jar, address, port, now / COOKIE_ROTATION_NS - age, expected);
		if (sodium_memcmp(cookie, expected, COOKIE_SIZE) == 0)
			return true;
	}
	return false;
}

void cookie_mac(uint8_t mac[MAC_SIZE], const uint8_t cookie[COOKIE_SIZE], const void *data, size_t size)
{
	key_derive(mac, MAC_SIZE, cookie, COOKIE_SIZE, "", data, size);
}

bool cookie_mac_verify(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
		       const uint8_t mac[MAC_SIZE], const void *data, size_t size)
{
	for (uint64_t age = 0; age < PERIODS_VALID; age++) {
		uint8_t cookie[COOKIE_SIZE], expected[MAC_SIZE];
		cookie_of_period(jar, address, port, now / COOKIE_ROTATION_NS - age, cookie);
		cookie_mac(expected, cookie, data, size);
		if (sodium_memcmp(mac, expected, MAC_SIZE) == 0)
			return true;
	}
	return false;
}

void cookie_key(uint8_t key[KEY_SIZE], const uint8_t public_key[KEY_SIZE])
{
	key_derive(key, KEY_SIZE, NULL, 0, "shardtun1 cookie", public_key, KEY_SIZE);
}

void cookie_seal(uint8_t sealed[COOKIE_SEALED_SIZE], const uint8_t key[KEY_SIZE],
		 const uint8_t nonce[COOKIE_NONCE_SIZE], const uint8_t mac1[MAC_SIZE],
		 const uint8_t cookie[COOKIE_SIZE])
{
	crypto_aead_xchacha20poly1305_ietf_encrypt(sealed, NULL, cookie, COOKIE_SIZE, mac1, MAC_SIZE, NULL, nonce, key);
}

bool cookie_open(uint8_t cookie[COOKIE_SIZE], const uint8_t key[KEY_SIZE], const uint8_t nonce[COOKIE_NONCE_SIZE],
		 const uint8_t mac1[MAC_SIZE], const uint8_t sealed[COOKIE_SEALED_SIZE])
{
	uint8_t opened[COOKIE_SIZE];
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(opened, NULL, NULL, sealed, COOKIE_SEALED_SIZE, mac1, MAC_SIZE,
						       nonce, key) != 0)
		return false;
	memcpy(cookie, opened, COOKIE_SIZE);
	return true;
}
