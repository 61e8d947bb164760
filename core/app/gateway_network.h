// SPDX-License-Identifier: Apache-2.0
/* What a gateway changes of the machine's network beyond its own interface (Forward, Masquerade), and what it advises
 * to change. Control thread only; needs CAP_NET_ADMIN.
 *
 * The rules stand in one nftables table, "inet shardtun-INTERFACE", which is ours alone. It goes when we end; one that
 * a killed run left is replaced, or removed when it is not wanted any more. */
#pragma once

#include "config/config.h"
#include "core/app/privileges.h"
#include "core/base/error.h"
#include "tun/nftables.h"

struct gateway_network {
	struct nftables *nftables;
	char table[NFTABLES_NAME_MAX];
	bool laid;
};

/* Switches forwarding on and lays the rules, as far as the configuration wants them; warns of what would keep packets
 * away. The process that lays rules becomes `user`, who stays the caller's while the network is open. The interface is
 * there already, and so it is nobody else's; `no_ipv6`: without IPv6. On failure no rule is left. */
int gateway_network_open(struct gateway_network *network, const struct gateway_config *config, bool no_ipv6,
			 struct privileges_user *user, struct error *error);

/* Removes the rules. Forwarding stays on: nobody knows who else relies on it by now. */
void gateway_network_close(struct gateway_network *network);
