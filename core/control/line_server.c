// SPDX-License-Identifier: Apache-2.0
#include "core/control/line_server.h"

#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
	TICK_SECONDS = 1,     /* how late a time limit may be noticed */
	FAREWELL_ROUNDS = 64, /* reads of what a client sent too much, so that it sees an end and no reset */
};

enum progress {
	READING,
	DEFERRED,
	ANSWERING,
};

struct line_connection {
	struct line_server *server;
	int fd;		 /* -1: free */
	uint32_t serial; /* of all that were in this place */
	enum progress progress;
	uint64_t deadline;
	size_t filled; /* bytes of the buffer */
	char *answer;  /* NULL: none, or none yet */
	size_t answer_length;
	size_t answer_sent;
	void *state; /* the handler's */
	char buffer[LINE_SERVER_LINE_MAX];
};

struct line_server {
	struct line_server_params params;
	int epoll_fd;
	int timer_fd;
	bool listening;	    /* the listening socket is watched */
	bool ticking;	    /* the timer runs */
	bool out_of_memory; /* or descriptors: no accept before the next tick */
	bool finishing;	    /* line_server_finish() */
	unsigned open;	    /* connections */
	struct line_connection connections[LINE_SERVER_CONNECTIONS_MAX];
};

static uint64_t time_limit(const struct line_server *server)
{
	return clock_monotonic(server->params.clock) + LINE_SERVER_TIME_LIMIT;
}

static void watch(const struct line_connection *connection, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = (void *)(uintptr_t)connection};
	epoll_ctl(connection->server->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event);
}

/* Watches the listen socket while a connection would have room, and runs the timer while something can run out. An idle
 * daemon is not woken. */
static void server_rearm(struct line_server *server)
{
	bool listening = server->open < LINE_SERVER_CONNECTIONS_MAX && !server->out_of_memory && !server->finishing;
	if (listening != server->listening) {
		struct epoll_event event = {.events = listening ? EPOLLIN : 0, .data.ptr = &server->listening};
		epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, server->params.listener->fd, &event);
		server->listening = listening;
	}
	bool ticking = server->open > 0 || server->out_of_memory;
	if (ticking != server->ticking) {
		time_t seconds = ticking ? TICK_SECONDS : 0;
		struct itimerspec tick = {.it_value.tv_sec = seconds, .it_interval.tv_sec = seconds};
		timerfd_settime(server->timer_fd, 0, &tick, NULL);
		server->ticking = ticking;
	}
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

static void drop_answer(struct line_connection *connection)
{
	if (connection->answer != NULL)
		explicit_bzero(connection->answer, connection->answer_length);
	free(connection->answer);
	connection->answer = NULL;
}

