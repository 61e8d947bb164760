// SPDX-License-Identifier: Apache-2.0
/* What the client changes in the kernel's network set-up: addresses and MTU of its interface, routes for AllowedIPs in
 * a table of their own, and the policy rules that lead there for everything but the tunnel's own packets; and what it
 * is told of changes there. Control thread. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>

#include "config/config.h"
#include "core/client/routes.h"
#include "core/client/table.h"
#include "core/base/error.h"
#include "core/protocol/wire.h"
#include "tun/netlink.h"
#include "tun/netlink_state.h"
#include "tun/netlink_watch.h"

struct client_network {
	const struct client_config *config;
	const struct ip_set *allowed; /* the union of its AllowedIPs */
	struct netlink *netlink;
	unsigned ifindex;
	struct ip_address compared[2];	       /* inner addresses of the gateway, with other clients' networks */
	bool ipv6_off;			       /* on our interface, for good: a line said so */
	struct client_table table;	       /* in which AllowedIPs are looked up */
	int watch_fd;			       /* readable when links, addresses or routes change */
	int settle_fd;			       /* a timer: fires when changes have come to rest */
	struct netlink_interest interest;      /* what watch_fd tells of */
	struct netlink_attached_list attached; /* networks of the machine; the one that the kernel prefers first */
	bool attached_stale;		       /* they are to be read again */
	struct wire_welcome wanted;	       /* what the interface should be */
	bool leased;			       /* there is such */
	struct netlink_link link;	       /* as it was last seen */
	bool carried[2];		       /* the interface has its address of IPv4, of IPv6 */
	bool absent[2];			       /* the kernel runs without IPv4, IPv6 */
};

/* Removes the policy rules that lead to `table` and the routes that are left in it, whoever left them there. */
int client_network_clean(uint32_t table, unsigned rank, struct error *error);

int client_network_open(struct client_network *network, unsigned ifindex, const struct client_config *config,
			const struct ip_set *allowed, struct error *error);

/* Addresses go with the interface, rules and routes are for client_network_clean(). Also after a failed open.
 */
void client_network_close(struct client_network *network);

/* From now on the interface is to be what the lease says; the reconciler makes it so. Addresses of a lease before are
 * removed. */
void client_network_apply(struct client_network *network, const struct wire_welcome *lease);

/* When all of a lease is in force: if another program's policy rule takes what is behind the gateway, ours come before
 * it. */
void client_network_get_before_others(struct client_network *network);

/* From now on watch_fd tells of routes of our table, and of those that cover this address. */
void client_network_aim(struct client_network *network, const struct sockaddr_in6 *remote);

/* How packets to the gateway leave; changes of the way there are watched from now on. Errors as of netlink_path_find():
 * -ENETUNREACH when there is no route. */
int client_network_path(struct client_network *network, const struct sockaddr_in6 *remote, struct netlink_path *path,
			struct error *error);

/* When the way to the gateway in use was looked up: lets the packets of other tunnels pass that it leads through, and
 * gets our networks back from rules that came before ours. -ELOOP with `error` set when packets would circle between
 * ours and another that cannot be told from the rest. */
int client_network_look_around(struct client_network *network, const struct sockaddr_in6 *remote,
			       const struct netlink_path *path, struct error *error);

/* The largest inner packet that fits there, at most `most`. */
uint16_t client_network_mtu(const struct netlink_path *path, const struct sockaddr_in6 *remote, uint16_t most);

/* When watch_fd is readable: returns what changed (enum netlink_change), and arms settle_fd if the way to the gateway
 * may have. A change comes as many. */
unsigned client_network_changed(struct client_network *network);

/* When settle_fd fired. */
void client_network_settled(struct client_network *network);
