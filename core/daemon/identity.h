// SPDX-License-Identifier: Apache-2.0
/* From what the configuration names to keys in locked memory. */
#pragma once

#include "config/config.h"
#include "core/base/error.h"
#include "core/protocol/handshake.h"
#include "core/sessions/peer.h"
#include "crypto/aead.h"

/* Takes the private key from the configuration or its file. The caller gives it back with secret_free(). NULL with
 * `error` set. */
struct handshake_identity *identity_load(const struct config_common *common, struct error *error);

/* The gateway's key for WireGuard clients, from its file, or derived from `own`: a static key is for one set of
 * algorithms (Noise, revision 34, section 14). `*keys` is given back with secret_free(); NULL with WireGuard = no. 0,
 * or a negative errno with `error` set: also when the file has the gateway's own key, or is wrong and not needed. */
int identity_load_wireguard(const struct gateway_config *config, const struct handshake_identity *own,
			    struct noise_keypair **keys, struct error *error);

/* What the configuration has of the other side: a public key, and a pre-shared one as text, in a file, or not at all
 * (both NULL: all zero). */
struct identity_remote {
	const char *public_key, *preshared_key, *preshared_key_file;
};
int identity_load_remote(const struct identity_remote *remote, uint8_t public_key[KEY_SIZE],
			 uint8_t preshared_key[KEY_SIZE], struct error *error);

/* The suites that a `Cipher` option leaves, most wanted first: what this engine runs fastest. Unused places are 0. */
void identity_suites(enum config_cipher cipher, const struct aead_engine *engine, uint8_t suites[WIRE_SUITES_MAX]);
