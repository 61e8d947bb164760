// SPDX-License-Identifier: Apache-2.0
/* Checks that need more than one value: whether the options of a file go together. */
#pragma once

#include "config/config.h"

/* Where options of the main file stand that stand once; 0 for those that have their default. */
struct config_lines {
	unsigned mtu;
	unsigned route_table;
	unsigned tun_readers;
	unsigned peers_file, peers_directory;
	unsigned max_sessions, cluster_node, cluster_block_size, cluster_link, cluster_outside, cluster_interface;
};

/* Both want every member filled. 0, -EINVAL with "FILE:LINE: Key = offending text: ..." in `error`, or -ENOMEM.
 * Both also bring AllowedIPs, Routes and Networks, and config_check_gateway() the workers, into the form that config.h
 * promises. */
int config_check_gateway(struct gateway_config *config, const struct config_lines *lines, struct error *error);
int config_check_client(struct client_config *config, const struct config_lines *lines, struct error *error);
