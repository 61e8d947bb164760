// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/metrics_server.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "perf/export/http.h"
#include "perf/export/metrics.h"
#include "perf/export/page.h"
#include "perf/export/process.h"

enum { METRICS_JSON = JSON_COMPACT | JSON_REAL_PRECISION(10) };

struct metrics_server {
	struct metrics_params params;
	struct process_probe process;
	struct http_server *http; /* NULL: not started */
	char policy[PAGE_POLICY_MAX];
	char own_name[HOST_NAME_MAX + 1];
	atomic_bool ready;
};

/* --- what it answers ---------------------------------------------------------------------------------------------- */

struct metrics_request {
	struct metrics_server *server;
	struct http_answer *answer;
	json_t *(*make)(const struct status_source *source);
};

static void write_metrics(void *context, const struct status_source *source)
{
	const struct metrics_request *request = context;
	struct process_figures process;
	process_probe_read(&request->server->process, &process);
	request->answer->type = METRICS_CONTENT_TYPE;
	request->answer->body = metrics_text(source, &process, &request->answer->length);
}

static void write_json(void *context, const struct status_source *source)
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
	server->params.describe(server->params.daemon, write_metrics, &request);
}

static void answer_status(void *context, struct http_answer *answer)
{
	struct metrics_server *server = context;
	struct metrics_request request = {.answer = answer, .make = status_json};
	server->params.describe(server->params.daemon, write_json, &request);
}

static void answer_stages(void *context, struct http_answer *answer)
{
	struct metrics_server *server = context;
	struct metrics_request request = {.answer = answer, .make = status_stages_raw};
	server->params.describe(server->params.daemon, write_json, &request);
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

/* --- life cycle --------------------------------------------------------------------------------------------------- */

int metrics_open(struct metrics_server **server, const struct metrics_params *params, struct error *error)
{
	*server = NULL;
	if (params->listener->fd < 0)
		return 0;
	struct metrics_server *opened = calloc(1, sizeof *opened);
	if (opened == NULL)
		return error_set(error, -ENOMEM, "metrics: out of memory");
	opened->params = *params;
	page_policy(opened->policy);
	process_probe_open(&opened->process);
	if (gethostname(opened->own_name, sizeof opened->own_name - 1) != 0)
		opened->own_name[0] = '\0';
	*server = opened;
	return 0;
}

int metrics_start(struct metrics_server *server, const struct seccomp_filter *filter, struct error *error)
{
	if (server == NULL)
		return 0;
	const struct http_params params = {.listen_fd = server->params.listener->fd,
					   .routes = routes,
					   .route_count = ARRAY_SIZE(routes),
					   .context = server,
					   .content_policy = server->policy,
					   /* Prometheus asks from elsewhere by whatever name the network has for us,
					    * and no browser opens a Unix socket. */
					   .own_name = server->params.listener->private ? server->own_name : NULL,
					   .filter = filter};
	atomic_store_explicit(&server->ready, true, memory_order_relaxed);
	server->http = http_start(&params, error);
	return server->http != NULL ? 0 : -EIO;
}

void metrics_drain(struct metrics_server *server)
{
	if (server != NULL)
		atomic_store_explicit(&server->ready, false, memory_order_relaxed);
}

void metrics_leave(struct metrics_server *server)
{
	if (server != NULL)
		http_leave(server->http);
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
	process_probe_close(&server->process);
	free(server);
}
