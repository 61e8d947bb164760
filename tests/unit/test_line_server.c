// SPDX-License-Identifier: Apache-2.0
/* Requests of several lines, and answers in pieces. What has one line and one piece is in test_control.c. */
#include "core/control/line_server.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 100000 };

/* The handler's: lines are counted until an empty one, then as many pieces are sent. */
struct request {
	size_t lines, bytes;
};

static struct clock manual;
static uint64_t now = NS_PER_S;
static char directory[] = "/tmp/test_lines.XXXXXX", path[64];
static struct control_listener listener;
static struct line_server *server;
static size_t open_requests;
static enum line_failure failure = (enum line_failure) - 1;

static uint64_t manual_monotonic(const struct clock *clock)
{
	(void)clock;
	return now;
}

static void take_line(void *context, struct line_connection *connection, char *line, size_t length)
{
	struct request *request = line_connection_kept(connection);
	cr_assert_eq(context, &now);
	cr_assert_eq(strlen(line), length);
	if (request == NULL) {
		request = calloc(1, sizeof *request);
		line_connection_keep(connection, request);
		open_requests++;
	}
	request->bytes += length;
	if (length != 0) {
		request->lines++;
		return;
	}
	char *text;
	int written = asprintf(&text, "%zu lines, %zu bytes\n", request->lines, request->bytes);
	line_connection_answer(connection, text, (size_t)written);
}

static void more(void *context, struct line_connection *connection)
{
	struct request *request = line_connection_kept(connection);
	(void)context;
	if (request == NULL || request->lines == 0)
		return;
	request->lines--;
	char *text = malloc(PIECE);
	memset(text, 'x', PIECE);
	line_connection_answer(connection, text, PIECE);
}

static void refuse(void *context, struct line_connection *connection, enum line_failure why)
{
	(void)context, (void)connection;
	failure = why;
}

static void closed(void *context, struct line_connection *connection)
{
	(void)context;
	open_requests -= line_connection_kept(connection) != NULL;
	free(line_connection_kept(connection));
}

static void start(void)
{
	static const struct control_socket_kind kind = {"test socket", "move it", "leave it", 0600, 0};
	static const struct line_handlers handlers = {take_line, refuse, more, closed};
	struct line_server_params params = {
		.listener = &listener, .handlers = &handlers, .context = &now, .clock = &manual};
	struct error error = {0};
	struct stat status;
	manual.monotonic = manual_monotonic;
	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof path, "%s/sock", directory);
	cr_assert_eq(control_listener_open_as(&listener, &kind, path, &error), 0, "%s", error.text);
	cr_assert_eq(stat(path, &status), 0);
	cr_assert_eq(status.st_mode & 07777, 0600);
	struct control_listener second;
	cr_assert_eq(control_listener_open_as(&second, &kind, path, &error), -EADDRINUSE);
	cr_assert_not_null(strstr(error.text, "sock: another daemon answers there; stop it or move it"), "%s",
			   error.text);
	server = line_server_new(&params, &error);
	cr_assert_not_null(server, "%s", error.text);
	line_server_poll(server); /* the probe of the second one */
}

static void stop(void)
{
	line_server_free(server);
	control_listener_close(&listener);
	cr_assert_eq(open_requests, 0);
	cr_assert_eq(rmdir(directory), 0);
}

TestSuite(line_server, .init = start, .fini = stop);

