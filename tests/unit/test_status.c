// SPDX-License-Identifier: Apache-2.0
/* Reports as JSON, and what shardtunctl makes of them. */
#include "perf/export/status.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/cli/ctl_print.h"
#include "tests/unit/status_gateway.h"

static json_int_t at(const json_t *object, const char *outer, const char *inner)
{
	const json_t *value = json_object_get(json_object_get(object, outer), inner);
	cr_assert(json_is_integer(value), "%s.%s", outer, inner);
	return json_integer_value(value);
}

Test(report, status_sums_the_threads_to_the_packet)
{
	stats_add(&stats[0], udp_rx_packets, 10);
	stats_add(&stats[1], udp_rx_packets, 5);
	stats_drop(&stats[0], DROP_REPLAY, 3);
	stats_drop(&stats[1], DROP_REPLAY, 4);
	stats_drop(&stats[1], DROP_OUT_SEND, 1);
	struct status_source source = gateway();
	json_t *status = status_json(&source);

	cr_assert_eq(at(status, "counters", "udp_rx_packets"), 15);
	const json_t *workers = json_object_get(status, "threads");
	cr_assert_eq(json_array_size(workers), 2, "a thread without counters is none");
	cr_assert_eq(at(json_array_get(workers, 0), "counters", "udp_rx_packets"), 10);
	cr_assert_eq(json_integer_value(json_object_get(json_array_get(workers, 0), "cpu")), 3);
	cr_assert(json_is_null(json_object_get(json_array_get(workers, 1), "cpu")));
	cr_assert_str_eq(json_string_value(json_object_get(json_array_get(workers, 0), "policy")), "other");
	cr_assert_eq(json_integer_value(json_object_get(json_array_get(workers, 0), "nice")), -10);
	cr_assert_eq(json_integer_value(json_object_get(json_array_get(workers, 0), "slice_us")), 100);
	static const char *const unknown[] = {"policy", "nice", "slice_us"};
	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++)
		cr_assert(json_is_null(json_object_get(json_array_get(workers, 1), unknown[i])), "%s", unknown[i]);
	cr_assert_eq(json_real_value(json_object_get(json_array_get(workers, 0), "cpu_seconds")), 1.5);
	cr_assert_eq(json_integer_value(json_object_get(json_array_get(workers, 0), "allocated_bytes")), 4096);
	cr_assert(json_is_null(json_object_get(json_array_get(workers, 1), "allocated_bytes")), "no jemalloc");
	cr_assert_eq(json_integer_value(json_object_get(json_array_get(workers, 1), "drops_uplink")), 4);
	cr_assert_eq(json_integer_value(json_object_get(json_array_get(workers, 1), "drops_downlink")), 1);

	const json_t *drops = json_object_get(status, "drops"), *replay = json_array_get(drops, DROP_REPLAY);
	cr_assert_eq(json_array_size(drops), DROP_COUNT, "reasons that never occurred are there too");
	cr_assert_str_eq(json_string_value(json_object_get(replay, "reason")), "replay");
	cr_assert_str_eq(json_string_value(json_object_get(replay, "direction")), "uplink");
	cr_assert_eq(json_integer_value(json_object_get(replay, "count")), 7);
	cr_assert_str_eq(json_string_value(json_object_get(json_array_get(drops, DROP_OUT_SEND), "direction")),
			 "downlink");
	json_decref(status);
}

