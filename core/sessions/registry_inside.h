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

/* As registry_collect(). */
size_t registry_collect_locked(struct registry *registry);

/* A peer with a quota gets its record; `make`: a new one, where there is none. False: no memory. */
bool registry_follow_usage(struct registry *registry, struct peer *peer, bool make);
