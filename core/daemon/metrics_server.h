// SPDX-License-Identifier: Apache-2.0
/* The HTTP server of a tunnel: /metrics for Prometheus, /healthz and /readyz, and the status page with its JSON.
 *
 * Its thread owns nothing of the tunnel's: it reads atomics, and what the control thread changes while it runs is
 * copied under a mutex that no data-path thread knows. */
#pragma once

#include "config/config.h"
#include "core/base/error.h"

struct tunnel;
struct metrics_server;

/* Listens, with whatever privileges that takes; requests wait until metrics_start(). *server is NULL when it is off.
 * On failure, with `error` set, nothing is left behind. */
int metrics_open(struct metrics_server **server, struct tunnel *tunnel, const struct config_listener *listener,
		 struct error *error);

/* Before root becomes that user, who is to remove the socket's file, if it has one. 0, or a negative errno with
 * `error`. */
int metrics_give(struct metrics_server *server, uid_t user, gid_t group, struct error *error);

/* Starts the thread, which needs no privileges, and says that the tunnel is ready: the data-path threads run, and no
 * more are added until metrics_stop(). Takes NULL, as the others do. */
int metrics_start(struct metrics_server *server, struct error *error);

/* From now on /readyz says no: the end has begun. Any thread. */
void metrics_drain(struct metrics_server *server);

/* Ends the thread; data-path threads may have ended, but are not freed yet. */
void metrics_stop(struct metrics_server *server);

/* Stops if need be, and frees. */
void metrics_close(struct metrics_server *server);
