// SPDX-License-Identifier: Apache-2.0
/* The numbers and layouts of the WireGuard protocol, version 1: Donenfeld, "WireGuard: Next Generation Kernel Network
 * Tunnel" (NDSS 2017, and the revisions of it at wireguard.com/papers/wireguard.pdf), called "the paper" below.
 *
 * All fields are little-endian, but for indices: a peer gives back what it was sent and takes nothing from it. Ours are
 * epoch << 28 | session ID, stored big-endian, so that they stand in a message as in one of the own protocol; a peer's
 * are read and written the same way, which returns them byte for byte. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/bytes.h"

/* The paper, 5.4: the first byte of a message; three reserved bytes follow, all zero. So the high nibble of the first
 * byte is 0, which it never is in a message of the own protocol (core/protocol/PROTOCOL.md, 1). */
enum wg_type { WG_INITIATION = 1, WG_RESPONSE = 2, WG_COOKIE_REPLY = 3, WG_DATA = 4 };

/* Sizes and offsets in bytes; 5.4.2, 5.4.3, 5.4.7 and 5.4.6 of the paper. */
enum {
	WG_SENDER = 4, /* types 1 and 2 */
	WG_MACS_SIZE = 32,
	WG_TAG_SIZE = 16,
	WG_TIMESTAMP_SIZE = 12, /* TAI64N */

	WG_INITIATION_NOISE = 8,			       /* ephemeral, sealed static key, sealed timestamp */
	WG_INITIATION_NOISE_SIZE = 32 + (32 + 16) + (12 + 16), /* each sealed field with its tag */
	WG_INITIATION_MAC1 = WG_INITIATION_NOISE + WG_INITIATION_NOISE_SIZE,
	WG_INITIATION_SIZE = WG_INITIATION_MAC1 + WG_MACS_SIZE,

	WG_RESPONSE_RECEIVER = 8,
	WG_RESPONSE_NOISE = 12, /* ephemeral, tag of nothing */
	WG_RESPONSE_NOISE_SIZE = 32 + 16,
	WG_RESPONSE_MAC1 = WG_RESPONSE_NOISE + WG_RESPONSE_NOISE_SIZE,
	WG_RESPONSE_SIZE = WG_RESPONSE_MAC1 + WG_MACS_SIZE,

	WG_COOKIE_RECEIVER = 4,
	WG_COOKIE_NONCE = 8,
	WG_COOKIE_SEALED = WG_COOKIE_NONCE + 24,
	WG_COOKIE_REPLY_SIZE = WG_COOKIE_SEALED + 16 + WG_TAG_SIZE,

	WG_DATA_RECEIVER = 4,
	WG_DATA_COUNTER = 8,
	WG_DATA_HEADER_SIZE = 16,
	WG_OVERHEAD = WG_DATA_HEADER_SIZE + WG_TAG_SIZE,
	WG_DATA_MIN = WG_OVERHEAD, /* a keepalive */
	WG_PADDING = 16,	   /* an inner packet is padded with zeros to a multiple of it */
};

_Static_assert(WG_INITIATION_SIZE == 148 && WG_RESPONSE_SIZE == 92 && WG_COOKIE_REPLY_SIZE == 64, "as published");
_Static_assert(WG_INITIATION_MAC1 == 116 && WG_RESPONSE_MAC1 == 60 && WG_OVERHEAD == 32, "as published");

/* Limits of a key in messages; the paper, 6.1 (wireguard-go, device/constants.go). From WG_REJECT_AFTER_MESSAGES on
 * none is sent or accepted. */
#define WG_REKEY_AFTER_MESSAGES	 (1ull << 60)
#define WG_REJECT_AFTER_MESSAGES (UINT64_MAX - (1ull << 13))

