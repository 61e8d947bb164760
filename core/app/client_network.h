// SPDX-License-Identifier: Apache-2.0
/* What the client changes in the kernel's network set-up: addresses and MTU of its interface, routes for AllowedIPs in
 * a table of their own, and the policy rules that lead there for everything but the tunnel's own packets; and what it
 * is told of changes there. Control thread. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>

#include "config/config.h"
#include "core/app/client_routes.h"
#include "core/app/client_table.h"
#include "core/base/error.h"
#include "core/wire.h"
#include "tun/netlink.h"

struct client_network {
	const struct client_config *config;
	struct netlink *netlink;
	unsigned ifindex;
	struct client_table table;   /* in which AllowedIPs are looked up */
	int retry_fd;		     /* a timer for the next try of what failed */
	int watch_fd;		     /* readable when links, addresses or routes change */
	int settle_fd;		     /* a timer: fires when changes have come to rest */
	struct client_routes routes; /* set now, besides AllowedIPs */
	unsigned routed[2];	     /* where AllowedIPs of IPv4 and IPv6 lead; 0: no routes yet */
	struct wire_welcome applied; /* MTU and addresses that are set now */
};

/* Removes the policy rules that lead to `table` and the routes that are left in it, whoever left them there. */
int client_network_clean(uint32_t table, struct error *error);

int client_network_open(struct client_network *network, unsigned ifindex, const struct client_config *config,
			struct error *error);

/* Addresses go with the interface, rules and routes are for client_network_clean(). Also after a failed open.
 */
void client_network_close(struct client_network *network);

/* Makes the interface what the lease says; what is so already stays untouched. What fails is logged, and the rest is
 * done. */
void client_network_apply(struct client_network *network, const struct wire_welcome *lease);

/* How packets to the gateway leave. Errors as of netlink_path_find(): -ENETUNREACH when there is no route. */
int client_network_path(struct client_network *network, const struct sockaddr_in6 *remote, struct netlink_path *path,
			struct error *error);

/* The largest inner packet that fits there, at most `most`. */
uint16_t client_network_mtu(const struct netlink_path *path, const struct sockaddr_in6 *remote, uint16_t most);

/* When watch_fd is readable: arms settle_fd if it was about more than our own doing. A change comes as many. */
void client_network_changed(struct client_network *network);

/* When settle_fd fired: routes follow the networks that the machine is attached to now. */
void client_network_settled(struct client_network *network);

/* Arms `retry_fd` for a few seconds from now; call client_network_retry_done() when it fired. */
void client_network_retry_later(struct client_network *network);
void client_network_retry_done(struct client_network *network);
