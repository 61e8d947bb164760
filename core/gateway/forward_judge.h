// SPDX-License-Identifier: Apache-2.0
/* Judges from the output of "nft --json list table", for the tables hooked into forwarding, whether another program's
 * firewall drops what the gateway forwards. A packet has to pass every base chain, so an accept rule of ours cannot
 * override the policy drop of Docker's and ufw's FORWARD, nor the reject at the end of firewalld's.
 *
 * The rules are walked for one packet that stands for many: TCP between a client and an address far away. What the
 * listing does not show (marks, named sets, matches of xtables) is taken as not matching; so a verdict is a suspicion,
 * which counting has to confirm. Any thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "core/base/ip.h"

struct forward_flow {
	const char *in, *out;  /* names of interfaces; NULL: any that no rule names */
	struct ip_prefix pool; /* the clients' network: its family is the packet's */
	bool reply; /* from far away to a client, of a connection that is established; else the client's first */
};

/* The program that manages the rules of that table, as far as names show it: it decides the advice. */
enum forward_keeper { FORWARD_KEEPER_NONE, FORWARD_KEEPER_DOCKER, FORWARD_KEEPER_UFW, FORWARD_KEEPER_FIREWALLD };

struct forward_suspect {
	enum forward_keeper keeper;
	char family[8], table[64], chain[64]; /* of the base chain that drops */
	bool by_policy;			      /* because none of its rules accepts; else a rule does */
};

/* `listing` is the array "nftables". Whether a table but `own` (of family inet) drops the packet; the first that does
 * is in `suspect`. */
bool forward_judge(const json_t *listing, const char *own, const struct forward_flow *flow,
		   struct forward_suspect *suspect);
