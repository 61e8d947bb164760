// SPDX-License-Identifier: Apache-2.0
#include "core/agent/agent_metrics.h"

#include <inttypes.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "perf/export/http.h"

enum { BACKLOG = 16, HOST_MAX = 256 };

struct agent_metrics {
	int fd;
	struct http_server *server;
	pthread_mutex_t lock; /* of `figures` */
	struct agent_figures figures;
};

#define FIGURES(X)                                                                                                \
	X(gauge, shardtun_agent_blocks_owned, blocks_owned, "Blocks whose key in etcd is this node's")            \
	X(gauge, shardtun_agent_blocks_served, blocks_served, "Blocks that the gateway is to serve now")          \
	X(gauge, shardtun_agent_blocks_share, share, "Blocks that this node is to have")                          \
	X(gauge, shardtun_agent_members, members, "Nodes that may own blocks")                                    \
	X(gauge, shardtun_agent_nodes, nodes, "Nodes that are registered")                                        \
	X(gauge, shardtun_agent_draining, draining, "1: this node takes no blocks")                               \
	X(counter, shardtun_agent_blocks_taken_total, taken, "Blocks that were taken")                            \
	X(counter, shardtun_agent_blocks_moved_total, cleaned, "Blocks that were handed over")                    \
	X(counter, shardtun_agent_blocks_lost_total, lost, "Blocks whose key was gone or another node's")         \
	X(counter, shardtun_agent_fences_total, fences, "Times that no read was answered until the fence")        \
	X(gauge, shardtun_agent_unreadable_keys, unreadable_keys, "Keys of blocks that cannot be read")           \
	X(counter, shardtun_agent_reads_total, reads, "Reads of ownership")                                       \
	X(counter, shardtun_agent_reads_failed_total, reads_failed, "Reads of ownership without an answer")       \
	X(counter, shardtun_agent_etcd_requests_total, requests, "Requests to etcd, each try")                    \
	X(counter, shardtun_agent_etcd_failures_total, failures, "Requests to etcd that failed")                  \
	X(counter, shardtun_agent_etcd_endpoint_changes_total, endpoint_moves, "Changes to another endpoint")     \
	X(gauge, shardtun_agent_etcd_up, etcd_up, "1: the last read was answered")                                \
	X(gauge, shardtun_agent_gateway_up, gateway_up, "1: the gateway answered the last request")               \
	X(counter, shardtun_agent_peer_loads_total, peer_loads, "Times that all peers were given to the gateway") \
	X(counter, shardtun_agent_peer_changes_total, peer_changes, "Changes of peers")                           \
	X(gauge, shardtun_agent_peers_skipped, peers_skipped, "Peers in etcd that cannot be read")

#define SECONDS(X)                                                                                                  \
	X(counter, shardtun_agent_etcd_latency_seconds_total, latency_sum, "Time until answers of etcd, summed up") \
	X(gauge, shardtun_agent_etcd_latency_seconds, latency_last, "Time until the last answer of etcd")           \
	X(gauge, shardtun_agent_read_age_seconds, read_age, "Since the last read that was answered was sent")       \
	X(gauge, shardtun_agent_peer_load_seconds, peers_load_time, "How long the last load of all peers took")

char *agent_metrics_text(const struct agent_figures *figures, size_t *length)
{
	char *text = NULL;
	FILE *file = open_memstream(&text, length);
	if (file == NULL)
		return NULL;
#define FIGURE(type, name, member, help)                                                                      \
	(void)fprintf(file, "# HELP " #name " " help "\n# TYPE " #name " " #type "\n" #name " %" PRIu64 "\n", \
		      figures->member);
#define SECOND(type, name, member, help)                                                               \
	(void)fprintf(file, "# HELP " #name " " help "\n# TYPE " #name " " #type "\n" #name " %.6f\n", \
		      (double)figures->member / (double)NS_PER_S);
	FIGURES(FIGURE)
	SECONDS(SECOND)
	if (fclose(file) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

static void answer(void *context, struct http_answer *answer)
{
	struct agent_metrics *metrics = context;
	struct agent_figures figures;
	pthread_mutex_lock(&metrics->lock);
	figures = metrics->figures;
	pthread_mutex_unlock(&metrics->lock);
	*answer = (struct http_answer){.status = 200, .type = "text/plain; version=0.0.4; charset=utf-8"};
	answer->body = agent_metrics_text(&figures, &answer->length);
}

void agent_metrics_set(struct agent_metrics *metrics, const struct agent_figures *figures)
{
	pthread_mutex_lock(&metrics->lock);
	metrics->figures = *figures;
	pthread_mutex_unlock(&metrics->lock);
}

static int listen_at(const struct addrinfo *info)
{
	int on = 1, fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	int failure = -errno;
	close(fd);
	return failure;
}

/* Numbers only: nothing is resolved. */
static int open_listener(const char *address, struct error *error)
{
	const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
	char host[HOST_MAX];
	const char *colon = strrchr(address, ':');
	struct addrinfo *info = NULL;
	bool fits = colon != NULL && colon != address && (size_t)(colon - address) < sizeof host;
	if (fits) {
		bool bracket = address[0] == '[' && colon[-1] == ']';
		(void)snprintf(host, sizeof host, "%.*s", (int)(colon - address) - 2 * bracket, address + bracket);
	}
	if (!fits || getaddrinfo(host, colon + 1, &hints, &info) != 0)
		return error_set(error, -EINVAL, "Metrics = %.100s: write ADDRESS:PORT, both in numbers", address);
	int fd = listen_at(info);
	freeaddrinfo(info);
	if (fd < 0)
		return error_set(error, fd, "Metrics = %.100s: %s", address, strerror(-fd));
	return fd;
}

struct agent_metrics *agent_metrics_open(const char *address, struct error *error)
{
	static const struct http_route routes[] = {{"/metrics", answer}};
	struct agent_metrics *metrics = calloc(1, sizeof *metrics);
	if (metrics == NULL) {
		error_set(error, -ENOMEM, "no memory");
		return NULL;
	}
	metrics->fd = open_listener(address, error);
	pthread_mutex_init(&metrics->lock, NULL);
	if (metrics->fd >= 0) {
		const struct http_params params = {.listen_fd = metrics->fd,
						   .routes = routes,
						   .route_count = ARRAY_SIZE(routes),
						   .context = metrics,
						   .content_policy = "default-src 'none'"};
		metrics->server = http_start(&params, error);
	}
	if (metrics->server == NULL) {
		agent_metrics_close(metrics);
		return NULL;
	}
	return metrics;
}

void agent_metrics_close(struct agent_metrics *metrics)
{
	if (metrics == NULL)
		return;
	if (metrics->server != NULL)
		http_stop(metrics->server);
	if (metrics->fd >= 0)
		close(metrics->fd);
	pthread_mutex_destroy(&metrics->lock);
	free(metrics);
}
