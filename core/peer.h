// SPDX-License-Identifier: Apache-2.0
/* The peers that a gateway knows, by public key. Owned by the control plane (one thread). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/pool.h"
#include "core/wire.h"
#include "crypto/keys.h"

struct session;

struct peer {
	uint8_t public_key[KEY_SIZE];
	uint8_t preshared_key[KEY_SIZE]; /* all zero: none */
	uint8_t static_static[KEY_SIZE]; /* DH of the two static keys, once it was needed */
	bool has_static_static;
	uint8_t timestamp[WIRE_TIMESTAMP_SIZE]; /* of the last HELLO accepted */
	uint32_t fixed_index;			/* of its configured address; POOL_NONE: from the pool */
	uint32_t last_index;			/* the address it had last; POOL_NONE: none yet */
	struct session *active;			/* confirmed session */
	struct session *pending;		/* answered, not confirmed, and not a rekey of the active one */
};

struct peers {
	struct peer *list;    /* in locked memory */
	struct peer **by_key; /* sorted by public key; the secrets themselves are not moved about */
	size_t count;
};

/* Makes room for `count` peers; the caller fills `list` (public keys, PSKs, indexes) and calls peers_sort(). */
int peers_init(struct peers *peers, size_t count, struct error *error);
void peers_deinit(struct peers *peers);
void peers_sort(struct peers *peers);

/* The peer with this public key, or NULL. */
struct peer *peers_find(const struct peers *peers, const uint8_t public_key[KEY_SIZE]);
