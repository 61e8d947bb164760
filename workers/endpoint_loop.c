// SPDX-License-Identifier: Apache-2.0
#include "workers/endpoint_loop.h"

#include "core/sessions/registry.h"

enum { DEEPEST = 4 /* sessions, one inside the other */ };

/* What is routed by. */
struct target {
	uint8_t bytes[16];
	unsigned version;
};

static struct target target_of(const struct in6_addr *address)
{
	struct target target = {.version = IN6_IS_ADDR_V4MAPPED(address) ? 4 : 6};
	if (target.version == 4)
		memcpy(target.bytes, &address->s6_addr[12], 4);
	else
		memcpy(target.bytes, address->s6_addr, 16);
	return target;
}

static bool is_own(const struct ip_prefix *own, const struct target *target)
{
	unsigned version = own->address.family;
	return version == target->version && memcmp(own->address.bytes, target->bytes, version == 4 ? 4 : 16) == 0;
}

/* Also while they lead nowhere, since the session is not confirmed yet. */
static bool leads_to(const struct registry *registry, const struct session *session, const struct target *target)
{
	const struct network_route *route = networks_find(&registry->networks, target->version, target->bytes);
	return is_own(&session->inner4, target) || is_own(&session->inner6, target) ||
	       (route != NULL && route->owner == session->peer);
}

/* Published by its owner word by word: one that is moving right now may be seen as neither. It checks, too. */
static struct target endpoint_of(const struct session *session)
{
	struct in6_addr address;
	uint64_t words[2];
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = atomic_load_explicit(&session->view.remote[i], memory_order_relaxed);
	memcpy(&address, words, sizeof address);
	return target_of(&address);
}

static bool loops(const struct registry *registry, const struct session *session, const struct sockaddr_in6 *to)
{
	struct target target = target_of(&to->sin6_addr);
	for (unsigned depth = 0; depth < DEEPEST; depth++) {
		if (leads_to(registry, session, &target))
			return true;
		uint32_t id = registry_route(registry, target.version, target.bytes);
		const struct session *inside = id != 0 ? session_table_find(&registry->table, id) : NULL;
		if (inside == NULL)
			return false;
		target = endpoint_of(inside);
	}
	return true;
}

/* It is shown before it is checked, so that of two that lead into each other at once at least one sees the other. */
bool endpoint_may_move(struct worker *worker, const struct registry *registry, struct session *session,
		       const struct endpoint *to)
{
	struct endpoint before = session->endpoint;
	session->endpoint = *to;
	session_show_endpoint(session);
	bool may = !loops(registry, session, &to->remote);
	session->endpoint = before;
	session_show_endpoint(session);
	if (!may)
		stats_add(&worker->loop.stats, endpoint_loops, 1);
	return may;
}
