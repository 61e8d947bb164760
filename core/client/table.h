// SPDX-License-Identifier: Apache-2.0
/* The routing table that a client has for its AllowedIPs, and the policy rules that look it up. Several clients can run
 * on one machine, and other programs have tables and rules too. Control thread.
 *
 * The packets of every client's tunnel carry CLIENT_MARK in the bits of CLIENT_MASK, and no client's rule matches that
 * mark: they never enter another client's tunnel, so two tunnels for everything do not loop. The first client on a
 * machine has rank 0, table 21845 and
 *
 *   21845:      not fwmark CLIENT_MARK/CLIENT_MASK lookup 21845
 *
 * A further client has a rank R above 0, and, in a family that its tunnel carries,
 *
 *   21845 - R:  not fwmark CLIENT_MARK/CLIENT_MASK lookup TABLE suppress_prefixlength 7
 *   21845 + R:  not fwmark CLIENT_MARK/CLIENT_MASK lookup TABLE
 *
 * The rule with suppress_prefixlength finds its networks even if a client before it routes everything. Of two clients
 * that route everything, the one that was started first gets the rest.
 *
 * The path to the gateway may lead through a tunnel of another program that uses the same technique, such as wg-quick:
 * a rule "not fwmark THEIRS lookup ...". If that tunnel's packets entered ours, they would loop. So each client has a
 * rule by which packets with such a mark bypass it:
 *
 *   20821 - R:  fwmark THEIRS lookup main
 *
 * A rule that is added without a priority goes before all others (ip-rule(8)), and may take our networks. Then the rule
 * with suppress_prefixlength moves before it, and the other program gets the rest. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "tun/netlink.h"

#define CLIENT_MARK 0x55000000u
#define CLIENT_MASK 0xff000000u

enum {
	CLIENT_LINK_GROUP = 21845,		   /* of every client's interface */
	CLIENT_TABLE_FIRST = 21845,		   /* table number and priority of rank 0 */
	CLIENT_RANKS = 1024,			   /* clients on one machine, at most */
	CLIENT_PASSING_MAX = 4,			   /* other programs' marks */
	CLIENT_RULES_MAX = 2 + CLIENT_PASSING_MAX, /* of one client, in one family */
	CLIENT_PASSING_FIRST = CLIENT_TABLE_FIRST - CLIENT_RANKS,
	CLIENT_RAISES = 16,    /* times that our first rule moves: another program may move its own each time */
	CLIENT_SUPPRESSED = 7, /* suppress_prefixlength: a network wider than a /8 counts as part of everything */
};

struct client_mark {
	uint32_t mark, mask;
};

struct client_table {
	uint32_t number; /* 0: RouteTable = off */
	unsigned rank;
	uint32_t front; /* priority of the rule with suppress_prefixlength; 0: there is none */
	unsigned raised;
	struct client_mark passing[CLIENT_PASSING_MAX]; /* sorted */
	size_t passing_count;
};

/* The client's rules in one family, 4 or 6. While its tunnel does not carry the family its table has unreachable
 * routes, which suppress_prefixlength ignores: then there is no rule with it, for they would have priority over another
 * client's routes. Returns how many. */
size_t client_table_rules(const struct client_table *table, uint8_t family, bool carried,
			  struct netlink_rule rules[CLIENT_RULES_MAX]);

/* Chooses a table and a rank that are not in use; `wanted` is the table's number, or CONFIG_TABLE_AUTO. 0, or a
 * negative errno with `error` set: -EADDRINUSE when the wanted table is in use. */
int client_table_choose(struct client_table *table, struct netlink *netlink, uint32_t wanted, struct error *error);

/* Claims the table by adding the IPv4 rule, which the kernel accepts only once. -EEXIST: another client was faster;
 * choose again. */
int client_table_claim(const struct client_table *table, struct netlink *netlink, struct error *error);

/* Finds the marks that must bypass our rules while packets to `endpoint` leave by `ifindex`. Returns whether they
 * changed; on failure they do not. */
bool client_table_find_passing(struct client_table *table, struct netlink *netlink, const struct ip_address *endpoint,
			       unsigned ifindex);

/* Moves the rule with suppress_prefixlength before those of other programs, if packets to `inner`, which should leave
 * by `ifindex`, leave by another link. Returns whether it moved. */
bool client_table_raise(struct client_table *table, struct netlink *netlink, const struct ip_address *inner,
			unsigned ifindex);

/* Checks whether another client has a route to the address that is longer than CLIENT_SUPPRESSED: then only one of the
 * two can get its packets. 0, or -EADDRINUSE with `error` set. Family 0 never collides. */
int client_table_check_collision(const struct client_table *table, struct netlink *netlink,
				 const struct ip_address *address, struct error *error);

/* Removes those of our rules in one family that are not wanted. */
int client_table_prune(const struct client_table *table, struct netlink *netlink, uint8_t family,
		       const struct netlink_rule *wanted, size_t count, struct error *error);

/* Removes all rules of a table and a rank in both families. */
int client_table_clean(uint32_t number, unsigned rank, struct netlink *netlink, struct error *error);
