// SPDX-License-Identifier: Apache-2.0
/* The gateway's control plane: peers, inner addresses and session IDs.
 *
 * Handshake threads and the control thread change it under one mutex; workers never take it. A session is made here
 * (registry_begin), passed to the worker that owns its ID, and returned through a lock-free queue when that worker no
 * longer uses it (registry_retire). Until then its ID, its address and its peer stay reserved for it:
 *
 *   control plane                                  worker that owns the ID
 *   registry_begin: ID, address RESERVED  ------>  into the table; WELCOME
 *                                                  confirmed: address ACTIVE
 *   registry_collect: all free again      <------  ended: address RESERVED, out of the table, registry_retire
 *
 * The control plane's state therefore lags behind, and a message to a worker may name a session that has ended: it is
 * dropped, and the client's next HELLO repeats the request. A peer has at most one active and one pending session, both
 * on one worker. */
#pragma once

#include <pthread.h>
#include <urcu/wfcqueue.h>

#include "core/cluster/fence.h"
#include "core/sessions/networks.h"
#include "core/sessions/peer.h"
#include "core/sessions/pool.h"
#include "core/sessions/session.h"
#include "core/sessions/table.h"
#include "perf/record/stats.h"

/* HELLOs per second and peer: as many with a cookie, and as many without. */
enum { REGISTRY_HELLO_RATE = 10, REGISTRY_HELLO_BURST = 10 };

struct registry {
	pthread_mutex_t mutex; /* guards all fields that do not say otherwise */
	struct peers peers;
	struct pool pool;
	struct networks networks;
	struct usages usages;	 /* has a mutex of its own */
	_Atomic uint32_t quotas; /* peers that have one; any thread may read */
	struct session_table table;
	uint32_t max_sessions;		   /* limit of peers with a session */
	const struct fence *fence;	   /* which blocks of clients are ours; NULL: it is no cluster. Constant */
	bool no_ipv6;			   /* no IPv6 on the TUN: no client gets an IPv6 address. Constant
					    * once threads run */
	struct cds_list_head unattended;   /* WireGuard peers with an Endpoint and, when they were added, no session */
	struct cds_list_head named;	   /* WireGuard peers with a name as Endpoint */
	uint32_t orders;		   /* handshakes begun */
	uint64_t cookies;		   /* number of the newest numbered cookie */
	uint32_t changes;		   /* of peers, limits and quotas while it runs. Control thread */
	bool held;			   /* what ended stays, and nothing stands: registry_hold() */
	uint64_t spent;			   /* cookies up to this number are not valid for a peer that is added */
	struct cds_wfcq_tail retired_tail; /* any worker */
	struct cds_wfcq_head retired_head;
};

struct registry_params {
	const struct ip_prefix *addresses; /* the gateway's own: at most one of each family */
	size_t address_count;
	uint32_t max_sessions; /* clients at once */
	uint32_t workers;
	size_t expected_peers;
	const struct fence
		*fence; /* of a gateway in a cluster, borrowed; NULL: it is alone, and all clients are its own */
};

/* Start-up, before any thread is pinned. On failure nothing is left. */
int registry_init(struct registry *registry, const struct registry_params *params, struct error *error);
/* Frees everything; after all other threads ended. The caller is registered for RCU and online. */
void registry_deinit(struct registry *registry);

/* --- peers: the control thread ------------------------------------------------------------------------------------ */

/* The configuration of a peer. */
struct registry_peer {
	const uint8_t *public_key, *preshared_key; /* KEY_SIZE each */
	const char *name;			   /* NULL: none */
	struct ip_address address; /* held for it; family 0: any, and for WireGuard one that follows from the key */
	const struct ip_prefix *networks; /* behind it */
	size_t network_count;
	struct peer_limits limits;
	enum peer_protocol protocol;
	struct contact contact;		   /* of WireGuard peers */
	const struct freshness *freshness; /* of the peer that it replaces; NULL: its first HELLO needs a cookie */
};

/* -EEXIST: the key is there already; -EADDRINUSE: the address is another peer's, or none is left for a WireGuard peer;
 * -EADDRNOTAVAIL: not one that can be given out, or in a cluster none, or above the last block; what networks_add()
 * says; -ENOMEM. */
int registry_add_peer(struct registry *registry, const struct registry_peer *from, struct error *error);

