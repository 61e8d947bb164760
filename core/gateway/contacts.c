// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/contacts.h"

#include <stdlib.h>

#include "core/base/log.h"

enum { CONTACTS_SESSIONS = 1024 /* made in a step: others wait for the mutex meanwhile */ };
#define CONTACTS_LOOKUP_NS (60 * NS_PER_S) /* one that takes longer has no answer to come */

static void stand_all(struct contacts *contacts)
{
	struct registry *registry = contacts->registry;
	uint64_t now = clock_monotonic(contacts->clock);
	struct registry_grant grant;
	for (unsigned i = 0; i < CONTACTS_SESSIONS && registry_stand(registry, now, &grant); i++) {
		if (grant.made != NULL && gateway_threads_stand(contacts->threads, registry, &grant) != 0) {
			registry_abandon(registry, &grant);
			log_error("session %08x: out of memory: it is not made", grant.session_id);
			return;
		}
	}
}

/* --- names -------------------------------------------------------------------------------------------------------- */

static void tell(struct contacts *contacts, const struct registry_name *name, const struct in6_addr *address)
{
	uint32_t ids[2];
	registry_resolved(contacts->registry, name, address, ids);
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		if (ids[i] != 0)
			contacts->ender->limit(contacts->ender->context, ids[i]);
	}
}

static void end_lookup(struct contacts_lookup *lookup)
{
	resolver_free(lookup->resolver);
	lookup->resolver = NULL;
}

/* The first address: the next attempt may bring another. */
static void take_answer(struct contacts *contacts, struct contacts_lookup *lookup, uint64_t now)
{
	struct resolver_result *result = resolver_take(lookup->resolver);
	if (result == NULL && now - lookup->began < CONTACTS_LOOKUP_NS)
		return;
	if (result != NULL && result->count != 0)
		tell(contacts, &lookup->name, &result->addresses[0].sin6_addr);
	else
		log_warning("Endpoint = %s:%u: %s", lookup->name.host, lookup->name.port,
			    result != NULL ? result->failure : "no answer");
	free(result);
	end_lookup(lookup);
}

static bool begin_lookup(struct contacts *contacts, struct contacts_lookup *lookup, uint64_t now)
{
	struct error error;
	if (!registry_next_name(contacts->registry, now, &lookup->name))
		return false;
	lookup->began = now;
	lookup->resolver = resolver_new(lookup->name.host, lookup->name.port, &error);
	if (lookup->resolver != NULL && resolver_start(lookup->resolver, NULL) != 0)
		end_lookup(lookup);
	if (lookup->resolver == NULL)
		log_warning("Endpoint = %s:%u: it cannot be resolved now", lookup->name.host, lookup->name.port);
	return true;
}

static void resolve_names(struct contacts *contacts)
{
	uint64_t now = clock_monotonic(contacts->clock);
	bool more = true;
	for (size_t i = 0; i < CONTACTS_LOOKUPS; i++) {
		struct contacts_lookup *lookup = &contacts->lookups[i];
		if (lookup->resolver != NULL)
			take_answer(contacts, lookup, now);
		if (lookup->resolver == NULL && more)
			more = begin_lookup(contacts, lookup, now);
	}
}

void contacts_step(struct contacts *contacts)
{
	stand_all(contacts);
	resolve_names(contacts);
}

void contacts_close(struct contacts *contacts)
{
	for (size_t i = 0; i < CONTACTS_LOOKUPS; i++)
		end_lookup(&contacts->lookups[i]);
}
