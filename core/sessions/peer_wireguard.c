// SPDX-License-Identifier: Apache-2.0
#include "core/sessions/peer_wireguard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *host_of(const struct contact *contact)
{
	return contact->host != NULL ? contact->host : "";
}

bool contact_equal(const struct contact *a, const struct contact *b)
{
	static const struct contact none;
	a = a != NULL ? a : &none;
	b = b != NULL ? b : &none;
	const struct sockaddr_in6 *one = &a->endpoint, *other = &b->endpoint;
	return a->keepalive == b->keepalive && one->sin6_family == other->sin6_family &&
	       one->sin6_port == other->sin6_port && one->sin6_scope_id == other->sin6_scope_id &&
	       memcmp(&one->sin6_addr, &other->sin6_addr, sizeof one->sin6_addr) == 0 &&
	       strcmp(host_of(a), host_of(b)) == 0;
}

struct peer_wireguard *peer_wireguard_new(struct peer *peer)
{
	struct peer_wireguard *wireguard = calloc(1, sizeof *wireguard);
	if (wireguard != NULL)
		wireguard->link.peer = peer;
	return wireguard;
}

void peer_wireguard_free(struct peer_wireguard *wireguard)
{
	if (wireguard == NULL)
		return;
	free(atomic_load_explicit(&wireguard->contact, memory_order_relaxed));
	free(wireguard);
}

static void free_contact(struct rcu_head *head)
{
	rcu_after_readers_begin();
	free(caa_container_of(head, struct peer_contact, rcu));
}

int peer_wireguard_reach(struct peer_wireguard *wireguard, const struct contact *contact)
{
	struct peer_contact *old = atomic_load_explicit(&wireguard->contact, memory_order_relaxed), *new;
	const char *host = host_of(contact);
	size_t size = strlen(host) + 1;
	new = calloc(1, sizeof *new + size);
	if (new == NULL)
		return -ENOMEM;
	memcpy(new->host, host, size);
	new->contact = *contact;
	new->contact.host = size > 1 ? new->host : NULL;
	rcu_publish(&wireguard->contact, new);
	if (old != NULL)
		rcu_after_readers(&old->rcu, free_contact);
	return 0;
}

struct peer *peer_walk_next(struct peer_link *walk, struct cds_list_head *list)
{
	struct cds_list_head *next = walk->node.next;
	while (next != list) {
		struct peer_link *link = caa_container_of(next, struct peer_link, node);
		if (link->peer != NULL) {
			cds_list_del(&walk->node);
			cds_list_add(&walk->node, next);
			return link->peer;
		}
		next = next->next; /* another walk */
	}
	return NULL;
}
