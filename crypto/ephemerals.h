// SPDX-License-Identifier: Apache-2.0
/* Ephemeral key pairs made ahead: a handshake thread makes them while it is idle, so that answering a HELLO takes one
 * scalar multiplication less.
 *
 * Each pair is handed out once and wiped here as it goes; until then it lies in locked memory, as other secrets do.
 * Unused pairs reveal nothing about completed handshakes. Owned by one thread. */
#pragma once

#include "crypto/noise.h"

struct ephemerals {
	struct noise_keypair *pairs; /* `count` of them are ready */
	uint32_t count, size;
};

/* An empty store for `size` pairs. 0 or -ENOMEM. After keys_init(); start-up: nothing is allocated later. */
int ephemerals_init(struct ephemerals *ephemerals, uint32_t size);
/* Wipes the pairs that are left. */
void ephemerals_deinit(struct ephemerals *ephemerals);

/* Makes one pair; false, with nothing done, when the store is full. */
bool ephemerals_prepare(struct ephemerals *ephemerals);

/* A pair that is never returned again: a prepared one or, if there is none, a new one. The caller wipes it. */
void ephemerals_take(struct ephemerals *ephemerals, struct noise_keypair *pair);
