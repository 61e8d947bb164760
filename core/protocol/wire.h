// SPDX-License-Identifier: Apache-2.0
/* The protocol's numbers and layouts, as specified in core/protocol/PROTOCOL.md. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/bytes.h"
#include "core/base/ip.h"

enum { WIRE_VERSION = 1 };

enum {
	WIRE_SESSION_ID = 1,		/* offset */
	WIRE_SESSION_ID_BITS = 28,	/* that are used; the others are zero */
	WIRE_HEADER_SIZE = 5,		/* first byte, session ID */
	WIRE_MAGIC = WIRE_HEADER_SIZE,	/* offset in HELLO, COOKIE and WELCOME */
	WIRE_TRANSPORT_HEADER_SIZE = 9, /* and the counter: the associated data */
	WIRE_TAG_SIZE = 16,
	WIRE_OVERHEAD = WIRE_TRANSPORT_HEADER_SIZE + WIRE_TAG_SIZE,
	WIRE_DATA_MIN = WIRE_OVERHEAD + 1,
	WIRE_SMALLEST = 21,  /* no message of any type is shorter */
	WIRE_EPOCH_MAX = 15, /* 1…15, cyclic; 0 is never a key */
	WIRE_TYPES = 16,     /* that four bits can name */

	WIRE_HELLO_SIZE = 1200,
	WIRE_HELLO_NOISE = 9, /* first byte of the Noise message */
	WIRE_HELLO_MAC1 = 1168,
	WIRE_HELLO_MAC2 = 1184,
	WIRE_HELLO_NOISE_SIZE = WIRE_HELLO_MAC1 - WIRE_HELLO_NOISE,
	WIRE_HELLO_PAYLOAD_SIZE = WIRE_HELLO_NOISE_SIZE - 96,

	WIRE_COOKIE_NONCE = 9,
	WIRE_COOKIE_SEALED = WIRE_COOKIE_NONCE + 24,
	WIRE_COOKIE_SIZE = WIRE_COOKIE_SEALED + 16 + WIRE_TAG_SIZE,

	WIRE_WELCOME_NOISE = 9,
	WIRE_WELCOME_PAYLOAD_MIN = 80,
	WIRE_WELCOME_MAX = WIRE_HELLO_SIZE,
	WIRE_WELCOME_MIN = WIRE_WELCOME_NOISE + 48 + WIRE_WELCOME_PAYLOAD_MIN,
	WIRE_WELCOME_PAYLOAD_MAX = WIRE_WELCOME_MAX - WIRE_WELCOME_NOISE - 48,

	WIRE_PROLOGUE_SIZE = 8 + WIRE_HEADER_SIZE + 4, /* "shardtun", HELLO's header, client_magic */
	WIRE_TIMESTAMP_SIZE = 12,
	WIRE_CHALLENGE_SIZE = 16,
	WIRE_SUITES_MAX = 8,
	WIRE_BYE_SIZE = 1,   /* the reason */
	WIRE_PROBE_SIZE = 9, /* KEEPALIVE as ping or pong: kind, nonce */
	WIRE_RESET_TOKEN_SIZE = 16,
	WIRE_RESET_SIZE = WIRE_HEADER_SIZE + WIRE_RESET_TOKEN_SIZE,
	WIRE_DNS_MAX = 8, /* sent or kept; more are ignored */
	WIRE_ROUTES_MAX = 48,
	WIRE_MTU_MIN = 576,
};

_Static_assert(WIRE_HELLO_PAYLOAD_SIZE == 1063, "as specified");
_Static_assert(WIRE_WELCOME_MIN == 137, "as specified");
_Static_assert(WIRE_COOKIE_SIZE == 65, "as specified");

#define WIRE_SESSION_ID_MASK ((1u << WIRE_SESSION_ID_BITS) - 1)

enum wire_side {
	WIRE_SIDE_CLIENT = 1,
	WIRE_SIDE_GATEWAY = 2,
	WIRE_SIDE_BOTH = WIRE_SIDE_CLIENT | WIRE_SIDE_GATEWAY,
};

