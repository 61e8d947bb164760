// SPDX-License-Identifier: Apache-2.0
/* The peers of a gateway by public key: a hash table (liburcu's cds_lfht) that handshake threads read under
 * RCU, and that the control plane changes under the registry's mutex.
 *
 * A peer is made by peer_new(), filled, and given to the table by peers_add(). peers_remove() ends it:
 * lookups no longer return it, and its memory is freed when the last session that points to it is gone and all readers
 * passed a quiescent state. A thread that found a peer and then takes the mutex checks `removed` before using what the
 * mutex guards. Threads that change the table are registered and online under RCU (rcu_join). They may block on the
 * mutex, so its holder must not wait for a grace period: that would deadlock. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/ip.h"
#include "core/base/rcu.h"
#include "core/protocol/wire.h"
#include "core/sessions/freshness.h"
#include "core/sessions/peer_wireguard.h"
#include "core/sessions/pool.h"
#include "core/sessions/usage.h"
#include "crypto/keys.h"

#include <urcu/rculfhash.h> /* after the flavour, which core/base/rcu.h chooses */

struct session;
struct peers;

/* What a peer speaks, for good: its key, and ours, are for one set of algorithms. */
enum peer_protocol {
	PEER_SHARDTUN,
	PEER_WIREGUARD,
};

/* As the option Protocol has it. */
static inline const char *peer_protocol_name(enum peer_protocol protocol)
{
	return protocol == PEER_WIREGUARD ? "wireguard" : "shardtun";
}

/* A peer's name, replaced as a whole under RCU. */
struct peer_name {
	struct rcu_head rcu; /* after it was replaced */
	char text[];
};

/* Rates in thousands of bits a second; 0: no limit. `burst` in bytes; 0: what suits the rate. */
struct peer_limits {
	uint32_t up, down;
	uint32_t burst;
	enum calendar_period period;
	uint64_t quota; /* bytes in a period, both ways together; 0: no limit */
	uint32_t after; /* the rate each way once they are used up; 0: nothing passes then */
};

/* The networks behind a peer (AllowedIPs), sorted by their bytes and without host bits. From malloc(); replaced as a
 * whole under RCU. */
struct peer_networks {
	struct rcu_head rcu; /* after they were replaced */
	uint32_t count;
	struct ip_prefix items[];
};

enum { PEER_KEY_WORDS = KEY_SIZE / sizeof(uint64_t) };

struct peer {
	/* set before it is added, then constant */
	uint8_t public_key[KEY_SIZE];
	uint32_t fixed_index;		  /* of the address that is held for it; POOL_NONE: from the pool */
	struct peer_wireguard *wireguard; /* NULL: it speaks the own protocol; owned by the peer */

	/* NULL: none. Control plane; any thread that is online may read: peer_networks() */
	_Atomic(struct peer_networks *) networks;

	/* All zero: none. Control plane; any thread that is online may read: peer_preshared_key(). The version is odd
	 * while the key is being written. */
	_Atomic uint64_t preshared_key[PEER_KEY_WORDS];
	_Atomic uint32_t preshared_version;

	_Atomic(struct peer_name *)
		name; /* NULL: none. Control plane; any thread that is online may read: peer_name() */

	/* struct peer_limits. Control plane; any thread that is online may read: peer_limits() */
	_Atomic uint32_t limit_up, limit_down, limit_burst, limit_after, limit_period;
	_Atomic uint64_t limit_quota;

	/* Set once, by the control plane; any thread that is online may read: peer_usage() */
	_Atomic(struct usage *) usage;

	/* DH of the two static keys: peer_static_static() */
	_Atomic uint32_t static_static_state;
	uint8_t static_static[KEY_SIZE];

	/* the control plane's, under the registry's mutex */
	struct freshness freshness; /* of its HELLOs */
	uint32_t term;		    /* of its block when one was accepted last; in a cluster */
	uint32_t last_index;	    /* of its last address; POOL_NONE: none yet */
	struct session *active;	    /* confirmed session, as far as the control plane knows */
	struct session *pending;    /* answered, not confirmed, and not a rekey of the active one */
	/* Rate limits: theoretical arrival time of the next HELLO (GCRA), monotonic ns. One for HELLOs
	 * with a cookie, which proves their source, and one for the others: replays do not use up the client's rate. */
	uint64_t proven_tat, newer_tat;
	uint32_t sessions;    /* that point to it */
	_Atomic bool removed; /* from the table; any thread that is online may read */

	/* owned by the table */
	struct cds_lfht_node node;
	struct peers *peers; /* where its memory goes back to; only once removed */
	union {
		struct rcu_head rcu;	/* once removed */
		struct peer *next_free; /* in the free list */
	};
};

/* Memory of peers: secrets, so chunks of locked memory. It has a mutex of its own because peers are freed on
 * liburcu's thread. */
struct peer_arena {
	pthread_mutex_t mutex;
	struct peer_chunk *chunks; /* the newest first */
	struct peer *free;
	size_t used;	     /* peers made and not given back */
	uint32_t next_chunk; /* peers in the next chunk */
};

struct peers {
	struct cds_lfht *table;
	uint8_t hash_key[16];		/* random, so that peers cannot choose keys that collide */
	_Atomic size_t count;		/* in the table: peers_count() */
	_Atomic size_t wireguard_count; /* of those, how many speak WireGuard: peers_wireguard() */
	struct cds_list_head wireguard; /* links of those that speak WireGuard, in the order of their addition */
	struct peer_arena arena;
};

/* Sized for `expected` peers; it also takes more, with longer chains. Before any thread is pinned, after keys_init(). 0
 * or -ENOMEM with `error` set. */
