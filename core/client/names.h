// SPDX-License-Identifier: Apache-2.0
/* The name servers that the machine should use while the client is connected. Control thread. */
#pragma once

#include "core/client/context.h"

/* Before the first lease. The caller closes the watch, also after a failure. */
int client_names_open(struct client *client, struct error *error);

/* Takes the name servers from this lease, or from the configuration, and puts them in force. A failure is logged, and
 * retried by the reconciler. */
void client_names_apply(struct client *client, const struct wire_welcome *lease);

/* The name servers for resolving the gateway's name outside the tunnel. False: the machine's resolver does not use the
 * tunnel, or no server is known. */
bool client_names_outside(const struct client *client, struct outside_servers *servers);

/* For daemon_loop(), with the client as context: the watch of /etc/resolv.conf is readable. */
void client_names_on_changed(void *context);
