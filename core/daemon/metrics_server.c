// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/metrics_server.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/daemon/daemon.h"
#include "perf/export/http.h"
#include "perf/export/metrics.h"
#include "perf/export/page.h"
#include "perf/export/process.h"

enum {
	METRICS_BACKLOG = 64,
	METRICS_SOCKET_MODE = 0660,
	METRICS_JSON = JSON_COMPACT | JSON_REAL_PRECISION(10),
};

struct metrics_server {
	struct tunnel *tunnel;
	int listen_fd;
	struct sockaddr_un path; /* sun_path[0] is 0: none */
	dev_t device;		 /* of the socket file, to know it again */
	ino_t inode;
	struct process_probe process;
	struct http_server *http; /* NULL: not started */
	char policy[PAGE_POLICY_MAX];
	char own_name[HOST_NAME_MAX + 1];
	bool private; /* it listens for this machine alone, by TCP */
	atomic_bool ready;
};

/* --- what it answers ---------------------------------------------------------------------------------------------- */

struct metrics_request {
	struct metrics_server *server;
	struct http_answer *answer;
	json_t *(*make)(const struct report_source *source);
};

static void write_metrics(void *context, const struct report_source *source)
{
	const struct metrics_request *request = context;
	struct process_figures process;
	process_probe_read(&request->server->process, &process);
	request->answer->type = METRICS_CONTENT_TYPE;
	request->answer->body = metrics_text(source, &process, &request->answer->length);
}

static void write_json(void *context, const struct report_source *source)
{
	const struct metrics_request *request = context;
	json_t *report = request->make(source);
	request->answer->type = "application/json";
	request->answer->body = json_dumps(report, METRICS_JSON);
	request->answer->length = request->answer->body != NULL ? strlen(request->answer->body) : 0;
	json_decref(report);
}

static void answer_metrics(void *context, struct http_answer *answer)
{
	struct metrics_server *server = context;
	struct metrics_request request = {.server = server, .answer = answer};
	tunnel_describe(server->tunnel, write_metrics, &request);
}

static void answer_status(void *context, struct http_answer *answer)
{
	struct metrics_server *server = context;
	struct metrics_request request = {.answer = answer, .make = report_status};
	tunnel_describe(server->tunnel, write_json, &request);
}

static void answer_stages(void *context, struct http_answer *answer)
{
	struct metrics_server *server = context;
	struct metrics_request request = {.answer = answer, .make = report_stages_raw};
	tunnel_describe(server->tunnel, write_json, &request);
}

static void answer_words(struct http_answer *answer, unsigned status, const char *words)
{
	*answer = (struct http_answer){status, "text/plain; charset=utf-8", strdup(words), strlen(words), false};
}

static void answer_health(void *context, struct http_answer *answer)
{
	(void)context;
	answer_words(answer, 200, "alive\n");
}

static void answer_readiness(void *context, struct http_answer *answer)
{
	const struct metrics_server *server = context;
	bool ready = atomic_load_explicit(&server->ready, memory_order_relaxed);
	answer_words(answer, ready ? 200 : 503, ready ? "ready\n" : "ending\n");
}

static void answer_page(void *context, struct http_answer *answer)
{
	(void)context;
	*answer = (struct http_answer){200, "text/html; charset=utf-8", (char *)(uintptr_t)page_html, page_length(),
				       true};
}

static const struct http_route routes[] = {
	{"/", answer_page},
	{"/metrics", answer_metrics},
	{"/status.json", answer_status},
	{"/stages.json", answer_stages},
	{"/healthz", answer_health},
	{"/readyz", answer_readiness},
};

/* --- where it listens --------------------------------------------------------------------------------------------- */

static bool is_loopback(const struct ip_address *address)
{
	static const struct ip_prefix loopback4 = {{.family = 4, .bytes = {127}}, 8};
	static const struct ip_prefix loopback6 = {{.family = 6, .bytes = {[15] = 1}}, 128};
	return ip_prefix_contains(&loopback4, address) || ip_prefix_contains(&loopback6, address);
}

static int listen_tcp(struct metrics_server *server, const struct config_listener *listener, struct error *error)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} address = {0};
	bool v6 = listener->address.family == 6;
	char text[IP_TEXT_MAX];
	ip_address_format(&listener->address, text);
	if (v6) {
		address.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(listener->port)};
		memcpy(&address.v6.sin6_addr, listener->address.bytes, sizeof address.v6.sin6_addr);
	} else {
		address.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(listener->port)};
		memcpy(&address.v4.sin_addr, listener->address.bytes, sizeof address.v4.sin_addr);
	}
	int on = 1;
	server->listen_fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (server->listen_fd >= 0 && setsockopt(server->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
	    bind(server->listen_fd, &address.any, v6 ? sizeof address.v6 : sizeof address.v4) == 0 &&
	    listen(server->listen_fd, METRICS_BACKLOG) == 0)
		return 0;
	int failure = errno;
	return error_set(error, -failure, "MetricsListen = %s%s%s:%u: cannot listen (%s); %s", v6 ? "[" : "", text,
			 v6 ? "]" : "", listener->port, strerror(failure),
			 failure == EADDRINUSE ? "stop who does, or choose another port or off"
					       : "choose an address of this machine, or off");
}

