// SPDX-License-Identifier: Apache-2.0
/* The session table: an array of RCU pointers. A session ID is a slot number in the low bits, a generation above, and
 * four zero bits at the top (WIRE_SESSION_ID_MASK). A lookup is one load and one compare of the whole ID, however many
 * sessions there are; so it finds nothing for an ID with one of the four set.
 *
 * The slot that is free for the longest is taken, with the generation after its last one. While half of a worker's
 * slots are free, an ID of it comes back after 2^27 / workers others of this worker at the earliest, whatever the size
 * of the table. In a cluster the high 8 bits of an ID are the block of the session's address; then it is 2^19 /
 * workers.
 *
 * Each slot belongs to one worker, session_shard(). Only that worker inserts and removes sessions; any thread
 * that is online under RCU may look up. IDs are assigned and released by the control plane, under the registry's
 * mutex: one ID at a time for each slot, from session_table_take() until session_table_give_back(). */
#pragma once

#include <stdint.h>

#include "core/base/bytes.h"
#include "core/base/rcu.h"
#include "core/cluster/blocks.h"
#include "core/sessions/session.h"

enum {
	SESSION_WORKERS_MAX = 256,
	SESSION_SLOTS_MAX = 1 << 22, /* two million sessions; leaves 6 bits of generation */
};

/* How IDs map to workers: the steering program, the TUN readers and the allocator share it. */
struct session_sharding {
	uint32_t slot_mask; /* slots - 1 */
	uint32_t workers;   /* at least 1 */
};

/* The worker that owns an ID, whatever its generation. */
static inline uint32_t session_shard(const struct session_sharding *sharding, uint32_t id)
{
	return (id & sharding->slot_mask) % sharding->workers;
}

/* A worker's free slots as a list, the one that is free for the longest first. */
struct session_slots {
	uint32_t first, last; /* meaningless when none is free */
	uint32_t free, taken;
};

struct session_table {
	struct session_sharding sharding;
	_Atomic(struct session *) *slots;
	/* the control plane's, under its mutex */
	uint32_t *ids;				/* of each slot: the last ID given, at first one that was not */
	uint32_t *next;				/* of each free slot: the next one in its worker's list */
	struct session_slots *workers;		/* of each worker */
	bool in_blocks;				/* session_table_take_in() gave IDs */
	_Atomic uint32_t in_block[BLOCK_COUNT]; /* IDs taken in each block of a cluster; any thread may read */
};

/* `capacity` is rounded up to a power of two, at least `workers` and at most SESSION_SLOTS_MAX; each worker has its
 * share of the slots, give or take one. Generations start at random. `workers` is 1 to SESSION_WORKERS_MAX. 0 or
 * -ENOMEM. Start-up, after keys_init(). */
int session_table_init(struct session_table *table, uint32_t capacity, uint32_t workers);
void session_table_deinit(struct session_table *table); /* the sessions are the caller's */

/* Has each worker take its free slots in an order of its own, at random, instead of by number. Of several gateways with
 * the same blocks of IDs, one that takes over a client gets datagrams with an ID of another gateway's: were those in
 * the same slots, such an ID would be another session's of its own again and again, and the client would get no RESET.
 * After session_table_init(), before an ID is taken. */
void session_table_scatter(struct session_table *table);

/* The session with exactly this ID, or NULL. `id` may be anything. Online under RCU, and the session is good until the
 * caller's next quiescent state. */
static inline struct session *session_table_find(const struct session_table *table, uint32_t id)
{
	struct session *session = rcu_read(&table->slots[id & table->sharding.slot_mask]);
	return likely(session != NULL && session->id == id) ? session : NULL;
}

/* Puts the session at its ID's slot; one that is there is replaced, and stays its owner's to free. The session's owner.
 */
void session_table_insert(struct session_table *table, struct session *session);
/* Takes the session out, unless another one has its slot already. It is freed after readers. The session's owner. */
void session_table_remove(struct session_table *table, struct session *session);

/* A new ID of `worker`, never 0, of the slot that is free for the longest; its generation is a step above the slot's
 * last one. 0: the worker has no free slot. Control plane. */
uint32_t session_table_take(struct session_table *table, uint32_t worker);

/* The same in a block of a cluster (core/cluster/blocks.h), not 0: slot and generation have the 20 bits below. The
 * table has at most 2 * BLOCK_SESSIONS_MAX slots then, and gives all its IDs in this way. Control plane. */
uint32_t session_table_take_in(struct session_table *table, unsigned block, uint32_t worker);

/* The worker with the fewest IDs taken that has a free slot, the lowest number first among equals;
 * SESSION_WORKERS_MAX: none has one. Control plane. */
uint32_t session_table_emptiest(const struct session_table *table);

/* --- the table of another process, whose sharding is the same: core/handover -------------------------------------- */

/* The last IDs of a worker's slots without a session, the slot that is free for the longest first. `ids` has room for
 * all its slots, NULL: only to count. Returns how many. No thread changes the table. */
uint32_t session_table_list_free(const struct session_table *table, uint32_t worker, uint32_t *ids);

/* Has all slots taken, none by a session; then makes the slots of these IDs the last free ones of their workers, and an
 * ID that of its slot's session. Before threads run. */
void session_table_take_all(struct session_table *table);
void session_table_set_free(struct session_table *table, const uint32_t *ids, uint32_t count);
void session_table_set_taken(struct session_table *table, uint32_t id);

/* The slot of an ID that was taken may be given again. Control plane, after the worker removed the session. */
void session_table_give_back(struct session_table *table, uint32_t id);
