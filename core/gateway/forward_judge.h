// SPDX-License-Identifier: Apache-2.0
/* Whether the firewall of somebody else drops what the gateway forwards, judged from what "nft --json list table" says
 * of the tables that are hooked into forwarding. Every one of their base chains has to let a packet pass, so an accept
 * of ours cannot help: Docker's and ufw's FORWARD with its policy drop, and firewalld's reject at the end, have the
 * last word.
 *
 * The rules are walked for one packet that stands for many: TCP between a client and an address far away. What the
 * listing does not say of it (marks, named sets, matches of xtables) is taken as not matching; so a verdict is a
 * suspicion, which counting has to confirm. Any thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "core/base/ip.h"

struct forward_flow {
	const char *in, *out;  /* names of interfaces; NULL: any that no rule names */
	struct ip_prefix pool; /* the clients' network: its family is the packet's */
	bool reply; /* from far away to a client, of a connection that is established; else the client's first */
};

/* Who keeps the rules of that table, as far as names tell: how an operator changes them. */
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
