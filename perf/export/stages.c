// SPDX-License-Identifier: Apache-2.0
#include "perf/export/stages.h"

#include <math.h>
#include <stdlib.h>

#include "perf/export/json.h"

static const struct {
	const char *name;
	double fraction;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};

void status_merge_stage(const struct status_source *source, enum stage stage, struct histogram_sum *sum)
{
	*sum = (struct histogram_sum){0};
	for (size_t i = 0; i < source->thread_count; i++) {
		if (source->threads[i].stages != NULL)
			histogram_merge(sum, &source->threads[i].stages->histograms[stage]);
	}
}

void stages_read(struct stages *stages, const struct status_source *source)
{
	stages->tsc = source->tsc;
	stages->uptime = source->uptime;
	stages->since = 0;
	stages->sampling = SHARDTUN_PROFILE ? source->stage_sampling : 0;
	for (unsigned i = 0; i < STAGE_COUNT; i++)
		status_merge_stage(source, (enum stage)i, &stages->sums[i]);
}

/* --- as JSON ------------------------------------------------------------------------------------------------------ */

/* To a tenth of a nanosecond: beyond that is noise. */
static json_t *nanoseconds(const struct tsc_calibration *tsc, uint64_t ticks)
{
	return json_real(round(tsc_to_ns(tsc, (double)ticks) * 10) / 10);
}

/* [index, count] of those that are not empty. */
static json_t *buckets_list(const struct histogram_sum *sum)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		if (sum->buckets[i] == 0)
			continue;
		json_t *pair = json_array();
		append(&pair, number(i));
		append(&pair, number(sum->buckets[i]));
		append(&list, pair);
	}
	return list;
}

static json_t *stage_object(const struct stages *stages, enum stage stage, bool raw)
{
	const struct histogram_sum *sum = &stages->sums[stage];
	json_t *ns = json_object(), *cycles = json_object();
	for (size_t i = 0; i < ARRAY_SIZE(quantiles); i++) {
		uint64_t ticks = histogram_quantile(sum, quantiles[i].fraction);
		put(&ns, quantiles[i].name, nanoseconds(&stages->tsc, ticks));
		put(&cycles, quantiles[i].name, number(ticks));
	}
	put(&ns, "max", nanoseconds(&stages->tsc, sum->max));
	put(&cycles, "max", number(sum->max));
	put(&ns, "sum", nanoseconds(&stages->tsc, sum->sum));
	put(&cycles, "sum", number(sum->sum));

	json_t *object = json_object();
	put(&object, "stage", json_string(stage_infos[stage].label));
	put(&object, "unit", json_string(stage_infos[stage].unit));
	put(&object, "text", json_string(stage_infos[stage].text));
	put(&object, "count", number(sum->count));
	put(&object, "ns", ns);
	put(&object, "cycles", cycles);
	if (raw)
		put(&object, "buckets", buckets_list(sum));
	return object;
}

json_t *stages_report(const struct stages *stages, bool raw)
{
	uint64_t worked = 0;
	for (unsigned i = 0; i < STAGE_COUNT; i++)
		worked += stage_is_work((enum stage)i) ? stages->sums[i].sum : 0;
	json_t *list = json_array();
	for (unsigned i = 0; i < STAGE_COUNT; i++) {
		double share = worked != 0 ? (double)stages->sums[i].sum / (double)worked : 0;
		json_t *object = stage_object(stages, (enum stage)i, raw);
		put(&object, "share", stage_is_work((enum stage)i) ? json_real(share) : json_null());
		append(&list, object);
	}

	json_t *report = json_object();
	put(&report, "uptime_seconds", json_real(round((double)stages->uptime / 1e6) / 1e3));
	if (stages->since != 0)
		put(&report, "since_seconds", json_real(round((double)stages->since / 1e6) / 1e3));
	put(&report, "tsc_hz", json_integer((json_int_t)llround(stages->tsc.hz)));
	put(&report, "tsc_invariant", json_boolean(stages->tsc.invariant));
	put(&report, "sampling", number(stages->sampling));
	if (raw)
		put(&report, "sub_bits", number(HISTOGRAM_SUB_BITS));
	put(&report, "stages", list);
	return report;
}

static json_t *read_and_report(const struct status_source *source, bool raw)
{
	struct stages *stages = malloc(sizeof *stages);
	if (stages == NULL)
		return NULL;
	stages_read(stages, source);
	json_t *report = stages_report(stages, raw);
	free(stages);
	return report;
}

json_t *status_stages(const struct status_source *source)
{
	return read_and_report(source, false);
}

json_t *status_stages_raw(const struct status_source *source)
{
	return read_and_report(source, true);
}

