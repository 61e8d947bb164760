// SPDX-License-Identifier: Apache-2.0
/* A session: one peer's ID, inner addresses, keys and endpoint.
 *
 * The control plane (core/sessions/registry.h) makes it and passes it to the worker that owns its ID, which alone reads
 * and writes it from then on. Other threads may find it in the table under RCU, and read what is constant and what the
 * owner publishes: struct session_view. When the session has ended, the worker returns it to the registry, which frees
 * it after a grace period. The client's one worker makes and frees its session itself. */
#pragma once

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <urcu/list.h>
#include <urcu/wfcqueue.h>

#include "core/base/clock.h"
#include "core/base/ip.h"
#include "core/base/owner.h"
#include "core/base/rcu.h"
#include "core/base/timer_wheel.h"
#include "core/protocol/transport.h"

#define SESSION_PREVIOUS_KEY_NS (10 * NS_PER_S)	       /* how long the old key still opens after the new one was used */
#define SESSION_PENDING_NS	DIALECT_OWN_CONFIRM_NS /* how long a handshake waits for its confirmation */
#define SESSION_KEEPALIVE_NS	(10 * NS_PER_S)	       /* DATA came and nothing was sent */
#define SESSION_HIBERNATE_NS	(60 * NS_PER_S)	       /* without DATA */
#define SESSION_PATH_NS		(3 * NS_PER_S)	       /* how long a new endpoint may take to answer a ping */
#define SESSION_PATH_PING_NS	(250 * NS_PER_MS)      /* how often it is pinged */
#define SESSION_SILENCE_NS	(15 * NS_PER_S)	       /* DATA was sent and nothing came: the client handshakes */

/* The remote address, and the local one that its packets came to. IPv4 is v4-mapped. */
struct endpoint {
	struct sockaddr_in6 remote; /* scope ID set for link-local addresses only */
	struct in6_addr local;	    /* unspecified: the kernel chooses */
};

static inline bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return a->remote.sin6_port == b->remote.sin6_port && a->remote.sin6_scope_id == b->remote.sin6_scope_id &&
	       memcmp(&a->remote.sin6_addr, &b->remote.sin6_addr, sizeof a->remote.sin6_addr) == 0 &&
	       memcmp(&a->local, &b->local, sizeof a->local) == 0;
}

enum session_state {
	SESSION_PENDING, /* handshake answered, not confirmed */
	SESSION_ACTIVE,
};

struct initiator;
struct peer;
struct session_limits;

/* Published by the owner for other threads: relaxed words, consistent one by one, not as a whole. */
struct session_view {
	_Atomic uint8_t state, epoch; /* enum session_state; of the current key, 0: none */
	_Atomic uint8_t suite;	      /* of the current key, 0: none */
	_Atomic uint32_t rekeys, roams;
	_Atomic uint64_t received;	       /* monotonic ns of the last authentic packet */
	_Atomic uint64_t connected;	       /* when it was confirmed, if that may be long after its birth; else 0 */
	_Atomic uint64_t keyed;		       /* when the newest confirmed key was made; 0: none was */
	_Atomic uint64_t rx_packets, rx_bytes; /* inner packets from the client */
	_Atomic uint64_t tx_packets, tx_bytes; /* and to it */
	_Atomic uint64_t remote[3]; /* endpoint: address as two words in memory order, port in network order */
};

struct session {
	/* constant once in the table: any thread may read */
	uint32_t id;
	uint32_t replaces;		 /* the peer's session that ends when this one is confirmed; 0: none */
	uint32_t pool_index;		 /* the gateway's */
	struct peer *peer;		 /* the gateway's; NULL at the client */
	uint64_t born;			 /* monotonic ns */
	struct ip_prefix inner4, inner6; /* own addresses with the network's prefix length; family 0: none */

	struct session_view view;

	/* the owner's: what the data path reads */
	uint16_t mtu;			/* largest inner packet, bytes */
	struct transport_key *current;	/* seals; NULL before the first confirmation and after key death */
	struct transport_key *previous; /* only opens */
	struct transport_key *next;	/* handshake answered, not confirmed: only opens */
	struct endpoint endpoint;
	uint64_t path_deadline;	       /* monotonic ns: until then the endpoint has to answer a ping; 0: it is proven */
	uint64_t path_credit;	       /* bytes that may still be sent to an endpoint that is not proven */
	struct session_limits *limits; /* workers/limits.h; heap; NULL: none */
	uint64_t look_after;	       /* ns after a packet is sent, at which role->expire() is due at the latest */

	/* the data path writes these, once per batch */
	uint64_t received;	       /* monotonic ns of the last authentic packet */
	uint64_t sent;		       /* of the last packet sent */
	uint64_t awaiting_reply_since; /* of the first DATA sent since anything authentic came; 0 none */
	uint64_t keepalive_owed_since; /* of the first DATA received since anything was sent; 0 none */
	uint64_t data_moved;	       /* of the last DATA in either direction */