enum wire_class {
	WIRE_CLASS_NONE,      /* an unassigned type */
	WIRE_CLASS_DATA,      /* sealed under a session's key: an inner packet */
	WIRE_CLASS_CONTROL,   /* sealed under a session's key: about the session */
	WIRE_CLASS_HANDSHAKE, /* in the clear, with the protocol version in its first byte */
};

enum wire_flag {
	WIRE_ENDS_ONLY = 1, /* its length is the least or the greatest, nothing between */
	WIRE_RESETS = 2,    /* answered with RESET when the gateway does not know the session */
};

/* The table of all messages, core/protocol/PROTOCOL.md, 1. What receives, steers, hands over and counts them is driven
 * by it (core/protocol/messages.h).
 *
 * X(name, number, class, receiver, least length, greatest length, flags, counter received, counter sent) */
#define WIRE_MESSAGES(X)                                                                                              \
	X(HELLO, 1, HANDSHAKE, GATEWAY, WIRE_HELLO_SIZE, WIRE_HELLO_SIZE, 0, STATS_rx_hello, STATS_tx_hello)          \
	X(WELCOME, 2, HANDSHAKE, CLIENT, WIRE_WELCOME_MIN, WIRE_WELCOME_MAX, 0, STATS_rx_welcome, STATS_tx_welcome)   \
	X(CLIENT_ACK, 3, CONTROL, GATEWAY, WIRE_OVERHEAD, WIRE_OVERHEAD, 0, STATS_rx_client_ack, STATS_tx_client_ack) \
	X(DATA, 4, DATA, BOTH, WIRE_DATA_MIN, UINT32_MAX, WIRE_RESETS, WIRE_UNCOUNTED, WIRE_UNCOUNTED)                \
	X(BYE, 5, CONTROL, BOTH, WIRE_OVERHEAD + WIRE_BYE_SIZE, WIRE_OVERHEAD + WIRE_BYE_SIZE, 0, STATS_rx_bye,       \
	  STATS_tx_bye)                                                                                               \
	X(KEEPALIVE, 6, CONTROL, BOTH, WIRE_OVERHEAD, WIRE_OVERHEAD + WIRE_PROBE_SIZE, WIRE_RESETS | WIRE_ENDS_ONLY,  \
	  STATS_rx_keepalive, STATS_tx_keepalive)                                                                     \
	X(COOKIE, 7, HANDSHAKE, CLIENT, WIRE_COOKIE_SIZE, WIRE_COOKIE_SIZE, 0, STATS_rx_cookie, STATS_tx_cookie)      \
	X(RESET, 8, HANDSHAKE, CLIENT, WIRE_RESET_SIZE, WIRE_RESET_SIZE, 0, STATS_rx_reset, STATS_tx_reset)           \
	X(DATA_SPARSE, 9, DATA, BOTH, WIRE_DATA_MIN, UINT32_MAX, WIRE_RESETS, WIRE_UNCOUNTED, WIRE_UNCOUNTED)

enum wire_type {
#define X(name, number, ...) WIRE_##name = (number),
	WIRE_MESSAGES(X)
#undef X
};

/* What a side can do, as HELLO and WELCOME say it; other bits are ignored. */
enum wire_capability {
	WIRE_TAKES_SPARSE = 1, /* DATA_SPARSE may be sent to it */
	WIRE_MARKS_SPARSE = 2, /* it sends what is sparse as DATA_SPARSE, to a side that takes it */
};

enum wire_probe_kind { WIRE_PING = 1, WIRE_PONG = 2 };

enum wire_bye_reason {
	WIRE_BYE_LEAVING,
	WIRE_BYE_RESTARTING,
	WIRE_BYE_REMOVED,
	WIRE_BYE_REPLACED,
	WIRE_BYE_TIMED_OUT,
};

static inline unsigned wire_type(const uint8_t *message)
{
	return message[0] & 0x0f;
}

/* The key epoch of types 3…6 and 9, the protocol version of the others. */
static inline unsigned wire_high(const uint8_t *message)
{
	return message[0] >> 4;
}

