// SPDX-License-Identifier: Apache-2.0
/* From what the configuration names to keys in locked memory. */
#pragma once

#include "config/config.h"
#include "core/base/error.h"
#include "core/handshake.h"
#include "core/peer.h"
#include "crypto/aead.h"

/* Reads the private key file. The caller gives it back with secret_free(). NULL with `error` set. */
struct handshake_identity *identity_load(const char *private_key_file, struct error *error);

/* Decodes a PublicKey and reads its PSK (`preshared_key_file` may be NULL: all zero). */
int identity_load_remote(const char *public_key_text, const char *preshared_key_file, uint8_t public_key[KEY_SIZE],
			 uint8_t preshared_key[KEY_SIZE], struct error *error);

/* The suites that a `Cipher` option leaves, most wanted first: what this engine runs fastest. Unused places are 0. */
void identity_suites(enum config_cipher cipher, const struct aead_engine *engine, uint8_t suites[WIRE_SUITES_MAX]);
