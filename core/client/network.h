// SPDX-License-Identifier: Apache-2.0
/* The client's part of the kernel's network set-up: addresses and MTU of its interface, routes for AllowedIPs in a
 * table of their own, and policy rules by which everything but the tunnel's own packets is looked up there. Also the
 * kernel's notices of changes to it. Control thread. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>

#include "config/config.h"
#include "core/base/error.h"
#include "core/client/routes.h"
#include "core/client/table.h"
#include "core/protocol/wire.h"
#include "tun/netlink.h"
#include "tun/netlink_state.h"
#include "tun/netlink_watch.h"

struct client_network {
	const struct client_config *config;
	const struct ip_set *allowed; /* the union of its AllowedIPs */
	struct netlink *netlink;
	unsigned ifindex;
	struct ip_address compared[2];	       /* inner addresses of the gateway that client_conflicts checked */
	bool ipv6_off;			       /* it cannot be switched on for our interface; logged once */
	struct client_table table;	       /* has the routes for AllowedIPs */
	int watch_fd;			       /* readable when links, addresses or routes change */
	int settle_fd;			       /* a timer: fires when no change came for a while */
	struct netlink_interest interest;      /* which changes watch_fd reports */
	struct netlink_attached_list attached; /* networks of the machine, by the kernel's preference */
	bool attached_stale;		       /* they must be read again */
	struct wire_welcome wanted;	       /* the lease that should be in force */
	bool leased;			       /* there is one */
	struct netlink_link link;	       /* as last seen */
	bool carried[2];		       /* the interface has its address of IPv4, of IPv6 */
	bool absent[2];			       /* the kernel has no IPv4, IPv6 */
};

/* Removes all policy rules that look up `table`, and all routes in it. */
int client_network_clean(uint32_t table, unsigned rank, struct error *error);

int client_network_open(struct client_network *network, unsigned ifindex, const struct client_config *config,
			const struct ip_set *allowed, struct error *error);

/* Leaves rules and routes to client_network_clean(); addresses go with the interface. Also after a failed open. */
void client_network_close(struct client_network *network);

/* Makes this lease the wanted one, for the reconciler to put in force. Addresses of the last lease are removed. */
void client_network_apply(struct client_network *network, const struct wire_welcome *lease);

/* The interface has a leased address without the network around it: AllowedIPs say what is reached by the tunnel. */
struct ip_prefix client_network_host(const struct ip_prefix *leased);

/* IPv4-mapped becomes IPv4. */
struct ip_address client_network_address(const struct sockaddr_in6 *remote);

/* Makes watch_fd report routes of our table, and those that cover this address. */
void client_network_aim(struct client_network *network, const struct sockaddr_in6 *remote);

/* Looks up the path of packets to the gateway, and watches it from then on. Errors as of netlink_path_find():
 * -ENETUNREACH when there is no route. */
int client_network_path(struct client_network *network, const struct sockaddr_in6 *remote, struct netlink_path *path,
			struct error *error);

/* The largest inner packet that fits the path's MTU, at most `most`. */
uint16_t client_network_mtu(const struct netlink_path *path, const struct sockaddr_in6 *remote, uint16_t most);

/* When watch_fd is readable: returns what changed (enum netlink_change), and arms settle_fd if the path to the gateway
 * may have: one change comes as several messages. */
unsigned client_network_changed(struct client_network *network);

/* When settle_fd fired. */
void client_network_settled(struct client_network *network);
