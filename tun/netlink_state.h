// SPDX-License-Identifier: Apache-2.0
/* Reads back the kernel's links, addresses and routes, and compares routes with those that should exist. The kernel
 * filters dumps (NETLINK_GET_STRICT_CHK), so a full routing table sends no more messages than a small one. One thread
 * at a time; reading needs no rights. Functions that fail return a negative errno with `error` set. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/ip.h"
#include "tun/netlink.h"

/* --- the link ----------------------------------------------------------------------------------------------------- */

struct netlink_link {
	char name[16]; /* its present name: links can be renamed */
	unsigned mtu, group;
	bool up; /* IFF_UP */
};

/* -ENODEV: the link is gone. */
int netlink_link_read(struct netlink *netlink, unsigned ifindex, struct netlink_link *link, struct error *error);

/* Packets and super-packets that the kernel dropped at the link since it was made. Of a TUN, tx are those that were to
 * be read from it, rx those that were written to it. */
struct netlink_link_drops {
	uint64_t tx, rx;
};

/* -ENODEV: the link is gone; -ENODATA: the kernel said no counters. */
int netlink_link_drops_read(struct netlink *netlink, unsigned ifindex, struct netlink_link_drops *drops,
			    struct error *error);

/* --- addresses ---------------------------------------------------------------------------------------------------- */

/* Whether the link has this address with this prefix length; false also when the request fails. */
bool netlink_address_exists(struct netlink *netlink, unsigned ifindex, const struct ip_prefix *address);

/* --- routes ------------------------------------------------------------------------------------------------------- */

/* Of one table. A list is owned by its holder; zero is an empty one. */
struct netlink_route {
	struct ip_prefix network; /* without host bits */
	unsigned ifindex;	  /* or NETLINK_THROW, NETLINK_UNREACHABLE */
	uint32_t rank;		  /* its place in the order of appending */
};

struct netlink_routes {
	struct netlink_route *items;
	size_t count, room;
};

/* 0 or -ENOMEM. */
int netlink_routes_append(struct netlink_routes *routes, const struct ip_prefix *network, unsigned ifindex);
void netlink_routes_free(struct netlink_routes *routes);

/* Reduces the list to what a table can hold, sorted: of several routes to one network the first that was appended, and
 * beside it one to NETLINK_UNREACHABLE, which takes over when the first is gone. O(n log n). */
void netlink_routes_settle(struct netlink_routes *routes);

/* Sorted, nothing left out. O(n log n). */
void netlink_routes_sort(struct netlink_routes *routes);

/* Appends to `missing` what `wanted` has and `have` has not, and to `extra` the other way round. Both are sorted, so
 * are the results. 0 or -ENOMEM. O(n). */
int netlink_routes_compare(const struct netlink_routes *wanted, const struct netlink_routes *have,
			   struct netlink_routes *missing, struct netlink_routes *extra);

/* The routes of a table that netlink_route_add() made (NETLINK_PROTOCOL), in one family (4 or 6), sorted. */
int netlink_routes_read(struct netlink *netlink, uint8_t family, uint32_t table, struct netlink_routes *routes,
			struct error *error);

/* Adds all these routes to a table, or removes them, as netlink_route_add() and netlink_route_delete() do it for one,
 * with a call of the system for many of them. Returns how many failed, with `error` about the first. Needs
 * CAP_NET_ADMIN. */
size_t netlink_routes_change(struct netlink *netlink, bool add, const struct netlink_route *items, size_t count,
			     uint32_t table, struct error *error);
