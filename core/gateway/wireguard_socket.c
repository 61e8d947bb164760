// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/wireguard_socket.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/control/line_server.h"
#include "core/gateway/wireguard_get.h"
#include "core/gateway/wireguard_set.h"

const struct control_socket_kind wireguard_socket_kind = {
	.name = "WireGuard's control socket",
	.elsewhere = "choose another Interface",
	.left = "wg(8) removes it",
	.mode = 0600,
};

struct wireguard_socket {
	const struct gateway_running *running;
	const struct clock *clock;
	struct line_server *server;
};

/* Of one connection. */
struct request {
	enum {
		REQUEST_UNKNOWN,
		REQUEST_GET,
		REQUEST_SET,
	} operation;
	int code; /* why it is refused */
	struct wireguard_set set;
	struct wireguard_get *get; /* while it is answered */
};

/* wg(8) takes what "set" answers for a negative errno, and what "get" answers for a positive one. */
static void answer_code(struct line_connection *connection, const struct request *request, int code)
{
	char *text;
	int length = asprintf(&text, "errno=%d\n\n", request->operation == REQUEST_SET ? code : -code);
	line_connection_answer(connection, length >= 0 ? text : NULL, length >= 0 ? (size_t)length : 0);
}

static void begin(struct request *request, const struct gateway_running *running, const char *line)
{
	if (strcmp(line, "get=1") == 0)
		request->operation = REQUEST_GET;
	else if (strcmp(line, "set=1") == 0)
		request->operation = REQUEST_SET;
	else
		request->code = -EINVAL;
	wireguard_set_init(&request->set, running);
}

static void run(const struct wireguard_socket *socket, struct line_connection *connection, struct request *request)
{
	if (request->code == 0 && request->operation == REQUEST_SET)
		request->code = wireguard_set_apply(&request->set);
	if (request->code == 0 && request->operation == REQUEST_GET &&
	    (request->get = wireguard_get_new(socket->running, socket->clock)) == NULL)
		request->code = -ENOMEM;
	if (request->get == NULL) {
		answer_code(connection, request, request->code);
		return;
	}
	size_t length = 0;
	char *text = wireguard_get_next(request->get, &length);
	line_connection_answer(connection, text, length);
}

/* The rest of a request that is refused is read all the same: its sender reads the answer when it has sent it. */
static void take_line(void *context, struct line_connection *connection, char *line, size_t length)
{
	const struct wireguard_socket *socket = context;
	struct request *request = line_connection_kept(connection);
	bool first = request == NULL;
	if (first && (request = calloc(1, sizeof *request)) == NULL) {
		line_connection_answer(connection, NULL, 0);
		return;
	}
	line_connection_keep(connection, request);
	if (strlen(line) != length)
		request->code = -EINVAL;
	if (first)
		begin(request, socket->running, line);
	else if (length == 0)
		run(socket, connection, request);
	else if (request->operation == REQUEST_SET)
		wireguard_set_line(&request->set, line);
	else
		request->code = -EINVAL;
}

static void refuse(void *context, struct line_connection *connection, enum line_failure failure)
{
	static const int codes[] = {
		[LINE_TOO_LONG] = -EINVAL,
		[LINE_UNFINISHED] = -EPROTO,
		[LINE_LATE] = -ETIMEDOUT,
	};
	static const struct request none;
	const struct request *request = line_connection_kept(connection);
	(void)context;
	answer_code(connection, request != NULL ? request : &none, codes[failure]);
}

static void more(void *context, struct line_connection *connection)
{
	struct request *request = line_connection_kept(connection);
	size_t length = 0;
	(void)context;
	char *text = request != NULL && request->get != NULL ? wireguard_get_next(request->get, &length) : NULL;
	if (text != NULL)
		line_connection_answer(connection, text, length);
}

static void closed(void *context, struct line_connection *connection)
{
	struct request *request = line_connection_kept(connection);
	(void)context;
	if (request == NULL)
		return;
	wireguard_get_free(request->get);
	wireguard_set_deinit(&request->set);
	free(request);
}

struct wireguard_socket *wireguard_socket_new(const struct gateway_running *running,
					      const struct control_listener *listener, const struct clock *clock,
					      struct error *error)
{
	static const struct line_handlers handlers = {
		.line = take_line, .refuse = refuse, .more = more, .closed = closed};
	struct wireguard_socket *socket = calloc(1, sizeof *socket);
	if (socket == NULL) {
		error_set(error, -ENOMEM, "%s: no memory", wireguard_socket_kind.name);
		return NULL;
	}
	socket->running = running;
	socket->clock = clock;
	const struct line_server_params params = {
		.listener = listener, .handlers = &handlers, .context = socket, .clock = clock};
	socket->server = line_server_new(&params, error);
	if (socket->server == NULL) {
		free(socket);
		return NULL;
	}
	return socket;
}

void wireguard_socket_free(struct wireguard_socket *socket)
{
	if (socket == NULL)
		return;
	line_server_free(socket->server);
	free(socket);
}

int wireguard_socket_fd(const struct wireguard_socket *socket)
{
	return socket != NULL ? line_server_fd(socket->server) : -1;
}

void wireguard_socket_poll(struct wireguard_socket *socket)
{
	line_server_poll(socket->server);
}

void wireguard_socket_finish(struct wireguard_socket *socket, int limit_ms)
{
	if (socket != NULL)
		line_server_finish(socket->server, limit_ms);
}
