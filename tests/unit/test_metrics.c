// SPDX-License-Identifier: Apache-2.0
/* The text for Prometheus, its buckets, the figures of the process, and the page with its policy. */
#include "perf/export/metrics.h"

#include <criterion/criterion.h>
#include <math.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "perf/export/page.h"
#include "tests/unit/status_gateway.h"

static char *text_of(const struct status_source *source)
{
	struct process_figures process = {.start_time = 1.7e9, .cpu_seconds = 1.5, .resident = 4096, .virtual = 8192};
	size_t length = 0;
	char *text = metrics_text(source, &process, &length);
	cr_assert_not_null(text);
	cr_assert_eq(length, strlen(text));
	cr_assert_eq(text[length - 1], '\n');
	return text;
}

static bool has_line(const char *text, const char *line)
{
	size_t length = strlen(line);
	for (const char *at = text; (at = strstr(at, line)) != NULL; at += length) {
		if ((at == text || at[-1] == '\n') && at[length] == '\n')
			return true;
	}
	return false;
}

#define has(text, line) cr_assert(has_line(text, line), "no line %s", line)

Test(metrics, say_what_the_source_says)
{
	stats_add(&stats[0], udp_rx_packets, 10);
	stats_add(&stats[1], udp_rx_packets, 5);
	stats_add(&stats[0], rx_hello, 4);
	stats_drop(&stats[0], DROP_REPLAY, 3);
	stats_drop(&stats[1], DROP_REPLAY, 4);
	stats_drop(&stats[1], DROP_UNKNOWN_PEER, 2);
	stats_drop(&stats[1], DROP_OUT_SEND, 1);
	stats_add(&stats[0], sparse_packets, 8);
	stats_set(&stats[0], waiting_sessions, 2);
	stats_set(&stats[0], waiting_bytes, 3000);
	struct status_source source = gateway();
	source.interface = "a\"b\\c";
	char *text = text_of(&source);

	has(text, "# TYPE shardtun_udp_rx_packets_total counter");
	has(text, "shardtun_udp_rx_packets_total{thread=\"worker 0\"} 10");
	has(text, "shardtun_udp_rx_packets_total{thread=\"worker 1\"} 5");
	has(text, "shardtun_sparse_packets_total{thread=\"worker 0\"} 8");
	has(text, "# TYPE shardtun_waiting_sessions gauge");
	has(text, "shardtun_waiting_sessions{thread=\"worker 0\"} 2");
	has(text, "shardtun_waiting_bytes{thread=\"worker 0\"} 3000");
	has(text, "shardtun_waiting_bytes{thread=\"worker 1\"} 0");
	has(text, "shardtun_dropped_packets_total{direction=\"uplink\",reason=\"replay\"} 7");
	has(text, "shardtun_dropped_packets_total{direction=\"downlink\",reason=\"out_send\"} 1");
	has(text, "shardtun_dropped_packets_total{direction=\"uplink\",reason=\"runt\"} 0");
	has(text, "shardtun_thread_dropped_packets_total{thread=\"worker 1\",direction=\"uplink\"} 6");
	has(text, "shardtun_handshakes_total{outcome=\"accepted\"} 4");
	has(text, "shardtun_handshakes_total{outcome=\"unknown_peer\"} 2");
	has(text, "shardtun_restored_total{what=\"route\"} 3");
	has(text, "shardtun_restored_total{what=\"sysctl\"} 1");
	has(text, "shardtun_in_force{what=\"route\"} 1");
	has(text, "shardtun_in_force{what=\"nftables\"} 0");
	cr_assert_null(strstr(text, "shardtun_in_force{what=\"sysctl\"}"), "nothing of it is wanted");
	has(text, "shardtun_sessions_active 2");
	has(text, "shardtun_sessions{protocol=\"shardtun\"} 1");
	has(text, "shardtun_sessions{protocol=\"wireguard\"} 1");
	has(text, "shardtun_sessions_limit 65536");
	has(text, "shardtun_pool_addresses_used 5");
	has(text, "shardtun_pool_addresses_limit 65533");
	has(text, "shardtun_peers{protocol=\"shardtun\"} 7");
	has(text, "shardtun_peers{protocol=\"wireguard\"} 3");
	has(text, "shardtun_quota_peers 4");
	has(text, "shardtun_quota_peers_over 1");
	has(text, "shardtun_takeover_wait_seconds 0.0123456");
	has(text, "shardtun_offload_enabled{offload=\"tun_tso\"} 1");
	has(text, "shardtun_offload_enabled{offload=\"tun_uso\"} 0");
	has(text, "shardtun_suite_info{suite=\"AES-256-GCM\",backend=\"ipsec-mb/avx2\"} 1");
	has(text, "shardtun_interface_info{interface=\"a\\\"b\\\\c\",listen=\"[::]:5555\"} 1");
	has(text, "shardtun_thread_load_ratio{thread=\"worker 0\"} 0.250");
	has(text, "shardtun_thread_cpu_seconds_total{thread=\"worker 0\"} 1.500000000");
	has(text, "shardtun_thread_info{thread=\"worker 0\",cpu=\"3\"} 1");
	has(text, "shardtun_thread_info{thread=\"worker 1\"} 1");
	has(text, "shardtun_udp_queue_overflows_total 17");
	has(text, "shardtun_interface_tx_dropped_packets_total 19");
	has(text, "shardtun_interface_rx_dropped_packets_total 20");
	has(text, "shardtun_log_lines_dropped_total 18");
	has(text, "process_resident_memory_bytes 4096");
	has(text, "process_cpu_seconds_total 1.5");
	free(text);
}

