// SPDX-License-Identifier: Apache-2.0
/* The HTTP server: what it answers and refuses, which connection it closes when it is full, and a metrics server's
 * life. */
#include "perf/export/http.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/daemon/metrics_server.h"
#include "perf/export/http_host.h"

enum { PATIENCE_MS = 240000, LARGE = 8 << 20 };

static void say_hello(void *context, struct http_answer *answer)
{
	*answer = (struct http_answer){200, "text/plain", strdup(context), strlen(context), false};
}

static void say_much(void *context, struct http_answer *answer)
{
	(void)context;
	*answer = (struct http_answer){200, "text/plain", calloc(1, LARGE), LARGE, false};
}

static void say_nothing(void *context, struct http_answer *answer)
{
	(void)context, (void)answer;
}

static const struct http_route routes[] = {{"/", say_hello}, {"/much", say_much}, {"/nothing", say_nothing}};

struct server {
	int fd;
	struct sockaddr_in address;
	struct http_server *http;
};

static struct server start_as(const char *own_name)
{
	struct error error = {0};
	struct server server = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0),
				.address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof server.address;
	cr_assert_eq(bind(server.fd, (struct sockaddr *)&server.address, length), 0);
	cr_assert_eq(listen(server.fd, 64), 0);
	cr_assert_eq(getsockname(server.fd, (struct sockaddr *)&server.address, &length), 0);
	const struct http_params params = {.listen_fd = server.fd,
					   .routes = routes,
					   .route_count = ARRAY_SIZE(routes),
					   .context = (void *)(uintptr_t) "hello",
					   .content_policy = "default-src 'none'",
					   .own_name = own_name};
	server.http = http_start(&params, &error);
	cr_assert_not_null(server.http, "%s", error.text);
	return server;
}

static struct server start(void)
{
	return start_as(NULL);
}

static void finish(const struct server *server)
{
	http_stop(server->http);
	cr_assert_eq(close(server->fd), 0, "it stayed ours");
}

static int connect_to(const struct sockaddr *address, socklen_t length)
{
	int fd = socket(address->sa_family, SOCK_STREAM, 0);
	cr_assert_eq(connect(fd, address, length), 0, "connect: %s", strerror(errno));
	return fd;
}

static int dial(const struct server *server)
{
	return connect_to((const struct sockaddr *)&server->address, sizeof server->address);
}