/* Times in seconds, unless the name says otherwise; the paper, 6.1, but for what has another source. */
enum {
	WG_REKEY_AFTER_S = 120,	  /* an initiator that sends with an older key initiates a handshake */
	WG_REJECT_AFTER_S = 180,  /* an older key neither sends nor receives */
	WG_REKEY_ATTEMPT_S = 90,  /* how long an initiator tries */
	WG_REKEY_TIMEOUT_S = 5,	  /* between two initiations, and up to WG_REKEY_JITTER_MS more */
	WG_REKEY_JITTER_MS = 334, /* wireguard-go, device/constants.go */
	WG_KEEPALIVE_S = 10,	  /* an empty message follows data that was received and not answered */
	WG_COOKIE_S = 120,	  /* 5.4.7: a cookie's secret changes, and an initiator keeps a cookie for as long */
	/* 6.2: an initiator that receives with a key of this age initiates, so that data never waits for a handshake */
	WG_REKEY_RECEIVING_S = WG_REJECT_AFTER_S - WG_KEEPALIVE_S - WG_REKEY_TIMEOUT_S,
	/* 6.5: a peer that sent data and heard nothing for so long initiates */
	WG_SILENCE_S = WG_KEEPALIVE_S + WG_REKEY_TIMEOUT_S,
	WG_WIPE_AFTER_S = 3 * WG_REJECT_AFTER_S, /* 6.3: without a new key all of them are wiped */
	/* wireguard-linux-compat, src/messages.h, INITIATIONS_PER_SECOND: those of one peer are accepted 20 ms apart */
	WG_INITIATION_INTERVAL_MS = 1000 / 50,
};

/* Our indices. A session ID has 28 bits, an epoch 4, and is not 0, so that no index is 0. */
enum { WG_INDEX_SESSION_BITS = 28 };

static inline uint32_t wg_index(uint32_t session_id, unsigned epoch)
{
	return (uint32_t)epoch << WG_INDEX_SESSION_BITS | session_id;
}

static inline uint32_t wg_index_session_id(uint32_t index)
{
	return index & ((1u << WG_INDEX_SESSION_BITS) - 1);
}

static inline unsigned wg_index_epoch(uint32_t index)
{
	return index >> WG_INDEX_SESSION_BITS;
}

/* The enum wg_type of a message of `length` bytes. 0 for what is none: no such type, a reserved byte that is not zero,
 * or a length that its type does not have. The readers below are for messages that passed. */
static inline unsigned wg_type(const uint8_t *message, size_t length)
{
	if (length < WG_DATA_MIN)
		return 0;
	uint32_t type = load_le32(message);
	bool right = type == WG_DATA || (type == WG_INITIATION && length == WG_INITIATION_SIZE) ||
		     (type == WG_RESPONSE && length == WG_RESPONSE_SIZE) ||
		     (type == WG_COOKIE_REPLY && length == WG_COOKIE_REPLY_SIZE);
	return right ? type : 0;
}

/* Of WG_INITIATION and WG_RESPONSE. */
static inline uint32_t wg_sender(const uint8_t *message)
{
	return load_be32(message + WG_SENDER);
}

/* Of each type but WG_INITIATION, which is for no index. */
static inline uint32_t wg_receiver(const uint8_t *message, enum wg_type type)
{
	_Static_assert(WG_COOKIE_RECEIVER == WG_DATA_RECEIVER, "all but one have it in the same place");
	return load_be32(message + (type == WG_RESPONSE ? WG_RESPONSE_RECEIVER : WG_DATA_RECEIVER));
}

/* Of WG_DATA. */
static inline uint64_t wg_counter(const uint8_t *message)
{
	return load_le64(message + WG_DATA_COUNTER);
}

/* Type, reserved bytes and the first index: the sender's of WG_INITIATION and WG_RESPONSE, else the receiver's. */
static inline void wg_header(uint8_t *message, enum wg_type type, uint32_t index)
{
	store_le32(message, type);
	store_be32(message + WG_SENDER, index);
}

/* WG_DATA_HEADER_SIZE bytes. */
static inline void wg_data_header(uint8_t *message, uint32_t receiver, uint64_t counter)
{
	wg_header(message, WG_DATA, receiver);
	store_le64(message + WG_DATA_COUNTER, counter);
}

/* The size to which an inner packet of `length` bytes is padded: a multiple of WG_PADDING, unless that exceeds `mtu`,
 * and at least `length` (the paper, 5.4.6). 0 stays 0: a keepalive. */
static inline uint32_t wg_padded_size(uint32_t length, uint32_t mtu)
{
	uint32_t padded = (length + WG_PADDING - 1) / WG_PADDING * WG_PADDING;
	if (padded <= mtu)
		return padded;
	return length > mtu ? length : mtu;
}
