// SPDX-License-Identifier: Apache-2.0
/* The nftables rules of a gateway, as text for nft(8): those that guard its inner addresses always, the rest where it
 * forwards or masquerades. The interface is named by its index: its name may change. */
#pragma once

#include "config/config.h"
#include "core/base/error.h"

struct gateway_firewall {
	const struct gateway_config *config;
	const char *table;
	unsigned ifindex; /* of the gateway's own interface */
	bool networks;	  /* there are some behind peers */
};

/* The rules of the table, as nftables_lay() takes them, for the caller to free. NULL with `error` set: out of memory,
 * or an interface's name that nft cannot take. The networks attached to the interfaces of Masquerade are those of this
 * moment. */
char *gateway_firewall_commands(const struct gateway_firewall *firewall, struct error *error);