static void put(int fd, const char *text)
{
	cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Whatever comes until the end; closes. */
static char *rest_of(int fd)
{
	static char text[1 << 16];
	size_t length = 0;
	ssize_t got = 1;
	while (got > 0 && length < sizeof text - 1) {
		struct pollfd polled = {.fd = fd, .events = POLLIN};
		cr_assert_eq(poll(&polled, 1, PATIENCE_MS), 1, "no answer");
		got = recv(fd, text + length, sizeof text - 1 - length, 0);
		length += got > 0 ? (size_t)got : 0;
	}
	text[length] = '\0';
	close(fd);
	return text;
}

static char *request(const struct server *server, const char *line)
{
	int fd = dial(server);
	put(fd, line);
	put(fd, " HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
	return rest_of(fd);
}

static void expect(const char *answer, const char *status, const char *part)
{
	cr_assert_eq(strncmp(answer, status, strlen(status)), 0, "%s", answer);
	cr_assert_not_null(strcasestr(answer, part), "no %s in %s", part, answer);
}

Test(http, answers_get_and_head_of_its_paths)
{
	struct server server = start();
	const char *answer = request(&server, "GET /");
	expect(answer, "HTTP/1.1 200", "\r\n\r\nhello");
	expect(answer, "HTTP/1.1 200", "Content-Type: text/plain\r\n");
	expect(answer, "HTTP/1.1 200", "Cache-Control: no-store\r\n");
	expect(answer, "HTTP/1.1 200", "X-Content-Type-Options: nosniff\r\n");
	expect(answer, "HTTP/1.1 200", "Content-Security-Policy: default-src 'none'\r\n");
	answer = request(&server, "GET /?anything");
	expect(answer, "HTTP/1.1 200", "hello");
	answer = request(&server, "HEAD /");
	expect(answer, "HTTP/1.1 200", "Content-Length: 5\r\n");
	cr_assert_null(strstr(answer, "hello"));
	expect(request(&server, "GET /other"), "HTTP/1.1 404", "no such page");
	expect(request(&server, "GET /nothing"), "HTTP/1.1 503", "Out of memory");
	finish(&server);
}

static char *request_host(const struct server *server, const char *host)
{
	char text[200];
	int fd = dial(server);
	(void)snprintf(text, sizeof text, "GET / HTTP/1.1\r\n%s\r\nConnection: close\r\n\r\n", host);
	put(fd, text);
	return rest_of(fd);
}

Test(http, answers_no_name_but_its_own)
{
	struct server server = start_as("Gateway");
	expect(request_host(&server, "Host: 127.0.0.1:9586"), "HTTP/1.1 200", "hello");
	expect(request_host(&server, "Host: gateway:9586"), "HTTP/1.1 200", "hello");
	const char *answer = request_host(&server, "Host: evil.example:9586");
	expect(answer, "HTTP/1.1 421", "no host of that name");
	cr_assert_null(strstr(answer, "hello"));
	int fd = dial(&server);
	put(fd, "GET / HTTP/1.0\r\n\r\n");
	expect(rest_of(fd), "HTTP/1.", "hello");
	finish(&server);
}

Test(http, knows_names_that_nobody_else_can_have)
{
	static const char *const ours[] = {"127.0.0.1",	     "127.0.0.1:9586",	   "192.0.2.7:1",
					   "[::1]",	     "[2001:db8::1]:9586", "localhost",
					   "LocalHost:9586", "gate.example.net",   "Gate.Example.Net:80"};
	static const char *const not_ours[] = {"",
					       ":9586",
					       "evil.example",
					       "localhost.evil.example",
					       "evil.localhost",
					       "127.0.0.1x",
					       "127.0.0.1.evil.example",
					       "127.0.0.1:evil",
					       "localhost:1:2",
					       "localhost:x",
					       "::1",
					       "[::1",
					       "[::1]evil",
					       "[127.0.0.1]",
					       "[]",
					       "gate",
					       "gate.example.net.evil.example",
					       "1",
					       "2130706433"};
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		cr_assert(http_host_is_ours(ours[i], "gate.example.net"), "%s", ours[i]);
	for (size_t i = 0; i < ARRAY_SIZE(not_ours); i++)
		cr_assert_not(http_host_is_ours(not_ours[i], "gate.example.net"), "%s", not_ours[i]);
	cr_assert_not(http_host_is_ours("", ""));
	cr_assert_not(http_host_is_ours(":1", ""));
}

Test(http, refuses_the_rest)
{
	struct server server = start();
	expect(request(&server, "POST /"), "HTTP/1.1 405", "Allow: GET, HEAD\r\n");
	expect(request(&server, "DELETE /"), "HTTP/1.1 405", "nothing but GET");
	int fd = dial(&server);
	put(fd, "GET / HTTP/1.1\r\nHost: here\r\n");
	char line[1024] = "X: ";
	memset(line + 3, 'a', 900);
	strcpy(line + 903, "\r\n");
	for (unsigned i = 0; i < 2 * HTTP_CONNECTION_MEMORY / 900; i++)
		(void)send(fd, line, strlen(line), MSG_NOSIGNAL); /* it may have enough before the end */
	expect(rest_of(fd), "HTTP/1.1 4", "\r\n");
	fd = dial(&server);
	put(fd, "\x16\x03\x01 nonsense\r\n\r\n");
	(void)rest_of(fd);
	expect(request(&server, "GET /"), "HTTP/1.1 200", "hello");
	finish(&server);
}

/* More slow ones than there is room for: some say half a request, others take no answer. */
Test(http, slow_clients_keep_nobody_out)
{
	struct server server = start();
	int slow[3 * HTTP_CONNECTIONS_MAX];
	for (size_t i = 0; i < ARRAY_SIZE(slow); i++) {
		slow[i] = dial(&server);
		put(slow[i], i % 2 == 0 ? "GET /" : "GET /much HTTP/1.1\r\nHost: here\r\n\r\n");
	}
	for (unsigned i = 0; i < 5; i++)
		expect(request(&server, "GET /"), "HTTP/1.1 200", "hello");
	/* The oldest were closed, the youngest were not. */
	char byte;
	struct pollfd polled = {.fd = slow[0], .events = POLLIN};
	cr_assert_eq(poll(&polled, 1, PATIENCE_MS), 1);
	cr_assert_leq(recv(slow[0], &byte, 1, MSG_DONTWAIT), 0);
	put(slow[ARRAY_SIZE(slow) - 2], " HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
	expect(rest_of(slow[ARRAY_SIZE(slow) - 2]), "HTTP/1.1 200", "hello");
	slow[ARRAY_SIZE(slow) - 2] = -1;
	for (size_t i = 0; i < ARRAY_SIZE(slow); i++) {
		if (slow[i] >= 0)
			close(slow[i]);
	}
	finish(&server);
}

Test(http, ends_with_clients_in_the_middle)
{
	struct server server = start();
	int half = dial(&server), much = dial(&server);
	put(half, "GET /");
	put(much, "GET /much HTTP/1.1\r\nHost: here\r\n\r\n");
	expect(request(&server, "GET /"), "HTTP/1.1 200", "hello");
	finish(&server);
	close(half);
	close(much);
	http_stop(NULL);
}

/* After a request it rests, so that the second one is not answered yet. */
Test(http, leaves_when_it_has_answered_who_was_there)
{
	struct server server = start();
	int half = dial(&server);
	put(half, "GET / HTTP/1.1\r\nHost: here\r\n");
	expect(request(&server, "GET /"), "HTTP/1.1 200", "hello");
	put(half, "Connection: close\r\n\r\n");
	http_leave(server.http);
	expect(rest_of(half), "HTTP/1.1 200", "hello");
	finish(&server);
	http_leave(NULL);
}

/* --- the metrics server ------------------------------------------------------------------------------------------- */

static char *ask(const struct sockaddr_un *address, const char *path)
{
	char text[128];
	int fd = connect_to((const struct sockaddr *)address, sizeof *address);
	(void)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n", path);
	put(fd, text);
	return rest_of(fd);
}

/* As a daemon that is out of memory. */
static void describe_nothing(struct daemon *daemon, status_use_fn *use, void *context)
{
	(void)daemon, (void)use, (void)context;
}

Test(metrics_server, is_ready_until_the_end_begins)
{
	struct metrics_server *server;
	struct metrics_listener own, second;
	struct error error = {0};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char directory[] = "/tmp/shardtun-unit-XXXXXX";
	cr_assert_not_null(mkdtemp(directory));
	(void)snprintf(address.sun_path, sizeof address.sun_path, "%s/metrics", directory);
	const struct config_listener listener = {.path = address.sun_path};

	cr_assert_eq(metrics_listener_open(&own, &listener, &error), 0, "%s", error.text);
	cr_assert_eq(metrics_listener_open(&second, &listener, &error), -EADDRINUSE);
	cr_assert_not_null(strstr(error.text, address.sun_path), "%s", error.text);
	cr_assert_eq(second.fd, -1);
	const struct metrics_params params = {.listener = &own, .describe = describe_nothing};
	cr_assert_eq(metrics_open(&server, &params, &error), 0, "%s", error.text);
	cr_assert_eq(metrics_start(server, NULL, &error), 0, "%s", error.text);
	expect(ask(&address, "/metrics"), "HTTP/1.1 503", "Out of memory");
	expect(ask(&address, "/healthz"), "HTTP/1.1 200", "alive");
	expect(ask(&address, "/readyz"), "HTTP/1.1 200", "ready");
	expect(ask(&address, "/"), "HTTP/1.1 200", "</html>");
	metrics_drain(server);
	expect(ask(&address, "/readyz"), "HTTP/1.1 503", "ending");
	expect(ask(&address, "/healthz"), "HTTP/1.1 200", "alive");
	metrics_stop(server);
	metrics_close(server);
	metrics_listener_close(&own);
	cr_assert_eq(access(address.sun_path, F_OK), -1, "the socket is gone");
	cr_assert_eq(rmdir(directory), 0);
}

Test(metrics_server, takes_the_place_of_a_dead_one_only)
{
	struct metrics_listener own;
	struct error error = {0};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char directory[] = "/tmp/shardtun-unit-XXXXXX";
	cr_assert_not_null(mkdtemp(directory));
	(void)snprintf(address.sun_path, sizeof address.sun_path, "%s/metrics", directory);
	const struct config_listener listener = {.path = address.sun_path};

	int dead = socket(AF_UNIX, SOCK_STREAM, 0);
	cr_assert_eq(bind(dead, (struct sockaddr *)&address, sizeof address), 0);
	close(dead);
	cr_assert_eq(metrics_listener_open(&own, &listener, &error), 0, "%s", error.text);
	metrics_listener_close(&own);
	FILE *file = fopen(address.sun_path, "w");
	cr_assert_not_null(file);
	(void)fclose(file);
	cr_assert_eq(metrics_listener_open(&own, &listener, &error), -EADDRINUSE, "a file is somebody's");
	cr_assert_eq(unlink(address.sun_path), 0);
	cr_assert_eq(rmdir(directory), 0);
}

Test(metrics_server, off_is_nothing)
{
	struct metrics_server *server;
	struct metrics_listener own;
	const struct config_listener nowhere = {0};
	const struct metrics_params params = {.listener = &own};
	cr_assert_eq(metrics_listener_open(&own, &nowhere, NULL), 0);
	cr_assert_eq(own.fd, -1);
	cr_assert_eq(metrics_open(&server, &params, NULL), 0);
	cr_assert_null(server);
	cr_assert_eq(metrics_start(server, NULL, NULL), 0);
	metrics_drain(server);
	metrics_stop(server);
	metrics_close(server);
}

Test(metrics_server, says_that_the_port_is_taken)
{
	struct metrics_listener own;
	struct error error = {0};
	struct server other = start();
	const struct config_listener listener = {.address = {.family = 4, .bytes = {127, 0, 0, 1}},
						 .port = ntohs(other.address.sin_port)};
	char expected[80];
	(void)snprintf(expected, sizeof expected, "MetricsListen = 127.0.0.1:%u: cannot listen", listener.port);
	cr_assert_eq(metrics_listener_open(&own, &listener, &error), -EADDRINUSE);
	cr_assert_not_null(strstr(error.text, expected), "%s", error.text);
	cr_assert_not_null(strstr(error.text, "choose another port"), "%s", error.text);
	finish(&other);
}
