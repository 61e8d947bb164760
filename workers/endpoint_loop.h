// SPDX-License-Identifier: Apache-2.0
/* An outer endpoint that is reached through the gateway's own tunnels. One session inside another one works; but where
 * a session's endpoint leads into itself, directly or by way of others, each packet to it goes around without an end.
 * So no endpoint is taken that does. (Linux' WireGuard sends nothing to an endpoint that is routed into its own
 * interface, "Avoiding routing loop".) */
#pragma once

#include "core/sessions/registry.h"

/* Whether packets to this address (IPv4 as v4-mapped) go to one of the session's own addresses, to a network behind its
 * peer, or into a session whose endpoint leads there. Several sessions one inside the other count as that. Online under
 * RCU; the session's worker. */
bool endpoint_loops(const struct registry *registry, const struct session *session, const struct sockaddr_in6 *to);
