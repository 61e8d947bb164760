// SPDX-License-Identifier: Apache-2.0
/* The kernel's network state that a client wants, as parts for the reconciler: the link, its MTU and addresses, the
 * routes of the client's table, the policy rules. Control thread. */
#pragma once

#include "core/client/network.h"
#include "core/daemon/reconcile.h"

/* Adds them, in the order in which they need each other: routes need addresses, and those the link. Nothing is wanted
 * before client_network_apply(). 0 or -ENOSPC. */
int client_wanted_add(struct client_network *network, struct reconciler *reconciler);

/* Other policy rules are wanted now: puts them in force. What cannot be is logged. */
void client_wanted_put_rules(struct client_network *network);

/* For a part's function: counts one that is missing, and names it if it is the first. */
void client_wanted_missing(struct reconcile_found *found, const char *format, ...) PRINTF_LIKE(2, 3);

/* Counts one that could not be put back, and keeps the reason if it is the first; `result` 0: it could. */
void client_wanted_left(struct reconcile_found *found, int result, const struct error *error);

/* The address that the interface has of a leased one. */
struct ip_prefix client_wanted_host(const struct ip_prefix *leased);
