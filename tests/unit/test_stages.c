// SPDX-License-Identifier: Apache-2.0
/* Snapshots of the stage histograms: there and back as JSON, and what came between two of them. */
#include "perf/export/stages.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct stage_recorder recorders[2];
static const struct status_thread threads[] = {{.name = "worker 0", .stages = &recorders[0]},
					       {.name = "worker 1", .stages = &recorders[1]}};
static struct stages before, later, again;

static struct status_source source(uint64_t uptime)
{
	return (struct status_source){.role = "gateway",
				      .uptime = uptime,
				      .interface = "",
				      .threads = threads,
				      .thread_count = ARRAY_SIZE(threads),
				      .tsc = {.hz = 2e9, .invariant = true},
				      .stage_sampling = 64};
}

static void record(unsigned thread, enum stage stage, uint64_t ticks, uint64_t times)
{
	histogram_record_many(&recorders[thread].histograms[stage], ticks, times);
}

static void take(struct stages *stages, uint64_t uptime)
{
	struct status_source from = source(uptime);
	stages_read(stages, &from);
}

static int parse(struct stages *stages, const char *text, struct error *error)
{
	json_t *report = json_loads(text, 0, NULL);
	cr_assert_not_null(report);
	int code = stages_parse(stages, report, error);
	json_decref(report);
	return code;
}

Test(stages, raw_report_is_read_back_as_it_was)
{
	struct error error = {0};
	record(0, STAGE_OPEN, 2200, 7);
	record(1, STAGE_OPEN, 900000, 1);
	record(1, STAGE_RESIDENCE_DOWN, 1ull << 45, 3);
	take(&before, 7 * NS_PER_S + 5 * NS_PER_MS);
	json_t *report = stages_report(&before, true);
	cr_assert_eq(stages_parse(&again, report, &error), 0, "%s", error.text);
	cr_assert_eq(memcmp(again.sums, before.sums, sizeof again.sums), 0);
	cr_assert_eq(again.sampling, before.sampling);
	cr_assert_eq(again.tsc.hz, 2e9);
	cr_assert(again.tsc.invariant);
	cr_assert_eq(again.uptime, before.uptime);
	json_decref(report);
}

Test(stages, buckets_come_only_with_raw)
{
	struct status_source from = source(NS_PER_S);
	struct error error = {0};
	json_t *report = status_stages(&from);
	cr_assert_null(json_object_get(json_array_get(json_object_get(report, "stages"), 0), "buckets"));
	cr_assert_eq(stages_parse(&again, report, &error), -EINVAL);
	cr_assert_not_null(strstr(error.text, "--raw"));
	json_decref(report);
}

/* 1000 slow packets before, 100 quick ones since: only those show, to the packet and the quantile. */
Test(stages, difference_is_of_the_time_between_alone)
{
	struct error error = {0};
	record(0, STAGE_SEAL, 40000, 1000);
	take(&before, 10 * NS_PER_S);
	record(0, STAGE_SEAL, 20, 60);
	record(1, STAGE_SEAL, 30, 40);
	record(0, STAGE_LOOKUP, 50000, 1);
	take(&later, 20 * NS_PER_S);
	cr_assert_eq(stages_subtract(&later, &before, &error), 0, "%s", error.text);

	const struct histogram_sum *seal = &later.sums[STAGE_SEAL], *lookup = &later.sums[STAGE_LOOKUP];
	cr_assert_eq(seal->count, 100);
	cr_assert_eq(seal->sum, 60 * 20 + 40 * 30);
	cr_assert_eq(histogram_quantile(seal, 0.5), 20);
	cr_assert_eq(histogram_quantile(seal, 0.99), 30);
	cr_assert_eq(seal->max, 30, "the largest before does not count");
	cr_assert_eq(lookup->max, 50000, "a new maximum is known");
	cr_assert_eq(later.sums[STAGE_OPEN].count, 0);
	cr_assert_eq(later.sums[STAGE_OPEN].max, 0);
	cr_assert_eq(later.since, 10 * NS_PER_S);
	json_t *report = stages_report(&later, false);
	cr_assert_eq(json_real_value(json_object_get(report, "since_seconds")), 10);
	cr_assert_eq(json_real_value(json_object_get(report, "uptime_seconds")), 20);
	json_decref(report);
}

