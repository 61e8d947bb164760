// SPDX-License-Identifier: Apache-2.0
/* A network's bad days, as hooks of a harness: loses, repeats, delays and keeps messages of chosen types. */
#pragma once

#include "tests/harness/harness.h"

enum { IMPAIRMENT_KEPT = 256, IMPAIRMENT_HANDSHAKE = 1 << WIRE_HELLO | 1 << WIRE_WELCOME };

/* A message as its receiver sees or would have seen it. */
struct kept {
	struct link *from, *to;
	struct udp_message message; /* owns its data */
};

struct impairment {
	struct network *network;
	uint32_t types;		      /* which messages are meant: bit by wire type */
	const struct link *from;      /* sender; NULL: all */
	bool keep;		      /* keep copies of what is meant, up to IMPAIRMENT_KEPT */
	unsigned lose, repeat, delay; /* percent of what is meant; 100: all */
	unsigned spare;		      /* so many are let through before anything is done */
	struct random random;

	unsigned seen; /* messages that were meant */
	size_t kept_count;
	struct kept kept[IMPAIRMENT_KEPT];
	size_t delayed_count;
	struct kept delayed[IMPAIRMENT_KEPT]; /* until impairment_release() */
};

/* Installs itself; set the wishes afterwards. Types start as none. */
struct impairment *impairment_new(struct harness *harness, uint64_t seed);
void impairment_free(struct impairment *impairment); /* takes itself off; before harness_free() */

/* Lets the delayed ones arrive, the last one first. */
void impairment_release(struct impairment *impairment);

/* A kept message arrives (again), from its sender's address at that time. */
void impairment_replay(struct impairment *impairment, size_t index);

/* Puts bytes into a node's queue, from where `as` is to where the node is. */
void impairment_forge(struct node *to, const struct node *as, const uint8_t *bytes, uint32_t length);
