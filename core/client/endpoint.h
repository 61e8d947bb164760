// SPDX-License-Identifier: Apache-2.0
/* The gateway's endpoint: its name, the addresses that it resolves to, and the route to each. The worker tries the
 * addresses that have a route. Control thread. */
#pragma once

#include "core/client/context.h"

/* Must be closed, also after a failed open. */
int client_endpoint_open(struct client_endpoint *endpoint, const struct config_endpoint *config, struct error *error);
void client_endpoint_close(struct client_endpoint *endpoint);

/* At the start: resolves the endpoint, or takes the addresses that the journal has. 0, or a negative errno with `error`
 * set. */
int client_endpoint_begin(struct client *client, struct error *error);

/* Resolves the name again, unless a lookup is under way. */
void client_endpoint_resolve(struct client *client);

/* Looks up the routes again: the machine's networks changed, or it has slept. */
void client_endpoint_follow(struct client *client, enum path_event event);

/* Says why there was no connection within `limit` seconds. */
void client_endpoint_late(const struct client *client, unsigned limit, struct error *error);

/* For daemon_loop(), with the client as context: the resolver has an answer; the retry timer fired. */
void client_endpoint_on_resolved(void *context);
void client_endpoint_on_retry(void *context);
