// SPDX-License-Identifier: Apache-2.0
/* What differs between the two protocols (core/protocol/head.h) once a session has keys. Each key has one dialect for
 * good, and opens and seals messages of that one alone. All threads; constant. */
#pragma once

#include "core/base/clock.h"
#include "core/protocol/head.h"

#define DIALECT_OWN_KEY_MAX_AGE_NS (3600 * NS_PER_S)
#define DIALECT_OWN_CONFIRM_NS	   (10 * NS_PER_S)

/* Of all dialects. */
enum { DIALECT_OVERHEAD_MAX = WG_OVERHEAD };
_Static_assert((int)DIALECT_OVERHEAD_MAX >= (int)WIRE_OVERHEAD, "the greatest");

struct dialect {
	const char *name;
	uint32_t header_size;	 /* bytes of a sealed message in front of the ciphertext */
	uint32_t overhead;	 /* and with the tag */
	uint64_t key_max_age;	 /* ns; a key of this age neither opens nor seals, and is wiped */
	uint64_t confirm_within; /* ns; a key that its client did not use by then is wiped. A client of WireGuard's may
				    use it late: its one message in confirmation of the handshake is not repeated */
	bool pads;		 /* zeros follow an inner packet; its own header says where it ends */
	bool roams_freely;	 /* the newest authentic packet moves the endpoint for good: no path is proven */
	/* There are BYE, CLIENT_ACK, RESET, and KEEPALIVE as a message of its own that may be a ping. Without them a
	 * keepalive is an empty inner packet, and nothing is sent instead of the others. */
	bool sends_control;
};

extern const struct dialect dialect_own, dialect_wireguard;

/* Reads the head of a sealed message, whose length is right for its type. Where `dialect` is constant, so is what is
 * not in the message. */
static inline void message_head_read(struct message_head *head, const struct dialect *dialect, const uint8_t *message)
{
	if (dialect == &dialect_wireguard)
		wg_head_read(head, message);
	else
		wire_head_read(head, message);
}

/* Session, epoch and dialect as one number, never 0: the same for two messages under one key, and for no others. */
static inline uint64_t message_head_names(const struct message_head *head, const struct dialect *dialect)
{
	return (uint64_t)head->session_id << 32 | (dialect == &dialect_wireguard ? 2u : 1u) << 8 | head->epoch;
}
