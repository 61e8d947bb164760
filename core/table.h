// SPDX-License-Identifier: Apache-2.0
/* The session table: a session ID is a slot number in the low bits and a generation above, so a lookup is one load and
 * one compare of the whole ID. One writer (the owner of the sessions). */
#pragma once

#include <stdint.h>

#include "core/session.h"

struct session_table {
	struct session **slots;
	uint32_t mask;	     /* slots − 1 */
	uint32_t count;	     /* sessions in it */
	uint32_t cursor;     /* where the next search for a free slot starts */
	uint32_t generation; /* stepped with each new ID, from a random start */
};

/* `capacity` is rounded up to a power of two, at most 2^24. 0 or -ENOMEM. */
int session_table_init(struct session_table *table, uint32_t capacity, uint32_t random_start);
void session_table_deinit(struct session_table *table); /* the sessions are the caller's */

/* The session with exactly this ID, or NULL. `id` may be anything. */
static inline struct session *session_table_find(const struct session_table *table, uint32_t id)
{
	struct session *session = table->slots[id & table->mask];
	return likely(session != NULL && session->id == id) ? session : NULL;
}

/* A new ID whose slot is free, never 0 and not one of the last ones given for that slot; 0 when the table is full. */
uint32_t session_table_new_id(struct session_table *table);

/* Puts the session at its ID's slot, which must be free. */
void session_table_insert(struct session_table *table, struct session *session);
void session_table_remove(struct session_table *table, struct session *session);
