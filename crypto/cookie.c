// SPDX-License-Identifier: Apache-2.0
#include "crypto/cookie.h"

#include <sodium.h>
#include <string.h>

#include "core/base/bytes.h"
#include "crypto/wg_mac.h"

_Static_assert(COOKIE_NONCE_SIZE == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce of XChaCha20-Poly1305");
_Static_assert(COOKIE_SEALED_SIZE == COOKIE_SIZE + crypto_aead_xchacha20poly1305_ietf_ABYTES, "and its tag");
_Static_assert(COOKIE_SIZE == crypto_shorthash_siphashx24_BYTES, "a whole MAC");
_Static_assert(KEY_SIZE >= crypto_shorthash_siphashx24_KEYBYTES, "its key");
_Static_assert(COOKIE_KEEP_NS < COOKIE_ROTATION_NS, "a client's cookie is valid for as long as it keeps it");

enum {
	PERIODS_VALID = 2, /* this one and the one before; before the first there was none */
	NUMBER_SIZE = 8,
	NUMBER_MAC_SIZE = COOKIE_SIZE - NUMBER_SIZE,
};

/* Numbers increase even while the clock stands still, so one may be ahead of the clock, by a bounded amount. */
#define NUMBER_AHEAD_NS NS_PER_S

void cookie_jar_init(struct cookie_jar *jar)
{
	randombytes_buf(jar->secret, sizeof jar->secret);
}

enum { KIND_PERIOD = 0, KIND_NUMBERED = 1, KIND_WG_PERIOD = 2 };

static void cookie_compute(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t number,
			   uint8_t kind, uint8_t mac[COOKIE_SIZE])
{
	uint8_t input[NUMBER_SIZE + 16 + 2 + 1];
	store_be64(input, number);
	memcpy(input + NUMBER_SIZE, address, 16);
	memcpy(input + NUMBER_SIZE + 16, &port, sizeof port);
	input[NUMBER_SIZE + 16 + 2] = kind;
	crypto_shorthash_siphashx24(mac, input, sizeof input, jar->secret);
}

/* Of the period that `age` periods ago was the current one; never 0. */
static uint64_t period_number(uint64_t now, uint64_t age)
{
	return (now / COOKIE_ROTATION_NS - age) * COOKIE_ROTATION_NS + 1;
}

uint64_t cookie_period(uint64_t now)
{
	return period_number(now, 0);
}

void cookie_make(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
		 uint8_t cookie[COOKIE_SIZE])
{
	cookie_compute(jar, address, port, period_number(now, 0), KIND_PERIOD, cookie);
}

void cookie_make_wg(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
		    uint8_t cookie[COOKIE_SIZE])
{
	cookie_compute(jar, address, port, period_number(now, 0), KIND_WG_PERIOD, cookie);
}

void cookie_make_numbered(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t number,
			  uint8_t cookie[COOKIE_SIZE])
{
	uint8_t mac[COOKIE_SIZE];
	cookie_compute(jar, address, port, number, KIND_NUMBERED, mac);
	store_be64(cookie, number);
	memcpy(cookie + NUMBER_SIZE, mac, NUMBER_MAC_SIZE);
}

static uint64_t number_of_numbered(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
				   const uint8_t cookie[COOKIE_SIZE])
{
	uint64_t number = load_be64(cookie);
	if (number > now + NUMBER_AHEAD_NS || number + COOKIE_ROTATION_NS < now)
		return 0;
	uint8_t expected[COOKIE_SIZE];
	cookie_make_numbered(jar, address, port, number, expected);
	return sodium_memcmp(cookie, expected, COOKIE_SIZE) == 0 ? number : 0;
}

uint64_t cookie_number(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
		       const uint8_t cookie[COOKIE_SIZE])
{
	for (uint64_t age = 0; age < PERIODS_VALID; age++) {
		uint8_t expected[COOKIE_SIZE];
		uint64_t number = period_number(now, age);
		cookie_compute(jar, address, port, number, KIND_PERIOD, expected);
		if (sodium_memcmp(cookie, expected, COOKIE_SIZE) == 0)
			return number;
	}
	return number_of_numbered(jar, address, port, now, cookie);
}

void cookie_mac(uint8_t mac[MAC_SIZE], const uint8_t cookie[COOKIE_SIZE], const void *data, size_t size)
{
	key_derive(mac, MAC_SIZE, cookie, COOKIE_SIZE, "", data, size);
}

static bool verify_of(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
		      const uint8_t mac[MAC_SIZE], const void *data, size_t size, bool wg)
{
	for (uint64_t age = 0; age < PERIODS_VALID; age++) {
		uint8_t cookie[COOKIE_SIZE], expected[MAC_SIZE];
		cookie_compute(jar, address, port, period_number(now, age), wg ? KIND_WG_PERIOD : KIND_PERIOD, cookie);
		if (wg)
			wg_mac(expected, cookie, COOKIE_SIZE, data, size);
		else
			cookie_mac(expected, cookie, data, size);
		if (sodium_memcmp(mac, expected, MAC_SIZE) == 0)
			return true;
	}
	return false;
}

bool cookie_mac_verify(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
		       const uint8_t mac[MAC_SIZE], const void *data, size_t size)
{
	return verify_of(jar, address, port, now, mac, data, size, false);
}

bool cookie_mac_verify_wg(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
			  const uint8_t mac[MAC_SIZE], const void *data, size_t size)
{
	return verify_of(jar, address, port, now, mac, data, size, true);
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