/* Sets the name of a peer; NULL: none. 0 or -ENOMEM. */
int registry_rename_peer(struct registry *registry, struct peer *peer, const char *name);

/* In two steps the networks behind a peer become others, since one peer may get what another had: first all that are
 * to have others keep those that they are still to have, then each gets all of its own. Its sessions go on: what is
 * taken away leads nowhere at once, and what is new leads to them when their workers are told
 * (registry_attach_networks()). 0 or -ENOMEM; the second one also as networks_add(), and then it adds none. */
int registry_keep_networks(struct registry *registry, struct peer *peer, const struct ip_prefix *networks,
			   size_t count);
int registry_add_networks(struct registry *registry, struct peer *peer, const struct ip_prefix *networks, size_t count,
			  struct error *error);

/* Its handshakes go by this key from now on; its sessions have theirs until then. */
void registry_set_preshared_key(struct registry *registry, struct peer *peer, const uint8_t key[KEY_SIZE]);

/* Sets how a WireGuard peer is reached. 0 or -ENOMEM. */
int registry_reach_peer(struct registry *registry, struct peer *peer, const struct contact *contact);

/* A WireGuard peer whose Endpoint is a name that has to be resolved, for the first time or since there is no answer
 * from the address that it had. `now` in monotonic ns: each is due once in REGISTRY_RESOLVE_S. False: none is due now.
 */
enum { REGISTRY_RESOLVE_S = 30, REGISTRY_HOST_SIZE = 256 };
struct registry_name {
	uint8_t public_key[KEY_SIZE];
	char host[REGISTRY_HOST_SIZE];
	uint16_t port; /* host order */
};
bool registry_next_name(struct registry *registry, uint64_t now, struct registry_name *name);

/* It has this address, v4-mapped if it is IPv4. `ids` receives the sessions whose workers have to be told (0: none).
 * Nothing happens when the peer has another Endpoint by now. */
void registry_resolved(struct registry *registry, const struct registry_name *name, const struct in6_addr *address,
		       uint32_t ids[2]);

/* Sets the limits of a peer that is not removed. `ids` receives the sessions whose workers have to be told (0: none).
 */
void registry_limit_peer(struct registry *registry, struct peer *peer, const struct peer_limits *limits,
			 uint32_t ids[2]);

/* Peers with quotas take over what was restored of their usage (usages_restore()). */
void registry_follow_usages(struct registry *registry);

/* Removes the peer. `ids` receives the sessions that the workers have to end (0: none). False: no such peer. */
bool registry_remove_peer(struct registry *registry, const uint8_t public_key[KEY_SIZE], uint32_t ids[2]);

/* The peer's sessions (0: none), as the control plane sees them. False: no such peer. */
bool registry_peer_sessions(struct registry *registry, const uint8_t public_key[KEY_SIZE], uint32_t ids[2]);

/* The peer's confirmed session, or NULL. Online under RCU; it is good until the caller's next quiescent state. */
const struct session *registry_peer_session(struct registry *registry, const struct peer *peer);

/* Whether an index of the pool is held for a peer; and pool_choose(). */
bool registry_address_held(struct registry *registry, uint32_t index);
uint32_t registry_choose_address(struct registry *registry, uint64_t number);

/* The freshness state of a peer, for the one that replaces it. False: no such peer. */
bool registry_peer_freshness(struct registry *registry, const uint8_t public_key[KEY_SIZE],
			     struct freshness *freshness);

/* Frees sessions that workers retired, the first of them first, and at most so many: handshakes must not wait for the
 * mutex for as long as the end of a million sessions takes. Control plane, repeatedly. Returns how many; after
 * REGISTRY_COLLECT_MAX there may be more, and the caller comes again soon. Each handshake collects as many besides. */
enum { REGISTRY_COLLECT_MAX = 256 };
size_t registry_collect(struct registry *registry);

/* From here on, until it goes on again, nothing is collected and registry_stand() makes nothing: the IDs, addresses and
 * peers of sessions that ended stay reserved. For a hand-over, during which handshakes rest. Control thread. */
void registry_hold(struct registry *registry, bool held);

/* --- handshakes: any registered thread, online under RCU ---------------------------------------------------------- */

/* A HELLO's request. */
struct registry_request {
	uint32_t session_id; /* named in its header */
	const struct wire_hello *hello;
	uint64_t cookie; /* number of the valid cookie that is its challenge (crypto/cookie.h); 0: it is none */
	uint64_t period; /* number of the cookie that its source gets in this period */
	uint64_t now;	 /* monotonic ns */
};

