// SPDX-License-Identifier: Apache-2.0
/* The networks behind peers ([Peer] AllowedIPs): a longest-prefix table, IPv4 and IPv6, that yields the session
 * for an address outside the pool. Each family is one hash table; a lookup probes it once for each prefix length in
 * use, the longest first. Configurations use few lengths, so it costs a few cache misses among 100,000 networks, where
 * a trie costs one per level.
 *
 * Any thread that is online under RCU looks up, without a lock. The control plane adds and removes, under its one
 * mutex, in a thread that joined RCU. A lookup finds the longest of the networks that were there from its beginning to
 * its end, or a longer one that came or went meanwhile; what it finds always contains the address. Workers write
 * nothing but the session ID in an entry. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/ip.h"
#include "core/base/rcu.h"

struct network_array;

/* An address as a number, its first bit the highest of `high`. IPv4 uses the first 32 bits, the rest is 0. */
struct network_key {
	uint64_t high, low;
};

/* One network. The table owns it; its peer points to it as long as it is in the table. */
struct network_route {
	_Atomic uint32_t session_id; /* ACTIVE for the peer that owns the network; 0: the peer is not connected */
	const void *owner;	     /* the peer; constant */
	struct ip_prefix prefix;     /* without host bits; constant */
	struct network_key key;	     /* the prefix's address; constant */
	struct rcu_head rcu;
} CACHE_ALIGNED;

struct network_family {
	_Atomic(struct network_array *) array; /* NULL: no network */
	/* control plane */
	size_t count;		     /* networks */
	size_t used;		     /* slots of the array that are, or were, a network's */
	uint32_t of_length[128 + 1]; /* networks of each length */
};

struct networks {
	struct network_family ipv4, ipv6;
};

/* An empty table. Start-up. */
void networks_init(struct networks *table);
/* Frees all networks in it; no other thread uses it any more. After rcu_after_readers_barrier(). */
void networks_deinit(struct networks *table);

/* Adds a network of `owner`, host bits ignored, and sets `*route`, whose session is 0. -EEXIST when exactly that
 * network is there (one inside another is fine), -EINVAL for a length of 0 (the gateway's own default route) or no
 * prefix at all, -ENOMEM; each leaves the table as it was. Control plane. */
int networks_add(struct networks *table, const struct ip_prefix *prefix, const void *owner,
		 struct network_route **route, struct error *error);

/* Takes out a network that is in the table, and frees it when all readers are past it. Before, the caller takes away
 * every other way to it, such as its peer's pointer. Cannot fail. Control plane. */
void networks_remove(struct networks *table, struct network_route *route);

/* Exactly this network, host bits ignored, or NULL. Valid until the caller's next quiescent state. Any thread, online
 * under RCU. */
struct network_route *networks_exact(const struct networks *table, const struct ip_prefix *prefix);

/* networks_find() for a table that has networks of the address's family. */
struct network_route *networks_search(struct network_array *array, unsigned version, const uint8_t *address);

/* The longest network with this address, its bytes in the header of an IP packet of `version` 4 or 6 (any alignment),
 * or NULL. The longest one counts even if its peer is not connected. Valid until the caller's next quiescent state. Any
 * thread, online under RCU. */
static inline struct network_route *networks_find(const struct networks *table, unsigned version,
						  const uint8_t *address)
{
	struct network_array *array = rcu_read(version == 4 ? &table->ipv4.array : &table->ipv6.array);
	return likely(array == NULL) ? NULL : networks_search(array, version, address);
}

/* The session that packets of this network belong to; 0: none. Any thread, online under RCU. */
static inline uint32_t route_session(const struct network_route *route)
{
	return atomic_load_explicit(&route->session_id, memory_order_acquire);
}

/* The peer's session became ACTIVE, in the place of another or of none. The worker that owns the session; an older and
 * a newer session of one peer that are both alive have the same owner. */
static inline void route_activate(struct network_route *route, uint32_t session_id)
{
	atomic_store_explicit(&route->session_id, session_id, memory_order_release);
}

/* The session ended. False, and nothing changes, when the network is another session's by now. Any worker. */
static inline bool route_deactivate(struct network_route *route, uint32_t session_id)
{
	return atomic_compare_exchange_strong_explicit(&route->session_id, &session_id, 0, memory_order_release,
						       memory_order_relaxed);
}
