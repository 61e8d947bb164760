// SPDX-License-Identifier: Apache-2.0
/* The kernel's network state that a client wants, as parts for the reconciler: the link, its MTU and addresses, the
 * routes of the client's table, the policy rules. Control thread. */
#pragma once

#include "core/client/network.h"
#include "core/daemon/reconcile.h"

/* Adds the parts in the order of their dependencies: routes need addresses, and addresses the link. Before
 * client_network_apply() only the link is wanted. 0 or -ENOSPC. */
int client_wanted_add(struct client_network *network, struct reconciler *reconciler);

/* Puts the policy rules in force after a change of which are wanted. A failure is logged. */
void client_wanted_put_rules(struct client_network *network);
