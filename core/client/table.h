// SPDX-License-Identifier: Apache-2.0
/* Which routing table a client has for its AllowedIPs, and by which policy rules it is looked up. Several clients may
 * run beside each other, and other programs have tables and rules too. Control thread.
 *
 * The packets of every client's tunnel carry CLIENT_MARK in the bits of CLIENT_MASK, and no client's rule matches such
 * a mark: no tunnel's packets enter another client's tunnel, so two that both carry everything do not carry each
 * other. The first client on a machine has rank 0, table 21845 and
 *
 *   21845:      not fwmark CLIENT_MARK/CLIENT_MASK lookup 21845
 *
 * One of rank R, if there are others before it, has, in a family that its tunnel carries,
 *
 *   21845 - R:  not fwmark CLIENT_MARK/CLIENT_MASK lookup TABLE suppress_prefixlength 7
 *   21845 + R:  not fwmark CLIENT_MARK/CLIENT_MASK lookup TABLE
 *
 * so that its networks are found although the AllowedIPs of one before it cover everything; of two that cover
 * everything, the one that was started first has what is left.
 *
 * The way to the gateway may lead through the tunnel of another program that works alike, wg-quick for instance: by a
 * rule "not fwmark THEIRS lookup ...". That tunnel's packets must not enter ours, or they would circle, so each client
 * lets marks pass by which such a rule can be escaped:
 *
 *   20821 - R:  fwmark THEIRS lookup main
 *
 * Rules that come later than ours are made before them, unless they say where (ip-rule(8)). If they take our networks,
 * the rule with suppress_prefixlength moves before them, and the others have what is left. */
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
	CLIENT_TABLE_FIRST = 21845,		   /* the table and the priority of the first */
	CLIENT_RANKS = 1024,			   /* clients beside each other, at most */
	CLIENT_PASSING_MAX = 4,			   /* other programs' marks */
	CLIENT_RULES_MAX = 2 + CLIENT_PASSING_MAX, /* of one client, in one family */
	CLIENT_PASSING_FIRST = CLIENT_TABLE_FIRST - CLIENT_RANKS,
	CLIENT_RAISES = 16,    /* times that the first rule gets before another's: a race helps nobody */
	CLIENT_SUPPRESSED = 7, /* networks wider than a /8 are parts of everything */
};

struct client_mark {
	uint32_t mark, mask;
};

struct client_table {
	uint32_t number; /* 0: none, routes are left alone */
	unsigned rank;
	uint32_t front; /* the priority of the first rule, by which networks are looked up; 0: there is none */
	unsigned raised;
	struct client_mark passing[CLIENT_PASSING_MAX]; /* sorted */
	size_t passing_count;
};

/* Those of the client in one family, 4 or 6, while its tunnel carries it or not: what is refused meanwhile may not have
 * priority over another client's, and "suppress" does not see routes that refuse. Returns how many. */
size_t client_table_rules(const struct client_table *table, uint8_t family, bool carried,
			  struct netlink_rule rules[CLIENT_RULES_MAX]);

/* Chooses a table and a rank that nothing uses; `wanted` is the table's number, or CONFIG_TABLE_AUTO. 0, or a negative
 * errno with `error` set: -EADDRINUSE when something uses the wanted table. */
int client_table_choose(struct client_table *table, struct netlink *netlink, uint32_t wanted, struct error *error);

/* Makes the choice ours by the IPv4 rule, of which the kernel takes no second one. -EEXIST: another client was
 * quicker; choose again. */
int client_table_claim(const struct client_table *table, struct netlink *netlink, struct error *error);

/* Finds the marks that are to pass while packets to `endpoint` leave by `ifindex`. Returns whether they are others than
 * before; what cannot be asked changes nothing. */
bool client_table_find_passing(struct client_table *table, struct netlink *netlink, const struct ip_address *endpoint,
			       unsigned ifindex);

/* Moves the first rule before those of others, if packets to `inner`, an address that is reached by `ifindex`, leave
 * by another link. Returns whether it moved. */
bool client_table_raise(struct client_table *table, struct netlink *netlink, const struct ip_address *inner,
			unsigned ifindex);

/* Whether another client leads the address by a route that is meant for it, longer than CLIENT_SUPPRESSED: then one of
 * the two gets nothing. 0, or -EADDRINUSE with `error` set. An address of family 0 collides with none. */
int client_table_check_collision(const struct client_table *table, struct netlink *netlink,
				 const struct ip_address *address, struct error *error);

/* Removes the rules of one family that are not wanted now. */
int client_table_prune(const struct client_table *table, struct netlink *netlink, uint8_t family,
		       const struct netlink_rule *wanted, size_t count, struct error *error);

/* Removes all rules of a table and a rank in both families, whoever left them there. */
int client_table_clean(uint32_t number, unsigned rank, struct netlink *netlink, struct error *error);
