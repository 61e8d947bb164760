// SPDX-License-Identifier: Apache-2.0
/* The agent's /metrics: what is not known is left out, and a histogram adds up. */
#include "core/agent/agent_metrics.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

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
