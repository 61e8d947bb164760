// SPDX-License-Identifier: Apache-2.0
/* What WireGuard takes keyed and labelled BLAKE2s for: mac1, mac2 and the keys of both. Donenfeld, "WireGuard: Next
 * Generation Kernel Network Tunnel", 5.4.4 and 5.4.7. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "crypto/keys.h"

/* The key for mac1 of messages to the owner of `public_key`: BLAKE2s-256("mac1----" || public_key). Any thread. */
void wg_mac1_key(uint8_t key[KEY_SIZE], const uint8_t public_key[KEY_SIZE]);

/* The key that cookies from the owner of `public_key` are sealed with: BLAKE2s-256("cookie--" || public_key). Not
 * secret, as crypto/cookie.h says of the own protocol's. Any thread. */
void wg_cookie_key(uint8_t key[KEY_SIZE], const uint8_t public_key[KEY_SIZE]);

/* BLAKE2s-128 keyed: by the key for mac1 (KEY_SIZE bytes), or for mac2 by a cookie (16 bytes). Any thread. */
void wg_mac(uint8_t mac[MAC_SIZE], const uint8_t *key, size_t key_size, const void *data, size_t size);
