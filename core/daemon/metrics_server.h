// SPDX-License-Identifier: Apache-2.0
/* The HTTP server of a daemon: /metrics for Prometheus, /healthz and /readyz, and the status page with its JSON.
 *
 * Its thread owns nothing of the daemon's: it asks for a description of it, which reads atomics, and copies what the
 * control thread changes under a mutex that no data-path thread takes. */
#pragma once

#include "core/base/error.h"
#include "core/daemon/metrics_listener.h"
#include "core/host/seccomp_filter.h"
#include "perf/export/status.h"

struct daemon;
struct metrics_server;

struct metrics_params {
	const struct metrics_listener *listener; /* borrowed; closed: the server is off */
	/* Describes the daemon to `use`; not called when there is no memory. On the server's thread. */
	void (*describe)(struct daemon *daemon, status_use_fn *use, void *context);
	struct daemon *daemon;
};

/* *server is NULL when it is off. On failure, with `error` set, nothing is left behind. */
int metrics_open(struct metrics_server **server, const struct metrics_params *params, struct error *error);

/* Starts the thread, which needs no privileges and loads `filter` unless it is NULL, and reports the daemon ready on
 * /readyz: the data-path threads run, and no more are added until metrics_stop(). Takes NULL, as the others do. */
int metrics_start(struct metrics_server *server, const struct seccomp_filter *filter, struct error *error);

/* The end has begun: from now on /readyz answers 503. Any thread. */
void metrics_drain(struct metrics_server *server);

/* Another process answers from now on: new connections are that one's, and those that came are answered, if that takes
 * no longer than HTTP_LEAVE_MS. metrics_stop() waits for it. */
void metrics_leave(struct metrics_server *server);

/* Ends the thread; data-path threads may have ended, but are not freed yet. */
void metrics_stop(struct metrics_server *server);

/* Stops if need be, and frees. */
void metrics_close(struct metrics_server *server);