Test(stages, the_maximum_of_a_difference_is_at_most_a_bucket_too_high)
{
	struct error error = {0};
	record(0, STAGE_SEAL, 1000000, 1);
	take(&before, NS_PER_S);
	record(0, STAGE_SEAL, 10000, 1);
	take(&later, 2 * NS_PER_S);
	cr_assert_eq(stages_subtract(&later, &before, &error), 0);
	uint64_t max = later.sums[STAGE_SEAL].max;
	cr_assert(max >= 10000 && max <= 10000 * (100 + 2 * HISTOGRAM_ERROR_PERCENT) / 100, "%lu", max);
}

Test(stages, reports_in_the_wrong_order_or_of_two_lives_are_refused)
{
	struct error error = {0};
	record(0, STAGE_SEAL, 40, 10);
	take(&before, 10 * NS_PER_S);
	record(0, STAGE_SEAL, 40, 10);
	take(&later, 20 * NS_PER_S);
	again = before;
	cr_assert_eq(stages_subtract(&again, &later, &error), -EINVAL);
	/* Started again between: up for longer, and with less in it. */
	again = before;
	again.uptime = 30 * NS_PER_S;
	cr_assert_eq(stages_subtract(&again, &later, &error), -EINVAL);
	cr_assert_not_null(strstr(error.text, "started"));
}

Test(stages, damaged_reports_are_refused)
{
	static const char *const wrong[] = {
		"{}",
		"[]",
		"{\"stages\": []}",
		"{\"stages\": [], \"uptime_seconds\": 1, \"tsc_hz\": 0, \"sub_bits\": 5}",
		"{\"stages\": [], \"uptime_seconds\": -1, \"tsc_hz\": 1e9, \"sub_bits\": 5}",
		"{\"stages\": [], \"uptime_seconds\": 1, \"tsc_hz\": 1e9, \"sub_bits\": 6}",
		"{\"stages\": [{\"stage\": \"seal\"}], \"uptime_seconds\": 1, \"tsc_hz\": 1e9, \"sub_bits\": 5}",
		"{\"stages\": [{\"stage\": \"seal\", \"buckets\": [[1152, 1]]}], \"uptime_seconds\": 1, \"tsc_hz\": "
		"1e9, "
		"\"sub_bits\": 5}",
		"{\"stages\": [{\"stage\": \"seal\", \"buckets\": [[-1, 1]]}], \"uptime_seconds\": 1, \"tsc_hz\": 1e9, "
		"\"sub_bits\": 5}",
		"{\"stages\": [{\"stage\": \"seal\", \"buckets\": [[1, -1]]}], \"uptime_seconds\": 1, \"tsc_hz\": 1e9, "
		"\"sub_bits\": 5}",
		"{\"stages\": [{\"stage\": \"seal\", \"buckets\": [7]}], \"uptime_seconds\": 1, \"tsc_hz\": 1e9, "
		"\"sub_bits\": 5}",
	};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct error error = {0};
		cr_assert_eq(parse(&again, wrong[i], &error), -EINVAL, "%s", wrong[i]);
		cr_assert_neq(error.text[0], '\0');
	}
	struct error error = {0};
	static const char unknown[] = "{\"stages\": [{\"stage\": \"new\"}], \"uptime_seconds\": 1, \"tsc_hz\": 1000, "
				      "\"sub_bits\": 5}";
	cr_assert_eq(parse(&again, unknown, &error), 0, "another version's stages do no harm");
}
