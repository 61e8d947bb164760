// SPDX-License-Identifier: Apache-2.0
/* FORWARD: a gateway of a cluster hands a HELLO, or a WireGuard client's initiation, to the gateway that owns the block
 * of the client's address (core/protocol/PROTOCOL.md, 6). The message is sealed under a key that all gateways of the
 * cluster derive from the private key that they share, and is taken once, within some seconds.
 *
 * What it carries is as trustworthy as a datagram of this source that came by itself, and no more: the owner opens the
 * HELLO anew, with all checks. A gateway never forwards what was forwarded. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "crypto/keys.h"

enum {
	FORWARD_VERSION = 1,
	FORWARD_HEADER = 4 + 8 + 8 + 8,
	FORWARD_CARRIED_MIN = 1,
	FORWARD_CARRIED_MAX = 1200, /* the longest message that begins a handshake */
	FORWARD_SOURCE = 1 + 16 + 2 + 16,
	FORWARD_TAG = 16,
	FORWARD_MIN = FORWARD_HEADER + FORWARD_SOURCE + FORWARD_CARRIED_MIN + FORWARD_TAG,
	FORWARD_MAX = FORWARD_HEADER + FORWARD_SOURCE + FORWARD_CARRIED_MAX + FORWARD_TAG,
};
#define FORWARD_LIFE_NS (10 * NS_PER_S) /* by how much the clocks of two gateways may differ */

/* In locked memory. */
struct forward_key {
	uint8_t bytes[KEY_SIZE];
};

void forward_key_init(struct forward_key *key, const uint8_t private_key[KEY_SIZE]);

/* A message that begins a handshake, and how it came. */
struct forwarded {
	struct sockaddr_in6 source; /* of the client; v4-mapped for IPv4 */
	struct in6_addr local;	    /* to which it sent; unspecified: not known */
	bool proven;		    /* the sender verified that the client receives at `source` */
	uint32_t length;
	uint8_t message[FORWARD_CARRIED_MAX];
};

/* Of one thread that sends. All its messages have different nonces: a random number of the thread, and a counter. */
struct forward_sender {
	uint64_t number, counter;
};

/* After keys_init(). */
void forward_sender_init(struct forward_sender *sender);

/* Whether it can be told to another gateway where a message came from: a link-local address means nothing there. */
bool forward_possible(const struct sockaddr_in6 *source);

/* Writes FORWARD with at most FORWARD_CARRIED_MAX bytes of message. `wall`: ns since 1970. Returns its length. */
size_t forward_write(const struct forward_key *key, struct forward_sender *sender, uint64_t wall,
		     const struct forwarded *forwarded, uint8_t datagram[FORWARD_MAX]);

/* --- receiving ---------------------------------------------------------------------------------------------------- */

enum { FORWARD_SENDERS = 256 /* threads of other gateways at once */ };

/* What was taken of each sender: the last 64 counters. One thread's. All zero: nothing yet. */
struct forward_guard {
	struct forward_seen {
		uint64_t number;
		uint64_t highest; /* counter */
		uint64_t window;  /* bit n: highest - n was taken */
		uint64_t last;	  /* monotonic ns; 0: the place is free */
	} seen[FORWARD_SENDERS];
};

enum forward_verdict {
	FORWARD_TAKEN,
	FORWARD_MALFORMED, /* length or version */
	FORWARD_FORGED,	   /* not sealed with our key */
	FORWARD_LATE,	   /* its time is not ours: a recording, or a clock is wrong */
	FORWARD_REPEATED,  /* or too far behind others of its sender, or there are too many senders */
};

/* Reads a datagram; `forwarded` changes only if it is taken. `wall` as above, `now` monotonic ns. */
enum forward_verdict forward_read(const struct forward_key *key, struct forward_guard *guard, uint64_t wall,
				  uint64_t now, const uint8_t *datagram, size_t length, struct forwarded *forwarded);
