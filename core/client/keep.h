// SPDX-License-Identifier: Apache-2.0
/* Keeps in force what a client set up: the parts for the reconciler (core/daemon/reconcile.h), and the kernel's notices
 * that wake it. Control thread. */
#pragma once

#include "core/client/context.h"

/* When the network is open and its table chosen: adds the parts to the daemon's reconciler, and sets the firewall
 * rules. A part that fails is logged, not fatal: on most machines the tunnel works without it. 0 or a negative errno
 * with `error` set. */
int client_keep_open(struct client *client, struct error *error);

/* Undoes nothing. Also after a failed open. */
void client_keep_close(struct client *client);

/* Takes over a lease, and sets up what it says at once. */
void client_keep_lease(struct client *client, const struct wire_welcome *lease);

/* For daemon_loop(), with the client as context: the watch of nftables, that of the network is readable. */
void client_keep_on_nftables(void *context);
void client_keep_on_network(void *context);

/* For the status: an object with each kind that is wanted, and whether it is in force. NULL: no memory. */
json_t *client_keep_status(const struct client *client);

/* "connected", followed by what is not in force. */
const char *client_keep_state(const struct client *client, char text[128]);
