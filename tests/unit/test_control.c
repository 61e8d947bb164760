// SPDX-License-Identifier: Apache-2.0
#include "core/control/control.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/cli/ctl.h"

/* Each test is a process of its own, so these are fresh in each. */
static struct {
	struct clock clock; /* first: the clock's function finds the rest by it */
	_Atomic uint64_t now;
} manual;
static char directory[64], path[96];
static struct control *control;
static struct control_listener socket_file;
static int bulk_size;

static uint64_t manual_monotonic(const struct clock *clock)
{
	(void)clock;
	return manual.now;
}

static json_t *run_words(void *context, char *const *arguments, size_t count, struct error *error)
{
	cr_assert_eq(context, &manual, "the context is the one given");
	if (count > 0 && strcmp(arguments[0], "refuse") == 0) {
		error_set(error, -EINVAL, "peer \xff: not so"); /* not UTF-8 */
		return NULL;
	}
	json_t *words = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(words, json_string(arguments[i]));
	return words;
}

static json_t *run_bulk(void *context, char *const *arguments, size_t count, struct error *error)
{
	(void)context, (void)arguments, (void)count, (void)error;
	char *text = calloc(1, (size_t)bulk_size + 1);
	memset(text, 'x', (size_t)bulk_size);
	json_t *bulk = json_string(text);
	free(text);
	return bulk;
}

static const struct control_command commands[] = {
	{"words", "gives its arguments back", run_words},
	{"bulk", "says much", run_bulk},
};

static struct control *open_control(struct control_listener *own, struct error *error)
{
	if (control_listener_open(own, path, error) != 0)
		return NULL;
	struct control_params params = {.listener = own,
					.commands = commands,
					.command_count = ARRAY_SIZE(commands),
					.context = &manual,
					.clock = &manual.clock};
	return control_new(&params, error);
}

static void prepare(void)
{
	manual.clock.monotonic = manual_monotonic;
	manual.now = 1000 * NS_PER_S;
	strcpy(directory, "/tmp/shardtun-control-XXXXXX");
	cr_assert_neq(mkdtemp(directory), NULL);
	snprintf(path, sizeof path, "%s/run/test.sock", directory);
}

static void start(void)
{
	struct error error;
	prepare();
	control = open_control(&socket_file, &error);
	cr_assert_neq(control, NULL, "%s", error.text);
}

static void clean(void)
{
	char run[80];
	unlink(path);
	snprintf(run, sizeof run, "%s/run", directory);
	rmdir(run);
	cr_assert_eq(rmdir(directory), 0, "nothing else was left behind");
}

static void stop(void)
{
	control_free(control);
	control_listener_close(&socket_file);
	cr_assert_neq(access(path, F_OK), 0, "the socket file goes with its daemon");
	clean();
}

static int client_connect(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0, "%s", strerror(errno));
	return fd;
}

static void client_send(int fd, const void *bytes, size_t length)
{
	cr_assert_eq(send(fd, bytes, length, MSG_NOSIGNAL), (ssize_t)length);
}

static void poll_often(void)
{
	for (int i = 0; i < 10; i++)
		control_poll(control);
}

/* Everything up to the end of the stream; NULL when the stream has not ended. The caller frees. */
static char *client_read(int fd)
{
	size_t length = 0, size = 1 << 20;
	char *text = malloc(size);
	for (int idle = 0; idle < 20;) {
		ssize_t got = recv(fd, text + length, size - length - 1, 0);
		if (got == 0) {
			text[length] = '\0';
			return text;
		}
		idle = got > 0 ? 0 : idle + 1;
		length += got > 0 ? (size_t)got : 0;
		cr_assert(got > 0 || errno == EAGAIN, "%s", strerror(errno));
		control_poll(control);
	}
	free(text);
	return NULL;
}

static void expect_end(int fd, const char *expected)
{
	char *text = client_read(fd);
	cr_assert_neq(text, NULL, "the daemon did not close the connection");
	cr_assert_str_eq(text, expected);
	free(text);
	close(fd);
}

static void expect_answer(const char *request, size_t length, const char *expected)
{
	int fd = client_connect();
	client_send(fd, request, length);
	expect_end(fd, expected);
}

#define EXPECT_ANSWER(request, expected) expect_answer(request, sizeof(request) - 1, expected)

