// SPDX-License-Identifier: Apache-2.0
/* What no single value can tell: whether the options of a file go together. */
#pragma once

#include "config/config.h"

/* Where options of the main file stand that stand once; 0 for those that have their default. */
struct config_lines {
	unsigned mtu;
	unsigned route_table;
	unsigned tun_readers;
	unsigned peers_file, peers_directory;
};

/* Both want every member filled. 0, -EINVAL with "FILE:LINE: Key = offending text: ..." in `error`, or -ENOMEM.
 * Both also bring AllowedIPs, Routes and Networks, and config_check_gateway() the workers, into the form that config.h
 * promises. */
int config_check_gateway(struct gateway_config *config, const struct config_lines *lines, struct error *error);
int config_check_client(struct client_config *config, const struct config_lines *lines, struct error *error);

/* --- parts of these ----------------------------------------------------------------------------------------------- */

/* The peers, each by itself and all together. Wants the rest checked. */
int check_peers(const struct gateway_config *config, const struct config_lines *lines, struct error *error);

/* 32 or 128. */
unsigned check_family_bits(const struct ip_address *address);

/* Why an address of the network belongs to no host, or NULL. */
const char *check_address_of_network(const struct ip_prefix *network, const struct ip_address *address);

/* That an MTU, given on that line, suffices for IPv6 if there is any among the networks of the option `key`. */
int check_mtu(const char *file, unsigned line, uint32_t mtu, const struct config_prefixes *prefixes, const char *key,
	      struct error *error);

/* Clears host bits, sorts, and keeps each network once. 0 or -ENOMEM. */
int check_normalize_networks(struct config_prefixes *list);
