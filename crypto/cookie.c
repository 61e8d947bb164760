// SPDX-License-Identifier: Apache-2.0
#include "crypto/cookie.h"

#include <sodium.h>
#include <string.h>

#include "core/base/bytes.h"

_Static_assert(COOKIE_NONCE_SIZE == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce of XChaCha20-Poly1305");
_Static_assert(COOKIE_SEALED_SIZE == COOKIE_SIZE + crypto_aead_xchacha20poly1305_ietf_ABYTES, "and its tag");
_Static_assert(COOKIE_KEEP_NS < COOKIE_ROTATION_NS, "a client's cookie is valid for as long as it keeps it");

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

/* The two that are valid. In the first period the other one is of a period that never was, and is never handed out. */
static void valid_cookies(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
			  uint8_t cookies[2][COOKIE_SIZE])
{
	uint64_t period = now / COOKIE_ROTATION_NS;
	cookie_of_period(jar, address, port, period, cookies[0]);
	cookie_of_period(jar, address, port, period - 1, cookies[1]);
}

bool cookie_valid(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
		  const uint8_t cookie[COOKIE_SIZE])
{
	uint8_t cookies[2][COOKIE_SIZE];
	valid_cookies(jar, address, port, now, cookies);
	bool current = sodium_memcmp(cookie, cookies[0], COOKIE_SIZE) == 0;
	bool previous = sodium_memcmp(cookie, cookies[1], COOKIE_SIZE) == 0;
	return current | previous;
}

void cookie_mac(uint8_t mac[MAC_SIZE], const uint8_t cookie[COOKIE_SIZE], const void *data, size_t size)
{
	key_derive(mac, MAC_SIZE, cookie, COOKIE_SIZE, "", data, size);
}

bool cookie_mac_verify(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
		       const uint8_t mac[MAC_SIZE], const void *data, size_t size)
{
	uint8_t cookies[2][COOKIE_SIZE];
	valid_cookies(jar, address, port, now, cookies);
	bool valid = false;
	for (size_t i = 0; i < 2; i++) {
		uint8_t expected[MAC_SIZE];
		cookie_mac(expected, cookies[i], data, size);
		valid |= sodium_memcmp(mac, expected, MAC_SIZE) == 0;
	}
	return valid;
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
