// SPDX-License-Identifier: Apache-2.0
#include "core/protocol/transport.h"

#include <sodium.h>
#include <stdlib.h>

#include "crypto/keys.h"

void transport_derive(const uint8_t secret[NOISE_KEY_SIZE], unsigned suite, uint8_t key[AEAD_KEY_SIZE],
		      uint8_t iv[AEAD_IV_SIZE])
{
	uint8_t output[AEAD_KEY_SIZE + AEAD_IV_SIZE];
	uint8_t number = (uint8_t)suite;
	key_derive(output, sizeof output, secret, NOISE_KEY_SIZE, "shardtun1 data", &number, sizeof number);
	memcpy(key, output, AEAD_KEY_SIZE);
	memcpy(iv, output + AEAD_KEY_SIZE, AEAD_IV_SIZE);
	sodium_memzero(output, sizeof output);
}

static void expand(const struct aead_engine *engine, const struct aead_vtable *aead, struct aead_key *schedule,
		   const struct transport_secret *direction)
{
	aead->expand(engine, schedule, direction->key, direction->iv);
}

/* Without secrets; `aead` may be NULL. */
static struct transport_key *make_key(const struct aead_vtable *aead, uint8_t epoch, const struct dialect *dialect,
				      uint64_t now)
{
	struct transport_key *key = aead != NULL ? aligned_alloc(CACHE_LINE, sizeof *key) : NULL;
	if (key != NULL)
		*key = (struct transport_key){.aead = aead, .dialect = dialect, .epoch = epoch, .born = now};
	return key;
}

/* The secrets by what the side does with them. */
static const uint8_t *sealing_secret(const struct noise_keys *secrets, enum transport_side side)
{
	return side == TRANSPORT_CLIENT ? secrets->initiator_to_responder : secrets->responder_to_initiator;
}

static const uint8_t *opening_secret(const struct noise_keys *secrets, enum transport_side side)
{
	return side == TRANSPORT_CLIENT ? secrets->responder_to_initiator : secrets->initiator_to_responder;
}

struct transport_key *transport_key_new(const struct aead_engine *engine, unsigned suite, uint8_t epoch,
					const struct noise_keys *secrets, enum transport_side side, uint64_t now)
{
	struct transport_key *key = make_key(aead_engine_suite(engine, suite), epoch, &dialect_own, now);
	if (key == NULL)
		return NULL;
	transport_derive(sealing_secret(secrets, side), suite, key->seal.key, key->seal.iv);
	transport_derive(opening_secret(secrets, side), suite, key->open.key, key->open.iv);
	return key;
}

struct transport_key *transport_key_new_wireguard(const struct aead_engine *engine, uint8_t epoch,
						  const struct noise_keys *secrets, enum transport_side side,
						  uint32_t receiver, uint64_t now)
{
	_Static_assert((int)NOISE_KEY_SIZE == (int)AEAD_KEY_SIZE, "a secret is a key");
	struct transport_key *key = make_key(aead_engine_wireguard(engine), epoch, &dialect_wireguard, now);
	if (key == NULL)
		return NULL;
	key->receiver = receiver;
	key->initiated = side == TRANSPORT_CLIENT;
	memcpy(key->seal.key, sealing_secret(secrets, side), AEAD_KEY_SIZE);
	memcpy(key->open.key, opening_secret(secrets, side), AEAD_KEY_SIZE);
	return key;
}

struct transport_key *transport_key_blank(const struct aead_engine *engine, const struct dialect *dialect,
					  unsigned suite, uint8_t epoch, uint64_t born)
{
	const struct aead_vtable *aead = dialect == &dialect_wireguard ? aead_engine_wireguard(engine)
								       : aead_engine_suite(engine, suite);
	return make_key(aead, epoch, dialect, born);
}

static void discard(void *memory, size_t size)
{
	sodium_memzero(memory, size);
	free(memory);
}

void transport_key_free(struct transport_key *key)
{
	if (key == NULL)
		return;
	transport_key_hibernate(key);
	discard(key, sizeof *key);
}

void transport_key_hibernate(struct transport_key *key)
{
	owner_check(&key->owner, "key");
	if (key->live == NULL)
		return;
	const struct transport_state *live = key->live;
	key->seen = live->replay.next > live->replay_sparse.next ? live->replay.next : live->replay_sparse.next;
	discard(key->live, sizeof *key->live);
	key->live = NULL;
}

bool transport_key_wake(const struct aead_engine *engine, struct transport_key *key)
{
	owner_check(&key->owner, "key");
	if (key->live != NULL)
		return true;
	struct transport_state *live = aligned_alloc(CACHE_LINE, sizeof *live);
	if (live == NULL)
		return false;
	expand(engine, key->aead, &live->seal, &key->seal);
	expand(engine, key->aead, &live->open, &key->open);
	replay_resume(&live->replay, key->seen);
	replay_resume(&live->replay_sparse, key->seen);
	owner_follow(&live->replay.owner, &key->owner);
	owner_follow(&live->replay_sparse.owner, &key->owner);
	key->live = live;
	return true;
}

/* Only an inner packet wakes a key: clients that send keepalives alone are idle. Our DATA is never empty, and
 * WireGuard's keepalive is empty data. */
static bool wakes(const struct aead_op *op)
{
	return wire_is_data(wire_type(op->header)) && op->length != 0;
}

void transport_seal_asleep(struct aead_engine *engine, struct transport_key *key, struct aead_op *op)
{
	if (wakes(op) && transport_key_wake(engine, key)) {
		key->aead->seal(engine, &key->live->seal, op, 1);
		return;
	}
	struct aead_key schedule;
	expand(engine, key->aead, &schedule, &key->seal);
	key->aead->seal(engine, &schedule, op, 1);
	sodium_memzero(&schedule, sizeof schedule);
}

void transport_seal_padded(struct aead_engine *engine, struct transport_key *key, uint32_t session_id, uint8_t *packet,
			   uint32_t length, uint32_t size, uint8_t *message)
{
	uint8_t behind[AEAD_INPUT_SLACK];
	uint32_t padded = size - WG_OVERHEAD;
	memcpy(behind, packet + length, sizeof behind);
	memset(packet + length, 0, padded - length);
	transport_seal(engine, key, session_id, WIRE_DATA, packet, padded, message);
	memcpy(packet + length, behind, sizeof behind);
}

void transport_open_asleep(struct aead_engine *engine, const struct transport_key *key, struct aead_op *ops,
			   size_t count)
{
	struct aead_key schedule;
	expand(engine, key->aead, &schedule, &key->open);
	key->aead->open(engine, &schedule, ops, count);
	sodium_memzero(&schedule, sizeof schedule);
}

enum replay_verdict transport_accept_asleep(const struct aead_engine *engine, struct transport_key *key,
					    const struct aead_op *op)
{
	if (op->counter < key->seen || op->counter >= REPLAY_COUNTER_LIMIT)
		return REPLAY_REJECT;
	/* The window starts below this counter, so that reordered packets are still accepted. */
	if (wakes(op) && transport_key_wake(engine, key))
		return transport_accept(engine, key, op);
	key->seen = op->counter + 1;
	return REPLAY_FRESH;
}
