// SPDX-License-Identifier: Apache-2.0
/* What the checks of a configuration ask about addresses and networks (config/check.h). */
#pragma once

#include "config/config.h"

/* 32 or 128. */
unsigned check_family_bits(const struct ip_address *address);

/* Why an address of the network belongs to no host, or NULL. */
const char *check_address_of_network(const struct ip_prefix *network, const struct ip_address *address);

/* That an MTU, given on that line, suffices for IPv6 if there is any among the networks of the option `key`. */
int check_mtu(const char *file, unsigned line, uint32_t mtu, const struct config_prefixes *prefixes, const char *key,
	      struct error *error);

/* Clears host bits, sorts, and keeps each network once. 0 or -ENOMEM. */
int check_normalize_networks(struct config_prefixes *list);