Test(control, requests_are_answered_one_per_connection, .init = start, .fini = stop)
{
	EXPECT_ANSWER("words\n", "{\"ok\":true,\"result\":[]}\n");
	EXPECT_ANSWER("words a  bc \n", "{\"ok\":true,\"result\":[\"a\",\"bc\"]}\n");
	EXPECT_ANSWER("words a\nwords b\n", "{\"ok\":true,\"result\":[\"a\"]}\n");
	EXPECT_ANSWER("help\n",
		      "{\"ok\":true,\"result\":{\"words\":\"gives its arguments back\",\"bulk\":\"says much\"}}\n");
}

Test(control, what_is_no_request_is_told_so, .init = start, .fini = stop)
{
	EXPECT_ANSWER("\n", "{\"ok\":false,\"error\":\"the request is empty; \\\"help\\\" lists the commands\"}\n");
	EXPECT_ANSWER("wordsy\n", "{\"ok\":false,\"error\":\"unknown command \\\"wordsy\\\"; \\\"help\\\" lists the "
				  "commands\"}\n");
	static const char unprintable[] =
		"{\"ok\":false,\"error\":\"the request has bytes that are not printable ASCII\"}\n";
	EXPECT_ANSWER("words\0x\n", unprintable);
	EXPECT_ANSWER("\x16\x03\x01\x02\n", unprintable);
	EXPECT_ANSWER("words \xc3\xa9\n", unprintable);
	EXPECT_ANSWER("words\r\n", unprintable);
	EXPECT_ANSWER("words refuse\n", "{\"ok\":false,\"error\":\"peer ?: not so\"}\n");
}

Test(control, request_may_fill_its_limit_and_not_a_byte_more, .init = start, .fini = stop)
{
	static const char too_long[] = "{\"ok\":false,\"error\":\"the request is too long\"}\n";
	char request[3 * CONTROL_REQUEST_MAX];
	memset(request, 'y', sizeof request);
	memcpy(request, "words ", 6);
	expect_answer(request, CONTROL_REQUEST_MAX, too_long);
	expect_answer(request, sizeof request, too_long);

	request[CONTROL_REQUEST_MAX - 1] = '\n';
	int fd = client_connect();
	client_send(fd, request, CONTROL_REQUEST_MAX);
	char *answer = client_read(fd);
	cr_assert_neq(answer, NULL);
	cr_assert_eq(strncmp(answer, "{\"ok\":true,", 11), 0);
	cr_assert_eq(strspn(strstr(answer, "yy"), "y"), CONTROL_REQUEST_MAX - 7);
	free(answer);
	close(fd);
}

Test(control, too_many_words_are_refused, .init = start, .fini = stop)
{
	char request[300] = "words";
	for (size_t i = 0; i < 63; i++)
		strcat(request, " a");
	strcat(request, "\n");
	int fd = client_connect();
	client_send(fd, request, strlen(request));
	char *answer = client_read(fd);
	cr_assert_eq(strncmp(answer, "{\"ok\":true,", 11), 0, "64 are accepted: %s", answer);
	free(answer);
	close(fd);
	strcpy(strchr(request, '\n'), " a\n");
	expect_answer(request, strlen(request), "{\"ok\":false,\"error\":\"the request has more than 64 words\"}\n");
}

Test(control, request_may_come_byte_by_byte, .init = start, .fini = stop)
{
	int fd = client_connect();
	for (const char *c = "words slow\n"; *c != '\0'; c++) {
		control_poll(control);
		client_send(fd, c, 1);
	}
	expect_end(fd, "{\"ok\":true,\"result\":[\"slow\"]}\n");
}

Test(control, half_request_is_dropped_at_the_time_limit_and_not_before, .init = start, .fini = stop)
{
	int fd = client_connect();
	client_send(fd, "wor", 3);
	poll_often();
	manual.now += CONTROL_TIME_LIMIT - 1;
	cr_assert_eq(client_read(fd), NULL);
	manual.now += 1;
	expect_end(fd, "{\"ok\":false,\"error\":\"no complete request within the time limit\"}\n");
}

Test(control, trickling_does_not_extend_the_time_limit, .init = start, .fini = stop)
{
	int fd = client_connect();
	for (int i = 0; i < 5; i++) {
		client_send(fd, "w", 1);
		poll_often();
		manual.now += NS_PER_S;
	}
	expect_end(fd, "{\"ok\":false,\"error\":\"no complete request within the time limit\"}\n");
}