Test(report, status_says_what_the_source_says)
{
	struct status_source source = gateway();
	json_t *status = status_json(&source);
	cr_assert_str_eq(json_string_value(json_object_get(status, "version")), SHARDTUN_VERSION);
	cr_assert_str_eq(json_string_value(json_object_get(status, "role")), "gateway");
	cr_assert_eq(json_integer_value(json_object_get(status, "uptime_seconds")), 7384);
	cr_assert_eq(at(status, "interface", "mtu"), 1420);
	cr_assert_eq(at(status, "interface", "tx_dropped"), 19);
	cr_assert_eq(at(status, "interface", "rx_dropped"), 20);
	cr_assert_eq(at(status, "sessions", "max"), 65536);
	cr_assert_eq(at(status, "sessions", "wireguard"), 1);
	cr_assert_eq(at(status, "pool", "used"), 5);
	cr_assert(at(status, "peers", "shardtun") == 7 && at(status, "peers", "wireguard") == 3);
	cr_assert(at(status, "quotas", "peers") == 4 && at(status, "quotas", "over") == 1);
	const json_t *takeover = json_object_get(status, "takeover");
	cr_assert_float_eq(json_real_value(json_object_get(takeover, "wait_seconds")), 0.012346, 1e-9);
	cr_assert_eq(at(status, "takeover", "sessions"), 5);
	cr_assert(at(status, "cluster", "blocks") == 85 && at(status, "cluster", "fences") == 2);
	cr_assert(at(status, "cluster", "map_ipv4") == 170 && at(status, "cluster", "map_ipv6") == 169);
	cr_assert_eq(at(status, "cluster", "map_left_out"), 7);
	cr_assert_eq(at(json_object_get(status, "cluster"), "forwards_refused", "late"), 5);
	cr_assert_eq(at(status, "udp", "queue_overflows"), 17);
	cr_assert_eq(at(status, "log", "lines_dropped"), 18);
	cr_assert(json_is_true(json_object_get(json_object_get(status, "offloads"), "tun_tso")));
	cr_assert(json_is_false(json_object_get(json_object_get(status, "offloads"), "tun_uso")));
	json_decref(status);
}

Test(report, client_has_neither_pool_nor_limit)
{
	struct status_source source = {.role = "client",
				       .interface = "",
				       .interface_drops = {-1, -1},
				       .udp.queue_overflows = -1,
				       .tsc.hz = 1e9};
	json_t *status = status_json(&source);
	cr_assert_neq(status, NULL, "empty arrays are NULL");
	cr_assert_eq(json_object_get(status, "pool"), NULL);
	cr_assert_eq(json_object_get(status, "quotas"), NULL);
	cr_assert_eq(json_object_get(status, "takeover"), NULL);
	cr_assert_eq(json_object_get(status, "cluster"), NULL);
	cr_assert_eq(json_object_get(json_object_get(status, "sessions"), "max"), NULL);
	cr_assert(json_is_null(json_object_get(json_object_get(status, "udp"), "queue_overflows")));
	cr_assert(json_is_null(json_object_get(json_object_get(status, "interface"), "tx_dropped")));
	cr_assert(json_is_null(json_object_get(json_object_get(status, "interface"), "rx_dropped")));
	json_decref(status);
}

static void record(struct stage_recorder *recorder, enum stage stage, uint64_t ticks, int times)
{
	for (int i = 0; i < times; i++)
		histogram_record(&recorder->histograms[stage], ticks);
}

/* 100 lookups over two threads, half the working time; opening is the other half; residence and waiting overlap. */
static void record_some(void)
{
	record(&recorders[0], STAGE_LOOKUP, 20, 60);
	record(&recorders[1], STAGE_LOOKUP, 20, 30);
	record(&recorders[1], STAGE_LOOKUP, 40, 10);
	record(&recorders[0], STAGE_OPEN, 2200, 1);
	record(&recorders[0], STAGE_RING_WAIT, 1000000, 1);
	record(&recorders[0], STAGE_RESIDENCE_UP, 4400, 1);
}

