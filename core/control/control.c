// SPDX-License-Identifier: Apache-2.0
#include "core/control/control.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
	TICK_SECONDS = 1,	    /* how late a time limit may be noticed */
	ARGUMENTS_MAX = 64,	    /* words of a request */
	FAREWELL_ROUNDS = 64,	    /* reads of what a client sent too much, so that it sees an end and no reset */
	JSON_FORMAT = JSON_COMPACT, /* reals with ten digits: tenths of ns up to a second */
	JSON_DIGITS = 10,
};

struct connection {
	int fd;		 /* -1: free */
	uint32_t serial; /* of all that were in this place */
	bool deferred;	 /* the answer comes later */
	uint64_t deadline;
	size_t request_length;
	char *answer; /* NULL while the request is read */
	size_t answer_length;
	size_t answer_sent;
	char request[CONTROL_REQUEST_MAX];
};

struct control {
	struct control_params params;
	int epoll_fd;
	int timer_fd;
	bool listening;		   /* the listening socket is watched */
	bool ticking;		   /* the timer runs */
	struct connection *asking; /* whose handler runs */
	bool out_of_memory;	   /* or descriptors: no accept before the next tick */
	unsigned open;		   /* connections */
	struct connection connections[CONTROL_CONNECTIONS_MAX];
};

/* --- requests and answers ----------------------------------------------------------------------------------------- */

/* Takes `member` over. NULL: no memory. */
static char *format_answer(bool ok, const char *key, json_t *member)
{
	char *text = NULL;
	json_t *document = json_pack("{s:b, s:o}", "ok", ok, key, member);
	char *json = json_dumps(document, JSON_FORMAT | JSON_REAL_PRECISION(JSON_DIGITS));
	if (json != NULL && asprintf(&text, "%s\n", json) < 0)
		text = NULL;
	free(json);
	json_decref(document);
	return text;
}

static char *format_error(struct error *error)
{
	/* The text may quote a file name, which need not be UTF-8, while JSON is. */
	json_t *text = json_string(error->text);
	if (text == NULL) {
		for (char *c = error->text; *c != '\0'; c++)
			*c = (*c & 0x80) != 0 ? '?' : *c;
		text = json_string(error->text);
	}
	return format_answer(false, "error", text);
}

static json_t *help_result(const struct control_params *params)
{
	json_t *help = json_object();
	for (size_t i = 0; i < params->command_count; i++)
		json_object_set_new(help, params->commands[i].name, json_string(params->commands[i].help));
	return help;
}

static json_t *run_words(const struct control_params *params, char *const *words, size_t count, struct error *error)
{
	if (count == 0) {
		error_set(error, -EINVAL, "the request is empty; \"help\" lists the commands");
		return NULL;
	}
	for (size_t i = 0; i < params->command_count; i++) {
		const struct control_command *command = &params->commands[i];
		if (strcmp(words[0], command->name) == 0)
			return command->handler(params->context, words + 1, count - 1, error);
	}
	if (strcmp(words[0], "help") == 0)
		return help_result(params);
	error_set(error, -EINVAL, "unknown command \"%.32s\"; \"help\" lists the commands", words[0]);
	return NULL;
}

