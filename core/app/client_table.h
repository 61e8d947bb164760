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
 * everything, the one that was started first has what is left. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"
#include "tun/netlink.h"

#define CLIENT_MARK 0x55000000u
#define CLIENT_MASK 0xff000000u

enum {
	CLIENT_LINK_GROUP = 21845,  /* of every client's interface */
	CLIENT_TABLE_FIRST = 21845, /* the table and the priority of the first */
	CLIENT_RANKS = 1024,	    /* clients beside each other, at most */
	CLIENT_RULES_MAX = 2,	    /* of one client, in one family */
	CLIENT_SUPPRESSED = 7,	    /* networks wider than a /8 are parts of everything */
};

struct client_table {
	uint32_t number; /* 0: none, routes are left alone */
	unsigned rank;
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
