// SPDX-License-Identifier: Apache-2.0
/* What the registry's own files share. */
#pragma once

#include "core/sessions/registry.h"

static inline void registry_lock(struct registry *registry)
{
	(void)pthread_mutex_lock(&registry->mutex);
}

static inline void registry_unlock(struct registry *registry)
{
	(void)pthread_mutex_unlock(&registry->mutex);
}

/* The rest with the mutex held. */

/* Frees a session whose owner no longer uses it: peer, ID and address let go of it. */
void registry_collect_session(struct registry *registry, struct session *session);

/* Puts a peer in the list of registry_stand(), if it has an Endpoint and no session; takes it out. */
void registry_attend(struct registry *registry, struct peer *peer);
void registry_forsake(struct peer *peer);

/* Puts it in the list of registry_next_name() or takes it out, by what its contact is; `gone`: takes it out. */
void registry_name(struct registry *registry, struct peer *peer, bool gone);

/* The session for a handshake of the peer, made if need be; fills `grant` but for the cookie. `renewed`: the session
 * that the client has, if it is the peer's active one; 0: none. DROP_NONE, DROP_NO_ADDRESS or DROP_BLOCK. */
enum drop_reason registry_choose_session(struct registry *registry, struct peer *peer,
					 const struct registry_request *request, uint32_t renewed,
					 struct registry_grant *grant);

/* The peer's sessions; 0: none. */
void registry_session_ids(const struct peer *peer, uint32_t ids[2]);

/* As registry_collect(). */
size_t registry_collect_locked(struct registry *registry);

/* A peer with a quota gets its record; `make`: a new one, where there is none. False: no memory. */
bool registry_follow_usage(struct registry *registry, struct peer *peer, bool make);
