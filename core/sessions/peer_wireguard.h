// SPDX-License-Identifier: Apache-2.0
/* What a peer that speaks WireGuard has besides: how the gateway reaches it, and its place in a list of all such peers,
 * which can be walked in steps. Control plane unless stated otherwise. */
#pragma once

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <urcu/list.h>

#include "core/base/rcu.h"

struct peer;

/* How the gateway reaches a peer. */
struct contact {
	/* Its port, and its address, v4-mapped if it is IPv4; unspecified: `host` is to be resolved. Family 0: the peer
	 * has to connect first. */
	struct sockaddr_in6 endpoint;
	const char *host;   /* a name; NULL: none */
	uint16_t keepalive; /* s between packets that keep the mapping of a NAT alive; 0: none */
};

/* Whether the peer has an Endpoint, be it a name that is not resolved yet: then the gateway may begin. NULL: no. */
static inline bool contact_has_endpoint(const struct contact *contact)
{
	return contact != NULL && contact->endpoint.sin6_family != 0;
}

/* Whether its address is known. NULL: no. */
static inline bool contact_has_address(const struct contact *contact)
{
	return contact_has_endpoint(contact) && !IN6_IS_ADDR_UNSPECIFIED(&contact->endpoint.sin6_addr);
}

/* Whether both are the same; NULL is one without anything. */
bool contact_equal(const struct contact *a, const struct contact *b);

/* Replaced as a whole under RCU. */
struct peer_contact {
	struct rcu_head rcu; /* after it was replaced */
	struct contact contact;
	char host[];
};

/* A peer's place in the list, or that of a walk. */
struct peer_link {
	struct cds_list_head node;
	struct peer *peer; /* NULL: a walk's */
};

struct peer_wireguard {
	struct peer_link link;			/* in the list while the peer is in the table */
	_Atomic(struct peer_contact *) contact; /* any thread that is online may read: peer_contact() */
	struct cds_list_head unattended;	/* in the registry's list; next is NULL when it is not */
	struct cds_list_head named;		/* the same: its Endpoint is a name */
	uint64_t resolve_at;			/* not before, monotonic ns */
	_Atomic bool lost; /* its worker got no answer from the address that the name had: it is to be resolved again */
};

/* For `peer`, without a contact. NULL: no memory. */
struct peer_wireguard *peer_wireguard_new(struct peer *peer);

/* NULL is allowed. No reader has it any more. */
void peer_wireguard_free(struct peer_wireguard *wireguard);

/* Copies the contact, and publishes it; the old one is freed after readers. 0 or -ENOMEM. Online under RCU. */
int peer_wireguard_reach(struct peer_wireguard *wireguard, const struct contact *contact);

/* --- a walk ------------------------------------------------------------------------------------------------------- */

/* Puts a walk in front of the list's first peer. `walk` stays in the list until it ends, and other peers may come and
 * go between its steps: each peer that is there from the beginning to the end is met once. */
static inline void peer_walk_begin(struct peer_link *walk, struct cds_list_head *list)
{
	walk->peer = NULL;
	cds_list_add(&walk->node, list);
}

/* The next peer, which is good until it is removed; NULL: there is no other. */
struct peer *peer_walk_next(struct peer_link *walk, struct cds_list_head *list);

static inline void peer_walk_end(struct peer_link *walk)
{
	cds_list_del(&walk->node);
}
