// SPDX-License-Identifier: Apache-2.0
/* Cookies: a proof that a sender receives what is sent to its address, for which the gateway stores nothing. After
 * WireGuard (Donenfeld, "WireGuard: Next Generation Kernel Network Tunnel", 2017, 5.3).
 *
 * A cookie is a MAC over the address it was sent to and a number, under one random key that a gateway draws when it
 * starts. Numbers are moments of the monotonic clock, so they tell which of two cookies was given first. There are two
 * kinds:
 *
 *   of a period   the number is when the current period of COOKIE_ROTATION_NS began, so a source gets the same cookie
 *                 throughout the period, and mac2 can be checked before anything is decrypted. Valid in this period
 *                 and the next: for one to two periods.
 *   numbered      the caller chooses the number, which stands in the cookie, so each cookie may differ. Valid for
 *                 COOKIE_ROTATION_NS.
 *
 * Cookies of a period for peers of WireGuard are of a kind of their own, so that none serves both protocols; their mac2
 * and their seal have WireGuard's hash (crypto/wg_mac.h). What is in a cookie concerns its giver alone. WireGuard's
 * paper takes keyed BLAKE2s of address and port under a secret that changes every 120 s; what follows does the same.
 *
 * So the secret rotates by the clock alone: nothing is written after start, and any number of threads use the same jar
 * at once. The MAC is SipHash-2-4, unpredictable without the key and cheap: under a flood of requests it is the most
 * frequent operation here.
 *
 * Pure: no clock, no socket, no allocation. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "crypto/keys.h"

enum {
	COOKIE_SIZE = 16,
	COOKIE_NONCE_SIZE = 24,
	COOKIE_SEALED_SIZE = COOKIE_SIZE + 16, /* with its tag */
};

#define COOKIE_ROTATION_NS (120 * NS_PER_S)
#define COOKIE_KEEP_NS	   (115 * NS_PER_S) /* how long a client uses one: a period less the time in transit */

/* Kept in locked memory by the caller. Constant once it is made. */
struct cookie_jar {
	uint8_t secret[KEY_SIZE];
};

/* Draws the secret. After keys_init(); start-up. */
void cookie_jar_init(struct cookie_jar *jar);

/* The cookie of a source in this period. `address`: 16 bytes in network order, IPv4 as v4-mapped IPv6 throughout.
 * `port`: in whatever byte order, as long as it is the same each time. `now`: monotonic ns, the same clock for all
 * users of the jar. */
void cookie_make(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
		 uint8_t cookie[COOKIE_SIZE]);

/* The number of what cookie_make() makes at that time. */
uint64_t cookie_period(uint64_t now);

/* The same for a peer of WireGuard. */
void cookie_make_wg(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
		    uint8_t cookie[COOKIE_SIZE]);

/* The cookie of a source with this number, about monotonic ns. */
void cookie_make_numbered(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t number,
			  uint8_t cookie[COOKIE_SIZE]);

/* The number of a valid cookie of this source, of either kind, but for WireGuard's; 0 for any other cookie. Compares in
 * constant time. */
uint64_t cookie_number(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
		       const uint8_t cookie[COOKIE_SIZE]);

/* BLAKE2b-128 keyed by a cookie. */
void cookie_mac(uint8_t mac[MAC_SIZE], const uint8_t cookie[COOKIE_SIZE], const void *data, size_t size);

/* Whether `mac` is that of `data` under a valid cookie of this source, one of a period. Compares in constant time. */
bool cookie_mac_verify(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
		       const uint8_t mac[MAC_SIZE], const void *data, size_t size);

/* The same of a message of WireGuard: its mac2 is BLAKE2s-128. */
bool cookie_mac_verify_wg(const struct cookie_jar *jar, const uint8_t address[16], uint16_t port, uint64_t now,
			  const uint8_t mac[MAC_SIZE], const void *data, size_t size);

/* The key that cookies from the owner of `public_key` are sealed with: BLAKE2b-256("shardtun1 cookie" ||
 * public_key). The key is not secret: reading a cookie takes the gateway's public key, and `mac1` of the HELLO that
 * it answers. */
void cookie_key(uint8_t key[KEY_SIZE], const uint8_t public_key[KEY_SIZE]);

/* XChaCha20-Poly1305 with mac1 of the message that is answered as associated data: WireGuard's cookie reply differs in
 * nothing but the key. `nonce`: never the same twice under one key. cookie_open() returns false and leaves `cookie` as
 * it is when the tag does not match. */
void cookie_seal(uint8_t sealed[COOKIE_SEALED_SIZE], const uint8_t key[KEY_SIZE],
		 const uint8_t nonce[COOKIE_NONCE_SIZE], const uint8_t mac1[MAC_SIZE],
		 const uint8_t cookie[COOKIE_SIZE]);
bool cookie_open(uint8_t cookie[COOKIE_SIZE], const uint8_t key[KEY_SIZE], const uint8_t nonce[COOKIE_NONCE_SIZE],
		 const uint8_t mac1[MAC_SIZE], const uint8_t sealed[COOKIE_SEALED_SIZE]);
