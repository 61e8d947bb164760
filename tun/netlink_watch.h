// SPDX-License-Identifier: Apache-2.0
/* Notifications of the kernel about changes of links, addresses, routes, policy rules and settings in this network
 * namespace. A socket filter passes only the routes of interest, so that route flapping in a full table causes no
 * wake-ups. Needs no rights. */
#pragma once

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/ip.h"

/* The routes of interest. */
struct netlink_interest {
	unsigned ifindex;	    /* the tunnel's */
	uint32_t table;		    /* the tunnel's own; 0: none */
	struct ip_address endpoint; /* the route to it is watched; family 0: none */
};

/* What may have changed, as bits. */
enum netlink_change {
	NETLINK_CHANGED_OWN = 1,      /* the tunnel's link, addresses or routes, a policy rule, a setting */
	NETLINK_CHANGED_ATTACHED = 2, /* the networks that the machine is attached to */
	NETLINK_CHANGED_PATH = 4,     /* the route to the endpoint */
};

/* A descriptor that is readable when something changed, for the caller to close; or a negative errno. */
int netlink_watch_open(const struct netlink_interest *interest, struct error *error);

/* Replaces the filter. On failure it is as before. */
int netlink_watch_aim(int fd, const struct netlink_interest *interest, struct error *error);

/* Reads all waiting messages and returns enum netlink_change bits; all bits when the kernel dropped some. */
unsigned netlink_watch_read(int fd, const struct netlink_interest *interest);

/* The socket filter (classic BPF on one netlink message). Passes all messages but those about routes, and of routes:
 * those of protocol NETLINK_PROTOCOL, those of `table`, those of table main that the kernel or a router advertisement
 * made, and in any table but "local" those that cover the endpoint. Returns its length, at most NETLINK_WATCH_PROGRAM.
 */
enum { NETLINK_WATCH_PROGRAM = 96 };
size_t netlink_watch_program(const struct netlink_interest *interest, struct sock_filter code[NETLINK_WATCH_PROGRAM]);
