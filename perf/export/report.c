// SPDX-License-Identifier: Apache-2.0
#include "perf/export/report.h"

#include <math.h>

/* Both take `value` over, and turn the whole into NULL when there is no memory; on NULL they only drop the value. So a
 * report is built straight down and ends as NULL whatever failed in it. */
static void put(json_t **object, const char *key, json_t *value)
{
	if (json_object_set_new(*object, key, value) != 0) {
		json_decref(*object);
		*object = NULL;
	}
}

static void append(json_t **array, json_t *value)
{
	if (json_array_append_new(*array, value) != 0) {
		json_decref(*array);
		*array = NULL;
	}
}

static json_t *number(uint64_t value)
{
	return json_integer(value < INT64_MAX ? (json_int_t)value : INT64_MAX);
}

static json_t *text_list(const char *const *texts, size_t count)
{
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++)
		append(&list, json_string(texts[i]));
	return list;
}

static const char *direction_name(enum drop_direction direction)
{
	return direction == UPLINK ? "uplink" : "downlink";
}

static json_t *counters_object(const struct stats_snapshot *snapshot)
{
	json_t *object = json_object();
	for (size_t i = 0; i < STATS_COUNTER_COUNT; i++)
		put(&object, counter_infos[i].name, number(snapshot->counters[i]));
	return object;
}

static json_t *drops_list(const struct stats_snapshot *snapshot)
{
	json_t *list = json_array();
	for (size_t i = 0; i < DROP_COUNT; i++) {
		json_t *drop = json_object();
		put(&drop, "reason", json_string(drop_infos[i].label));
		put(&drop, "direction", json_string(direction_name(drop_infos[i].direction)));
		put(&drop, "count", number(snapshot->drops[i]));
		put(&drop, "text", json_string(drop_infos[i].text));
		append(&list, drop);
	}
	return list;
}

static json_t *threads_list(const struct report_source *source, struct stats_snapshot *sum)
{
	json_t *list = json_array();
	for (size_t i = 0; i < source->thread_count; i++) {
		const struct report_thread *thread = &source->threads[i];
		if (thread->stats == NULL)
			continue;
		/* One read serves both, so that the sums are those of the threads to the packet. */
		struct stats_snapshot own = {0};
		stats_read(thread->stats, &own);
		for (size_t j = 0; j < STATS_COUNTER_COUNT; j++)
			sum->counters[j] += own.counters[j];
		for (size_t j = 0; j < DROP_COUNT; j++)
			sum->drops[j] += own.drops[j];

		json_t *object = json_object();
		put(&object, "name", json_string(thread->name));
		put(&object, "cpu", thread->cpu >= 0 ? json_integer(thread->cpu) : json_null());
		put(&object, "load", json_real(round(thread->load * 1000) / 1000));
		put(&object, "drops_uplink", number(stats_drop_sum(&own, UPLINK)));
		put(&object, "drops_downlink", number(stats_drop_sum(&own, DOWNLINK)));
		put(&object, "counters", counters_object(&own));
		append(&list, object);
	}
	return list;
}

static json_t *interface_object(const struct report_source *source)
{
	json_t *object = json_object();
	put(&object, "name", json_string(source->interface));
	put(&object, "mtu", number(source->mtu));
	put(&object, "addresses", text_list(source->addresses, source->address_count));
	return object;
}

static json_t *udp_object(const struct report_source *source)
{
	json_t *object = json_object();
	put(&object, "receive_buffer", number(source->udp.receive_buffer));
	put(&object, "send_buffer", number(source->udp.send_buffer));
	put(&object, "wanted_buffer", number(source->udp.wanted_buffer));
	put(&object, "queue_overflows",
	    source->udp.queue_overflows >= 0 ? json_integer(source->udp.queue_overflows) : json_null());
	return object;
}

static json_t *pair_object(const char *first, uint64_t first_value, const char *second, uint64_t second_value)
{
	json_t *object = json_object();
	put(&object, first, number(first_value));
	if (second_value != 0)
		put(&object, second, number(second_value));
	return object;
}