int peers_init(struct peers *peers, size_t expected, struct error *error);

/* Frees all peers, also those that were made and not added, and those that were removed while sessions pointed to
 * them. No other thread uses the table any more; after rcu_after_readers_barrier(). Any thread. */
void peers_deinit(struct peers *peers);

/* A peer of zeroes with POOL_NONE as indexes, in locked memory. NULL: no memory. Control plane. */
struct peer *peer_new(struct peers *peers);

/* It is to speak WireGuard. Before it is added. 0 or -ENOMEM. Control plane. */
int peer_speak_wireguard(struct peer *peer);

/* Any thread. */
static inline enum peer_protocol peer_protocol(const struct peer *peer)
{
	return peer->wireguard != NULL ? PEER_WIREGUARD : PEER_SHARDTUN;
}

/* How the gateway reaches it, or NULL. Online under RCU; it is good until the caller's next quiescent state. */
static inline const struct contact *peer_contact(const struct peer *peer)
{
	const struct peer_contact *contact = peer->wireguard != NULL ? rcu_read(&peer->wireguard->contact) : NULL;
	return contact != NULL ? &contact->contact : NULL;
}

/* Wipes a peer that was never added, and gives its memory and networks back at once. Control plane. */
void peer_discard(struct peers *peers, struct peer *peer);

/* Sets the name; NULL: none. The old text is freed after readers. 0 or -ENOMEM. Control plane,
 * online under RCU. */
int peer_rename(struct peer *peer, const char *name);

/* Copies the pre-shared key as it was at one moment; the caller wipes it. Any thread, online under RCU. */
void peer_preshared_key(const struct peer *peer, uint8_t out[KEY_SIZE]);

/* Handshakes go by it from now on; all zero: none. Control plane. */
void peer_set_preshared_key(struct peer *peer, const uint8_t key[KEY_SIZE]);

/* A sorted copy without host bits, owned by the caller. NULL: no memory. Any thread. */
struct peer_networks *peer_networks_new(const struct ip_prefix *networks, size_t count);

/* Whether exactly this network, which has no host bits, is one of them. Any thread. */
bool peer_networks_have(const struct peer_networks *networks, const struct ip_prefix *network);

/* Takes them over; NULL: none. The old ones are freed after readers. Control plane, online under RCU. */
void peer_set_networks(struct peer *peer, struct peer_networks *networks);

/* Never NULL. Online under RCU; they are good until the caller's next quiescent state. */
static inline const struct peer_networks *peer_networks(const struct peer *peer)
{
	static const struct peer_networks none;
	const struct peer_networks *networks = rcu_read(&peer->networks);
	return networks != NULL ? networks : &none;
}

static inline bool peer_has_networks(const struct peer *peer)
{
	return rcu_read(&peer->networks) != NULL;
}

/* Control plane; the sessions of the peer follow when their workers are told. */
static inline void peer_set_limits(struct peer *peer, const struct peer_limits *limits)
{
	atomic_store_explicit(&peer->limit_up, limits->up, memory_order_relaxed);
	atomic_store_explicit(&peer->limit_down, limits->down, memory_order_relaxed);
	atomic_store_explicit(&peer->limit_burst, limits->burst, memory_order_relaxed);
	atomic_store_explicit(&peer->limit_after, limits->after, memory_order_relaxed);
	atomic_store_explicit(&peer->limit_period, limits->period, memory_order_relaxed);
	atomic_store_explicit(&peer->limit_quota, limits->quota, memory_order_relaxed);
}

/* Consistent one by one: a change is followed by a message to the worker that reads them. */
static inline struct peer_limits peer_limits(const struct peer *peer)
{
	return (struct peer_limits){.up = atomic_load_explicit(&peer->limit_up, memory_order_relaxed),
				    .down = atomic_load_explicit(&peer->limit_down, memory_order_relaxed),
				    .burst = atomic_load_explicit(&peer->limit_burst, memory_order_relaxed),
				    .after = atomic_load_explicit(&peer->limit_after, memory_order_relaxed),
				    .period = atomic_load_explicit(&peer->limit_period, memory_order_relaxed),
				    .quota = atomic_load_explicit(&peer->limit_quota, memory_order_relaxed)};
}

/* What the peer has used of its quota: there if it has one and a session, else perhaps NULL. It is good as long as the
 * peer. */
static inline struct usage *peer_usage(const struct peer *peer)
{
	return atomic_load_explicit(&peer->usage, memory_order_acquire);
}

/* Or NULL. Online under RCU; it is good until the caller's next quiescent state. */
static inline const char *peer_name(const struct peer *peer)
{
	const struct peer_name *name = rcu_read(&peer->name);
	return name != NULL ? name->text : NULL;
}

/* 0, or -EEXIST when the key is there; the caller then still owns the peer. Control plane, online under RCU. */
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

static inline size_t peers_wireguard(const struct peers *peers)
{
	return atomic_load_explicit(&peers->wireguard_count, memory_order_relaxed);
}

/* Calls `callback` for each peer in the table, in no order; it may remove the peer it is called for, and no other.
 * Control plane, online under RCU. */
void peers_for_each(struct peers *peers, void (*callback)(struct peer *peer, void *context), void *context);

/* DH(own static key, the peer's), to `out`. The first call computes it (45 us) and keeps it for the others; calls in
 * the meantime compute it themselves instead of waiting. False when the peer's key is no usable point. `private_key` is
 * the same in each call. Any thread, online under RCU. */
bool peer_static_static(struct peer *peer, const uint8_t private_key[KEY_SIZE], uint8_t out[KEY_SIZE]);