Test(control, half_request_and_end_is_told_so, .init = start, .fini = stop)
{
	int fd = client_connect();
	client_send(fd, "words", 5);
	shutdown(fd, SHUT_WR);
	expect_end(fd, "{\"ok\":false,\"error\":\"the request does not end with a newline\"}\n");
	close(client_connect()); /* and one that says nothing at all */
	poll_often();
	EXPECT_ANSWER("words\n", "{\"ok\":true,\"result\":[]}\n");
}

Test(control, more_connections_than_places_wait_their_turn, .init = start, .fini = stop)
{
	enum { CLIENTS = 20 };
	int fds[CLIENTS];
	for (int i = 0; i < CLIENTS; i++) {
		fds[i] = client_connect();
		control_poll(control); /* the listen queue alone is shorter */
	}
	for (int i = CONTROL_CONNECTIONS_MAX; i < CLIENTS; i++) {
		client_send(fds[i], "words\n", 6);
		cr_assert_eq(client_read(fds[i]), NULL, "client %d is not served while all places are taken", i);
	}
	/* One place is given back: the next in the queue gets it, and then the one after. */
	client_send(fds[3], "words three\n", 12);
	expect_end(fds[3], "{\"ok\":true,\"result\":[\"three\"]}\n");
	for (int i = CONTROL_CONNECTIONS_MAX; i < CLIENTS; i++)
		expect_end(fds[i], "{\"ok\":true,\"result\":[]}\n");

	manual.now += CONTROL_TIME_LIMIT;
	for (int i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
		if (i != 3)
			expect_end(fds[i], "{\"ok\":false,\"error\":\"no complete request within the time limit\"}\n");
	}
	EXPECT_ANSWER("words\n", "{\"ok\":true,\"result\":[]}\n");
}

Test(control, descriptor_is_ready_only_when_there_is_something_to_do, .init = start, .fini = stop)
{
	struct pollfd ready = {.fd = control_fd(control), .events = POLLIN};
	cr_assert_eq(poll(&ready, 1, 0), 0, "idle");
	int fds[CONTROL_CONNECTIONS_MAX + 4];
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = client_connect();
		if (i < CONTROL_CONNECTIONS_MAX)
			cr_assert_eq(poll(&ready, 1, 0), 1, "somebody to accept");
		poll_often();
	}
	cr_assert_eq(poll(&ready, 1, 0), 0, "full and silent: the queue does not keep the daemon busy");
	cr_assert_eq(poll(&ready, 1, 240000), 1, "a time limit is looked after without the caller's help");
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	poll_often();
	cr_assert_eq(poll(&ready, 1, 1500), 0, "idle again: no timer runs");
}

Test(control, large_answer_goes_out_as_the_client_reads, .init = start, .fini = stop)
{
	bulk_size = 1000000;
	int fd = client_connect();
	client_send(fd, "bulk\n", 5);
	poll_often();
	struct pollfd ready = {.fd = control_fd(control), .events = POLLIN};
	cr_assert_eq(poll(&ready, 1, 0), 0, "a client that does not read does not keep the daemon busy");
	EXPECT_ANSWER("words\n", "{\"ok\":true,\"result\":[]}\n");
	char *answer = client_read(fd);
	cr_assert_neq(answer, NULL);
	cr_assert_eq(strlen(answer), (size_t)bulk_size + strlen("{\"ok\":true,\"result\":\"\"}\n"));
	free(answer);
	close(fd);
}

Test(control, client_that_does_not_read_is_dropped_at_the_time_limit, .init = start, .fini = stop)
{
	bulk_size = 1000000;
	int stuck = client_connect(), gone = client_connect();
	client_send(stuck, "bulk\n", 5);
	client_send(gone, "bulk\n", 5);
	poll_often();
	close(gone);
	poll_often();
	manual.now += CONTROL_TIME_LIMIT;
	poll_often();
	char *answer = client_read(stuck);
	cr_assert_neq(answer, NULL);
	cr_assert_lt(strlen(answer), (size_t)bulk_size, "cut");
	free(answer);
	close(stuck);
}

Test(control, running_out_of_descriptors_passes, .init = start, .fini = stop)
{
	int fd = client_connect();
	client_send(fd, "words\n", 6);
	struct rlimit before, none;
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 3;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	poll_often();
	struct pollfd ready = {.fd = control_fd(control), .events = POLLIN};
	int busy = poll(&ready, 1, 0);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	cr_assert_eq(busy, 0, "the daemon does not spin on what it cannot accept");
	cr_assert_eq(poll(&ready, 1, 240000), 1);
	expect_end(fd, "{\"ok\":true,\"result\":[]}\n");
}

