// SPDX-License-Identifier: Apache-2.0
/* A network's bad days, as hooks of a harness: loses, repeats, delays and keeps messages of chosen types. */
#pragma once

#include "tests/harness/harness.h"

enum { WEATHER_KEPT = 256, WEATHER_HANDSHAKE = 1 << WIRE_HELLO | 1 << WIRE_WELCOME };

/* A message as its receiver sees or would have seen it. */
struct kept {
	struct link *from, *to;
	struct udp_message message; /* owns its data */
};

struct weather {
	struct network *network;
	uint32_t types;		      /* which messages are meant: bit by wire type */
	const struct link *from;      /* whose; NULL: everybody's */
	bool keep;		      /* keep copies of what is meant, up to WEATHER_KEPT */
	unsigned lose, repeat, delay; /* percent of what is meant; 100: all */
	unsigned spare;		      /* so many are let through before anything is done */
	struct random random;

	unsigned seen; /* messages that were meant */
	size_t kept_count;
	struct kept kept[WEATHER_KEPT];
	size_t delayed_count;
	struct kept delayed[WEATHER_KEPT]; /* until weather_release() */
};

/* Installs itself; set the wishes afterwards. Types start as none. */
struct weather *weather_new(struct harness *harness, uint64_t seed);
void weather_free(struct weather *weather); /* takes itself off; before harness_free() */

/* Lets the delayed ones arrive, the last one first. */
void weather_release(struct weather *weather);

/* A kept message arrives (again), from its sender's address at that time. */
void weather_replay(struct weather *weather, size_t index);

/* Puts bytes into a node's queue, from where `as` is to where the node is. */
void weather_forge(struct node *to, const struct node *as, const uint8_t *bytes, uint32_t length);
