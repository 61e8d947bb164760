// SPDX-License-Identifier: Apache-2.0
/* Told by the kernel when links, addresses, routes, policy rules or settings of this network namespace change. Of
 * routes a socket filter lets through only those that matter, so that the flapping of a full routing table wakes
 * nobody. Needs no rights. */
#pragma once

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/ip.h"

/* What matters. */
struct netlink_interest {
	unsigned ifindex;	    /* of the tunnel */
	uint32_t table;		    /* our own; 0: none */
	struct ip_address endpoint; /* the way there; family 0: no way matters */
};

/* What may have changed, as bits. */
enum netlink_change {
	NETLINK_CHANGED_OWN = 1,      /* the tunnel's link or its addresses, our routes, a policy rule, a setting */
	NETLINK_CHANGED_ATTACHED = 2, /* the networks that the machine is attached to */
	NETLINK_CHANGED_PATH = 4,     /* the way to the endpoint */
};

/* A descriptor that is readable when something changed, for the caller to close; or a negative errno. */
int netlink_watch_open(const struct netlink_interest *interest, struct error *error);

/* From now on this matters. On failure the filter is as before. */
int netlink_watch_aim(int fd, const struct netlink_interest *interest, struct error *error);

/* Reads all that waits there and returns what it was about; everything, when the kernel had to drop some. */
unsigned netlink_watch_read(int fd, const struct netlink_interest *interest);

/* The socket filter (classic BPF on one netlink message). Lets through what is no route, and of routes: our own, those
 * of our table, those of table main that the kernel or a router's advertisement made, and in any table but "local"
 * those that cover the endpoint. Returns its length, at most NETLINK_WATCH_PROGRAM. */
enum { NETLINK_WATCH_PROGRAM = 96 };
size_t netlink_watch_program(const struct netlink_interest *interest, struct sock_filter code[NETLINK_WATCH_PROGRAM]);