Test(control, file_is_for_owner_and_group_and_its_directory_is_made, .init = prepare, .fini = stop)
{
	struct error error;
	umask(077);
	control = open_control(&socket_file, &error);
	cr_assert_neq(control, NULL, "%s", error.text);
	struct stat status;
	char run[80];
	cr_assert_eq(stat(path, &status), 0);
	cr_assert_eq(status.st_mode & 07777, 0660);
	snprintf(run, sizeof run, "%s/run", directory);
	cr_assert_eq(stat(run, &status), 0);
	cr_assert_eq(status.st_mode & 07777, 0755);
}

/* Leaves a socket at the path without a listener, as a daemon that was killed does. */
static void leave_socket(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strcpy(address.sun_path, path);
	char run[80];
	snprintf(run, sizeof run, "%s/run", directory);
	cr_assert_eq(mkdir(run, 0755), 0);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	close(fd);
}

Test(control, socket_left_behind_is_replaced, .init = prepare, .fini = stop)
{
	struct error error;
	leave_socket();
	control = open_control(&socket_file, &error);
	cr_assert_neq(control, NULL, "%s", error.text);
	EXPECT_ANSWER("words\n", "{\"ok\":true,\"result\":[]}\n");
}

Test(control, socket_of_a_live_daemon_is_left_alone, .init = start, .fini = stop)
{
	struct control_listener refused;
	struct error error = {0};
	cr_assert_eq(control_listener_open(&refused, path, &error), -EADDRINUSE);
	cr_assert_neq(strstr(error.text, "another daemon answers there"), NULL, "%s", error.text);
	cr_assert_neq(strstr(error.text, path), NULL, "%s", error.text);
	EXPECT_ANSWER("words\n", "{\"ok\":true,\"result\":[]}\n");

	/* One that is busy to the brim is alive as well. */
	int fds[64], count = 0;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strcpy(address.sun_path, path);
	do {
		fds[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	} while (connect(fds[count++], (struct sockaddr *)&address, sizeof address) == 0);
	cr_assert_eq(errno, EAGAIN);
	cr_assert_eq(control_listener_open(&refused, path, &error), -EADDRINUSE);
	cr_assert_neq(strstr(error.text, "another daemon answers there"), NULL, "%s", error.text);
	while (count > 0)
		close(fds[--count]);
}

Test(control, anything_that_is_no_socket_is_left_alone, .init = prepare, .fini = clean)
{
	struct control_listener refused;
	struct error error;
	char run[80];
	snprintf(run, sizeof run, "%s/run", directory);
	cr_assert_eq(mkdir(run, 0755), 0);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	cr_assert_eq(control_listener_open(&refused, path, &error), -EEXIST);
	cr_assert_neq(strstr(error.text, "no socket is there"), NULL, "%s", error.text);
	cr_assert_eq(access(path, F_OK), 0);
}

Test(control, path_that_cannot_be_is_an_error_with_its_reason, .init = prepare, .fini = clean)
{
	struct control_listener refused;
	struct error error;
	char *good = strdup(path);
	snprintf(path, sizeof path, "%s/no/such/test.sock", directory);
	cr_assert_eq(control_listener_open(&refused, path, &error), -ENOENT);
	cr_assert_neq(strstr(error.text, "cannot make the directory"), NULL, "%s", error.text);

	char endless[200];
	memset(endless, 'x', sizeof endless - 1);
	endless[sizeof endless - 1] = '\0';
	cr_assert_eq(control_listener_open(&refused, endless, &error), -ENAMETOOLONG);
	cr_assert_neq(strstr(error.text, "longer than 107 bytes"), NULL, "%s", error.text);
	strcpy(path, good);
	free(good);
}

Test(control, successor_keeps_its_file_when_the_old_daemon_goes, .init = start, .fini = clean)
{
	struct error error;
	struct control *old = control;
	struct control_listener successor;
	cr_assert_eq(unlink(path), 0);
	control = open_control(&successor, &error);
	cr_assert_neq(control, NULL, "%s", error.text);
	control_free(old);
	control_listener_close(&socket_file);
	EXPECT_ANSWER("words\n", "{\"ok\":true,\"result\":[]}\n");
	control_free(control);
	control_listener_close(&successor);
}

/* --- the asking side ---------------------------------------------------------------------------------------------- */

static int ask(const char *at, const char *request, json_t **result, struct error *error)
{
	struct ctl_target target;
	return ctl_target_set(&target, at, NULL, error) ?: ctl_request(&target, request, result, error);
}

static _Atomic bool stopping;

static void *serve(void *argument)
{
	while (!stopping) {
		struct pollfd ready = {.fd = control_fd(control), .events = POLLIN};
		poll(&ready, 1, 10);
		control_poll(control);
	}
	return argument;
}

Test(ctl, asks_and_understands_both_answers, .init = start, .fini = stop)
{
	pthread_t server;
	cr_assert_eq(pthread_create(&server, NULL, serve, NULL), 0);
	struct error error = {0};
	json_t *result = NULL;
	bulk_size = 3000000;
	cr_assert_eq(ask(path, "words a b", &result, &error), 0, "%s", error.text);
	cr_assert_eq(json_array_size(result), 2);
	json_decref(result);
	cr_assert_eq(ask(path, "bulk", &result, &error), 0, "%s", error.text);
	cr_assert_eq(json_string_length(result), (size_t)bulk_size);
	json_decref(result);
	cr_assert_eq(ask(path, "words refuse", &result, &error), -EREMOTEIO);
	cr_assert_str_eq(error.text, "peer ?: not so");

	/* More than is ever read of it: the refusal arrives all the same. */
	char *endless = calloc(1, 500001);
	memset(endless, 'x', 500000);
	cr_assert_eq(ask(path, endless, &result, &error), -EREMOTEIO, "%s", error.text);
	cr_assert_str_eq(error.text, "the request is too long");
	free(endless);
	stopping = true;
	pthread_join(server, NULL);
}

Test(ctl, says_what_is_wrong_when_nobody_can_be_asked, .init = prepare, .fini = clean)
{
	struct error error;
	json_t *result;
	cr_assert_eq(ask(path, "status", &result, &error), -ENOENT);
	cr_assert_not_null(strstr(error.text, "is the daemon running?"), "%s", error.text);
	leave_socket();
	cr_assert_eq(ask(path, "status", &result, &error), -ECONNREFUSED);
	cr_assert_neq(strstr(error.text, path), NULL, "%s", error.text);
}

/* Listens at the path, answers the next request with `answer` and hangs up. */
static void *answer_once(void *answer)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof address.sun_path, "%s/fake.sock", directory);
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	cr_assert_eq(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
	cr_assert_eq(listen(listener, 1), 0);
	stopping = true; /* ready */
	int fd = accept(listener, NULL, NULL);
	char request[64];
	cr_assert_gt(recv(fd, request, sizeof request, 0), 0);
	cr_assert_geq(send(fd, answer, strlen(answer), MSG_NOSIGNAL), 0);
	close(fd);
	close(listener);
	unlink(address.sun_path);
	return NULL;
}

