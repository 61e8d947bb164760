// SPDX-License-Identifier: Apache-2.0
/* What a datagram is, by its length and first byte; and what the small messages carry. All threads.
 *
 * The workers, the handshake threads, the handoff between them and the load generator all call wire_classify(). The
 * steering program, which runs in the kernel, is generated from the same table. */
#pragma once

#include "core/protocol/head.h"
#include "perf/record/stats.h"

/* For DATA: its packets and bytes have counters of their own. */
#define WIRE_UNCOUNTED STATS_COUNTER_COUNT

/* A row of a table of messages. */
struct wire_message {
	const char *name;	  /* "HELLO"; NULL: the type is unassigned */
	uint32_t least, greatest; /* length of the datagram */
	enum stats_counter received, sent;
	uint8_t class;	  /* enum wire_class */
	uint8_t receiver; /* enum wire_side */
	uint8_t flags;	  /* enum wire_flag */
};

extern const struct wire_message wire_messages[WIRE_TYPES]; /* by type */

/* WireGuard's, by type; what we neither send nor take has no counter. */
enum { WG_TYPES = WG_DATA + 1 };
extern const struct wire_message wg_messages[WG_TYPES];

/* Of a message of a known type. */
static inline const struct wire_message *message_row(const uint8_t *message)
{
	return message_is_wireguard(message) ? &wg_messages[message[0]] : &wire_messages[wire_type(message)];
}

/* --- classification ----------------------------------------------------------------------------------------------- */

struct wire_verdict {
	enum wire_class class;	 /* what the type says, also when `reason` refuses it */
	enum drop_reason reason; /* DROP_NONE: a message that this side takes, of a length that its type may have */
};

/* Everything but DATA that is long enough. */
struct wire_verdict wire_classify_other(enum wire_side side, const uint8_t *message, uint32_t length);

/* Says what a received datagram is and whether `side` takes it; reads the first byte at most. Checks in this order:
 * the length of the smallest message, the type, for handshake messages version and receiver, the type's own length.
 * Whether its sender may send a control message is not checked here: that is only known once it is authenticated. */
static inline struct wire_verdict wire_classify(enum wire_side side, const uint8_t *message, uint32_t length)
{
	if (likely(length >= WIRE_DATA_MIN && wire_type(message) == WIRE_DATA))
		return (struct wire_verdict){WIRE_CLASS_DATA, DROP_NONE};
	return wire_classify_other(side, message, length);
}

/* The same for a message of WireGuard's (message_is_wireguard()), which only gateways take: the length of our smallest
 * message, the type with its reserved bytes, the type's own length. Reads the first four bytes at most. */
struct wire_verdict wg_classify(enum wire_side side, const uint8_t *message, uint32_t length);

/* For threads that take messages of both and tell them apart later. The first byte has to be readable. */
static inline struct wire_verdict message_classify(enum wire_side side, const uint8_t *message, uint32_t length)
{
	if (unlikely(message_is_wireguard(message)))
		return wg_classify(side, message, length);
	return wire_classify(side, message, length);
}

/* Sealed under a session's key: at least a header and a tag, when it is as long as its type says. */
static inline bool wire_is_transport(enum wire_class class)
{
	return class == WIRE_CLASS_DATA || class == WIRE_CLASS_CONTROL;
}

static inline bool wire_receives(enum wire_side side, unsigned type)
{
	return (wire_messages[type].receiver & side) != 0;
}

/* Whether a gateway's handshake threads take the type. All such messages have a client_magic where HELLO has it, by
 * which they are spread over the threads. */
static inline bool wire_is_for_handshakers(unsigned type)
{
	return wire_messages[type].class == WIRE_CLASS_HANDSHAKE && wire_receives(WIRE_SIDE_GATEWAY, type);
}

/* How many types these are. */
enum {
#define X(name, number, class, receiver, ...) \
	+(WIRE_CLASS_##class == WIRE_CLASS_HANDSHAKE && (WIRE_SIDE_##receiver & WIRE_SIDE_GATEWAY) != 0)
	WIRE_HANDSHAKER_TYPES = 0 WIRE_MESSAGES(X),
#undef X
};

/* --- counting ----------------------------------------------------------------------------------------------------- */

/* A handshake or control message was accepted. By the thread that `stats` belongs to. */
static inline void wire_count_received(struct stats *stats, unsigned type)
{
	stats_add(stats, rx_control, 1);
	stats_count(stats, wire_messages[type].received, 1);
}

/* One was sent. */
static inline void wire_count_sent(struct stats *stats, unsigned type)
{
	stats_count(stats, wire_messages[type].sent, 1);
}

/* The same of a message of either protocol. */
static inline void message_count_received(struct stats *stats, const uint8_t *message)
{
	stats_add(stats, rx_control, 1);
	stats_count(stats, message_row(message)->received, 1);
}

static inline void message_count_sent(struct stats *stats, const uint8_t *message)
{
	stats_count(stats, message_row(message)->sent, 1);
}

/* --- what the small ones carry ------------------------------------------------------------------------------------ */

/* Payloads are what was opened, of a length that wire_classify() accepted. */

struct wire_probe {
	enum wire_probe_kind kind; /* of other values than these the probe is ignored */
	uint64_t nonce;
};

/* False: the KEEPALIVE is empty. */
bool wire_probe_read(struct wire_probe *probe, const uint8_t *payload, uint32_t length);
void wire_probe_write(uint8_t payload[WIRE_PROBE_SIZE], enum wire_probe_kind kind, uint64_t nonce);

static inline unsigned wire_bye_reason(const uint8_t payload[WIRE_BYE_SIZE])
{
	return payload[0];
}

/* "going away", …; "unknown reason" for other numbers. */
const char *wire_bye_text(unsigned reason);

/* Whether a RESET is about this session: its ID and the token that its WELCOME gave, compared in constant time. */
bool wire_reset_matches(const uint8_t message[WIRE_RESET_SIZE], uint32_t session_id,
			const uint8_t token[WIRE_RESET_TOKEN_SIZE]);
