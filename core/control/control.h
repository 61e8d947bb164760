// SPDX-License-Identifier: Apache-2.0
/* The control socket of a running gateway or client: a Unix stream socket that answers one request per connection.
 *
 * Protocol, version 1. The client sends one line of printable ASCII, at most CONTROL_REQUEST_MAX bytes with its "\n":
 *
 *   request  = command *( 1*SP argument ) LF
 *
 * and gets one JSON document, a "\n" and the end of the stream:
 *
 *   {"ok":true,"result":…}            the command's answer
 *   {"ok":false,"error":"…"}          one line of text: what was wrong and what to do
 *
 * "help" answers {command: one line} for every command. Anything after the first line is not read. The file's mode
 * (0660) alone decides which users may connect.
 *
 * All of it happens on the caller's thread, in control_poll(), and never blocks: connections, requests and their time
 * are bounded (core/control/line_server.h). A command that takes longer defers its answer (control_defer()). A client
 * without a complete request is sent an error and dropped after CONTROL_TIME_LIMIT. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/control/line_server.h"

#define CONTROL_TIME_LIMIT LINE_SERVER_TIME_LIMIT /* per connection: request, handler and answer */
enum {
	CONTROL_REQUEST_MAX = LINE_SERVER_LINE_MAX,
	CONTROL_CONNECTIONS_MAX = LINE_SERVER_CONNECTIONS_MAX,
};

struct control_command {
	const char *name;
	const char *help; /* one line */
	/* Returns the result, which the control socket owns from there, or NULL with `error` set. `arguments` are what
	 * follows the command, alive during the call. Must not block. The caller's thread. */
	json_t *(*handler)(void *context, char *const *arguments, size_t count, struct error *error);
};

/* A request whose answer comes later. */
struct control_ticket {
	uint32_t index, serial;
};

/* Borrowed until control_free(). */
struct control_params {
	const struct control_listener *listener; /* open */
	const struct control_command *commands;
	size_t command_count;
	void *context; /* for the handlers */
	const struct clock *clock;
};

struct control;

/* Serves the listener's connections. NULL with `error` set on failure, and nothing left behind. Start-up only. */
struct control *control_new(const struct control_params *params, struct error *error);

/* Drops all connections. NULL is allowed. */
void control_free(struct control *control);

/* One descriptor to poll for reading; call control_poll() when it is readable. It also becomes readable when a time
 * limit may have passed. */
int control_fd(const struct control *control);

/* From within a handler: its answer comes later, by control_answer(), and what it returns does not count. */
struct control_ticket control_defer(struct control *control);

/* Answers with `result`, which is the control socket's from there, or with `error` if that is NULL. A client that went
 * away meanwhile is no error. The caller's thread, outside control_poll(). */
void control_answer(struct control *control, struct control_ticket ticket, json_t *result, struct error *error);

/* Accepts, reads, runs handlers, writes: a bounded amount of each, then returns. */
void control_poll(struct control *control);

/* As line_server_finish(). */
void control_finish(struct control *control, int limit_ms);