/* Makes way for our socket if nobody lives there. */
static int remove_stale(const struct sockaddr_un *address, struct error *error)
{
	struct stat status;
	if (lstat(address->sun_path, &status) != 0 && errno == ENOENT)
		return 0;
	int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (probe < 0)
		return error_set(error, -errno, "MetricsListen = unix:%s: %s", address->sun_path, strerror(errno));
	int failure = connect(probe, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : errno;
	close(probe);
	/* Anything else than a socket without a listener is somebody's. */
	if (!S_ISSOCK(status.st_mode) || failure != ECONNREFUSED)
		return error_set(error, -EADDRINUSE,
				 "MetricsListen = unix:%s: something is there; remove it, stop who listens, or choose "
				 "another path or off",
				 address->sun_path);
	if (unlink(address->sun_path) != 0)
		return error_set(error, -errno, "MetricsListen = unix:%s: cannot remove the one left behind (%s)",
				 address->sun_path, strerror(errno));
	return 0;
}

static int listen_unix(struct metrics_server *server, const char *path, struct error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat status;
	memcpy(address.sun_path, path, strnlen(path, sizeof address.sun_path - 1));
	int result = remove_stale(&address, error);
	if (result != 0)
		return result;
	server->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* The file gets the descriptor's mode, cut by the umask: it is never wider open than in the end. */
	if (server->listen_fd < 0 || fchmod(server->listen_fd, METRICS_SOCKET_MODE) != 0 ||
	    bind(server->listen_fd, (const struct sockaddr *)&address, sizeof address) != 0)
		return error_set(error, -errno, "MetricsListen = unix:%s: cannot listen (%s); is its directory there?",
				 path, strerror(errno));
	server->path = address;
	if (chmod(path, METRICS_SOCKET_MODE) != 0 || lstat(path, &status) != 0 ||
	    listen(server->listen_fd, METRICS_BACKLOG) != 0) {
		int failure = errno;
		unlink(path);
		return error_set(error, -failure, "MetricsListen = unix:%s: cannot listen (%s)", path,
				 strerror(failure));
	}
	server->device = status.st_dev;
	server->inode = status.st_ino;
	return 0;
}

/* --- life cycle --------------------------------------------------------------------------------------------------- */

int metrics_open(struct metrics_server **server, struct tunnel *tunnel, const struct config_listener *listener,
		 struct error *error)
{
	*server = NULL;
	if (listener->path == NULL && listener->port == 0)
		return 0;
	struct metrics_server *opened = calloc(1, sizeof *opened);
	if (opened == NULL)
		return error_set(error, -ENOMEM, "metrics: out of memory");
	opened->tunnel = tunnel;
	opened->listen_fd = -1;
	page_policy(opened->policy);
	process_probe_open(&opened->process);
	opened->private = listener->path == NULL && is_loopback(&listener->address);
	if (gethostname(opened->own_name, sizeof opened->own_name - 1) != 0)
		opened->own_name[0] = '\0';
	int result = listener->path != NULL ? listen_unix(opened, listener->path, error)
					    : listen_tcp(opened, listener, error);
	if (result != 0)
		metrics_close(opened);
	else
		*server = opened;
	return result;
}

int metrics_give(struct metrics_server *server, uid_t user, gid_t group, struct error *error)
{
	if (server == NULL || server->inode == 0 || lchown(server->path.sun_path, user, group) == 0)
		return 0;
	return error_set(error, -errno, "MetricsListen %s: cannot be given to user ID %u (%s)", server->path.sun_path,
			 (unsigned)user, strerror(errno));
}

int metrics_start(struct metrics_server *server, struct error *error)
{
	if (server == NULL)
		return 0;
	const struct http_params params = {.listen_fd = server->listen_fd,
					   .routes = routes,
					   .route_count = ARRAY_SIZE(routes),
					   .context = server,
					   .content_policy = server->policy,
					   /* Elsewhere Prometheus asks by whatever name the network has for us, and a
					    * browser does not come to a Unix socket. */
					   .own_name = server->private ? server->own_name : NULL,
					   .filter = server->tunnel->filters[SECCOMP_METRICS]};
	atomic_store_explicit(&server->ready, true, memory_order_relaxed);
	server->http = http_start(&params, error);
	return server->http != NULL ? 0 : -EIO;
}

void metrics_drain(struct metrics_server *server)
{
	if (server != NULL)
		atomic_store_explicit(&server->ready, false, memory_order_relaxed);
}

void metrics_stop(struct metrics_server *server)
{
	if (server == NULL)
		return;
	http_stop(server->http);
	server->http = NULL;
}

void metrics_close(struct metrics_server *server)
{
	if (server == NULL)
		return;
	metrics_stop(server);
	if (server->listen_fd >= 0)
		close(server->listen_fd);
	struct stat status;
	const char *path = server->path.sun_path;
	if (server->inode != 0 && lstat(path, &status) == 0 && status.st_dev == server->device &&
	    status.st_ino == server->inode)
		unlink(path);
	process_probe_close(&server->process);
	free(server);
}