Test(report, a_thread_has_its_queues)
{
	record(&recorders[0], STAGE_SOCKET_WAIT, 20, 98);
	record(&recorders[0], STAGE_SOCKET_WAIT, 2000000, 2);
	stats_set(&stats[0], waiting_sessions, 2);
	stats_set(&stats[0], waiting_bytes, 3000);
	stats_drop(&stats[0], DROP_OUT_QUEUE, 4);
	stats_drop(&stats[0], DROP_REPLAY, 9);
	stats_add(&stats[0], sparse_packets, 8);
	struct status_source source = gateway();
	json_t *status = status_json(&source);
	const json_t *threads = json_object_get(status, "threads"), *worker = json_array_get(threads, 0);
	const json_t *wait = json_object_get(worker, "socket_wait"), *buckets = json_object_get(wait, "buckets");

	cr_expect_str_eq(json_string_value(json_object_get(worker, "cpus")), "3");
	cr_expect(json_is_null(json_object_get(json_array_get(threads, 1), "cpus")), "not known");
	cr_expect_eq(json_integer_value(json_object_get(worker, "waiting_sessions")), 2);
	cr_expect_eq(json_integer_value(json_object_get(worker, "waiting_bytes")), 3000);
	cr_expect_eq(json_integer_value(json_object_get(worker, "drops_queueing")), 4);
	cr_expect_eq(at(worker, "counters", "sparse_packets"), 8);
	cr_expect_eq(json_integer_value(json_object_get(wait, "count")), 100);
	cr_expect_float_eq(json_number_value(json_object_get(wait, "p50_ns")), 10, 1e-9);
	cr_expect_float_eq(json_number_value(json_object_get(wait, "p99_ns")), 1e6, 2e4);
	cr_assert_eq(json_array_size(buckets), 2);
	cr_expect_float_eq(json_number_value(json_array_get(json_array_get(buckets, 0), 0)), 10, 1e-9);
	cr_expect_eq(json_integer_value(json_array_get(json_array_get(buckets, 0), 1)), 98);
	cr_expect_float_eq(json_number_value(json_array_get(json_array_get(buckets, 1), 0)), 1e6, 2e4);
	cr_expect_eq(at(worker, "ring_wait", "count"), 0);
	json_decref(status);
}

Test(report, stages_merge_threads_and_convert_ticks)
{
	record_some();
	struct status_source source = gateway();
	json_t *report = status_stages(&source);
	const json_t *list = json_object_get(report, "stages"), *lookup = json_array_get(list, STAGE_LOOKUP);

	cr_assert_eq(json_integer_value(json_object_get(report, "tsc_hz")), 2000000000);
	cr_assert_eq(json_array_size(list), STAGE_COUNT);
	cr_assert_str_eq(json_string_value(json_object_get(lookup, "stage")), "lookup");
	cr_assert_str_eq(json_string_value(json_object_get(lookup, "unit")), "packet");
	cr_assert_eq(json_integer_value(json_object_get(lookup, "count")), 100);
	cr_assert_eq(at(lookup, "cycles", "p50"), 20);
	cr_assert_eq(at(lookup, "cycles", "p90"), 20);
	cr_assert_eq(at(lookup, "cycles", "p99"), 40);
	cr_assert_eq(at(lookup, "cycles", "p99.9"), 40);
	cr_assert_eq(at(lookup, "cycles", "max"), 40);
	cr_assert_eq(at(lookup, "cycles", "sum"), 2200);
	const json_t *ns = json_object_get(lookup, "ns");
	cr_assert_eq(json_real_value(json_object_get(ns, "p50")), 10.0);
	cr_assert_eq(json_real_value(json_object_get(ns, "max")), 20.0);
	cr_assert_eq(json_real_value(json_object_get(ns, "sum")), 1100.0);
	json_decref(report);
}

Test(report, shares_are_of_working_time_and_add_up_to_one)
{
	record_some();
	struct status_source source = gateway();
	json_t *report = status_stages(&source);
	double sum = 0;
	size_t i;
	json_t *stage;
	json_array_foreach (json_object_get(report, "stages"), i, stage) {
		const json_t *share = json_object_get(stage, "share");
		bool overlaps = i == STAGE_SOCKET_WAIT || i == STAGE_RING_WAIT || i == STAGE_RESIDENCE_UP ||
				i == STAGE_RESIDENCE_DOWN;
		cr_assert_eq(json_is_null(share), overlaps, "%s", stage_infos[i].label);
		sum += json_number_value(share);
	}
	cr_assert_float_eq(sum, 1, 1e-9);
	stage = json_array_get(json_object_get(report, "stages"), STAGE_LOOKUP);
	cr_assert_float_eq(json_real_value(json_object_get(stage, "share")), 0.5, 1e-9);
	json_decref(report);
}

/* What `print` writes. The caller frees. */
static char *printed(void (*print)(FILE *, json_t *), json_t *json)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	print(out, json);
	fclose(out);
	return text;
}

static void expect_in(const char *text, const char *part)
{
	cr_assert_neq(strstr(text, part), NULL, "\"%s\" is missing in:\n%s", part, text);
}

