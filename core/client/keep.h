// SPDX-License-Identifier: Apache-2.0
/* What a client set up stays set up: the parts of the reconciler (core/daemon/reconcile.h), and the notices that wake it.
 * Control thread. */
#pragma once

#include "core/client/context.h"

/* When the network is open and its table chosen: adds the parts to the tunnel's reconciler, and puts the firewall rules
 * in force. What of these cannot be is logged: without them the tunnel works on most machines. 0 or a negative errno
 * with `error` set. */
int client_keep_open(struct client *client, struct error *error);

/* Takes nothing back. Also after a failed open. */
void client_keep_close(struct client *client);

/* There is a lease: from now on the machine is to be as it says, and is made so. */
void client_keep_lease(struct client *client, const struct wire_welcome *lease);

/* What tunnel_loop() calls, with the client as context: when the watch of nftables, that of the network is readable. */
void client_on_nftables(void *context);
void client_on_network(void *context);

/* The kinds that are wanted, each with whether it is in force, for the status; NULL: no memory. */
json_t *client_keep_status(const struct client *client);

/* "connected", or what is not in force besides. */
const char *client_keep_state(const struct client *client, char text[128]);
