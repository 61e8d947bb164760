// SPDX-License-Identifier: Apache-2.0
/* The token of RESET: derived from the private key, so that the gateway can compute it after a crash
 * (core/protocol/PROTOCOL.md, RESET).
 */
#pragma once

#include "core/protocol/wire.h"
#include "crypto/keys.h"

struct reset_secret {
	uint8_t bytes[KEY_SIZE];
};

static inline void reset_secret_init(struct reset_secret *secret, const uint8_t private_key[KEY_SIZE])
{
	key_derive(secret->bytes, sizeof secret->bytes, private_key, KEY_SIZE, "shardtun1 reset", NULL, 0);
}

/* The token that WELCOME gives and RESET carries. */
static inline void reset_token(const struct reset_secret *secret, uint32_t session_id,
			       uint8_t token[WIRE_RESET_TOKEN_SIZE])
{
	uint8_t id[4];
	store_be32(id, session_id);
	key_derive(token, WIRE_RESET_TOKEN_SIZE, secret->bytes, sizeof secret->bytes, "", id, sizeof id);
}

static inline void reset_write(uint8_t message[WIRE_RESET_SIZE], const struct reset_secret *secret, uint32_t session_id)
{
	wire_header(message, WIRE_VERSION, WIRE_RESET, session_id);
	reset_token(secret, session_id, message + WIRE_HEADER_SIZE);
}