static void connection_close(struct line_connection *connection)
{
	struct line_server *server = connection->server;
	char rest[LINE_SERVER_LINE_MAX];
	for (int i = 0; i < FAREWELL_ROUNDS && recv(connection->fd, rest, sizeof rest, MSG_DONTWAIT) > 0; i++)
		;
	if (server->params.handlers->closed != NULL)
		server->params.handlers->closed(server->params.context, connection);
	close(connection->fd);
	drop_answer(connection);
	explicit_bzero(connection->buffer, sizeof connection->buffer); /* there may have been a key */
	connection->fd = -1;
	server->open--;
	server_rearm(server);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

/* The next piece is sent when the socket has room, after other connections had their turn. */
static void piece_sent(struct line_connection *connection)
{
	struct line_server *server = connection->server;
	drop_answer(connection);
	connection->deadline = time_limit(server);
	if (server->params.handlers->more != NULL)
		server->params.handlers->more(server->params.context, connection);
	if (connection->fd >= 0 && connection->answer == NULL)
		connection_close(connection);
}

static void connection_write(struct line_connection *connection)
{
	while (connection->answer_sent < connection->answer_length) {
		ssize_t sent = send(connection->fd, connection->answer + connection->answer_sent,
				    connection->answer_length - connection->answer_sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			return;
		if (sent < 0) {
			connection_close(connection);
			return;
		}
		connection->answer_sent += (size_t)sent;
	}
	piece_sent(connection);
}

void line_connection_answer(struct line_connection *connection, char *text, size_t length)
{
	bool first = connection->progress != ANSWERING;
	if (text == NULL) {
		connection_close(connection);
		return;
	}
	connection->answer = text;
	connection->answer_length = length;
	connection->answer_sent = 0;
	if (!first)
		return;
	connection->progress = ANSWERING;
	watch(connection, EPOLLOUT);
	connection_write(connection);
}

void line_connection_keep(struct line_connection *connection, void *state)
{
	connection->state = state;
}

void *line_connection_kept(const struct line_connection *connection)
{
	return connection->state;
}

struct line_ticket line_connection_defer(struct line_connection *connection)
{
	watch(connection, 0); /* only the end of the connection */
	connection->progress = DEFERRED;
	connection->deadline = UINT64_MAX;
	return (struct line_ticket){(uint32_t)(connection - connection->server->connections), connection->serial};
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static void connection_refuse(struct line_connection *connection, enum line_failure failure)
{
	struct line_server *server = connection->server;
	uint32_t serial = connection->serial;
	server->params.handlers->refuse(server->params.context, connection, failure);
	if (connection->fd >= 0 && connection->serial == serial && connection->progress == READING)
		connection_close(connection);
}

/* Runs the handler for the lines that are complete, while it waits for more, and keeps the rest of the bytes. */
static void take_lines(struct line_connection *connection)
{
	struct line_server *server = connection->server;
	char *start = connection->buffer, *end = start + connection->filled, *newline;
	while (connection->fd >= 0 && connection->progress == READING &&
	       (newline = memchr(start, '\n', (size_t)(end - start))) != NULL) {
		*newline = '\0';
		server->params.handlers->line(server->params.context, connection, start, (size_t)(newline - start));
		start = newline + 1;
	}
	if (connection->fd < 0)
		return;
	size_t left = (size_t)(end - start);
	memmove(connection->buffer, start, left);
	explicit_bzero(connection->buffer + left, (size_t)(start - connection->buffer));
	connection->filled = left;
}

static void connection_read(struct line_connection *connection)
{
	char *end = connection->buffer + connection->filled;
	ssize_t got = recv(connection->fd, end, sizeof connection->buffer - connection->filled, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got < 0 || (got == 0 && connection->filled == 0 && connection->state == NULL)) {
		connection_close(connection);
		return;
	}
	connection->filled += (size_t)got;
	if (got == 0)
		connection_refuse(connection, LINE_UNFINISHED);
	else if (memchr(end, '\n', (size_t)got) != NULL)
		take_lines(connection);
	else if (connection->filled == sizeof connection->buffer)
		connection_refuse(connection, LINE_TOO_LONG);
}

/* --- the server --------------------------------------------------------------------------------------------------- */

static void server_expire(struct line_server *server)
{
	uint64_t now = clock_monotonic(server->params.clock);
	for (size_t i = 0; i < LINE_SERVER_CONNECTIONS_MAX; i++) {
		struct line_connection *connection = &server->connections[i];
		if (connection->fd < 0 || now < connection->deadline)
			continue;
		if (connection->progress == READING)
			connection_refuse(connection, LINE_LATE);
		if (connection->fd >= 0)
			connection_close(connection);
	}
}

static struct line_connection *free_connection(struct line_server *server)
{
	for (size_t i = 0; i < LINE_SERVER_CONNECTIONS_MAX; i++) {
		if (server->connections[i].fd < 0)
			return &server->connections[i];
	}
	return NULL;
}

static void server_accept(struct line_server *server)
{
	struct line_connection *connection;
	while ((connection = free_connection(server)) != NULL) {
		int fd = accept4(server->params.listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			/* Not retried at once: the listening socket stays readable, and the loop would spin. */
			server->out_of_memory = errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
						errno == ENOBUFS;
			return;
		}
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
		if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
			close(fd);
			return;
		}
		connection->fd = fd;
		connection->serial++;
		connection->progress = READING;
		connection->filled = 0;
		connection->state = NULL;
		connection->deadline = time_limit(server);
		server->open++;
	}
}

struct line_connection *line_server_resume(struct line_server *server, struct line_ticket ticket)
{
	struct line_connection *connection = &server->connections[ticket.index];
	if (connection->fd < 0 || connection->serial != ticket.serial)
		return NULL;
	connection->deadline = time_limit(server);
	return connection;
}

int line_server_fd(const struct line_server *server)
{
	return server->epoll_fd;
}

static void connection_ready(struct line_connection *connection)
{
	if (connection->progress == ANSWERING)
		connection_write(connection);
	else if (connection->progress == DEFERRED)
		connection_close(connection);
	else
		connection_read(connection);
}

void line_server_poll(struct line_server *server)
{
	struct epoll_event events[LINE_SERVER_CONNECTIONS_MAX + 2]; /* the listen socket and the timer */
	int count = epoll_wait(server->epoll_fd, events, ARRAY_SIZE(events), 0);
	bool accepting = false;
	for (int i = 0; i < count; i++) {
		if (events[i].data.ptr == &server->timer_fd) {
			uint64_t ticks;
			ssize_t got = read(server->timer_fd, &ticks, sizeof ticks);
			(void)got; /* how many does not matter */
			server->out_of_memory = false;
		} else if (events[i].data.ptr == &server->listening) {
			accepting = true;
		} else {
			connection_ready(events[i].data.ptr);
		}
	}
	/* Last, so that no event of this round is taken for one of a new connection in the same place. */
	server_expire(server);
	if (accepting)
		server_accept(server);
	server_rearm(server);
}

static bool is_answering(const struct line_server *server)
{
	for (size_t i = 0; i < LINE_SERVER_CONNECTIONS_MAX; i++) {
		if (server->connections[i].fd >= 0 && server->connections[i].progress != DEFERRED)
			return true;
	}
	return false;
}

void line_server_finish(struct line_server *server, int limit_ms)
{
	uint64_t now = clock_monotonic(&clock_system), end = now + (unsigned)limit_ms * NS_PER_MS;
	struct pollfd polled = {.fd = server->epoll_fd, .events = POLLIN};
	server->finishing = true;
	server_rearm(server);
	for (; now < end && is_answering(server); now = clock_monotonic(&clock_system)) {
		int left = (int)((end - now + NS_PER_MS - 1) / NS_PER_MS);
		if (poll(&polled, 1, left) > 0)
			line_server_poll(server);
	}
	server->finishing = false;
	server_rearm(server);
}

static int open_descriptors(struct line_server *server, struct error *error)
{
	const struct control_listener *listener = server->params.listener;
	struct epoll_event listen_event = {.data.ptr = &server->listening};
	struct epoll_event timer_event = {.events = EPOLLIN, .data.ptr = &server->timer_fd};
	if ((server->epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0 ||
	    (server->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) < 0 ||
	    epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->timer_fd, &timer_event) != 0 ||
	    epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, listener->fd, &listen_event) != 0)
		return error_set(error, -errno, "%s %s: %s", listener->kind->name, listener->address.sun_path,
				 strerror(errno));
	return 0;
}

struct line_server *line_server_new(const struct line_server_params *params, struct error *error)
{
	struct line_server *server = calloc(1, sizeof *server);
	if (server == NULL) {
		error_set(error, -ENOMEM, "%s %s: no memory", params->listener->kind->name,
			  params->listener->address.sun_path);
		return NULL;
	}
	server->params = *params;
	server->epoll_fd = server->timer_fd = -1;
	for (size_t i = 0; i < LINE_SERVER_CONNECTIONS_MAX; i++) {
		server->connections[i].server = server;
		server->connections[i].fd = -1;
	}
	if (open_descriptors(server, error) != 0) {
		line_server_free(server);
		return NULL;
	}
	server_rearm(server);
	return server;
}

void line_server_free(struct line_server *server)
{
	if (server == NULL)
		return;
	for (size_t i = 0; i < LINE_SERVER_CONNECTIONS_MAX; i++) {
		if (server->connections[i].fd >= 0)
			connection_close(&server->connections[i]);
	}
	if (server->timer_fd >= 0)
		close(server->timer_fd);
	if (server->epoll_fd >= 0)
		close(server->epoll_fd);
	free(server);
}
