// SPDX-License-Identifier: Apache-2.0
/* The kernel's routes by way of the gateway's interface: to the networks behind peers (their AllowedIPs), in the
 * machine's main table, with a metric that lets every other route to the same network win; and to the pool, if the
 * kernel's own routes to it were removed. In a cluster only what is behind clients that are served here, and of the
 * pool the blocks that are ours, and while there is one, the addresses that clients send to: the rest is to leave for
 * other gateways, so the interface's address has no network there. They go with the interface. Control thread only;
 * needs CAP_NET_ADMIN. */
#pragma once

#include "config/config.h"
#include "core/daemon/reconcile.h"
#include "core/sessions/registry.h"
#include "tun/netlink_state.h"

struct gateway_routes {
	struct netlink *netlink; /* the caller's */
	unsigned ifindex;
	const struct config_prefixes *addresses; /* the gateway's own */
	bool no_ipv6;
	const struct config_addresses *shared; /* in a cluster: that clients send to */
	const struct fence *fence;	       /* of the registry, since the plan; NULL: no cluster */
	struct netlink_routes behind;	       /* peers: sorted */
};

void gateway_routes_free(struct gateway_routes *routes);

/* From now on those of the registry's peers are wanted. 0, or -ENOMEM: they are as before. Online under RCU. */
int gateway_routes_plan(struct gateway_routes *routes, struct registry *registry);

/* A reconcile_fn, with a struct gateway_routes. */
void gateway_routes_run(void *context, bool restore, struct reconcile_found *found);