/* What is granted. */
struct registry_grant {
	uint32_t session_id;
	struct session *made; /* a new session, to be passed to the owner of its ID; NULL: the owner has it already */
	uint32_t order;	      /* of this handshake among all */
	uint32_t cancels;     /* the session of a pending handshake that this one replaces; 0: none */
	uint8_t epoch;
	struct ip_prefix address4, address6;
	uint64_t cookie; /* of what was refused: the number of the cookie by which the client may show that it is there,
			    that of the period if it suffices; 0: none */
};

/* Finds or makes the session that the handshake makes keys for: the peer's active one if the HELLO names it (a rekey),
 * its pending one, or a new one. DROP_NONE, or why not: DROP_UNKNOWN_PEER (removed meanwhile), DROP_BLOCK
 * (its block is not ours), DROP_STALE, DROP_HELLO_RATE, DROP_NO_ADDRESS; then nothing has changed but the rate, and
 * that not by a stale one. */
enum drop_reason registry_begin(struct registry *registry, struct peer *peer, const struct registry_request *request,
				struct registry_grant *grant);

/* The same for an authentic initiation of a WireGuard peer, which names no session: the peer's active one gets new
 * keys, if it has one. The timestamp has to be above all before; there is no cookie. A reason as above, with
 * DROP_HELLO_RATE for what follows the last one within WG_INITIATION_INTERVAL_MS; then nothing has changed. */
enum drop_reason registry_begin_wireguard(struct registry *registry, struct peer *peer,
					  const uint8_t timestamp[WIRE_TIMESTAMP_SIZE], uint64_t now,
					  struct registry_grant *grant);

/* A WireGuard peer with an Endpoint always has a session, so that packets for it find a worker, which initiates. Makes
 * one for the next peer that has none: `grant` has the session ID and what was made. False: there is no such peer, or
 * no room for its session now. Control plane, repeatedly. */
bool registry_stand(struct registry *registry, uint64_t now, struct registry_grant *grant);

/* A session that another process had, of an ID and an address that are free here, becomes its peer's, as if it had been
 * made here; session->peer and session->pool_index say which. Its worker takes it over next. Before threads run. */
void registry_adopt(struct registry *registry, struct session *session);

/* The handshake could not be answered after all: a session that was made is gone. */
void registry_abandon(struct registry *registry, const struct registry_grant *grant);

/* --- sessions: the owner's thread ----------------------------------------------------------------------------------*/

/* Returns a session to the control plane. It is out of the table, and this thread no longer uses it. Never blocks. */
void registry_retire(struct registry *registry, struct session *session);

/* The session was confirmed, or ended: packets to its addresses and networks go to it, or nowhere. */
void registry_attach(struct registry *registry, const struct session *session);
void registry_detach(struct registry *registry, const struct session *session);

/* The networks behind its peer are others, and the session is the one that packets to them go to. */
void registry_attach_networks(struct registry *registry, const struct session *session);

/* --- blocks of a cluster: any thread ------------------------------------------------------------------------------ */

/* Whether the client with this index of the pool is one for us to serve now; monotonic ns. */
static inline bool registry_serves_index(const struct registry *registry, uint32_t index, uint64_t now)
{
	const struct fence *fence = registry->fence;
	return fence == NULL || fence_serves(fence, block_of_index(index, fence->peers), now);
}

/* Sessions of a block, those included that are not confirmed, or ended and not collected yet. */
static inline uint32_t registry_block_sessions(const struct registry *registry, unsigned block)
{
	return atomic_load_explicit(&registry->table.in_block[block], memory_order_relaxed);
}

/* --- lookups: online under RCU ------------------------------------------------------------------------------------ */

/* The session whose peer has the network that the address lies in; 0: there is none. */
static inline uint32_t registry_network_session(const struct registry *registry, unsigned version,
						const uint8_t *address)
{
	struct network_route *route = networks_find(&registry->networks, version, address);
	return route != NULL ? route_session(route) : 0;
}

/* The session that a packet to this inner address (its bytes in the IP header) belongs to; 0: none. */
static inline uint32_t registry_route(const struct registry *registry, unsigned version, const uint8_t *destination)
{
	uint32_t id = pool_lookup(&registry->pool, version, destination);
	return likely(id != 0) ? id : registry_network_session(registry, version, destination);
}
