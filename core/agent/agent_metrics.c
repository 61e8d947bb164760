// SPDX-License-Identifier: Apache-2.0
#include "core/agent/agent_metrics.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/daemon/metrics_listener.h"
#include "perf/export/http.h"

struct agent_metrics {
	struct metrics_listener listener;
	struct http_server *server;
	pthread_mutex_t lock; /* of the rest */
	struct agent_figures figures;
	uint64_t set_at; /* ns */
};

#define FIGURES(X)                                                                                                   \
	X(gauge, shardtun_agent_blocks_owned, blocks_owned, "Blocks whose key in etcd is this node's")               \
	X(gauge, shardtun_agent_blocks_served, blocks_served, "Blocks that the gateway is to serve now")             \
	X(gauge, shardtun_agent_blocks_share, share, "Blocks that this node is to have")                             \
	X(gauge, shardtun_agent_blocks_moving, moving, "Blocks of this node that are being handed over")             \
	X(gauge, shardtun_agent_blocks_without_owner, without_owner, "Blocks that no node owns")                     \
	X(gauge, shardtun_agent_members, members, "Nodes that may own blocks")                                       \
	X(gauge, shardtun_agent_nodes, nodes, "Nodes that are registered")                                           \
	X(gauge, shardtun_agent_member, is_member, "1: this node may own blocks")                                    \
	X(gauge, shardtun_agent_draining, draining, "1: this node takes no blocks")                                  \
	X(gauge, shardtun_agent_name_conflict, name_is_used, "1: another agent uses this node's name")               \
	X(counter, shardtun_agent_blocks_taken_total, taken, "Blocks that were taken")                               \
	X(counter, shardtun_agent_blocks_cleaned_total, cleaned, "Blocks whose key was made clean, for others")      \
	X(counter, shardtun_agent_blocks_lost_total, lost, "Blocks whose key was gone or another node's")            \
	X(counter, shardtun_agent_fences_total, fences, "Times that no read succeeded until the fence")              \
	X(gauge, shardtun_agent_unreadable_keys, unreadable_keys, "Keys of blocks, nodes and members, unreadable")   \
	X(counter, shardtun_agent_reads_total, reads, "Reads of ownership")                                          \
	X(counter, shardtun_agent_reads_failed_total, reads_failed, "Reads of ownership that failed")                \
	X(counter, shardtun_agent_etcd_requests_total, etcd.requests, "Requests to etcd, each try")                  \
	X(counter, shardtun_agent_etcd_endpoint_changes_total, etcd.moves, "Changes to another endpoint")            \
	X(gauge, shardtun_agent_etcd_up, etcd_up, "1: the last read succeeded")                                      \
	X(gauge, shardtun_agent_gateway_up, gateway_up, "1: the gateway serves what it is told")                     \
	X(gauge, shardtun_agent_blocks_by_promises, by_promises, "Blocks served without etcd, by members' promises") \
	X(counter, shardtun_agent_questions_total, questions, "Questions to all other members, for promises")        \
	X(counter, shardtun_agent_agreements_total, agreements, "Questions to which all have promised in time")      \
	X(counter, shardtun_agent_peer_loads_total, peer_loads, "Times that all peers were given to the gateway")    \
	X(counter, shardtun_agent_peer_changes_total, peer_changes, "Changes of peers")                              \
	X(gauge, shardtun_agent_peers_skipped, peers_skipped,                                                        \
	  "Times that a peer in etcd could not be read, since the last load began")