static inline uint8_t wire_capabilities(bool takes_sparse, bool marks_sparse)
{
	return (uint8_t)((takes_sparse ? WIRE_TAKES_SPARSE : 0) | (marks_sparse ? WIRE_MARKS_SPARSE : 0));
}

static inline bool wire_is_data(unsigned type)
{
	return type == WIRE_DATA || type == WIRE_DATA_SPARSE;
}

static inline uint32_t wire_session_id(const uint8_t *message)
{
	return load_be32(message + WIRE_SESSION_ID);
}

static inline uint32_t wire_counter(const uint8_t *message)
{
	return load_be32(message + WIRE_HEADER_SIZE);
}

static inline uint32_t wire_magic(const uint8_t *message)
{
	return load_be32(message + WIRE_MAGIC);
}

static inline void wire_header(uint8_t *message, unsigned high, enum wire_type type, uint32_t session_id)
{
	message[0] = (uint8_t)(high << 4 | type);
	store_be32(message + WIRE_SESSION_ID, session_id);
}

static inline void wire_transport_header(uint8_t *message, unsigned epoch, enum wire_type type, uint32_t session_id,
					 uint32_t counter)
{
	wire_header(message, epoch, type, session_id);
	store_be32(message + WIRE_HEADER_SIZE, counter);
}

static inline unsigned wire_next_epoch(unsigned epoch)
{
	return epoch % WIRE_EPOCH_MAX + 1;
}

/* "shardtun" || header || client_magic, from a HELLO or from its parts. */
void wire_prologue(uint8_t prologue[WIRE_PROLOGUE_SIZE], uint32_t session_id, uint32_t magic);

/* TAI64N of a wall-clock time in nanoseconds since 1970; byte order makes memcmp() order them. */
void wire_timestamp(uint8_t timestamp[WIRE_TIMESTAMP_SIZE], uint64_t wall_ns);

struct wire_hello {
	uint8_t timestamp[WIRE_TIMESTAMP_SIZE];
	uint8_t challenge[WIRE_CHALLENGE_SIZE]; /* the gateway's last cookie, all zero = none */
	uint8_t suites[WIRE_SUITES_MAX];	/* most wanted first, 0 = none */
	uint16_t mtu;
	struct ip_address wish4, wish6; /* family 0: none */
	uint8_t capabilities;		/* enum wire_capability */
};

struct wire_welcome {
	uint32_t session_id;
	uint8_t suite;
	uint8_t epoch;
	uint16_t mtu;
	uint16_t keepalive;	  /* s */
	uint16_t back_off;	  /* s */
	uint32_t rekey_interval;  /* s */
	uint32_t session_timeout; /* s */
	uint8_t reset_token[WIRE_RESET_TOKEN_SIZE];
	struct ip_prefix address4, address6; /* the client's; family 0: none */
	struct ip_address gateway4, gateway6;
	uint8_t capabilities; /* enum wire_capability */
	unsigned dns_count, route_count;
	struct ip_address dns[WIRE_DNS_MAX];
	struct ip_prefix routes[WIRE_ROUTES_MAX];
};

/* Plaintext of HELLO: exactly WIRE_HELLO_PAYLOAD_SIZE bytes. Decoding cannot fail. */
void wire_hello_encode(uint8_t payload[WIRE_HELLO_PAYLOAD_SIZE], const struct wire_hello *hello);
void wire_hello_decode(struct wire_hello *hello, const uint8_t payload[WIRE_HELLO_PAYLOAD_SIZE]);

/* Plaintext of WELCOME: returns its length, 0 when it does not fit into WIRE_WELCOME_PAYLOAD_MAX. */
size_t wire_welcome_encode(uint8_t payload[WIRE_WELCOME_PAYLOAD_MAX], const struct wire_welcome *welcome);

/* False when lengths, prefixes, families, session ID, epoch or MTU are out of range. */
bool wire_welcome_decode(struct wire_welcome *welcome, const uint8_t *payload, size_t length);
