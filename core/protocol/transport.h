// SPDX-License-Identifier: Apache-2.0
/* The keys of a session in one epoch, and the transport messages sealed and opened under them
 * (core/protocol/PROTOCOL.md, 3; what differs for a WireGuard client is in core/protocol/dialect.h).
 *
 * Only the worker that owns the session uses its keys. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/bytes.h"
#include "core/base/owner.h"
#include "core/protocol/dialect.h"
#include "crypto/aead.h"
#include "crypto/noise.h"
#include "crypto/replay.h"

/* A sender stops here: no counter is ever used twice, and 2^16 are kept as a distance from the wrap. WireGuard's
 * counters end near 2^64, but its keys end after 180 s. */
#define TRANSPORT_COUNTER_LIMIT	      ((1ull << 32) - (1ull << 16))
/* Packets in one direction after which the client asks for new keys; the AEADs' limits are in bytes, hence the smaller
 * one. */
#define TRANSPORT_REKEY_PACKETS	      (1ull << 28)
#define TRANSPORT_REKEY_PACKETS_JUMBO (1ull << 26)
enum { TRANSPORT_JUMBO_MTU = 2048 };

/* Allocated only while DATA moves under a key: an idle key saves these 4 KiB. */
struct transport_state {
	struct aead_key seal;
	struct aead_key open;
	struct replay_window replay;	    /* of all types but ... */
	struct replay_window replay_sparse; /* ... DATA_SPARSE, which overtakes them by any distance */
};

/* The secret of one direction, from which its schedule is expanded. */
struct transport_secret {
	uint8_t key[AEAD_KEY_SIZE];
	uint8_t iv[AEAD_IV_SIZE];
};

/* A key starts hibernated ("asleep"). DATA that is sealed, or opened and accepted, wakes it, which allocates; other
 * messages are sealed and opened with a schedule on the stack and leave it asleep. No call fails for lack of memory: a
 * key that cannot wake works asleep, at up to 0.15 us more per call.
 *
 * Asleep, it accepts only counters above all seen before. So hibernation costs packets that were delayed from before
 * it, and no others: counters between the highest one before and the one that woke the key are still accepted. */
struct transport_key {
	/* the data path touches this line alone */
	const struct aead_vtable *aead CACHE_ALIGNED;
	struct transport_state *live; /* owned; NULL: asleep */
	const struct dialect *dialect;
	uint64_t send_counter; /* the next one */
	uint64_t opened;       /* packets opened */
	uint64_t first_opened; /* monotonic ns of the first packet opened; 0 before */
	uint64_t seen;	       /* asleep: counters below it count as seen. Awake the window knows */
	uint32_t receiver;     /* WireGuard's: the peer's index */
	uint8_t epoch;
	uint8_t peer_capabilities; /* enum wire_capability; 0 until they are known */
	bool initiated;		   /* WireGuard's: we were the initiator, and renew it */
	struct owner owner;

	uint64_t born; /* monotonic ns */
	struct transport_secret seal, open;
};

_Static_assert(offsetof(struct transport_key, epoch) < CACHE_LINE, "one line");
_Static_assert(sizeof(struct transport_key) <= 192, "an idle session, this included, is to stay below 1 KiB");

enum transport_side { TRANSPORT_CLIENT, TRANSPORT_GATEWAY };

/* Derives both directions from the secrets of noise_split(). NULL: no memory, or the suite is not offered here. `now`
 * in monotonic ns. Control path: allocates. Any thread, which then hands the key to its owner. */
struct transport_key *transport_key_new(const struct aead_engine *engine, unsigned suite, uint8_t epoch,
					const struct noise_keys *secrets, enum transport_side side, uint64_t now);

/* The same for WireGuard's data: the secrets are the traffic keys themselves, and there is one suite. `side` says which
 * of them seals: that of the handshake's initiator (TRANSPORT_CLIENT) or of its responder. `receiver`: the index that
 * the peer chose (core/protocol/wg_wire.h). */
struct transport_key *transport_key_new_wireguard(const struct aead_engine *engine, uint8_t epoch,
						  const struct noise_keys *secrets, enum transport_side side,
						  uint32_t receiver, uint64_t now);

/* A key without secrets and counters, for one that another process had. NULL: no memory, or the suite is not offered
 * here. `dialect` and `suite` belong together. As above. */
struct transport_key *transport_key_blank(const struct aead_engine *engine, const struct dialect *dialect,
					  unsigned suite, uint8_t epoch, uint64_t born);

/* Wipes and frees; NULL is allowed. */
void transport_key_free(struct transport_key *key);

static inline bool transport_key_is_live(const struct transport_key *key)
{
	return likely(key->live != NULL);
}

/* Wipes and frees the schedules and the replay window, when no DATA moves under the key any more. The counters stay: no
 * nonce is used twice, and everything up to the highest counter counts as seen. */
void transport_key_hibernate(struct transport_key *key);

/* Makes the key ready for DATA; sealing and opening do it by themselves. False: no memory, and it stays asleep. */
bool transport_key_wake(const struct aead_engine *engine, struct transport_key *key);

/* Traffic key and IV of one direction: BLAKE2b-352(secret, "shardtun1 data" || suite). */
void transport_derive(const uint8_t secret[NOISE_KEY_SIZE], unsigned suite, uint8_t key[AEAD_KEY_SIZE],
		      uint8_t iv[AEAD_IV_SIZE]);

