// SPDX-License-Identifier: Apache-2.0
/* The control socket of a running gateway or client: a Unix stream socket that answers one request per connection.
 *
 * Protocol, version 1. The client sends one line of printable ASCII, at most CONTROL_REQUEST_MAX bytes with its "\n":
 *
 *   request  = command *( 1*SP argument ) LF
 *
 * and gets one JSON document, a "\n" and the end of the stream:
 *
 *   {"ok":true,"result":…}            what the command says
 *   {"ok":false,"error":"…"}          one line for people: what was wrong and what to do
 *
 * "help" answers {command: one line} for every command. Anything after the first line is not read. Who may connect is
 * decided by the file's mode (0660) alone.
 *
 * All of it happens on the caller's thread, in control_poll(), and never blocks: connections, requests and their time
 * are bounded. A command that takes longer says so, and its answer follows when it is there. A client that says nothing
 * is told so and dropped after CONTROL_TIME_LIMIT; while CONTROL_CONNECTIONS_MAX are open the next ones wait in the
 * listen queue. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "core/base/clock.h"
#include "core/base/error.h"

#define CONTROL_TIME_LIMIT (5 * NS_PER_S) /* per connection: request, handler and answer */
enum {
	CONTROL_REQUEST_MAX = 4096,
	CONTROL_CONNECTIONS_MAX = 16,
};

struct control_command {
	const char *name;
	const char *help; /* one line */
	/* Returns the result, which the control socket owns from there, or NULL with `error` set. `arguments` are what
	 * follows the command, alive during the call. Must not block. The caller's thread. */
	json_t *(*handler)(void *context, char *const *arguments, size_t count, struct error *error);
};

/* Whom an answer is for that comes later. */
struct control_ticket {
	uint32_t index, serial;
};

/* Borrowed until control_free(). */
struct control_params {
	const char *path;
	const struct control_command *commands;
	size_t command_count;
	void *context; /* for the handlers */
	const struct clock *clock;
};

/* Where sockets are unless the configuration has them elsewhere. */
#define CONTROL_DIRECTORY "/run/shardtun"

struct control;

/* Removes the socket that a daemon left at `path` when it was killed. Errors as of control_new(); none there is none.
 */
int control_remove_stale(const char *path, struct error *error);

/* Makes the directory of the socket at `path` (0755) when it is missing. */
int control_make_directory(const char *path, struct error *error);

/* Listens at the path; its directory is made (0755) when missing. The socket of a daemon that is gone is replaced; one
 * that somebody answers on is -EADDRINUSE, anything that is no socket -EEXIST. NULL with `error` set on failure, and
 * nothing left behind. Start-up only. */
struct control *control_new(const struct control_params *params, struct error *error);

/* Before root becomes that user, who is to remove the socket at the end: the socket is its own then, and its group may
 * write to the directory, if that is CONTROL_DIRECTORY or was made here. 0, or a negative errno with `error`. */
int control_give(struct control *control, uid_t user, gid_t group, struct error *error);

/* Afterwards: warns when it cannot be removed all the same, from a directory of somebody else. */
void control_check_removable(const struct control *control);

/* Drops all connections and removes the file, if it is still ours. NULL is allowed. */
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
