// SPDX-License-Identifier: Apache-2.0
#include "perf/export/http.h"

#include <fcntl.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/cpu.h"
#include "core/host/launch.h"
#include "perf/export/http_host.h"

enum { HTTP_NICE = 19 };
#define HTTP_PAUSE_MOST (100 * NS_PER_MS)

struct http_server {
	struct http_params params;
	struct MHD_Daemon *daemon;
	int daemon_fd; /* libmicrohttpd's epoll */
	int stop_fd;
	atomic_bool leaving; /* before stop_fd is written to */
	pthread_t thread;
	/* the thread's own */
	int connections[HTTP_CONNECTIONS_MAX]; /* sockets, oldest first */
	size_t connection_count;
	bool closed; /* a connection, in this run */
};

/* --- answers ------------------------------------------------------------------------------------------------------ */

static struct http_answer text_answer(unsigned status, const char *text)
{
	return (struct http_answer){status, "text/plain; charset=utf-8", (char *)(uintptr_t)text, strlen(text), true};
}

static enum MHD_Result send_answer(const struct http_server *server, struct MHD_Connection *connection,
				   const struct http_answer *answer)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		answer->length, answer->body, answer->keep ? MHD_RESPMEM_PERSISTENT : MHD_RESPMEM_MUST_FREE);
	if (response == NULL) {
		if (!answer->keep)
			free(answer->body);
		return MHD_NO; /* closes the connection */
	}
	const char *const headers[][2] = {
		{MHD_HTTP_HEADER_CONTENT_TYPE, answer->type},
		{MHD_HTTP_HEADER_CACHE_CONTROL, "no-store"},
		{"Content-Security-Policy", server->params.content_policy},
		{"X-Content-Type-Options", "nosniff"},
		{"Referrer-Policy", "no-referrer"},
	};
	enum MHD_Result result = MHD_YES;
	for (size_t i = 0; i < ARRAY_SIZE(headers) && result == MHD_YES; i++)
		result = MHD_add_response_header(response, headers[i][0], headers[i][1]);
	if (result == MHD_YES && answer->status == MHD_HTTP_METHOD_NOT_ALLOWED)
		result = MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	if (result == MHD_YES)
		result = MHD_queue_response(connection, answer->status, response);
	MHD_destroy_response(response); /* the queue holds it */
	return result;
}

/* A request without Host does not come from a browser. */
static bool is_for_us(const struct http_server *server, struct MHD_Connection *connection)
{
	const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
	return host == NULL || server->params.own_name == NULL || http_host_is_ours(host, server->params.own_name);
}

/* Called when the headers are there; a body, which no request here has, is not waited for. */
static enum MHD_Result take_request(void *context, struct MHD_Connection *connection, const char *path,
				    const char *method, const char *version, const char *upload, size_t *upload_size,
				    void **state)
{
	const struct http_server *server = context;
	(void)version, (void)upload, (void)upload_size, (void)state;
	struct http_answer answer = text_answer(MHD_HTTP_NOT_FOUND, "There is no such page.\n");
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
		answer = text_answer(MHD_HTTP_METHOD_NOT_ALLOWED, "There is nothing but GET and HEAD.\n");
		return send_answer(server, connection, &answer);
	}
	if (!is_for_us(server, connection)) {
		answer = text_answer(MHD_HTTP_MISDIRECTED_REQUEST,
				     "There is no host of that name here; ask by IP address or as localhost.\n");
		return send_answer(server, connection, &answer);
	}
	for (size_t i = 0; i < server->params.route_count; i++) {
		const struct http_route *route = &server->params.routes[i];
		if (strcmp(path, route->path) != 0)
			continue;
		answer = (struct http_answer){.status = MHD_HTTP_OK};
		route->answer(server->params.context, &answer);
		if (answer.body == NULL)
			answer = text_answer(MHD_HTTP_SERVICE_UNAVAILABLE, "Out of memory.\n");
		break;
	}
	return send_answer(server, connection, &answer);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void forget(struct http_server *server, int fd)
{
	size_t i = 0;
	while (i < server->connection_count && server->connections[i] != fd)
		i++;
	if (i == server->connection_count)
		return;
	server->connection_count--;
	memmove(&server->connections[i], &server->connections[i + 1],
		(server->connection_count - i) * sizeof server->connections[0]);
}

/* Libmicrohttpd closes connections that are silent, and takes no more than it may have. One that sends or takes a
 * byte now and then it keeps for ever, so a few of these would block all others: the oldest is closed. */
static void follow_connection(void *context, struct MHD_Connection *connection, void **state,
			      enum MHD_ConnectionNotificationCode code)
{
	struct http_server *server = context;
	(void)state;
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	if (info == NULL)
		return;
	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		server->closed = true;
		forget(server, info->connect_fd);
		return;
	}
	if (server->connection_count == HTTP_CONNECTIONS_FULL) {
		/* Its end is noticed as if the client had closed it. */
		(void)shutdown(server->connections[0], SHUT_RDWR);
		forget(server, server->connections[0]);
	}
	server->connections[server->connection_count++] = info->connect_fd;
}

/* --- the thread --------------------------------------------------------------------------------------------------- */

static uint64_t cpu_time(void)
{
	struct timespec spent = {0};
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
	return (uint64_t)spent.tv_sec * NS_PER_S + (uint64_t)spent.tv_nsec;
}

