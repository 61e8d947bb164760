// SPDX-License-Identifier: Apache-2.0
/* The head of a message, in either of the two protocols that one port serves: ours (core/protocol/PROTOCOL.md) and
 * WireGuard's (core/protocol/wg_wire.h). The high nibble of the first byte tells them apart: WireGuard's is 0 in every
 * message, ours is a version or an epoch, neither of which is 0.
 *
 * WireGuard names keys by an index that the receiver chose and the sender gives back as it came. Ours is
 * epoch << 28 | session ID, so that sessions and keys are found in the same way. All threads. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/protocol/wg_wire.h"
#include "core/protocol/wire.h"

_Static_assert((int)WG_INDEX_SESSION_BITS == (int)WIRE_SESSION_ID_BITS,
	       "an index is a session ID and an epoch above it");
_Static_assert((int)WG_DATA == (int)WIRE_DATA, "the low nibble of a sealed message is its type in both");

/* What a sealed message's head says. */
struct message_head {
	uint32_t session_id;
	uint32_t header_size; /* bytes in front of the ciphertext */
	uint64_t counter;
	uint8_t epoch;
	uint8_t type; /* enum wire_type */
};

/* Which protocol a datagram is of; its first byte has to be readable. */
static inline bool message_is_wireguard(const uint8_t *message)
{
	return wire_high(message) == 0;
}

/* Of a transport message of ours, at least WIRE_OVERHEAD bytes. */
static inline void wire_head_read(struct message_head *head, const uint8_t *message)
{
	*head = (struct message_head){
		.session_id = wire_session_id(message),
		.header_size = WIRE_TRANSPORT_HEADER_SIZE,
		.counter = wire_counter(message),
		.epoch = (uint8_t)wire_high(message),
		.type = (uint8_t)wire_type(message),
	};
}

/* Of WireGuard's data, at least WG_DATA_MIN bytes. */
static inline void wg_head_read(struct message_head *head, const uint8_t *message)
{
	uint32_t index = wg_receiver(message, WG_DATA);
	*head = (struct message_head){
		.session_id = wg_index_session_id(index),
		.header_size = WG_DATA_HEADER_SIZE,
		.counter = wg_counter(message),
		.epoch = (uint8_t)wg_index_epoch(index),
		.type = WIRE_DATA,
	};
}

/* The epoch of a WireGuard session's next key, after `epoch` (0: it has none). Where we respond it is odd, where we
 * initiate even: so both may be under way at once, and no two keys have the same index. */
static inline unsigned wg_next_epoch(unsigned epoch, bool initiator)
{
	do
		epoch = wire_next_epoch(epoch);
	while ((epoch % 2 == 0) != initiator);
	return epoch;
}

/* The session that a datagram of at least WIRE_SMALLEST bytes names where a sealed message does; whatever it is. */
static inline uint32_t message_session_id(const uint8_t *message)
{
	if (unlikely(message_is_wireguard(message)))
		return wg_index_session_id(wg_receiver(message, WG_DATA));
	return wire_session_id(message);
}