static int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	cr_assert_eq(connect(fd, (struct sockaddr *)&listener.address, sizeof listener.address), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	cr_assert_eq(send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
	for (int i = 0; i < 3; i++)
		line_server_poll(server);
}

/* How many bytes come until the end, and the first of them. */
static size_t hear(int fd, char first[64])
{
	char buffer[65536];
	size_t length = 0;
	ssize_t got = -1;
	for (int idle = 0; idle < 20 && got != 0; idle++) {
		line_server_poll(server);
		while ((got = recv(fd, buffer, sizeof buffer, 0)) > 0) {
			const char *end = memchr(buffer, '\n', (size_t)got);
			if (length == 0)
				(void)snprintf(first, 64, "%.*s", (int)(end != NULL ? end - buffer : got), buffer);
			length += (size_t)got;
			idle = 0;
		}
	}
	cr_assert_eq(got, 0, "the answer has an end");
	close(fd);
	return length;
}

Test(line_server, a_request_has_lines_until_it_is_answered)
{
	char first[64];
	int fd = dial();
	say(fd, "one\ntw");
	say(fd, "o\n");
	say(fd, "\nthree\n\n");
	cr_expect_eq(hear(fd, first), strlen("2 lines, 6 bytes\n") + 2 * PIECE);
	cr_expect_str_eq(first, "2 lines, 6 bytes");
	cr_expect_eq(open_requests, 0);
}

/* Far more than the buffer of a line: 2000 lines of 9 bytes. */
Test(line_server, a_request_may_be_longer_than_a_line)
{
	char first[64];
	int fd = dial();
	for (int i = 0; i < 20; i++) {
		char text[1000] = "";
		for (int n = 0; n < 100; n++)
			strcat(text, "12345678\n");
		say(fd, text);
	}
	say(fd, "\n");
	cr_expect_eq(hear(fd, first), strlen("2000 lines, 16000 bytes\n") + 2000ull * PIECE);
	cr_expect_str_eq(first, "2000 lines, 16000 bytes");
}

Test(line_server, other_connections_have_their_turn_between_pieces)
{
	char first[64], buffer[4096];
	int slow = dial(), quick = dial();
	say(slow, "a\nb\nc\nd\ne\nf\ng\nh\n\n");
	for (int i = 0; i < 50; i++)
		line_server_poll(server); /* its socket is full now */
	say(quick, "\n");
	cr_expect_eq(hear(quick, first), strlen("0 lines, 0 bytes\n"));
	cr_expect_eq(recv(slow, buffer, sizeof buffer, 0), (ssize_t)sizeof buffer);
	cr_expect_eq(hear(slow, first), strlen("8 lines, 8 bytes\n") + 8 * PIECE - sizeof buffer);
}

Test(line_server, a_client_that_takes_nothing_is_dropped_and_one_that_takes_a_piece_in_time_is_not)
{
	char first[64], buffer[65536];
	int fd = dial();
	for (int i = 0; i < 40; i++)
		say(fd, "a\n");
	say(fd, "\n");
	for (int i = 0; i < 4; i++) {
		for (int n = 0; n < 4; n++) {
			(void)recv(fd, buffer, sizeof buffer, 0);
			line_server_poll(server);
		}
		now += LINE_SERVER_TIME_LIMIT - 1;
		line_server_poll(server);
		cr_assert_eq(open_requests, 1);
	}
	now += LINE_SERVER_TIME_LIMIT;
	line_server_poll(server);
	cr_expect_eq(open_requests, 0);
	(void)hear(fd, first);
}

Test(line_server, before_another_process_has_it_only_what_was_accepted_is_answered)
{
	char first[64];
	int accepted = dial(), silent = dial();
	line_server_poll(server);
	int waiting = dial();
	cr_assert_eq(send(accepted, "one\n\n", 5, 0), 5);
	cr_assert_eq(send(waiting, "\n", 1, 0), 1);
	line_server_finish(server, 20);
	cr_assert_gt(recv(accepted, first, sizeof first, 0), 0, "it has its answer");
	cr_assert_eq(recv(waiting, first, sizeof first, 0), -1);
	cr_assert_eq(errno, EAGAIN, "it is another process's, if there is one");
	cr_assert_eq(recv(silent, first, sizeof first, 0), -1, "one that says nothing does not hold it up");
	cr_assert_gt(hear(waiting, first), 0, "there is none: it is accepted then");
	cr_assert_str_eq(first, "0 lines, 0 bytes");
	close(accepted);
	close(silent);
	line_server_poll(server);
}

Test(line_server, what_is_no_request_is_told_apart)
{
	char first[64], text[LINE_SERVER_LINE_MAX + 1];
	int fd = dial();
	say(fd, "one\ntwo\nthr");
	shutdown(fd, SHUT_WR);
	cr_expect_eq(hear(fd, first), 0);
	cr_expect_eq(failure, LINE_UNFINISHED);

	fd = dial();
	say(fd, "one\n");
	memset(text, 'y', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	say(fd, text);
	cr_expect_eq(hear(fd, first), 0);
	cr_expect_eq(failure, LINE_TOO_LONG);

	fd = dial();
	say(fd, "one\n");
	now += LINE_SERVER_TIME_LIMIT;
	line_server_poll(server);
	cr_expect_eq(hear(fd, first), 0);
	cr_expect_eq(failure, LINE_LATE);
	cr_expect_eq(open_requests, 0);
}
