// SPDX-License-Identifier: Apache-2.0
/* The keys of a session in one epoch, and the transport messages sealed and opened under them (core/PROTOCOL.md, 3).
 *
 * A key belongs to the worker that owns the session; nobody else reads it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/wire.h"
#include "crypto/aead.h"
#include "crypto/noise.h"
#include "crypto/replay.h"

/* A sender stops here: no counter is ever used twice, and 2^16 are kept as a distance from the wrap. */
#define TRANSPORT_COUNTER_LIMIT	      ((1ull << 32) - (1ull << 16))
/* Packets in one direction after which the client asks for new keys; the AEADs' limits are in bytes, hence the smaller
 * one. */
#define TRANSPORT_REKEY_PACKETS	      (1ull << 28)
#define TRANSPORT_REKEY_PACKETS_JUMBO (1ull << 26)
enum { TRANSPORT_JUMBO_MTU = 2048 };

struct transport_key {
	const struct aead_vtable *aead;
	uint64_t send_counter; /* the next one */
	uint64_t opened;       /* packets opened */
	uint64_t born;	       /* monotonic ns */
	uint64_t first_opened; /* monotonic ns of the first packet opened; 0 before */
	uint8_t epoch;
	struct aead_key seal;
	struct aead_key open;
	struct replay_window replay;
};

enum transport_side { TRANSPORT_CLIENT, TRANSPORT_GATEWAY };

/* Derives both directions from the secrets of noise_split(). NULL: no memory, or the suite is not offered here. `now`
 * in monotonic ns. Control path: allocates. */
struct transport_key *transport_key_new(const struct aead_engine *engine, unsigned suite, uint8_t epoch,
					const struct noise_keys *secrets, enum transport_side side, uint64_t now);

/* Wipes and frees; NULL is allowed. */
void transport_key_free(struct transport_key *key);

/* Traffic key and IV of one direction: BLAKE2b-352(secret, "shardtun1 data" || suite). */
void transport_derive(const uint8_t secret[NOISE_KEY_SIZE], unsigned suite, uint8_t key[AEAD_KEY_SIZE],
		      uint8_t iv[AEAD_IV_SIZE]);

static inline bool transport_key_spent(const struct transport_key *key)
{
	return key->send_counter >= TRANSPORT_COUNTER_LIMIT;
}

/* Seals one message to `message` (WIRE_OVERHEAD + length bytes), which must not overlap `plaintext`. Consumes a
 * counter: whatever happens to the sealed bytes, they are never sealed again. The key must not be spent. */
static inline void transport_seal(struct aead_engine *engine, struct transport_key *key, uint32_t session_id,
				  enum wire_type type, const uint8_t *plaintext, uint32_t length, uint8_t *message)
{
	uint32_t counter = (uint32_t)key->send_counter++;
	wire_transport_header(message, key->epoch, type, session_id, counter);
	struct aead_op op = {
		.input = plaintext,
		.output = message + WIRE_TRANSPORT_HEADER_SIZE,
		.header = message,
		.tag = message + WIRE_TRANSPORT_HEADER_SIZE + length,
		.length = length,
		.counter = counter,
	};
	key->aead->seal(engine, &key->seal, &op, 1);
}

/* Prepares opening `message` of `length` bytes (at least WIRE_OVERHEAD) in place; the plaintext comes to lie behind the
 * header. */
static inline void transport_open_op(struct aead_op *op, uint8_t *message, uint32_t length)
{
	uint8_t *body = message + WIRE_TRANSPORT_HEADER_SIZE;
	*op = (struct aead_op){
		.input = body,
		.output = body,
		.header = message,
		.tag = message + length - WIRE_TAG_SIZE,
		.length = length - WIRE_OVERHEAD,
		.counter = wire_counter(message),
	};
}