static void write_head(FILE *file, const char *name, const char *type, const char *help)
{
	(void)fprintf(file, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_seconds(FILE *file, const char *name, uint64_t ns, const char *help)
{
	write_head(file, name, "gauge", help);
	(void)fprintf(file, "%s %.6f\n", name, (double)ns / (double)NS_PER_S);
}

static void write_failures(FILE *file, const struct etcd_counters *etcd)
{
	static const char name[] = "shardtun_agent_etcd_failures_total";
#define TEXT(failure, text) text,
	static const char *const reasons[] = {ETCD_FAILURES_LIST(TEXT)};
#undef TEXT
	write_head(file, name, "counter", "Requests to etcd that failed, each try");
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
		(void)fprintf(file, "%s{reason=\"%s\"} %" PRIu64 "\n", name, reasons[i], etcd->failures[i]);
}

/* Of promises: what became of other members' questions, and datagrams that were none. */
static void write_promises(FILE *file, const struct agent_figures *figures)
{
	static const char answers[] = "shardtun_agent_answers_total";
	static const char drops[] = "shardtun_agent_datagrams_dropped_total";
	static const char *const verdicts[OWNERSHIP_VERDICTS] = {
		[OWNERSHIP_PROMISED] = "promised",
		[OWNERSHIP_NOT_READY] = "not_ready",
		[OWNERSHIP_NO_TAKER] = "no_taker",
		[OWNERSHIP_OTHER_TAKERS] = "other_takers",
		[OWNERSHIP_TAKERS_REPLACED] = "takers_replaced",
		[OWNERSHIP_BLOCK_IN_USE] = "block_in_use",
	};
#define TEXT(name, text) text,
	static const char *const reasons[] = {PROMISE_DROPS(TEXT)};
#undef TEXT
	write_head(file, answers, "counter", "Answers to other members' questions for promises");
	for (size_t i = 0; i < OWNERSHIP_VERDICTS; i++)
		(void)fprintf(file, "%s{verdict=\"%s\"} %" PRIu64 "\n", answers, verdicts[i], figures->verdicts[i]);
	write_head(file, drops, "counter", "Datagrams of other agents that were dropped");
	for (size_t i = 0; i < PROMISE_DROP_COUNT; i++)
		(void)fprintf(file, "%s{reason=\"%s\"} %" PRIu64 "\n", drops, reasons[i], figures->drops[i]);
}

static void write_latency(FILE *file, const struct etcd_counters *etcd)
{
	static const char name[] = "shardtun_agent_etcd_latency_seconds";
	static const unsigned limits[] = {ETCD_LATENCY_MS};
	uint64_t sum = 0;
	write_head(file, name, "histogram", "Time from sending a request to etcd's answer");
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		sum += etcd->latency_counts[i];
		(void)fprintf(file, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, limits[i] / 1e3, sum);
	}
	(void)fprintf(file, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.6f\n%s_count %" PRIu64 "\n", name,
		      etcd->answers, name, (double)etcd->latency_sum / (double)NS_PER_S, name, etcd->answers);
}

char *agent_metrics_text(const struct agent_figures *figures, size_t *length)
{
	char *text = NULL;
	FILE *file = open_memstream(&text, length);
	if (file == NULL)
		return NULL;
#define FIGURE(type, name, member, help)      \
	write_head(file, #name, #type, help); \
	(void)fprintf(file, #name " %" PRIu64 "\n", figures->member);
	FIGURES(FIGURE)
#undef FIGURE
	write_failures(file, &figures->etcd);
	write_latency(file, &figures->etcd);
	write_promises(file, figures);
	/* 0 would say "just now". */
	if (figures->was_read)
		write_seconds(file, "shardtun_agent_read_age_seconds", figures->read_age,
			      "Since the last read that succeeded was sent");
	write_seconds(file, "shardtun_agent_peer_load_seconds", figures->peers_load_time,
		      "How long the last load of all peers took");
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
	/* It grows also while the agent's thread stands. */
	figures.read_age += clock_monotonic(&clock_system) - metrics->set_at;
	pthread_mutex_unlock(&metrics->lock);
	*answer = (struct http_answer){.status = 200, .type = "text/plain; version=0.0.4; charset=utf-8"};
	answer->body = agent_metrics_text(&figures, &answer->length);
}

void agent_metrics_set(struct agent_metrics *metrics, const struct agent_figures *figures)
{
	pthread_mutex_lock(&metrics->lock);
	metrics->figures = *figures;
	metrics->set_at = clock_monotonic(&clock_system);
	pthread_mutex_unlock(&metrics->lock);
}

struct agent_metrics *agent_metrics_open(const struct config_listener *config, struct error *error)
{
	static const struct http_route routes[] = {{"/metrics", answer}};
	struct agent_metrics *metrics = calloc(1, sizeof *metrics);
	if (metrics == NULL) {
		error_set(error, -ENOMEM, "no memory");
		return NULL;
	}
	pthread_mutex_init(&metrics->lock, NULL);
	if (metrics_listener_open(&metrics->listener, config, error) == 0) {
		const struct http_params params = {.listen_fd = metrics->listener.fd,
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
	metrics_listener_close(&metrics->listener);
	pthread_mutex_destroy(&metrics->lock);
	free(metrics);
}