Test(metrics, say_what_a_gateway_of_several_says)
{
	struct status_source source = gateway();
	char *text = text_of(&source);
	has(text, "shardtun_cluster_blocks 85");
	has(text, "shardtun_cluster_map_entries{family=\"ipv4\"} 170");
	has(text, "shardtun_cluster_map_entries{family=\"ipv6\"} 169");
	has(text, "shardtun_cluster_map_left_out 7");
	has(text, "shardtun_cluster_fences_total 2");
	has(text, "shardtun_cluster_forwards_refused_total{reason=\"malformed\"} 3");
	has(text, "shardtun_cluster_forwards_refused_total{reason=\"repeated\"} 6");
	free(text);
	source.cluster.node = NULL;
	text = text_of(&source);
	cr_assert_null(strstr(text, "shardtun_cluster_"));
	free(text);
}

Test(metrics, leave_out_what_a_client_has_not)
{
	struct status_source source = gateway();
	source.role = "client";
	source.pool.size = source.sessions.max = source.quotas.peers = 0;
	source.peers.shardtun = source.peers.wireguard = 0;
	source.cluster.node = NULL;
	source.udp.queue_overflows = source.interface_drops.tx = source.interface_drops.rx = -1;
	char *text = text_of(&source);
	cr_assert_null(strstr(text, "shardtun_pool_"));
	cr_assert_null(strstr(text, "shardtun_quota_"));
	cr_assert_null(strstr(text, "shardtun_takeover_"));
	cr_assert_null(strstr(text, "shardtun_cluster_"));
	cr_assert_null(strstr(text, "shardtun_peers"));
	cr_assert_null(strstr(text, "shardtun_sessions_limit"));
	cr_assert_null(strstr(text, "shardtun_sessions{"));
	cr_assert_null(strstr(text, "queue_overflows"));
	cr_assert_null(strstr(text, "_dropped_packets_total -1"));
	cr_assert_null(strstr(text, "shardtun_interface_tx_dropped"));
	cr_assert_null(strstr(text, "shardtun_interface_rx_dropped"));
	cr_assert_null(strstr(text, "process_open_fds"), "unknown is not 0");
	cr_assert_null(strstr(text, "shardtun_heap_"));
	has(text, "shardtun_sessions_active 2");
	free(text);
}

/* Every name has its HELP and TYPE once, in front of its values, which stand together. */
Test(metrics, are_described_once_each)
{
	struct status_source source = gateway();
	char *text = text_of(&source), *rest = text, *line, name[128] = "", type[32] = "";
	size_t described = 0;
	while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
		char next[128], value[128];
		if (strncmp(line, "# HELP ", 7) == 0) {
			cr_assert_eq(sscanf(line, "# HELP %127s", name), 1);
			cr_assert_eq(line[strlen(line) - 1], '.', "%s", line);
			described++;
		} else if (strncmp(line, "# TYPE ", 7) == 0) {
			cr_assert_eq(sscanf(line, "# TYPE %127s %31s", next, type), 2);
			cr_assert_str_eq(next, name);
			bool total = strlen(name) > 6 && strcmp(name + strlen(name) - 6, "_total") == 0;
			cr_assert_eq(strcmp(type, "counter") == 0, total, "%s is a %s", name, type);
		} else {
			cr_assert_eq(sscanf(line, "%127[a-z0-9_]", value), 1, "%s", line);
			cr_assert_eq(strncmp(value, name, strlen(name)), 0, "%s stands under %s", line, name);
		}
	}
	cr_assert_gt(described, STATS_COUNTER_COUNT + 10);
	free(text);
}

