// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/contacts.h"

#include <stdlib.h>

#include "core/base/log.h"

enum { CONTACTS_SESSIONS = 1024 /* made in a step: others wait for the mutex meanwhile */ };

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

static void resolve_names(struct contacts *contacts)
{
	struct registry_name name;
	struct names_answer *answer = names_take(contacts->names);
	if (answer != NULL && answer->failure == NULL)
		tell(contacts, &answer->name, &answer->address);
	else if (answer != NULL)
		log_warning("Endpoint = %s:%u: %s", answer->name.host, answer->name.port, answer->failure);
	free(answer);
	/* Without memory it is due again later. */
	if (names_idle(contacts->names) &&
	    registry_next_name(contacts->registry, clock_monotonic(contacts->clock), &name))
		(void)names_ask(contacts->names, &name);
}

void contacts_step(struct contacts *contacts)
{
	stand_all(contacts);
	resolve_names(contacts);
}
