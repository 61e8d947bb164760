// SPDX-License-Identifier: Apache-2.0
/* The kernel's routes to the networks behind peers (their AllowedIPs), by way of the gateway's interface. They stand in
 * the machine's main table, with a metric that lets every other route to the same network win, and go with the
 * interface. Control thread only; needs CAP_NET_ADMIN. */
#pragma once

#include "core/registry.h"

struct netlink;

struct gateway_routes {
	struct netlink *netlink;
	unsigned ifindex;
	struct ip_prefix *installed; /* sorted */
	size_t count;
};

/* 0, or a negative errno with `error`. No routes yet. */
int gateway_routes_open(struct gateway_routes *routes, unsigned ifindex, struct error *error);
void gateway_routes_close(struct gateway_routes *routes); /* the routes are the interface's */

/* Makes them those of the registry's peers. What fails is told in one line, and tried again the next time. Online under
 * RCU. */
void gateway_routes_follow(struct gateway_routes *routes, struct registry *registry);
