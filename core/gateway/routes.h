// SPDX-License-Identifier: Apache-2.0
/* The kernel's routes by way of the gateway's interface: to the networks behind peers (their AllowedIPs), in the
 * machine's main table, with a metric that lets every other route to the same network win; and to the pool, if the
 * kernel's own routes to it were removed. In a cluster only what is behind clients that are served here, and of the
 * pool the blocks that are ours, and while there is one, the addresses that clients send to: the rest is to leave for
 * other gateways, so the interface's address has no network there. They go with the interface. Control thread, but for
 * what says otherwise; changes need CAP_NET_ADMIN. */
#pragma once

#include "config/config.h"
#include "core/daemon/reconcile.h"
#include "core/sessions/registry.h"
#include "tun/netlink_state.h"

enum { GATEWAY_ROUTES_AT_ONCE = 256 /* a millisecond or two */ };

struct gateway_routes {
	struct netlink *netlink; /* the caller's */
	unsigned ifindex;
	const struct config_prefixes *addresses; /* the gateway's own */
	bool no_ipv6;
	const struct config_addresses *shared; /* in a cluster: that clients send to */
	const struct ip_address *inside;       /* the same: this machine's on the link between gateways */
	size_t inside_count;
	const struct fence *fence;    /* of the registry, since the plan; NULL: no cluster */
	struct netlink_routes behind; /* peers: sorted */
};

void gateway_routes_free(struct gateway_routes *routes);

/* From now on those of the registry's peers are wanted. 0, or -ENOMEM: they are as before. Any thread that is online
 * under RCU, while no other one uses `routes`. */
int gateway_routes_plan(struct gateway_routes *routes, struct registry *registry);

/* What the kernel lacks, and what it has too much of our interface's. */
struct gateway_routes_difference {
	struct netlink_routes missing, extra;
	size_t removed, added; /* of those: changed so far */
	struct reconcile_found found;
};

/* Asks the kernel by this socket, and changes nothing. `*difference` is to be freed. Any thread, while no other one
 * plans; needs no rights. */
void gateway_routes_compare(const struct gateway_routes *routes, struct netlink *netlink,
			    struct gateway_routes_difference *difference);
void gateway_routes_difference_free(struct gateway_routes_difference *difference);

/* Changes the next GATEWAY_ROUTES_AT_ONCE of them. Whether these were the last. */
bool gateway_routes_restore(const struct gateway_routes *routes, struct gateway_routes_difference *difference);

/* A reconcile_fn, with a struct gateway_routes: all of that, now. */
void gateway_routes_run(void *context, bool restore, struct reconcile_found *found);
