// SPDX-License-Identifier: Apache-2.0
/* The kernel's state that a connected client wants, kind by kind. Each function compares what is with what is wanted,
 * puts back what is missing and adds to `missing` how much that was. 0 when all of its kind is in force then, or a
 * negative errno with `error` set. Called in the order in which they stand here: routes need addresses, and those the
 * link. Control thread. */
#pragma once

#include <stddef.h>

#include "core/app/client_network.h"

/* The address that the interface has of a leased one. */
struct ip_prefix client_wanted_host(const struct ip_prefix *leased);

/* Up; and learns what its name and MTU are now. -ENODEV: there is no such link any more. */
int client_wanted_link(struct client_network *network, size_t *missing, struct error *error);

int client_wanted_mtu(struct client_network *network, size_t *missing, struct error *error);
int client_wanted_addresses(struct client_network *network, size_t *missing, struct error *error);

/* Also removes from our table what is not wanted there any more. */
int client_wanted_routes(struct client_network *network, size_t *missing, struct error *error);

int client_wanted_rules(struct client_network *network, size_t *missing, struct error *error);
