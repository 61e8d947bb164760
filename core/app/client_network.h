// SPDX-License-Identifier: Apache-2.0
/* What the client changes in the kernel's network set-up: addresses and MTU of its interface, routes for AllowedIPs in
 * a table of their own, and the policy rules that lead there for everything but the tunnel's own packets. Control
 * thread. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>

#include "config/config.h"
#include "core/base/error.h"
#include "core/wire.h"
#include "tun/netlink.h"

struct client_network {
	const struct client_config *config;
	struct netlink *netlink;
	unsigned ifindex;
	int retry_fd;		     /* a timer for the next try of what failed */
	bool routed[2];		     /* IPv4, IPv6 */
	struct wire_welcome applied; /* MTU and addresses that are set now */
};

/* Also removes rules that a run before left behind when it was killed. */
int client_network_open(struct client_network *network, unsigned ifindex, const struct client_config *config,
			struct error *error);

/* Takes the rules back; addresses and routes go with the interface. Also after a failed open. */
void client_network_close(struct client_network *network);

/* Makes the interface what the lease says; what is so already stays untouched. What fails is logged, and the rest is
 * done. */
void client_network_apply(struct client_network *network, const struct wire_welcome *lease);

/* The largest inner packet on the route to the gateway, at most `most`; `most` when the route's MTU cannot be told. */
uint16_t client_network_mtu(struct client_network *network, const struct sockaddr_in6 *remote, uint16_t most);

/* Arms `retry_fd` for a few seconds from now; call client_network_retry_done() when it fired. */
void client_network_retry_later(struct client_network *network);
void client_network_retry_done(struct client_network *network);
