// SPDX-License-Identifier: Apache-2.0
/* The map of the blocks' owners, in force: the rules by which the kernel hands other gateways' datagrams on to them
 * (core/gateway/cluster_rules.h) follow what the agent says. Control thread; needs CAP_NET_ADMIN.
 *
 * They stand in a table of their own, "netdev shardtun-INTERFACE", which goes when this is closed or the process ends.
 */
#pragma once

#include "core/daemon/reconcile.h"
#include "core/gateway/cluster_map.h"
#include "core/gateway/cluster_rules.h"
#include "tun/nftables.h"

struct cluster_network {
	struct nftables *nftables; /* the caller's */
	struct cluster_map map;
	struct cluster_rules rules; /* of it */
	char table[NFTABLES_NAME_MAX];
	bool laid;
};

struct cluster_network_params {
	struct nftables *nftables; /* all that is pointed to lives longer than what is opened */
	const char *interface;	   /* the gateway's: names the table */
	const char *outside, *inside;
	const struct ip_address *listen; /* that clients send to; none: all that are the machine's */
	size_t listen_count;
	uint16_t port; /* the same */
	bool wireguard;
};

/* Checks the links; an empty map. -EINVAL when both links are the same: a datagram could go round. A table
 * that a killed run left is removed. */
int cluster_network_open(struct cluster_network *network, const struct cluster_network_params *params,
			 struct error *error);

/* From now on this map, in the words of cluster_map_parse(). On failure the map is as before. */
int cluster_network_map(struct cluster_network *network, const char *text, struct error *error);

/* A reconcile_fn, with a struct cluster_network. */
void cluster_network_run(void *context, bool restore, struct reconcile_found *found);

/* Removes the rules. */
void cluster_network_close(struct cluster_network *network);
