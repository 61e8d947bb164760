// SPDX-License-Identifier: Apache-2.0
/* The few rtnetlink requests a tunnel needs, over libmnl. Each is one request and its acknowledgement on a socket of
 * the caller's. Return 0 or a negative errno with `error` set ("add route 10.0.0.0/8 to shardtun0: Operation not
 * permitted"). Control thread only; needs CAP_NET_ADMIN. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "core/base/ip.h"

struct netlink; /* one NETLINK_ROUTE socket */

/* NULL with errno and `error` set on failure. */
struct netlink *netlink_open(struct error *error);
void netlink_close(struct netlink *netlink);

int netlink_link_set_mtu(struct netlink *netlink, unsigned ifindex, unsigned mtu, struct error *error);
/* How many packets wait in a queue of the link. */
int netlink_link_set_queue_length(struct netlink *netlink, unsigned ifindex, unsigned packets, struct error *error);
int netlink_link_set_up(struct netlink *netlink, unsigned ifindex, struct error *error);

/* Sets the link's group: firewall rules can match several links by it, whatever their names. */
int netlink_link_set_group(struct netlink *netlink, unsigned ifindex, unsigned group, struct error *error);

/* Turns off IPv6 link-local addresses (IN6_ADDR_GEN_MODE_NONE), before the link goes up. 0 also when the kernel has no
 * IPv6. */
int netlink_link_no_link_local(struct netlink *netlink, unsigned ifindex, struct error *error);

/* Adds an address with its prefix (IPv6: without duplicate address detection). An existing equal one is no error. */
int netlink_address_add(struct netlink *netlink, unsigned ifindex, const struct ip_prefix *address,
			struct error *error);

/* Removes an address; 0 also when it does not exist. */
int netlink_address_delete(struct netlink *netlink, unsigned ifindex, const struct ip_prefix *address,
			   struct error *error);

/* Adds (or replaces) a route to a network through the interface, in routing table `table`. In RT_TABLE_MAIN (254),
 * which the whole machine uses, the route has the metric NETLINK_MAIN_METRIC, so that any other route to the same
 * network is preferred and none is replaced. In place of an interface, NETLINK_THROW makes a route that ends the lookup
 * in this table, so that the next policy rule decides, and NETLINK_UNREACHABLE one that rejects packets when no other
 * route to the same network is left; it belongs to no interface. All of them have the protocol number NETLINK_PROTOCOL,
 * by which netlink_routes_read() finds them (netlink_state.h). */
enum { NETLINK_THROW = 0, NETLINK_MAIN_METRIC = 21845, NETLINK_PROTOCOL = 85 };
#define NETLINK_UNREACHABLE UINT_MAX

int netlink_route_add(struct netlink *netlink, unsigned ifindex, const struct ip_prefix *network, uint32_t table,
		      struct error *error);

/* Removes such a route; 0 also when it does not exist. */
int netlink_route_delete(struct netlink *netlink, unsigned ifindex, const struct ip_prefix *network, uint32_t table,
			 struct error *error);

/* Removes all routes of one family (4 or 6) from a table: unreachable routes do not vanish with an interface. */
int netlink_table_flush(struct netlink *netlink, uint8_t family, uint32_t table, struct error *error);

/* Whether a link is a tunnel over IP, by its kind (IFLA_INFO_KIND). */
bool netlink_link_is_tunnel(struct netlink *netlink, unsigned ifindex);

/* Routes in table main by which another program's tunnel, one without policy rules, may send its own packets. */
enum { NETLINK_DETOURS_MAX = 8 };
struct netlink_detours {
	bool everything;			      /* the tunnel has a route of length 0 or 1 */
	struct ip_address hosts[NETLINK_DETOURS_MAX]; /* reached by a gateway on another link */
	size_t count;
};

/* Of the tunnel `ifindex`, in one family. A link that is no tunnel over IP has none. */
int netlink_detours(struct netlink *netlink, uint8_t family, unsigned ifindex, struct netlink_detours *detours,
		    struct error *error);

/* Whether a table has a route of one family. */
bool netlink_table_is_used(struct netlink *netlink, uint8_t family, uint32_t table);

/* A policy rule of one family (4 or 6), with the selectors that a tunnel's rules use:
 *
 *   priority P:     not fwmark MARK/MASK lookup TABLE suppress_prefixlength SUPPRESS
 *
 * `table` is the tunnel's own, never the kernel's main. */
#define NETLINK_SUPPRESS_NONE UINT32_MAX
struct netlink_rule {
	uint8_t family;
	bool invert;	   /* selects packets that do not match */
	bool more;	   /* set when read: it has further selectors, or no table */
	uint32_t priority; /* lower ones come first */
	uint32_t table;
	uint32_t mark, mask; /* mask 0: any mark matches */
	uint32_t suppress;   /* routes with prefixes of this length or shorter are ignored; NETLINK_SUPPRESS_NONE */
};

/* Those of one family, in the order of their priorities; owned by its holder, zero is an empty list. */
struct netlink_rules {
	struct netlink_rule *items;
	size_t count, room;
};

/* Appends the rules of one family; none is no error, nor is a kernel without the family. */
int netlink_rules_read(struct netlink *netlink, uint8_t family, struct netlink_rules *rules, struct error *error);
void netlink_rules_free(struct netlink_rules *rules);
bool netlink_rule_equal(const struct netlink_rule *a, const struct netlink_rule *b);

/* Adds a rule; -EEXIST: an equal one exists, perhaps of another program. */
int netlink_rule_add(struct netlink *netlink, const struct netlink_rule *rule, struct error *error);

/* Removes every rule that names `table`, duplicates too, so that nothing of a crashed run stays. No such rule,
 * or a kernel without the family, is no error. */
int netlink_rules_delete(struct netlink *netlink, uint8_t family, uint32_t table, struct error *error);

/* Removes those that name `table`, or have the priority, but equal none of `wanted` and have no further selectors. */
int netlink_rules_prune(struct netlink *netlink, uint8_t family, uint32_t table, const struct netlink_rule *wanted,
			size_t count, struct error *error);
int netlink_rules_prune_at(struct netlink *netlink, uint8_t family, uint32_t priority,
			   const struct netlink_rule *wanted, size_t count, struct error *error);

/* The route of a packet. */
struct netlink_path {
	unsigned ifindex;
	struct ip_address source, gateway; /* family 0: not given by the kernel; no gateway */
	unsigned mtu; /* of the link, or the route's own when configured smaller; without what ICMP taught the kernel */
};

/* Looks up the route to `destination` with `mark`. -ENETUNREACH when there is no route; the kernel's errno for an
 * unreachable, prohibit or blackhole route (-EHOSTUNREACH, -EACCES, -EINVAL). */
int netlink_path_find(struct netlink *netlink, const struct ip_address *destination, uint32_t mark,
		      struct netlink_path *path, struct error *error);

/* A network that the machine is attached to. */
struct netlink_attached {
	struct ip_prefix network;
	unsigned ifindex;
	uint32_t metric;
};

/* A list is owned by its holder; zero is an empty one. */
struct netlink_attached_list {
	struct netlink_attached *items;
	size_t count, room;
};

/* Appends those of one family (4 or 6), in no order: routes of table main without a gateway that the kernel made from
 * the machine's addresses, or that a router advertised as on-link. 0 or a negative errno. */
int netlink_attached_read(struct netlink *netlink, uint8_t family, struct netlink_attached_list *list,
			  struct error *error);
void netlink_attached_free(struct netlink_attached_list *list);
