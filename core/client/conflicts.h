// SPDX-License-Identifier: Apache-2.0
/* Conflicts with policy rules and tunnels of other programs, and of other clients: what can be solved by rules of ours
 * is, the rest is logged or refused. Control thread. */
#pragma once

#include "core/client/network.h"

/* When all of a lease is in force: if another program's policy rule takes packets for networks behind the gateway, our
 * rules move before it. Logs when another client's routes take them. */
void client_conflicts_raise_rules(struct client_network *network);

/* When the path to the endpoint in use was looked up. If it leads through another program's tunnel, that tunnel's
 * packets get a rule by which they bypass ours. -ELOOP with `error` set when its packets cannot be told from others,
 * and would loop between the two tunnels. */
int client_conflicts_check_path(struct client_network *network, const struct sockaddr_in6 *remote,
				const struct netlink_path *path, struct error *error);
