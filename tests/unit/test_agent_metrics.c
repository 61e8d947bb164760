// SPDX-License-Identifier: Apache-2.0
/* The agent's /metrics: what is not known is left out, and a histogram adds up. */
#include "core/agent/agent_metrics.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/clock.h"

static void has(const char *text, const char *line)
{
	const char *found = strstr(text, line);
	cr_assert(found != NULL && (found == text || found[-1] == '\n'), "%s is missing", line);
}

Test(agent_metrics, a_histogram_counts_all_answers_up_to_each_limit)
{
	struct agent_figures figures = {
		.blocks_owned = 7, .without_owner = 2, .was_read = true, .read_age = NS_PER_S / 2};
	size_t length;
	figures.etcd.answers = 6;
	figures.etcd.latency_sum = 3 * NS_PER_S;
	figures.etcd.latency_counts[0] = 3;		     /* up to 1 ms */
	figures.etcd.latency_counts[3] = 2;		     /* up to 10 ms */
	figures.etcd.latency_counts[ETCD_LATENCIES - 1] = 1; /* more than 1 s */
	figures.etcd.failures[ETCD_LATE] = 4;
	char *text = agent_metrics_text(&figures, &length);
	cr_assert_eq(strlen(text), length);
	has(text, "shardtun_agent_blocks_owned 7\n");
	has(text, "shardtun_agent_blocks_without_owner 2\n");
	has(text, "shardtun_agent_read_age_seconds 0.500000\n");
	has(text, "shardtun_agent_etcd_failures_total{reason=\"time\"} 4\n");
	has(text, "shardtun_agent_etcd_failures_total{reason=\"refused\"} 0\n");
	has(text, "# TYPE shardtun_agent_etcd_latency_seconds histogram\n");
	has(text, "shardtun_agent_etcd_latency_seconds_bucket{le=\"0.001\"} 3\n");
	has(text, "shardtun_agent_etcd_latency_seconds_bucket{le=\"0.005\"} 3\n");
	has(text, "shardtun_agent_etcd_latency_seconds_bucket{le=\"0.01\"} 5\n");
	has(text, "shardtun_agent_etcd_latency_seconds_bucket{le=\"1\"} 5\n");
	has(text, "shardtun_agent_etcd_latency_seconds_bucket{le=\"+Inf\"} 6\n");
	has(text, "shardtun_agent_etcd_latency_seconds_sum 3.000000\n");
	has(text, "shardtun_agent_etcd_latency_seconds_count 6\n");
	free(text);
}

/* 0 would say that the last read was sent just now. */
Test(agent_metrics, before_the_first_read_it_has_no_age)
{
	struct agent_figures figures = {0};
	size_t length;
	char *text = agent_metrics_text(&figures, &length);
	cr_assert_null(strstr(text, "read_age"));
	free(text);
}

/* --- the server --------------------------------------------------------------------------------------------------- */

static void ask(const char *path, char *text, size_t size)
{
	static const char request[] = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	cr_assert_eq(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
	cr_assert_eq(write(fd, request, sizeof request - 1), (ssize_t)sizeof request - 1);
	size_t length = 0;
	for (ssize_t got; length < size - 1 && (got = read(fd, text + length, size - 1 - length)) > 0;)
		length += (size_t)got;
	text[length] = '\0';
	close(fd);
}

/* The agent's thread, which sets the figures, may stand. */
Test(agent_metrics, the_age_of_the_last_read_grows_by_itself, .timeout = 60)
{
	static char text[1 << 16];
	char path[64];
	struct error error = {0};
	(void)snprintf(path, sizeof path, "/tmp/shardtun-metrics-%d.sock", (int)getpid());
	const struct config_listener listener = {.path = path};
	const struct agent_figures figures = {.was_read = true, .read_age = NS_PER_S / 2, .is_member = 1};
	struct agent_metrics *metrics = agent_metrics_open(&listener, &error);
	cr_assert_not_null(metrics, "%s", error.text);
	agent_metrics_set(metrics, &figures);
	usleep(200000);
	ask(path, text, sizeof text);
	has(text, "shardtun_agent_member 1\n");
	const char *line = strstr(text, "\nshardtun_agent_read_age_seconds ");
	cr_assert_not_null(line, "%s", text);
	cr_assert_geq(strtod(strchr(line, ' '), NULL), 0.7);
	agent_metrics_close(metrics);
}
