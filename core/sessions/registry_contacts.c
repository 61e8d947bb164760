// SPDX-License-Identifier: Apache-2.0
/* WireGuard peers with an Endpoint: the gateway may initiate to them. */
#include <stdio.h>

#include "core/sessions/registry_inside.h"

/* --- sessions ----------------------------------------------------------------------------------------------------- */

static bool unattended(const struct peer *peer)
{
	return peer->active == NULL && peer->pending == NULL && !peer->removed &&
	       contact_has_endpoint(peer_contact(peer));
}

void registry_attend(struct registry *registry, struct peer *peer)
{
	struct peer_wireguard *wireguard = peer->wireguard;
	if (wireguard != NULL && wireguard->unattended.next == NULL && unattended(peer))
		cds_list_add_tail(&wireguard->unattended, &registry->unattended);
}

void registry_forsake(struct peer *peer)
{
	struct peer_wireguard *wireguard = peer->wireguard;
	if (wireguard == NULL || wireguard->unattended.next == NULL)
		return;
	cds_list_del(&wireguard->unattended);
	wireguard->unattended = (struct cds_list_head){0};
}

/* A peer for which there is no room goes to the end: others may be held back by less. So does one whose block is
 * another gateway's; there may be many of these, and each is looked at once. */
static bool stand(struct registry *registry, uint64_t now, struct registry_grant *grant)
{
	const struct wire_hello hello = {0};
	const struct registry_request request = {.hello = &hello, .now = now};
	const struct peer *first_foreign = NULL;
	while (!cds_list_empty(&registry->unattended)) {
		struct peer_wireguard *wireguard = caa_container_of(registry->unattended.next, struct peer_wireguard,
								    unattended);
		struct peer *peer = wireguard->link.peer;
		registry_forsake(peer);
		if (!unattended(peer))
			continue;
		enum drop_reason reason = registry_choose_session(registry, peer, &request, 0, grant);
		if (reason == DROP_NONE)
			return true;
		registry_attend(registry, peer);
		if (reason != DROP_BLOCK || peer == first_foreign)
			break;
		if (first_foreign == NULL)
			first_foreign = peer;
	}
	return false;
}

bool registry_stand(struct registry *registry, uint64_t now, struct registry_grant *grant)
{
	*grant = (struct registry_grant){0};
	registry_lock(registry);
	bool made = !registry->held && stand(registry, now, grant);
	registry_unlock(registry);
	return made;
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static bool is_unresolved(const struct peer_wireguard *wireguard)
{
	const struct contact *contact = peer_contact(wireguard->link.peer);
	return !contact_has_address(contact) || atomic_load_explicit(&wireguard->lost, memory_order_relaxed);
}

void registry_name(struct registry *registry, struct peer *peer, bool gone)
{
	struct peer_wireguard *wireguard = peer->wireguard;
	if (wireguard == NULL)
		return;
	const struct contact *contact = peer_contact(peer);
	bool listed = wireguard->named.next != NULL, named = !gone && contact != NULL && contact->host != NULL;
	wireguard->resolve_at = 0;
	if (named && !listed)
		cds_list_add(&wireguard->named, &registry->named);
	if (named || !listed)
		return;
	cds_list_del(&wireguard->named);
	wireguard->named = (struct cds_list_head){0};
}

static void fill(struct registry_name *name, const struct peer *peer)
{
	const struct contact *contact = peer_contact(peer);
	memcpy(name->public_key, peer->public_key, KEY_SIZE);
	name->port = ntohs(contact->endpoint.sin6_port);
	(void)snprintf(name->host, sizeof name->host, "%s", contact->host);
}

bool registry_next_name(struct registry *registry, uint64_t now, struct registry_name *name)
{
	struct peer_wireguard *wireguard;
	bool found = false;
	registry_lock(registry);
	cds_list_for_each_entry (wireguard, &registry->named, named) {
		if (now < wireguard->resolve_at || !is_unresolved(wireguard))
			continue;
		wireguard->resolve_at = now + REGISTRY_RESOLVE_S * NS_PER_S;
		fill(name, wireguard->link.peer);
		found = true;
		break;
	}
	registry_unlock(registry);
	return found;
}

static bool has_name(const struct peer *peer, const struct registry_name *name)
{
	const struct contact *contact = peer->wireguard != NULL ? peer_contact(peer) : NULL;
	return contact != NULL && contact->host != NULL && strcmp(contact->host, name->host) == 0 &&
	       contact->endpoint.sin6_port == htons(name->port);
}

void registry_resolved(struct registry *registry, const struct registry_name *name, const struct in6_addr *address,
		       uint32_t ids[2])
{
	ids[0] = ids[1] = 0;
	registry_lock(registry);
	struct peer *peer = peers_find(&registry->peers, name->public_key);
	if (peer != NULL && has_name(peer, name)) {
		struct contact contact = *peer_contact(peer);
		contact.endpoint.sin6_addr = *address;
		atomic_store_explicit(&peer->wireguard->lost, false, memory_order_relaxed);
		if (peer_wireguard_reach(peer->wireguard, &contact) == 0)
			registry_session_ids(peer, ids);
	}
	registry_unlock(registry);
}