static inline bool transport_key_spent(const struct transport_key *key)
{
	return key->send_counter >= TRANSPORT_COUNTER_LIMIT;
}

/* What the three inline functions below do for a key that is asleep. */
void transport_seal_asleep(struct aead_engine *engine, struct transport_key *key, struct aead_op *op);
void transport_open_asleep(struct aead_engine *engine, const struct transport_key *key, struct aead_op *ops,
			   size_t count);
enum replay_verdict transport_accept_asleep(const struct aead_engine *engine, struct transport_key *key,
					    const struct aead_op *op);

/* Whether the key is of our own protocol: what is constant there stays so behind this test. */
static inline bool transport_key_is_own(const struct transport_key *key)
{
	return likely(key->dialect == &dialect_own);
}

/* Bytes of the message that carries an inner packet of `length` bytes, with as much padding as `mtu` leaves room for.
 */
static inline uint32_t transport_sealed_size(const struct transport_key *key, uint32_t length, uint32_t mtu)
{
	if (transport_key_is_own(key))
		return WIRE_OVERHEAD + length;
	return WG_OVERHEAD + wg_padded_size(length, mtu);
}

/* Seals one message to `message` (the dialect's overhead and `length` bytes), which must not overlap `plaintext`.
 * Consumes a counter: whatever happens to the sealed bytes, they are never sealed again. The key must not be spent.
 * Under a key of WireGuard's every message is data, whatever `type`: empty, or a packet that is padded already. */
static inline void transport_seal(struct aead_engine *engine, struct transport_key *key, uint32_t session_id,
				  enum wire_type type, const uint8_t *plaintext, uint32_t length, uint8_t *message)
{
	owner_check(&key->owner, "key");
	uint64_t counter = key->send_counter++;
	uint8_t *body;
	if (transport_key_is_own(key)) {
		wire_transport_header(message, key->epoch, type, session_id, (uint32_t)counter);
		body = message + WIRE_TRANSPORT_HEADER_SIZE;
	} else {
		wg_data_header(message, key->receiver, counter);
		body = message + WG_DATA_HEADER_SIZE;
	}
	struct aead_op op = {
		.input = plaintext,
		.output = body,
		.header = message,
		.tag = body + length,
		.length = length,
		.counter = counter,
	};
	if (transport_key_is_live(key))
		key->aead->seal(engine, &key->live->seal, &op, 1);
	else
		transport_seal_asleep(engine, key, &op);
}

/* What transport_seal_packet() does where there may be padding. */
void transport_seal_padded(struct aead_engine *engine, struct transport_key *key, uint32_t session_id, uint8_t *packet,
			   uint32_t length, uint32_t size, uint8_t *message);

/* Seals an inner packet to a message of `size` bytes, as transport_sealed_size() said. Where the dialect pads, the
 * padding's bytes behind the packet are zero during the call, and then what they were: AEAD_INPUT_SLACK bytes there
 * have to be writable. `type`: DATA, or DATA_SPARSE if the peer takes that. */
static inline void transport_seal_packet(struct aead_engine *engine, struct transport_key *key, uint32_t session_id,
					 enum wire_type type, uint8_t *packet, uint32_t length, uint32_t size,
					 uint8_t *message)
{
	if (transport_key_is_own(key))
		transport_seal(engine, key, session_id, type, packet, length, message);
	else
		transport_seal_padded(engine, key, session_id, packet, length, size, message);
}

/* Prepares opening `message` of `length` bytes in place; the plaintext comes to lie behind the header. `head` is the
 * message's; there are at least its header and a tag. */
static inline void transport_open_op(struct aead_op *op, const struct message_head *head, uint8_t *message,
				     uint32_t length)
{
	uint8_t *body = message + head->header_size;
	*op = (struct aead_op){
		.input = body,
		.output = body,
		.header = message,
		.tag = message + length - WIRE_TAG_SIZE,
		.length = length - head->header_size - WIRE_TAG_SIZE,
		.counter = head->counter,
	};
}

/* Opens messages of one key, which transport_open_op() prepared: says in each whether it is authentic. Changes nothing
 * else, whatever came. */
static inline void transport_open(struct aead_engine *engine, const struct transport_key *key, struct aead_op *ops,
				  size_t count)
{
	owner_check(&key->owner, "key");
	if (transport_key_is_live(key))
		key->aead->open(engine, &key->live->open, ops, count);
	else
		transport_open_asleep(engine, key, ops, count);
}

/* Checks the counter of an authentic message against the replay window of its type and marks it as seen. REPLAY_FRESH:
 * it is above those of all types. Before anything in the message is used. */
static inline enum replay_verdict transport_accept(const struct aead_engine *engine, struct transport_key *key,
						   const struct aead_op *op)
{
	owner_check(&key->owner, "key");
	if (!transport_key_is_live(key))
		return transport_accept_asleep(engine, key, op);
	struct replay_window *own = &key->live->replay, *other = &key->live->replay_sparse;
	if (unlikely(wire_type(op->header) == WIRE_DATA_SPARSE))
		own = other, other = &key->live->replay;
	enum replay_verdict verdict = replay_accept(own, op->counter);
	return likely(verdict != REPLAY_FRESH || op->counter >= other->next) ? verdict : REPLAY_LATE;
}
