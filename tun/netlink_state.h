// SPDX-License-Identifier: Apache-2.0
/* What the kernel has, read back, and how that differs from what is wanted. Dumps are filtered by the kernel
 * (NETLINK_GET_STRICT_CHK): a machine with a full routing table costs no more than another. Control thread; reading
 * needs no rights. Functions that fail return a negative errno with `error` set. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/ip.h"
#include "tun/netlink.h"

/* --- the link ----------------------------------------------------------------------------------------------------- */

struct netlink_link {
	char name[16]; /* as it is now: somebody may have renamed it */
	unsigned mtu, group;
	bool up; /* IFF_UP */
};

/* -ENODEV: there is no such link any more. */
int netlink_link_read(struct netlink *netlink, unsigned ifindex, struct netlink_link *link, struct error *error);

/* --- addresses ---------------------------------------------------------------------------------------------------- */

/* Whether the link has this address with this prefix length; false also when it cannot be asked. */
bool netlink_address_exists(struct netlink *netlink, unsigned ifindex, const struct ip_prefix *address);

/* --- routes ------------------------------------------------------------------------------------------------------- */

/* Of one table. A list is owned by its holder; zero is an empty one. */
struct netlink_route {
	struct ip_prefix network; /* without host bits */
	unsigned ifindex;	  /* or NETLINK_THROW, NETLINK_UNREACHABLE */
	uint32_t rank;		  /* the how-manieth that was appended */
};

struct netlink_routes {
	struct netlink_route *items;
	size_t count, room;
};

/* 0 or -ENOMEM. */
int netlink_routes_append(struct netlink_routes *routes, const struct ip_prefix *network, unsigned ifindex);
void netlink_routes_free(struct netlink_routes *routes);

/* What a table can hold of the list, sorted: of several routes to one network the first that was appended, and besides
 * it one to NETLINK_UNREACHABLE, which is for when that one is gone. O(n log n). */
void netlink_routes_settle(struct netlink_routes *routes);

/* Sorted, nothing left out. O(n log n). */
void netlink_routes_sort(struct netlink_routes *routes);

/* Appends to `missing` what `wanted` has and `have` has not, and to `extra` the other way round. Both are sorted, so
 * are the results. 0 or -ENOMEM. O(n). */
int netlink_routes_compare(const struct netlink_routes *wanted, const struct netlink_routes *have,
			   struct netlink_routes *missing, struct netlink_routes *extra);

/* Our own routes of a table, as netlink_route_add() made them, in one family (4 or 6), sorted. Others' are skipped. */
int netlink_routes_read(struct netlink *netlink, uint8_t family, uint32_t table, struct netlink_routes *routes,
			struct error *error);
