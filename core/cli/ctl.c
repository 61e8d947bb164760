// SPDX-License-Identifier: Apache-2.0
#include "core/cli/ctl.h"

#include <glob.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/cli/ctl_answer.h"

enum { READ_FIRST = 65536, READ_LEAST = 16384 };

int ctl_find_socket(const char *directory, char path[CTL_PATH_MAX], struct error *error)
{
	char pattern[CTL_PATH_MAX];
	if ((size_t)snprintf(pattern, sizeof pattern, "%s/*.sock", directory) >= sizeof pattern)
		return error_set(error, -ENAMETOOLONG, "%s: the path is too long", directory);
	if (access(directory, R_OK | X_OK) != 0 && errno != ENOENT)
		return error_set(error, -errno, "%s: %s; run as root, or name the socket with --socket PATH", directory,
				 strerror(errno));

	glob_t found;
	if (glob(pattern, 0, NULL, &found) != 0)
		return error_set(error, -ENOENT,
				 "no daemon is running: there is no socket in %s; start one, or name its socket with "
				 "--socket PATH",
				 directory);
	int code = 0;
	if (found.gl_pathc == 1) {
		snprintf(path, CTL_PATH_MAX, "%s", found.gl_pathv[0]);
	} else {
		char list[sizeof error->text] = "";
		for (size_t i = 0, used = 0; i < found.gl_pathc && used < sizeof list; i++)
			used += (size_t)snprintf(list + used, sizeof list - used, " %s", found.gl_pathv[i]);
		code = error_set(error, -ENOTUNIQ, "there are several daemons; choose one with --socket:%s", list);
	}
	globfree(&found);
	return code;
}

bool ctl_line_add(struct ctl_line *line, const char *word)
{
	for (const char *c = word; *c != '\0'; c++) {
		if (*c <= ' ' || *c > '~')
			return false;
	}
	int length = snprintf(line->text + line->length, sizeof line->text - line->length, "%s%s",
			      line->length != 0 ? " " : "", word);
	line->length += (size_t)length;
	return *word != '\0' && line->length < sizeof line->text - 1; /* and the newline */
}

/* One deadline for connecting, sending and the whole answer: a daemon cannot stretch it by sending slowly. */
struct exchange {
	struct ctl_target *target;
	int fd;
	uint64_t deadline; /* monotonic ns */
	char *answer;
	size_t length, room;
};

static int remaining_ms(const struct exchange *exchange)
{
	uint64_t now = clock_monotonic(&clock_system);
	return now < exchange->deadline ? (int)((exchange->deadline - now + NS_PER_MS - 1) / NS_PER_MS) : 0;
}

static int refuse_connection(const char *path, int failure, struct error *error)
{
	const char *hint = failure == ECONNREFUSED || failure == ENOENT ? "; is the daemon running?"
			   : failure == EACCES				? "; run as root"
									: "";
	return error_set(error, -failure, "%s: cannot connect (%s)%s", path, strerror(failure), hint);
}

static int connect_to(struct exchange *exchange, unsigned seconds, struct error *error)
{
	const char *path = exchange->target->path;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(path);
	if (length >= sizeof address.sun_path)
		return error_set(error, -ENAMETOOLONG, "%s: the path is too long for a socket", path);
	memcpy(address.sun_path, path, length);
	int result = ctl_target_check_path(exchange->target, error);
	if (result != 0)
		return result;
	exchange->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (exchange->fd < 0)
		return error_set(error, -errno, "%s: %s", path, strerror(errno));
	/* Bounds connect(2), which waits while the listen queue is full, and send(2). */
	struct timeval limit = {.tv_sec = (time_t)seconds};
	if (setsockopt(exchange->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0 ||
	    connect(exchange->fd, (const struct sockaddr *)&address, sizeof address) != 0)
		return refuse_connection(path, errno, error);
	return ctl_target_check_peer(exchange->target, exchange->fd, error);
}

static int send_request(const struct exchange *exchange, const char *request, struct error *error)
{
	char *line;
	int length = asprintf(&line, "%s\n", request);
	if (length < 0)
		return error_set(error, -ENOMEM, "no memory for the request");
	/* A daemon may refuse a request before it has read all of it: its answer says more than the failed send. For
	 * the same reason a reset after an answer counts as its end. */
	ssize_t sent = send(exchange->fd, line, (size_t)length, MSG_NOSIGNAL);
	(void)sent;
	explicit_bzero(line, (size_t)length);
	free(line);
	return 0;
}

static bool make_room(struct exchange *exchange)
{
	if (exchange->room - exchange->length >= READ_LEAST)
		return true;
	size_t room = exchange->room != 0 ? 2 * exchange->room : READ_FIRST;
	char *answer = realloc(exchange->answer, room);
	if (answer == NULL)
		return false;
	exchange->answer = answer;
	exchange->room = room;
	return true;
}

static int read_answer(struct exchange *exchange, struct error *error)
{
	const char *path = exchange->target->path;
	for (;;) {
		struct pollfd polled = {.fd = exchange->fd, .events = POLLIN};
		int left = remaining_ms(exchange);
		if (left == 0)
			return error_set(error, -ETIMEDOUT, "%s: the daemon %s", path,
					 exchange->length == 0 ? "does not answer" : "does not come to an end");
		if (poll(&polled, 1, left) <= 0)
			continue;
		if (!make_room(exchange))
			return error_set(error, -ENOMEM, "%s: no memory for the answer", path);
		ssize_t got = recv(exchange->fd, exchange->answer + exchange->length, exchange->room - exchange->length,
				   MSG_DONTWAIT);
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got < 0 && exchange->length == 0)
			return error_set(error, -errno, "%s: reading the answer failed (%s)", path, strerror(errno));
		if (got <= 0)
			return 0;
		exchange->length += (size_t)got;
		if (exchange->length > CTL_ANSWER_MAX)
			return error_set(error, -EMSGSIZE, "%s: the answer is longer than %d MiB; this is not shardtun",
					 path, CTL_ANSWER_MAX >> 20);
	}
}

int ctl_request(struct ctl_target *target, const char *request, json_t **result, struct error *error)
{
	return ctl_request_for(target, request, CTL_TIMEOUT, result, error);
}

int ctl_request_for(struct ctl_target *target, const char *request, unsigned seconds, json_t **result,
		    struct error *error)
{
	struct exchange exchange = {
		.target = target, .fd = -1, .deadline = clock_monotonic(&clock_system) + seconds * NS_PER_S};
	int code = connect_to(&exchange, seconds, error);
	if (code == 0)
		code = send_request(&exchange, request, error);
	if (code == 0)
		code = read_answer(&exchange, error);
	if (code == 0 && exchange.length == 0)
		code = error_set(error, -EPROTO, "%s: the daemon closed the connection without an answer",
				 target->path);
	else if (code == 0)
		code = ctl_answer_parse(exchange.answer, exchange.length, target->path, result, error);
	if (exchange.fd >= 0)
		close(exchange.fd);
	free(exchange.answer);
	return code;
}

bool ctl_sleep(uint64_t ns)
{
	struct timespec wait = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
	return clock_nanosleep(CLOCK_MONOTONIC, 0, &wait, NULL) == 0;
}