Test(report, status_for_people_names_only_reasons_that_occurred)
{
	stats_add(&stats[0], udp_rx_packets, 44);
	stats_add(&stats[0], udp_rx_calls, 8);
	stats_add(&stats[0], udp_rx_bytes, 1536);
	stats_add(&stats[1], tun_tx_packets, 12345678);
	stats_drop(&stats[0], DROP_REPLAY, 3);
	struct status_source source = gateway();
	json_t *status = status_json(&source);
	json_object_set_new(status, "session", json_pack("{s:s, s:i}", "gateway", "192.0.2.1:5555", "age", 7));
	char *text = printed(ctl_print_status, status);
	expect_in(text, "  set up      nftables NOT in force: Operation not permitted\n"
			"              in force: route (put back 3 times)\n");

	expect_in(text, "gateway, shardtun " SHARDTUN_VERSION ", up 2 h 3 min\n");
	expect_in(text, "shardtun0, MTU 1420, 10.8.0.1/16, fd00:8::1/64\n");
	expect_in(text, "listening   [::]:5555\n");
	expect_in(text, "2 of 65536, 1 of them WireGuard's; 0 started");
	expect_in(text, "5 of 65533 in use\n");
	expect_in(text, "  cluster     node gw1; 85 blocks served here; HELLOs forwarded 0, taken 0\n");
	expect_in(text, "session     gateway 192.0.2.1:5555, age 7\n");
	expect_in(text, "AES-256-GCM (ipsec-mb/avx2)\n");
	expect_in(text, "offloads    tun_tso\n              not: tun_uso\n");
	expect_in(text, "208 KiB to receive, 4.00 MiB to send (wanted 4.00 MiB)\n");
	expect_in(text, "17 datagrams lost");
	expect_in(text, "UDP received           44     1.50 KiB            8          5.5\n");
	expect_in(text, "12.3 M");
	expect_in(text, "carried            12.3 M                         8    1543209.8\n");
	expect_in(text, "uplink   replay                      3  seen before");
	cr_assert_eq(strstr(text, "uplink   forged"), NULL);
	free(text);
	json_decref(status);
}

Test(report, quiet_status_says_that_nothing_was_dropped)
{
	struct status_source source = gateway();
	json_t *status = status_json(&source);
	char *text = printed(ctl_print_status, status);
	expect_in(text, "\nnothing dropped\n");
	free(text);
	json_decref(status);
}

Test(report, stages_for_people_have_their_columns)
{
	record_some();
	struct status_source source = gateway();
	json_t *report = status_stages(&source);
	char *text = printed(ctl_print_stages, report);
	if (SHARDTUN_PROFILE == 0) {
		expect_in(text, "PROFILE=0");
	} else {
		expect_in(text, "One batch in 64 is timed; the time stamp counter runs at 2000.0 MHz.\n");
		expect_in(text,
			  "lookup          packet             100        10        10        20        20        20 "
			  "  50.0%\n");
		expect_in(text,
			  "lookup          packet             100        20        20        40        40        40 "
			  "  50.0%\n");
		expect_in(text, "seal            packet               0\n");
	}
	free(text);
	json_decref(report);
}

Test(report, answers_of_other_versions_do_no_harm)
{
	static const char *const answers[] = {
		"{}",
		"[]",
		"null",
		"7",
		"{\"workers\":[7,{}],\"drops\":[{\"count\":1},null]}",
		"{\"interface\":{\"addresses\":[1]},\"listen\":[{}],\"suites\":{\"x\":1},\"offloads\":{\"x\":1}}",
		"{\"version\":7,\"new\":{\"x\":[1],\"y\":null,\"z\":\"\"}}",
		"{\"sampling\":1,\"stages\":[{\"count\":5},{},1]}",
	};
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		json_t *answer = json_loads(answers[i], JSON_DECODE_ANY, NULL);
		cr_assert_neq(answer, NULL);
		char *status = printed(ctl_print_status, answer), *stages = printed(ctl_print_stages, answer);
		cr_assert_eq(strstr(status, "(null)"), NULL, "%s", status);
		cr_assert_eq(strstr(stages, "(null)"), NULL, "%s", stages);
		free(status);
		free(stages);
		json_decref(answer);
	}
}