json_t *stages_wait(const struct stage_recorder *recorder, enum stage wait, const struct tsc_calibration *tsc)
{
	struct histogram_sum sum = {0};
	histogram_merge(&sum, &recorder->histograms[wait]);
	json_t *list = json_array();
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		if (sum.buckets[i] == 0)
			continue;
		json_t *pair = json_array();
		append(&pair, nanoseconds(tsc, histogram_bucket_middle(i)));
		append(&pair, number(sum.buckets[i]));
		append(&list, pair);
	}
	json_t *object = json_object();
	put(&object, "count", number(sum.count));
	put(&object, "p50_ns", nanoseconds(tsc, histogram_quantile(&sum, 0.5)));
	put(&object, "p99_ns", nanoseconds(tsc, histogram_quantile(&sum, 0.99)));
	put(&object, "buckets", list);
	return object;
}

/* --- and back ----------------------------------------------------------------------------------------------------- */

static int parse_stage(struct histogram_sum *sum, json_t *object)
{
	size_t i;
	json_t *pair;
	json_array_foreach (json_object_get(object, "buckets"), i, pair) {
		json_int_t bucket = json_integer_value(json_array_get(pair, 0));
		json_int_t count = json_integer_value(json_array_get(pair, 1));
		if (bucket < 0 || bucket >= HISTOGRAM_BUCKETS || count <= 0)
			return -EINVAL;
		sum->buckets[bucket] += (uint64_t)count;
		sum->count += (uint64_t)count;
	}
	const json_t *cycles = json_object_get(object, "cycles");
	json_int_t total = json_integer_value(json_object_get(cycles, "sum"));
	json_int_t max = json_integer_value(json_object_get(cycles, "max"));
	if (!json_is_array(json_object_get(object, "buckets")) || total < 0 || max < 0)
		return -EINVAL;
	sum->sum = (uint64_t)total;
	sum->max = (uint64_t)max;
	return 0;
}

static struct histogram_sum *find_stage(struct stages *stages, const json_t *object)
{
	const char *label = json_string_value(json_object_get(object, "stage"));
	for (unsigned i = 0; label != NULL && i < STAGE_COUNT; i++) {
		if (strcmp(label, stage_infos[i].label) == 0)
			return &stages->sums[i];
	}
	return NULL;
}

int stages_parse(struct stages *stages, json_t *report, struct error *error)
{
	double uptime = json_number_value(json_object_get(report, "uptime_seconds"));
	double hz = json_number_value(json_object_get(report, "tsc_hz"));
	json_t *list = json_object_get(report, "stages"), *object;
	if (!json_is_array(list) || !(uptime >= 0 && uptime < 1e9) || !(hz >= 1 && hz < 1e12))
		return error_set(error, -EINVAL, "this is no report of stages");
	if (json_integer_value(json_object_get(report, "sub_bits")) != HISTOGRAM_SUB_BITS)
		return error_set(error, -EINVAL,
				 "there are no buckets in this report, or they are cut in another way; "
				 "\"stages --raw\" writes them");
	*stages = (struct stages){
		.tsc = {.hz = hz, .invariant = json_is_true(json_object_get(report, "tsc_invariant"))},
		.uptime = (uint64_t)(uptime * 1e9),
		.sampling = (uint32_t)json_integer_value(json_object_get(report, "sampling"))};
	size_t i;
	json_array_foreach (list, i, object) {
		struct histogram_sum *sum = find_stage(stages, object);
		if (sum != NULL && parse_stage(sum, object) != 0)
			return error_set(error, -EINVAL, "stage %zu of this report is damaged", i);
	}
	return 0;
}

/* --- what came in between ----------------------------------------------------------------------------------------- */

static bool subtract(struct histogram_sum *later, const struct histogram_sum *before)
{
	unsigned highest = 0;
	if (later->count < before->count || later->sum < before->sum)
		return false;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		if (later->buckets[i] < before->buckets[i])
			return false;
		later->buckets[i] -= before->buckets[i];
		highest = later->buckets[i] != 0 ? i : highest;
	}
	later->count -= before->count;
	later->sum -= before->sum;
	uint64_t high = later->count != 0 ? histogram_bucket_high(highest) : 0;
	if (later->max == before->max || later->count == 0)
		later->max = high < later->max ? high : later->max;
	return true;
}

int stages_subtract(struct stages *later, const struct stages *before, struct error *error)
{
	bool good = later->uptime >= before->uptime;
	for (unsigned i = 0; good && i < STAGE_COUNT; i++)
		good = subtract(&later->sums[i], &before->sums[i]);
	if (!good)
		return error_set(error, -EINVAL,
				 "the first report is not the earlier one, or the daemon was started between them");
	later->since = before->uptime;
	return 0;
}