/* `line` is a terminated copy of its own that the words point into. */
static json_t *run_line(const struct control_params *params, char *line, size_t length, struct error *error)
{
	for (size_t i = 0; i < length; i++) {
		if (line[i] < ' ' || line[i] > '~') {
			error_set(error, -EINVAL, "the request has bytes that are not printable ASCII");
			return NULL;
		}
	}
	char *words[ARGUMENTS_MAX], *rest = NULL;
	size_t count = 0;
	for (char *word = strtok_r(line, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
		if (count == ARGUMENTS_MAX) {
			error_set(error, -E2BIG, "the request has more than %d words", ARGUMENTS_MAX);
			return NULL;
		}
		words[count++] = word;
	}
	return run_words(params, words, count, error);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void connection_close(struct control *control, struct connection *connection)
{
	char rest[CONTROL_REQUEST_MAX];
	for (int i = 0; i < FAREWELL_ROUNDS && recv(connection->fd, rest, sizeof rest, MSG_DONTWAIT) > 0; i++)
		;
	close(connection->fd);
	free(connection->answer);
	connection->answer = NULL;
	connection->fd = -1;
	control->open--;
}

static void connection_write(struct control *control, struct connection *connection)
{
	while (connection->answer_sent < connection->answer_length) {
		ssize_t sent = send(connection->fd, connection->answer + connection->answer_sent,
				    connection->answer_length - connection->answer_sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			return;
		if (sent < 0)
			break;
		connection->answer_sent += (size_t)sent;
	}
	connection_close(control, connection);
}

/* Takes `answer` over and sends as much as goes; the rest follows as the client reads. */
static void connection_answer(struct control *control, struct connection *connection, char *answer)
{
	if (answer == NULL) {
		connection_close(control, connection);
		return;
	}
	connection->answer = answer;
	connection->answer_length = strlen(answer);
	connection->answer_sent = 0;
	struct epoll_event event = {.events = EPOLLOUT, .data.ptr = connection};
	epoll_ctl(control->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event);
	connection_write(control, connection);
}

static void connection_refuse(struct control *control, struct connection *connection, const char *why)
{
	struct error error;
	error_set(&error, -EPROTO, "%s", why);
	connection_answer(control, connection, format_error(&error));
}

static void connection_run(struct control *control, struct connection *connection, char *line, size_t length)
{
	struct error error = {.text = "no memory for the answer"};
	line[length] = '\0';
	control->asking = connection;
	json_t *result = run_line(&control->params, line, length, &error);
	control->asking = NULL;
	explicit_bzero(connection->request, sizeof connection->request); /* there may have been a key */
	if (!connection->deferred)
		connection_answer(control, connection,
				  result != NULL ? format_answer(true, "result", result) : format_error(&error));
}

static void connection_read(struct control *control, struct connection *connection)
{
	char *end = connection->request + connection->request_length;
	ssize_t got = recv(connection->fd, end, sizeof connection->request - connection->request_length, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got < 0 || (got == 0 && connection->request_length == 0)) {
		connection_close(control, connection);
		return;
	}
	connection->request_length += (size_t)got;

	char *newline = memchr(end, '\n', (size_t)got);
	if (newline != NULL)
		connection_run(control, connection, connection->request, (size_t)(newline - connection->request));
	else if (got == 0)
		connection_refuse(control, connection, "the request does not end with a newline");
	else if (connection->request_length == sizeof connection->request)
		connection_refuse(control, connection, "the request is too long");
}

struct control_ticket control_defer(struct control *control)
{
	struct connection *connection = control->asking;
	/* Only the end of the connection is still watched for. */
	struct epoll_event event = {.events = 0, .data.ptr = connection};
	epoll_ctl(control->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event);
	connection->deferred = true;
	connection->deadline = UINT64_MAX;
	return (struct control_ticket){(uint32_t)(connection - control->connections), connection->serial};
}

static void control_expire(struct control *control)
{
	uint64_t now = clock_monotonic(control->params.clock);
	for (size_t i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
		struct connection *connection = &control->connections[i];
		if (connection->fd < 0 || now < connection->deadline)
			continue;
		if (connection->answer == NULL)
			connection_refuse(control, connection, "no complete request within the time limit");
		if (connection->fd >= 0)
			connection_close(control, connection);
	}
}

static struct connection *free_connection(struct control *control)
{
	for (size_t i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
		if (control->connections[i].fd < 0)
			return &control->connections[i];
	}
	return NULL;
}

static void control_accept(struct control *control)
{
	struct connection *connection;
	while ((connection = free_connection(control)) != NULL) {
		int fd = accept4(control->params.listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			/* Not retried at once: the listening socket stays readable, and the loop would spin. */
			control->out_of_memory = errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
						 errno == ENOBUFS;
			return;
		}
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
		if (epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
			close(fd);
			return;
		}
		connection->fd = fd;
		connection->serial++;
		connection->deferred = false;
		connection->request_length = 0;
		connection->deadline = clock_monotonic(control->params.clock) + CONTROL_TIME_LIMIT;
		control->open++;
	}
}

/* Watches the listen socket while a connection would have room, and runs the timer while something can run out. An idle
 * daemon is not woken. */
static void control_rearm(struct control *control)
{
	bool listening = control->open < CONTROL_CONNECTIONS_MAX && !control->out_of_memory;
	if (listening != control->listening) {
		struct epoll_event event = {.events = listening ? EPOLLIN : 0, .data.ptr = &control->listening};
		epoll_ctl(control->epoll_fd, EPOLL_CTL_MOD, control->params.listener->fd, &event);
		control->listening = listening;
	}
	bool ticking = control->open > 0 || control->out_of_memory;
	if (ticking != control->ticking) {
		time_t seconds = ticking ? TICK_SECONDS : 0;
		struct itimerspec tick = {.it_value.tv_sec = seconds, .it_interval.tv_sec = seconds};
		timerfd_settime(control->timer_fd, 0, &tick, NULL);
		control->ticking = ticking;
	}
}

void control_answer(struct control *control, struct control_ticket ticket, json_t *result, struct error *error)
{
	struct connection *connection = &control->connections[ticket.index];
	if (connection->fd < 0 || connection->serial != ticket.serial) {
		json_decref(result);
		return;
	}
	connection->deferred = false;
	connection->deadline = clock_monotonic(control->params.clock) + CONTROL_TIME_LIMIT;
	connection_answer(control, connection,
			  result != NULL ? format_answer(true, "result", result) : format_error(error));
	control_rearm(control);
}

int control_fd(const struct control *control)
{
	return control->epoll_fd;
}

void control_poll(struct control *control)
{
	struct epoll_event events[CONTROL_CONNECTIONS_MAX + 2]; /* the listen socket and the timer */
	int count = epoll_wait(control->epoll_fd, events, ARRAY_SIZE(events), 0);
	bool accepting = false;
	for (int i = 0; i < count; i++) {
		struct connection *connection = events[i].data.ptr;
		if (events[i].data.ptr == &control->timer_fd) {
			uint64_t ticks;
			ssize_t got = read(control->timer_fd, &ticks, sizeof ticks);
			(void)got; /* how many does not matter */
			control->out_of_memory = false;
		} else if (events[i].data.ptr == &control->listening) {
			accepting = true;
		} else if (connection->answer != NULL) {
			connection_write(control, connection);
		} else if (connection->deferred) {
			connection_close(control, connection);
		} else {
			connection_read(control, connection);
		}
	}
	/* Last, so that no event of this round is taken for one of a new connection in the same place. */
	control_expire(control);
	if (accepting)
		control_accept(control);
	control_rearm(control);
}

/* --- life cycle --------------------------------------------------------------------------------------------------- */

static int open_descriptors(struct control *control, struct error *error)
{
	const struct control_listener *listener = control->params.listener;
	struct epoll_event listen_event = {.data.ptr = &control->listening};
	struct epoll_event timer_event = {.events = EPOLLIN, .data.ptr = &control->timer_fd};
	if ((control->epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0 ||
	    (control->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) < 0 ||
	    epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, control->timer_fd, &timer_event) != 0 ||
	    epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, listener->fd, &listen_event) != 0)
		return error_set(error, -errno, "control socket %s: %s", listener->address.sun_path, strerror(errno));
	return 0;
}

struct control *control_new(const struct control_params *params, struct error *error)
{
	struct control *control = calloc(1, sizeof *control);
	if (control == NULL) {
		error_set(error, -ENOMEM, "control socket %s: no memory", params->listener->address.sun_path);
		return NULL;
	}
	control->params = *params;
	control->epoll_fd = control->timer_fd = -1;
	for (size_t i = 0; i < CONTROL_CONNECTIONS_MAX; i++)
		control->connections[i].fd = -1;
	/* Seeds its hash tables from /dev/urandom: now, while that can still be opened. */
	json_object_seed(0);
	if (open_descriptors(control, error) != 0) {
		control_free(control);
		return NULL;
	}
	control_rearm(control);
	return control;
}

void control_free(struct control *control)
{
	if (control == NULL)
		return;
	for (size_t i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
		if (control->connections[i].fd >= 0)
			connection_close(control, &control->connections[i]);
	}
	if (control->timer_fd >= 0)
		close(control->timer_fd);
	if (control->epoll_fd >= 0)
		close(control->epoll_fd);
	free(control);
}
