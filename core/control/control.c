// SPDX-License-Identifier: Apache-2.0
#include "core/control/control.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/log.h"

enum {
	SOCKET_MODE = 0660,
	DIRECTORY_MODE = 0755,
	SHARED_DIRECTORY_MODE = 01775, /* as tmpfiles make it: each removes its own */
	TICK_SECONDS = 1,	       /* how late a time limit may be noticed */
	ARGUMENTS_MAX = 64,	       /* words of a request */
	FAREWELL_ROUNDS = 64,	       /* reads of what a client sent too much, so that it sees an end and no reset */
	JSON_FORMAT = JSON_COMPACT,    /* reals with ten digits: tenths of ns up to a second */
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
	struct sockaddr_un address;
	dev_t device; /* of the socket file, to know it again */
	ino_t inode;
	int epoll_fd;
	int listen_fd;
	int timer_fd;
	bool made_directory;	   /* in which the socket is */
	bool listening;		   /* listen_fd is watched */
	bool ticking;		   /* the timer runs */
	struct connection *asking; /* whose handler runs */
	bool out_of_memory;	   /* or descriptors: no accept before the next tick */
	unsigned open;		   /* connections */
	struct connection connections[CONTROL_CONNECTIONS_MAX];
};

/* --- what the socket says ----------------------------------------------------------------------------------------- */

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
	/* Whether the client hangs up is all that is still of interest. */
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
		int fd = accept4(control->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			/* What is short now would be short at once again: the listen socket stays readable. */
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
		struct epoll_event event = {.events = listening ? EPOLLIN : 0, .data.ptr = &control->listen_fd};
		epoll_ctl(control->epoll_fd, EPOLL_CTL_MOD, control->listen_fd, &event);
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
		} else if (events[i].data.ptr == &control->listen_fd) {
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

/* False when there is no directory to speak of. */
static bool directory_of(const char *path, char directory[sizeof((struct sockaddr_un){0}).sun_path])
{
	const char *slash = strrchr(path, '/');
	if (slash == NULL || slash == path)
		return false;
	size_t length = (size_t)(slash - path);
	memcpy(directory, path, length);
	directory[length] = '\0';
	return true;
}

static int make_directory(const char *path, bool *made, struct error *error)
{
	char directory[sizeof((struct sockaddr_un){0}).sun_path];
	if (!directory_of(path, directory))
		return 0;
	if (mkdir(directory, DIRECTORY_MODE) != 0)
		return errno == EEXIST
			       ? 0
			       : error_set(error, -errno, "control socket %s: cannot make the directory %s (%s)", path,
					   directory, strerror(errno));
	*made = true;
	/* The mode asked for, whatever the umask of a start by hand: people look here for the socket. */
	if (chmod(directory, DIRECTORY_MODE) != 0)
		return error_set(error, -errno, "control socket %s: cannot set the mode of %s (%s)", path, directory,
				 strerror(errno));
	return 0;
}

int control_make_directory(const char *path, struct error *error)
{
	bool made;
	return make_directory(path, &made, error);
}

/* Makes way for our socket if nobody lives there. */
static int remove_stale(const struct sockaddr_un *address, struct error *error)
{
	const char *path = address->sun_path;
	struct stat status;
	if (lstat(path, &status) != 0)
		return errno == ENOENT ? 0 : error_set(error, -errno, "control socket %s: %s", path, strerror(errno));
	if (!S_ISSOCK(status.st_mode))
		return error_set(error, -EEXIST,
				 "control socket %s: something that is no socket is there; remove it or set "
				 "ControlSocket",
				 path);

	int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return error_set(error, -errno, "control socket %s: %s", path, strerror(errno));
	int failure = connect(probe, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : errno;
	close(probe);
	/* EAGAIN: the listen queue is full, but there is one. */
	if (failure == 0 || failure == EAGAIN)
		return error_set(error, -EADDRINUSE,
				 "control socket %s: another daemon answers there; stop it or set ControlSocket", path);
	if (failure != ECONNREFUSED && failure != ENOENT)
		return error_set(error, -failure, "control socket %s: cannot tell whether another daemon uses it (%s)",
				 path, strerror(failure));
	if (unlink(path) != 0 && errno != ENOENT)
		return error_set(error, -errno, "control socket %s: cannot remove the one left behind (%s)", path,
				 strerror(errno));
	return 0;
}

int control_remove_stale(const char *path, struct error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(path);
	if (length >= sizeof address.sun_path)
		return 0;
	memcpy(address.sun_path, path, length);
	return remove_stale(&address, error);
}

static int bind_and_listen(struct control *control, struct error *error)
{
	const char *path = control->address.sun_path;
	const struct sockaddr *address = (const struct sockaddr *)&control->address;
	struct stat status;
	/* The file gets the descriptor's mode, cut by the umask: it is never wider open than in the end. */
	if (fchmod(control->listen_fd, SOCKET_MODE) != 0 ||
	    bind(control->listen_fd, address, sizeof control->address) != 0)
		return error_set(error, -errno, "control socket %s: cannot bind (%s)", path, strerror(errno));
	if (chmod(path, SOCKET_MODE) != 0 || lstat(path, &status) != 0 ||
	    listen(control->listen_fd, CONTROL_CONNECTIONS_MAX) != 0) {
		int failure = errno;
		unlink(path);
		return error_set(error, -failure, "control socket %s: cannot listen (%s)", path, strerror(failure));
	}
	control->device = status.st_dev;
	control->inode = status.st_ino;
	return 0;
}

static int open_descriptors(struct control *control, struct error *error)
{
	struct epoll_event listen_event = {.data.ptr = &control->listen_fd};
	struct epoll_event timer_event = {.events = EPOLLIN, .data.ptr = &control->timer_fd};
	if ((control->epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0 ||
	    (control->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) < 0 ||
	    (control->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0 ||
	    epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, control->timer_fd, &timer_event) != 0 ||
	    epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, control->listen_fd, &listen_event) != 0)
		return error_set(error, -errno, "control socket %s: %s", control->params.path, strerror(errno));
	return 0;
}

static void control_close(struct control *control)
{
	if (control->listen_fd >= 0)
		close(control->listen_fd);
	if (control->timer_fd >= 0)
		close(control->timer_fd);
	if (control->epoll_fd >= 0)
		close(control->epoll_fd);
	free(control);
}

struct control *control_new(const struct control_params *params, struct error *error)
{
	struct control *control = calloc(1, sizeof *control);
	if (control == NULL) {
		error_set(error, -ENOMEM, "control socket %s: no memory", params->path);
		return NULL;
	}
	control->params = *params;
	control->epoll_fd = control->timer_fd = control->listen_fd = -1;
	for (size_t i = 0; i < CONTROL_CONNECTIONS_MAX; i++)
		control->connections[i].fd = -1;
	control->address.sun_family = AF_UNIX;
	/* Seeds its hash tables from /dev/urandom: now, while that can still be opened. */
	json_object_seed(0);

	size_t length = strlen(params->path);
	if (length >= sizeof control->address.sun_path) {
		error_set(error, -ENAMETOOLONG,
			  "control socket %s: the path is longer than %zu bytes; set ControlSocket", params->path,
			  sizeof control->address.sun_path - 1);
		goto failed;
	}
	memcpy(control->address.sun_path, params->path, length);
	if (make_directory(params->path, &control->made_directory, error) != 0 ||
	    remove_stale(&control->address, error) != 0 || open_descriptors(control, error) != 0 ||
	    bind_and_listen(control, error) != 0)
		goto failed;
	control_rearm(control);
	return control;

failed:
	control_close(control);
	return NULL;
}

int control_give(struct control *control, uid_t user, gid_t group, struct error *error)
{
	const char *path = control->address.sun_path;
	char directory[sizeof control->address.sun_path];
	bool ours = directory_of(path, directory) &&
		    (control->made_directory || strcmp(directory, CONTROL_DIRECTORY) == 0);
	if (lchown(path, user, group) != 0 ||
	    (ours && (lchown(directory, 0, group) != 0 || chmod(directory, SHARED_DIRECTORY_MODE) != 0)))
		return error_set(error, -errno, "control socket %s: cannot be given to user ID %u (%s)", path,
				 (unsigned)user, strerror(errno));
	return 0;
}

void control_check_removable(const struct control *control)
{
	const char *path = control->address.sun_path;
	char directory[sizeof control->address.sun_path];
	if (directory_of(path, directory) && faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) != 0)
		log_warning("control socket %s: user ID %u cannot remove it at the end, for it may not write to %s; "
			    "set ControlSocket",
			    path, (unsigned)geteuid(), directory);
}

void control_free(struct control *control)
{
	if (control == NULL)
		return;
	for (size_t i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
		if (control->connections[i].fd >= 0)
			connection_close(control, &control->connections[i]);
	}
	struct stat status;
	const char *path = control->address.sun_path;
	if (lstat(path, &status) == 0 && status.st_dev == control->device && status.st_ino == control->inode)
		unlink(path);
	control_close(control);
}