Test(metrics, buckets_grow_to_the_count)
{
	for (uint64_t ticks = 1; ticks < 1ull << 36; ticks += ticks / 3 + 1)
		histogram_record(&recorders[ticks % 2].histograms[STAGE_OPEN], ticks);
	struct status_source source = gateway();
	struct histogram_sum sum;
	uint64_t below[METRICS_BUCKETS], before = 0;
	status_merge_stage(&source, STAGE_OPEN, &sum);
	metrics_buckets(&sum, &source.tsc, below);
	for (unsigned i = 0; i < METRICS_BUCKETS; i++) {
		cr_assert_geq(below[i], before);
		before = below[i];
	}
	cr_assert_gt(sum.count, before, "some take longer than a second");
	char *text = text_of(&source), line[160];
	(void)snprintf(line, sizeof line, "shardtun_stage_duration_seconds_bucket{stage=\"open\",le=\"+Inf\"} %lu",
		       sum.count);
	has(text, line);
	(void)snprintf(line, sizeof line, "shardtun_stage_duration_seconds_count{stage=\"open\"} %lu", sum.count);
	has(text, line);
	(void)snprintf(line, sizeof line, "shardtun_stage_duration_seconds_bucket{stage=\"open\",le=\"1e-06\"} %lu",
		       below[5]);
	has(text, line);
	free(text);
}

/* A value 2 % off a bound counts on its side of it, at any speed of the clock. */
Test(metrics, bounds_are_met_to_two_percent)
{
	static const double speeds[] = {1e9, 1.9999e9, 2.1e9, 3.7e9};
	for (size_t s = 0; s < ARRAY_SIZE(speeds); s++) {
		const struct tsc_calibration tsc = {.hz = speeds[s]};
		for (unsigned i = 0; i < METRICS_BUCKETS; i++) {
			/* To whole ticks, of which the smallest bound has few. */
			double bound = metrics_bounds[i] * tsc.hz;
			uint64_t sides[] = {(uint64_t)floor(bound * 0.98) - 1, (uint64_t)ceil(bound * 1.02) + 1};
			for (unsigned above = 0; above < 2; above++) {
				struct histogram_sum sum = {.count = 1};
				uint64_t below[METRICS_BUCKETS];
				sum.buckets[histogram_bucket(sides[above])] = 1;
				metrics_buckets(&sum, &tsc, below);
				cr_assert_eq(below[i], !above, "%g s at %g Hz: %lu ticks", metrics_bounds[i], tsc.hz,
					     sides[above]);
			}
		}
	}
}

Test(process, knows_itself)
{
	struct process_probe probe;
	struct process_figures figures, later;
	process_probe_open(&probe);
	process_probe_read(&probe, &figures);
	cr_assert_gt(figures.resident, 1 << 18);
	cr_assert_gt(figures.virtual, figures.resident);
	cr_assert_gt(figures.open_fds, 3);
	cr_assert_gt(figures.max_fds, figures.open_fds);
	cr_assert_gt(figures.cpu_seconds, 0);
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	cr_assert_leq(figures.start_time, (double)now.tv_sec + 2);
	cr_assert_gt(figures.start_time, (double)now.tv_sec - 3600, "this test runs for less than an hour");

	int more = dup(0);
	process_probe_read(&probe, &later);
	cr_assert_eq(later.open_fds, figures.open_fds + 1);
	close(more);
	process_probe_close(&probe);
	process_probe_read(&probe, &later);
	cr_assert_eq(later.resident, 0, "unknown");
	cr_assert_eq(later.open_fds, 0);
}

/* The policy allows what stands in the page, to the byte, and the page holds nothing from elsewhere. */
Test(page, policy_is_that_of_the_page)
{
	char policy[PAGE_POLICY_MAX], text[64];
	unsigned char hash[crypto_hash_sha256_BYTES];
	page_policy(policy);
	cr_assert_eq(strlen(page_html), page_length());
	cr_assert_lt(strlen(policy), sizeof policy - 1);
	const char *const tags[][2] = {{"<script>", "</script>"}, {"<style>", "</style>"}};
	for (size_t i = 0; i < ARRAY_SIZE(tags); i++) {
		const char *start = strstr(page_html, tags[i][0]) + strlen(tags[i][0]),
			   *end = strstr(start, tags[i][1]);
		crypto_hash_sha256(hash, (const unsigned char *)start, (unsigned long long)(end - start));
		sodium_bin2base64(text, sizeof text, hash, sizeof hash, sodium_base64_VARIANT_ORIGINAL);
		cr_assert_not_null(strstr(policy, text));
		cr_assert_null(strstr(end, tags[i][0]), "a second %s", tags[i][0]);
	}
	cr_assert_null(strstr(policy, "unsafe"));
	cr_assert_null(strstr(page_html, " style="), "the policy forbids it");
	cr_assert_null(strstr(page_html, "src="));
	cr_assert_null(strstr(page_html, "https:"));
}