static int ask_fake(const char *answer, const char *request, json_t **result, struct error *error)
{
	char fake[96];
	pthread_t server;
	snprintf(fake, sizeof fake, "%s/fake.sock", directory);
	stopping = false;
	cr_assert_eq(pthread_create(&server, NULL, answer_once, (void *)(uintptr_t)answer), 0);
	while (!stopping)
		usleep(1000);
	int code = ask(fake, request, result, error);
	pthread_join(server, NULL);
	return code;
}

Test(ctl, answers_of_something_else_are_refused, .init = prepare, .fini = clean)
{
	static const char *const answers[] = {
		"", "HTTP/1.1 400 Bad Request\r\n", "{\"ok\":true,\"result\":[1,", "[]", "{}", "{\"ok\":false}"};
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		struct error error;
		json_t *result;
		cr_assert_eq(ask_fake(answers[i], "status", &result, &error), -EPROTO, "\"%s\"", answers[i]);
		cr_assert_neq(strstr(error.text, i == 0 ? "without an answer" : "something else"), NULL, "%s",
			      error.text);
	}
}

Test(ctl, answer_counts_though_the_request_was_not_read_to_its_end, .init = prepare, .fini = clean)
{
	struct error error;
	json_t *result;
	char request[200] = {0};
	memset(request, 'x', sizeof request - 1);
	cr_assert_eq(ask_fake("{\"ok\":true,\"result\":7}\n", request, &result, &error), 0, "%s", error.text);
	cr_assert_eq(json_integer_value(result), 7);
	json_decref(result);
}
