// SPDX-License-Identifier: Apache-2.0
/* A peer's pre-shared key as the gateways of a cluster keep it outside: sealed under the private key that they share,
 * and bound to the peer's public key. Base64 of nonce (24 bytes), ciphertext (32) and tag (16), XChaCha20-Poly1305. */
#pragma once

#include <stdbool.h>

#include "crypto/keys.h"

enum { SEALED_PSK_SIZE = 24 + KEY_SIZE + 16, SEALED_PSK_TEXT_SIZE = SEALED_PSK_SIZE / 3 * 4 + 1 };

/* Any thread, after keys_init(). */
void sealed_psk_write(const uint8_t private_key[KEY_SIZE], const uint8_t peer[KEY_SIZE], const uint8_t psk[KEY_SIZE],
		      char text[SEALED_PSK_TEXT_SIZE]);

/* False: no such text, or sealed for another peer or under another private key; `psk` is as before. */
bool sealed_psk_read(const uint8_t private_key[KEY_SIZE], const uint8_t peer[KEY_SIZE], const char *text,
		     uint8_t psk[KEY_SIZE]);