/* Answers the pending requests, and returns when to do so next. The thread's low priority does not cover the kernel's
 * work for a client that asks without a pause, so the next answer is delayed. */
static uint64_t run(struct http_server *server, uint64_t due)
{
	uint64_t before = cpu_time();
	do {
		/* Full, it does not watch for new clients, and sees at the beginning of a run that it may. */
		server->closed = false;
		(void)MHD_run(server->daemon);
	} while (server->closed);
	uint64_t now = clock_monotonic(&clock_system);
	uint64_t pause = (cpu_time() - before) * HTTP_CPU_SHARE;
	due = (due > now ? due : now) + pause;
	return due < now + HTTP_PAUSE_MOST ? due : now + HTTP_PAUSE_MOST;
}

static void settle(void *context)
{
	(void)context;
	(void)thread_set_nice(HTTP_NICE); /* of the data path's CPUs it gets what is left over */
}

static void answer_last(struct http_server *server)
{
	uint64_t now = clock_monotonic(&clock_system), end = now + HTTP_LEAVE_MS * NS_PER_MS;
	struct pollfd polled = {.fd = server->daemon_fd, .events = POLLIN};
	int listen_fd = MHD_quiesce_daemon(server->daemon);
	if (listen_fd >= 0)
		close(listen_fd);
	for (; now < end && server->connection_count > 0; now = clock_monotonic(&clock_system)) {
		(void)poll(&polled, 1, (int)((end - now + NS_PER_MS - 1) / NS_PER_MS));
		(void)MHD_run(server->daemon);
	}
}

static void *serve(void *context)
{
	struct http_server *server = context;
	struct pollfd polled[] = {{.fd = server->stop_fd, .events = POLLIN},
				  {.fd = server->daemon_fd, .events = POLLIN}};
	uint64_t due = 0;
	while (polled[0].revents == 0) {
		MHD_UNSIGNED_LONG_LONG wait;
		uint64_t now = clock_monotonic(&clock_system);
		if (due >= now + NS_PER_MS) {
			(void)poll(polled, 1, (int)((due - now) / NS_PER_MS));
			continue;
		}
		bool timed = MHD_get_timeout(server->daemon, &wait) == MHD_YES;
		(void)poll(polled, ARRAY_SIZE(polled), !timed ? -1 : wait < INT32_MAX ? (int)wait : INT32_MAX);
		due = run(server, due);
	}
	if (atomic_load_explicit(&server->leaving, memory_order_acquire))
		answer_last(server);
	return NULL;
}

static void ignore_log(void *context, const char *format, va_list arguments)
{
	/* Clients cause these lines. */
	(void)context, (void)format, (void)arguments;
}

static int start_daemon(struct http_server *server)
{
	/* The daemon closes its listening socket in the end: it gets one of its own. */
	int listen_fd = fcntl(server->params.listen_fd, F_DUPFD_CLOEXEC, 0);
	if (listen_fd < 0)
		return -errno;
	server->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, take_request, server,
					  MHD_OPTION_EXTERNAL_LOGGER, ignore_log, NULL, MHD_OPTION_LISTEN_SOCKET,
					  listen_fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_MAX,
					  MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_TIMEOUT,
					  MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_CONNECTION_MEMORY,
					  MHD_OPTION_NOTIFY_CONNECTION, follow_connection, server, MHD_OPTION_END);
	if (server->daemon == NULL)
		return errno != 0 ? -errno : -EIO;
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	server->daemon_fd = info->epoll_fd;
	return 0;
}

struct http_server *http_open(const struct http_params *params, struct error *error)
{
	struct http_server *server = calloc(1, sizeof *server);
	if (server == NULL) {
		error_set(error, -ENOMEM, "metrics: out of memory");
		return NULL;
	}
	server->params = *params;
	server->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int result = server->stop_fd < 0 ? -errno : start_daemon(server);
	if (result == 0)
		return server;
	error_set(error, result, "metrics: the HTTP server does not start (%s)", strerror(-result));
	if (server->stop_fd >= 0)
		close(server->stop_fd);
	free(server);
	return NULL;
}

size_t http_step(struct http_server *server)
{
	(void)run(server, 0);
	return server->connection_count;
}

void http_close(struct http_server *server)
{
	if (server == NULL)
		return;
	MHD_stop_daemon(server->daemon);
	close(server->stop_fd);
	free(server);
}

struct http_server *http_start(const struct http_params *params, struct error *error)
{
	struct http_server *server = http_open(params, error);
	if (server == NULL)
		return NULL;
	struct launch launch = {
		.name = "metrics", .filter = params->filter, .settle = settle, .run = serve, .context = server};
	if (launch_thread(&launch, &server->thread, error) == 0)
		return server;
	http_close(server);
	return NULL;
}

static void end_thread(struct http_server *server)
{
	uint64_t one = 1;
	ssize_t written = write(server->stop_fd, &one, sizeof one);
	(void)written;
}

void http_leave(struct http_server *server)
{
	if (server == NULL)
		return;
	atomic_store_explicit(&server->leaving, true, memory_order_release);
	end_thread(server);
}

void http_stop(struct http_server *server)
{
	if (server == NULL)
		return;
	end_thread(server);
	(void)pthread_join(server->thread, NULL);
	http_close(server);
}
