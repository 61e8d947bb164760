// SPDX-License-Identifier: Apache-2.0
/* The life of a client, from its configuration to an orderly end. */
#pragma once

#include "config/config.h"
#include "core/base/error.h"

/* For 'up', whose parent process waits until the client is connected. Before that, an error that would otherwise be
 * retried, and a connection that takes longer than `limit` seconds, end the client. */
struct client_start {
	int ready_fd; /* gets one byte once connected, with everything in force; then standard error is /dev/null */
	unsigned limit;
};

/* Checks what can be checked without touching the system: the keys. 0 or a negative errno. */
int client_check(const struct client_config *config, struct error *error);

/* Runs until SIGTERM or SIGINT. 0, or a negative errno with `error` set. Whatever the client changed is undone in both
 * cases, except that the kill switch stays in force when a client fails that was connected. `start` is NULL in the
 * foreground. Main thread. */
int client_run(const struct client_config *config, const struct client_start *start, struct error *error);

/* Undoes what a client that was killed left behind. 0: there was something; -ENOENT: there was nothing; -EBUSY: the
 * client runs. */
int client_clean(const struct client_config *config, struct error *error);