json_t *report_status(const struct report_source *source)
{
	json_t *offloads = json_object();
	for (size_t i = 0; i < source->offload_count; i++)
		put(&offloads, source->offloads[i].name, json_boolean(source->offloads[i].on));
	json_t *suites = json_object();
	for (size_t i = 0; i < source->suite_count; i++)
		put(&suites, source->suites[i].name, json_string(source->suites[i].backend));
	struct stats_snapshot sum = {0};
	json_t *threads = threads_list(source, &sum);

	json_t *status = json_object();
	put(&status, "version", json_string(SHARDTUN_VERSION));
	put(&status, "role", json_string(source->role));
	put(&status, "uptime_seconds", number(source->uptime / NS_PER_S));
	put(&status, "interface", interface_object(source));
	put(&status, "listen", text_list(source->listen, source->listen_count));
	put(&status, "sessions", pair_object("active", source->sessions.active, "max", source->sessions.max));
	if (source->pool.size != 0)
		put(&status, "pool", pair_object("used", source->pool.used, "size", source->pool.size));
	put(&status, "suites", suites);
	put(&status, "offloads", offloads);
	put(&status, "udp", udp_object(source));
	put(&status, "counters", counters_object(&sum));
	put(&status, "drops", drops_list(&sum));
	put(&status, "threads", threads);
	return status;
}

/* --- stages ------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	double fraction;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};

/* Spans that overlap the work of other stages: their time is not counted again. */
static bool is_work(enum stage stage)
{
	return stage != STAGE_RING_WAIT && stage != STAGE_RESIDENCE_UP && stage != STAGE_RESIDENCE_DOWN;
}

void report_merge_stage(const struct report_source *source, enum stage stage, struct histogram_sum *sum)
{
	*sum = (struct histogram_sum){0};
	for (size_t i = 0; i < source->thread_count; i++) {
		if (source->threads[i].stages != NULL)
			histogram_merge(sum, &source->threads[i].stages->histograms[stage]);
	}
}

/* To a tenth of a nanosecond: beyond that is noise. */
static json_t *nanoseconds(const struct report_source *source, uint64_t ticks)
{
	return json_real(round(tsc_to_ns(&source->tsc, (double)ticks) * 10) / 10);
}

static json_t *stage_object(const struct report_source *source, enum stage stage, const struct histogram_sum *sum)
{
	json_t *ns = json_object(), *cycles = json_object();
	for (size_t i = 0; i < ARRAY_SIZE(quantiles); i++) {
		uint64_t ticks = histogram_quantile(sum, quantiles[i].fraction);
		put(&ns, quantiles[i].name, nanoseconds(source, ticks));
		put(&cycles, quantiles[i].name, number(ticks));
	}
	put(&ns, "max", nanoseconds(source, sum->max));
	put(&cycles, "max", number(sum->max));
	put(&ns, "sum", nanoseconds(source, sum->sum));
	put(&cycles, "sum", number(sum->sum));

	json_t *object = json_object();
	put(&object, "stage", json_string(stage_infos[stage].label));
	put(&object, "unit", json_string(stage_infos[stage].unit));
	put(&object, "text", json_string(stage_infos[stage].text));
	put(&object, "count", number(sum->count));
	put(&object, "ns", ns);
	put(&object, "cycles", cycles);
	return object;
}

json_t *report_stages(const struct report_source *source)
{
	json_t *stages[STAGE_COUNT];
	uint64_t sums[STAGE_COUNT], worked = 0;
	for (unsigned i = 0; i < STAGE_COUNT; i++) {
		struct histogram_sum sum;
		report_merge_stage(source, (enum stage)i, &sum);
		stages[i] = stage_object(source, (enum stage)i, &sum);
		sums[i] = sum.sum;
		worked += is_work((enum stage)i) ? sum.sum : 0;
	}

	json_t *list = json_array();
	for (unsigned i = 0; i < STAGE_COUNT; i++) {
		/* Shares need the sum over all stages, hence the second pass. */
		double share = worked != 0 ? (double)sums[i] / (double)worked : 0;
		put(&stages[i], "share", is_work((enum stage)i) ? json_real(share) : json_null());
		append(&list, stages[i]);
	}

	json_t *report = json_object();
	put(&report, "tsc_hz", json_integer((json_int_t)llround(source->tsc.hz)));
	put(&report, "tsc_invariant", json_boolean(source->tsc.invariant));
	put(&report, "sampling", number(SHARDTUN_PROFILE ? source->stage_sampling : 0));
	put(&report, "stages", list);
	return report;
}
