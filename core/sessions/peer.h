// SPDX-License-Identifier: Apache-2.0
/* The peers that a gateway knows, by public key: a hash table (liburcu's cds_lfht) that handshake threads read under
 * RCU, and that the control plane changes under the registry's mutex.
 *
 * A peer is made by peer_new(), filled, and given to the table by peers_add(). It ends by peers_remove(): nobody finds
 * it from then on, and its memory is given back when the last session that points to it is gone and all readers went
 * through a quiescent state. Who found a peer and then takes the mutex checks `removed` before using what the mutex
 * guards. Threads that change the table are registered and online under RCU (rcu_join); they may block on the mutex,
 * so whoever holds it never waits for readers. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/ip.h"
#include "core/base/rcu.h"
#include "core/sessions/freshness.h"
#include "core/sessions/pool.h"
#include "core/protocol/wire.h"
#include "crypto/keys.h"

#include <urcu/rculfhash.h> /* after the flavour, which core/base/rcu.h chooses */

struct session;
struct peers;

/* What a peer is called. */
struct peer_name {
	struct rcu_head rcu; /* of one that another took the place of */
	char text[];
};

struct peer {
	/* set before it is added, then constant */
	uint8_t public_key[KEY_SIZE];
	uint8_t preshared_key[KEY_SIZE]; /* all zero: none */
	struct ip_prefix *networks;	 /* behind it (AllowedIPs); from malloc(), the peer's own from then on */
	uint32_t network_count;
	uint32_t fixed_index; /* of its configured address; POOL_NONE: from the pool */

	_Atomic(struct peer_name *)
		name; /* NULL: none. Control plane; any thread that is online may read: peer_name() */

	/* DH of the two static keys: peer_static_static() */
	_Atomic uint32_t static_static_state;
	uint8_t static_static[KEY_SIZE];

	/* the control plane's, under the registry's mutex */
	struct freshness freshness; /* of its HELLOs */
	uint32_t last_index;	    /* the address it had last; POOL_NONE: none yet */
	struct session *active;	    /* confirmed session, as far as the control plane knows */
	struct session *pending;    /* answered, not confirmed, and not a rekey of the active one */
	/* Rate limits: theoretical arrival time of the next HELLO (GCRA), monotonic ns. Of those with a cookie that
	 * proves where they come from, and of the others: so nobody who can only repeat uses up what is the client's.
	 */
	uint64_t proven_tat, newer_tat;
	uint32_t sessions;    /* that point here */
	_Atomic bool removed; /* from the table; any thread that is online may read */

	/* the table's */
	struct cds_lfht_node node;
	struct peers *peers; /* whose memory it is in; of a removed one */
	union {
		struct rcu_head rcu;	/* of a removed one */
		struct peer *next_free; /* of one that is none */
	};
};

/* Memory of peers: secrets, so chunks of locked memory. Its mutex is its own because a peer's end comes on liburcu's
 * thread. */
struct peer_arena {
	pthread_mutex_t mutex;
	struct peer_chunk *chunks; /* the newest first */
	struct peer *free;
	size_t used;	     /* peers made and not given back */
	uint32_t next_chunk; /* peers in the next chunk */
};

struct peers {
	struct cds_lfht *table;
	uint8_t hash_key[16]; /* random: nobody outside can choose keys that collide */
	_Atomic size_t count; /* in the table: peers_count() */
	struct peer_arena arena;
};

/* Sized for `expected` peers; it also takes more, with longer chains. Before any thread is pinned, after keys_init(). 0
 * or -ENOMEM with `error` set. */
int peers_init(struct peers *peers, size_t expected, struct error *error);

/* Frees all peers, also those that were made and not added, and those that were removed while sessions pointed there.
 * Nobody else uses it any more; after rcu_after_readers_barrier(). Any thread. */
void peers_deinit(struct peers *peers);

/* A peer of zeroes with POOL_NONE as indexes, in locked memory. NULL: no memory. Control plane. */
struct peer *peer_new(struct peers *peers);

/* Wipes a peer that was never added, and gives its memory and networks back at once. Control plane. */
void peer_discard(struct peers *peers, struct peer *peer);

/* Calls the peer something else; NULL: nothing. The old text is freed after readers. 0 or -ENOMEM. Control plane,
 * online under RCU. */
int peer_rename(struct peer *peer, const char *name);

/* Or NULL. Online under RCU; it is good until the caller's next quiescent state. */
static inline const char *peer_name(const struct peer *peer)
{
	const struct peer_name *name = rcu_read(&peer->name);
	return name != NULL ? name->text : NULL;
}

/* 0, or -EEXIST when the key is there; the peer is then the caller's still. Control plane, online under RCU. */
int peers_add(struct peers *peers, struct peer *peer);

/* Takes a peer out of the table and marks it removed. It is wiped and freed after readers, once no session points to
 * it: peer_put() for each that ends. Control plane, online under RCU. */
void peers_remove(struct peers *peers, struct peer *peer);

/* One more session points to a peer, which is not removed; one less. Control plane, online under RCU. */
void peer_get(struct peer *peer);
void peer_put(struct peers *peers, struct peer *peer);

/* The peer with this public key, or NULL. Online under RCU; it is good until the caller's next quiescent state. */
struct peer *peers_find(const struct peers *peers, const uint8_t public_key[KEY_SIZE]);

/* How many are in the table. Any thread. */
static inline size_t peers_count(const struct peers *peers)
{
	return atomic_load_explicit(&peers->count, memory_order_relaxed);
}

/* Calls `callback` for each peer in the table, in no order; it may remove the peer it is called for, and no other.
 * Control plane, online under RCU. */
void peers_for_each(struct peers *peers, void (*callback)(struct peer *peer, void *context), void *context);

/* DH(own static key, the peer's), to `out`. The first call computes it (45 us) and keeps it for the others; calls that
 * come meanwhile compute their own instead of waiting. False when the peer's key is no usable point. `private_key` is
 * the same in each call. Any thread, online under RCU. */
bool peer_static_static(struct peer *peer, const uint8_t private_key[KEY_SIZE], uint8_t out[KEY_SIZE]);
