// SPDX-License-Identifier: Apache-2.0
/* A Unix stream socket whose requests are lines, and whose answers end the connection: what the control socket
 * (core/control/control.h) and others on which programs of the same machine ask have in common.
 *
 * All of it happens on the caller's thread, in line_server_poll(), and never blocks: connections, the length of a line
 * and the time of a request are bounded, and so is what is done for each connection before the next one has its turn.
 * Long answers are sent in pieces, each made when the one before is sent. A client without a complete request is
 * dropped after LINE_SERVER_TIME_LIMIT, and so is one that does not take a piece of its answer in that time; while
 * LINE_SERVER_CONNECTIONS_MAX are open the next ones wait in the listen queue. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/control/listener.h"

#define LINE_SERVER_TIME_LIMIT (5 * NS_PER_S)
enum {
	LINE_SERVER_LINE_MAX = 4096, /* bytes, with the "\n" */
	LINE_SERVER_CONNECTIONS_MAX = 16,
};

struct line_server;
struct line_connection;

/* Why there is no whole request. */
enum line_failure {
	LINE_TOO_LONG,
	LINE_UNFINISHED, /* the client has sent all that it had */
	LINE_LATE,
};

/* On the caller's thread, from within line_server_poll(); must not block. After line_connection_answer() the connection
 * may be gone. */
struct line_handlers {
	/* A line, without its end, terminated; it may have zero bytes, is the handler's to change, and wiped
	 * afterwards. The handler answers, or defers its answer, or, by doing nothing, waits for the next line. What
	 * follows the line that is answered is not read. */
	void (*line)(void *context, struct line_connection *connection, char *line, size_t length);
	/* There will be no further line. Without an answer the connection ends. */
	void (*refuse)(void *context, struct line_connection *connection, enum line_failure failure);
	/* All that was answered is sent: gives the next piece by line_connection_answer(), or ends the answer by doing
	 * nothing. NULL: answers have one piece. */
	void (*more)(void *context, struct line_connection *connection);
	/* The connection ends: the place for what line_connection_keep() kept to be freed. May be NULL. */
	void (*closed)(void *context, struct line_connection *connection);
};

/* Borrowed until line_server_free(). */
struct line_server_params {
	const struct control_listener *listener; /* open */
	const struct line_handlers *handlers;
	void *context; /* of the handlers */
	const struct clock *clock;
};

/* Serves the listener's connections. NULL with `error` set on failure, and nothing left behind. Start-up only. */
struct line_server *line_server_new(const struct line_server_params *params, struct error *error);

/* Drops all connections. NULL is allowed. */
void line_server_free(struct line_server *server);

/* One descriptor to poll for reading; call line_server_poll() when it is readable. It also becomes readable when a time
 * limit may have passed. */
int line_server_fd(const struct line_server *server);

/* Accepts, reads, runs handlers, writes: a bounded amount of each, then returns. */
void line_server_poll(struct line_server *server);

/* Before another process has the listener: answers the connections that were accepted, whose clients would see an end
 * without an answer, and accepts no others, which wait in the listen queue. Returns when none is left but those whose
 * answer is deferred, at the latest after so many milliseconds. The next line_server_poll() accepts again. */
void line_server_finish(struct line_server *server, int limit_ms);

/* --- for handlers ------------------------------------------------------------------------------------------------- */

/* Takes `text`, from malloc(), over, and sends its `length` bytes as the client reads; it is wiped then. NULL (no
 * memory) ends the connection. Once for each line, and again from `more`. */
void line_connection_answer(struct line_connection *connection, char *text, size_t length);

/* The handler's own state of a connection: NULL at first. */
void line_connection_keep(struct line_connection *connection, void *state);
void *line_connection_kept(const struct line_connection *connection);

/* A request whose answer comes later. */
struct line_ticket {
	uint32_t index, serial;
};

/* The answer comes later, from outside of line_server_poll(), and has no time limit. */
struct line_ticket line_connection_defer(struct line_connection *connection);

/* The connection of a ticket, to be answered now; NULL: the client went away. */
struct line_connection *line_server_resume(struct line_server *server, struct line_ticket ticket);
