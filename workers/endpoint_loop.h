// SPDX-License-Identifier: Apache-2.0
/* An outer endpoint that is reached through the gateway's own tunnels. One session inside another one works; but where
 * a session's endpoint leads into itself, directly or by way of others, each packet to it goes around without an end.
 * So no endpoint is taken that does. (Linux' WireGuard sends nothing to an endpoint that is routed into its own
 * interface, "Avoiding routing loop".) */
#pragma once

#include "workers/worker.h"

struct registry;

/* False, and counted: packets to this address (IPv4 as v4-mapped) would go to one of the session's own addresses, to a
 * network behind its peer, or into a session whose endpoint leads there. Several sessions one inside the other count as
 * that. For every new endpoint, before it is taken. The session's worker. */
bool endpoint_may_move(struct worker *worker, const struct registry *registry, struct session *session,
		       const struct endpoint *to);
