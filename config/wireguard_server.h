// SPDX-License-Identifier: Apache-2.0
/* The file of a WireGuard server, as wg-quick(8) reads it, as a configuration of a gateway that serves the same
 * clients.
 *
 * Strict as config/config.h: an unknown key, a bad value, an address or a network of two peers, is an error with file,
 * line and text. What of the file a gateway has nothing for is kept as it is written, to be told. */
#pragma once

#include "config/config.h"

struct wireguard_server {
	/* Its listen_port (0: the file has none), mtu and addresses are the file's; the interface has the file's name
	 * if it can, and else "". Peers speak WireGuard, and have as addresses those of their allowed IPs that are in
	 * the networks of the gateway's. All that the file cannot say is zero. */
	struct gateway_config gateway;
	char *private_key; /* as config_common's */
	/* The file's peers have other host numbers in IPv6 than in IPv4, which a pool cannot: their IPv6 addresses are
	 * networks behind them, and this one is not the gateway's. Family 0: not so. */
	struct ip_prefix dropped;
	unsigned dropped_line;
	struct config_texts fwmark, table, dns, save_config, pre_up, post_up, pre_down, post_down;
};

/* Reads the file at `path`, once. 0, or a negative errno with `error` and *file NULL. config_free_wireguard() gives it
 * back. Waits for the writer of a pipe, as config_load_gateway(). Any thread. */
int config_load_wireguard(const char *path, struct wireguard_server **file, struct error *error);

/* Wipes the keys; takes NULL. */
void config_free_wireguard(struct wireguard_server *file);