	/* life cycle */
	struct timer timer;	/* in the owner's wheel: when role->expire() is due */
	struct endpoint proven; /* the last proven endpoint, used again when the new one does not answer */
	uint64_t path_nonce;
	uint8_t path_key[32];	     /* of the nonces; random */
	struct endpoint next_from;   /* where the HELLO behind `next` came from */
	uint64_t next_born;	     /* when `next` was made */
	uint16_t next_mtu;	     /* of the session once `next` is confirmed */
	uint32_t order;		     /* of the last handshake that set or cleared `next`: an earlier one is ignored */
	uint32_t keepalive;	     /* s; 0: no periodic KEEPALIVE */
	struct initiator *initiator; /* workers/initiator.h; heap; NULL: none */
	struct cds_list_head node;   /* in the owner's list of sessions */
	struct cds_wfcq_node retired;
	struct rcu_head rcu;
	struct owner owner; /* of all but what is constant */
};

/* Zeroed, pending, without keys. NULL: no memory. */
struct session *session_new(uint32_t id, uint64_t now);

/* Wipes the keys and frees; NULL is allowed. */
void session_free(struct session *session);

/* Any thread that may see the session. */
static inline bool session_is_active(const struct session *session)
{
	return atomic_load_explicit(&session->view.state, memory_order_acquire) == SESSION_ACTIVE;
}

/* The owner. */
void session_set_active(struct session *session);

/* Since when its client has it, monotonic ns. Any thread that may see the session. */
static inline uint64_t session_since(const struct session *session)
{
	uint64_t connected = atomic_load_explicit(&session->view.connected, memory_order_relaxed);
	return connected != 0 ? connected : session->born;
}

/* The owner: what moved since the last call, and when. */
static inline void session_count(_Atomic uint64_t *word, uint64_t by)
{
	atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + by, memory_order_relaxed);
}

static inline void session_count32(_Atomic uint32_t *word, uint32_t by)
{
	atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + by, memory_order_relaxed);
}

/* The owner, whenever the endpoint changed. */
void session_show_endpoint(struct session *session);

/* The same, whenever its current key is another one. */
void session_show_keys(struct session *session);

/* The live key of an epoch taken from the wire, or NULL. */
static inline struct transport_key *session_key(const struct session *session, unsigned epoch)
{
	owner_check(&session->owner, "session");
	if (likely(session->current != NULL && session->current->epoch == epoch))
		return session->current;
	if (session->next != NULL && session->next->epoch == epoch)
		return session->next;
	if (session->previous != NULL && session->previous->epoch == epoch)
		return session->previous;
	return NULL;
}

enum { SESSION_PATH_FACTOR = 3 /* bytes sent for each byte received, until the endpoint is proven */ };

/* Whether `bytes` may be sent to the session's endpoint now; takes them off the credit of one that is not proven, if
 * `spare` bytes are left then. */
static inline bool session_may_send(struct session *session, uint32_t bytes, uint32_t spare)
{
	owner_check(&session->owner, "session");
	if (likely(session->path_deadline == 0))
		return true;
	if (session->path_credit < (uint64_t)bytes + spare)
		return false;
	session->path_credit -= bytes;
	return true;
}

/* Installs `key` as next, dropping an unconfirmed one before it. The session owns it from here. */
void session_set_next(struct session *session, struct transport_key *key, uint64_t now);

/* Next becomes current; current becomes previous if it was ever confirmed, else it is wiped and previous stays. Returns
 * whether there was a current key (a rekey). */
bool session_promote(struct session *session);

/* Installs a key of a WireGuard handshake that we initiated, as current: its peer proved by the response that it has
 * the key, and may use it from now on. A next key, of a handshake that the peer initiated at the same time, becomes
 * previous: for the peer it may be the current one, and stay so. The session owns the key from here. */
void session_install_initiated(struct session *session, struct transport_key *key);

/* Drops what is due: previous 10 s after the current was first used (unless we initiated the handshake of that one),
 * next when it was not confirmed in time, any key at its greatest age. */
void session_expire_keys(struct session *session, uint64_t now);

/* When session_expire_keys() has something to do at the earliest, monotonic ns; UINT64_MAX: nothing to come. */
uint64_t session_keys_due(const struct session *session);

/* Frees what only moving DATA needs: the keys hibernate until the next DATA. */
void session_hibernate(struct session *session);

/* When that is due, monotonic ns; UINT64_MAX: the keys hibernate already. */
uint64_t session_hibernation_due(const struct session *session);

/* Whether DATA moved under a current key that is due for renewal: older than `interval` ns, or near a packet limit. */
bool session_wants_rekey(const struct session *session, uint64_t interval, uint64_t now);
