// SPDX-License-Identifier: Apache-2.0
/* The map of the blocks' owners, in force: the rules by which the kernel hands other gateways' datagrams on to them
 * (core/gateway/cluster_rules.h) follow what the agent says. Control thread; needs CAP_NET_ADMIN.
 *
 * They stand in a table of their own, "netdev shardtun-INTERFACE", which goes when this is closed or the process ends.
 */
#pragma once

#include <jansson.h>
#include <netinet/in.h>
#include <stdatomic.h>

#include "core/cluster/blocks.h"
#include "core/daemon/reconcile.h"
#include "core/gateway/cluster_map.h"
#include "core/gateway/cluster_rules.h"
#include "tun/nftables.h"

enum { CLUSTER_MAP_TEXT_MAX = 32768 /* two addresses with a port for each block */ };

struct cluster_network {
	struct nftables *nftables;  /* the caller's */
	struct cluster_map told;    /* as the agent said it */
	struct block_set served;    /* here: never handed on, whatever the map says */
	struct cluster_map next;    /* the one without the others: to be in force */
	struct cluster_map map;	    /* in force, unless `unsure` */
	struct cluster_rules rules; /* of `next` */
	char table[NFTABLES_NAME_MAX];
	bool laid;		     /* there is a table, or may be one */
	bool unsure;		     /* the last attempt to change the rules has not succeeded, or not yet */
	unsigned laid_by;	     /* nftables_starts() then */
	_Atomic unsigned entries[2]; /* of the agent's map, IPv4 and IPv6; any thread reads them */
	_Atomic unsigned left_out;   /* entries of it that are no other gateway's; any thread */
	char left_out_first[sizeof((struct cluster_map_left_out *)0)->first]; /* as logged last */
	/* A map that comes in parts: those so far. */
	struct {
		unsigned serial, count, next;
		char *text; /* CLUSTER_MAP_TEXT_MAX; NULL: none is under way */
		size_t used;
	} parts;
};

struct cluster_network_params {
	struct nftables *nftables;	 /* all that is pointed to lives longer than what is opened */
	const char *interface;		 /* the gateway's: names the table */
	const char *outside, *inside;	 /* NULL: there is a map, and there are no rules */
	const struct ip_address *listen; /* that clients send to; none: all that are the machine's */
	size_t listen_count;
	uint16_t port; /* the same */
	bool wireguard;
};

/* Checks the links; an empty map. -EINVAL when both links are the same, or one is a VLAN, bridge or the like over the
 * other: a datagram could go round. A table that a
 * killed run left is removed, or emptied by cluster_network_run(). */
int cluster_network_open(struct cluster_network *network, const struct cluster_network_params *params,
			 struct error *error);

/* From now on this map, in the words of cluster_map_parse(): for FORWARD and for display at once; the rules follow by
 * cluster_network_run(), which the caller has the reconciler call. What is left out of it is logged. On failure the map
 * is as before. */
int cluster_network_map(struct cluster_network *network, const char *text, struct error *error);

/* Part `number` of `count` (from 1 on) of the map with this number; the last one puts it in force. Parts come in order,
 * and all of one map before another. 1: more has to come. */
int cluster_network_part(struct cluster_network *network, unsigned serial, unsigned number, unsigned count,
			 const char *text, struct error *error);

/* These blocks are served here from now on, and no others: they are not handed on, even if the map is of before and
 * says so. The rules follow as those of cluster_network_map(). */
void cluster_network_serve(struct cluster_network *network, const struct block_set *served);

/* For FORWARD: where the owner of each block is reached, IPv4 v4-mapped; family 0: it is not known. All in the family
 * (4 or 6) of our own address, and at our own port where the map has none. */
void cluster_network_owners(const struct cluster_network *network, uint8_t family, uint16_t port,
			    struct sockaddr_in6 of[BLOCK_COUNT]);

/* The agent's map: [{"address": "10.9.0.2", "port": 5556, "blocks": [7, 8]}, ...], a port only where there is one.
 * NULL: no memory. */
json_t *cluster_network_describe(const struct cluster_network *network);

/* A reconcile_fn, with a struct cluster_network. What the agent changed is no other program's change; what is not
 * answered yet (nftables_do_not_wait()) is pending. */
void cluster_network_run(void *context, bool restore, struct reconcile_found *found);

/* Removes the rules. Also after a failed opening. */
void cluster_network_close(struct cluster_network *network);
