// SPDX-License-Identifier: Apache-2.0
/* The client from configuration to orderly end. */
#pragma once

#include "config/config.h"
#include "core/base/error.h"

/* For a start that somebody waits for: what cannot work, or did not within `limit` seconds, ends the client. */
struct client_start {
	int ready_fd; /* gets one byte once connected, with everything in force; then standard error goes nowhere */
	unsigned limit;
};

/* Everything that can be checked without touching the system: the keys. 0 or a negative errno. */
int client_check(const struct client_config *config, struct error *error);

/* Runs until SIGTERM or SIGINT. 0, or a negative errno with `error` set and nothing left behind; but a client that was
 * connected and fails leaves its kill switch in force. `start` is NULL when nobody waits. Main thread. */
int client_run(const struct client_config *config, const struct client_start *start, struct error *error);

/* Takes back what a client left that was killed. 0: there was something; -ENOENT: there was nothing; -EBUSY: it runs.
 */
int client_clean(const struct client_config *config, struct error *error);
