// SPDX-License-Identifier: Apache-2.0
/* A small HTTP server for reports (libmicrohttpd): GET and HEAD of fixed paths, on one thread of its own with
 * the lowest priority.
 *
 * It never waits for a client: sockets do not block, a silent connection is closed after HTTP_TIMEOUT seconds, and when
 * more than HTTP_CONNECTIONS_FULL are open the oldest is closed, so that slow clients do not block others. Nor do
 * eager clients take the data path's CPUs: after each piece of work it rests for HTTP_CPU_SHARE times as long, but no
 * longer than 100 ms. What it holds is bounded by the connections, each with HTTP_CONNECTION_MEMORY bytes
 * and one answer. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/base/error.h"
#include "core/host/seccomp_filter.h"

enum {
	HTTP_CONNECTIONS_MAX = 32,
	HTTP_CONNECTIONS_FULL = 24,
	HTTP_CONNECTION_MEMORY = 8 * 1024, /* with the request's headers: longer ones are refused */
	HTTP_TIMEOUT = 10,		   /* seconds */
	HTTP_CPU_SHARE = 200,		   /* it works for one part in so many of the time */
	HTTP_LEAVE_MS = 100,		   /* for requests that came before http_leave() */
};

/* The answer of a route. `body` is freed with free() unless `keep`; NULL: out of memory, which is status 503. */
struct http_answer {
	unsigned status;
	const char *type; /* Content-Type */
	char *body;
	size_t length;
	bool keep; /* the body lives for ever */
};

struct http_route {
	const char *path;
	void (*answer)(void *context, struct http_answer *answer); /* on the server's thread */
};

struct http_params {
	int listen_fd; /* listening, not blocking; stays the caller's */
	const struct http_route *routes;
	size_t route_count;
	void *context;
	const char *content_policy;	     /* Content-Security-Policy of all answers */
	const char *own_name;		     /* answer no other in Host (perf/export/http_host.h); NULL: whatever */
	const struct seccomp_filter *filter; /* of the thread's system calls; NULL: none */
};

struct http_server;

/* Starts the thread, named "metrics". It inherits CPUs and blocked signals of the caller, and has no capability. What
 * `params` points to outlives the server. NULL on failure, with `error` set. */
struct http_server *http_start(const struct http_params *params, struct error *error);

/* Has the thread accept no more connections, answer those that it has, and end: within HTTP_LEAVE_MS. Another process
 * that has the listening socket accepts the others. http_stop() follows. Takes NULL. */
void http_leave(struct http_server *server);

/* Ends the thread and closes all connections. Takes NULL. */
void http_stop(struct http_server *server);

/* The same without a thread, for tests: a step answers the pending requests, and returns how many connections are open.
 */
struct http_server *http_open(const struct http_params *params, struct error *error);
size_t http_step(struct http_server *server);
void http_close(struct http_server *server);
