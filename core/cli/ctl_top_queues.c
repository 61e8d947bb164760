// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/cli/ctl_text.h"
#include "core/cli/ctl_top.h"

enum { QUEUES_LINE = 128 };

static bool is_worker(const json_t *thread)
{
	return strncmp(ctl_text(thread, "name"), "worker", strlen("worker")) == 0;
}

unsigned ctl_top_queue_lines(const json_t *status)
{
	size_t i;
	json_t *thread;
	unsigned workers = 0;
	json_array_foreach (json_object_get(status, "threads"), i, thread)
		workers += is_worker(thread);
	return workers != 0 ? workers + 2 : 0;
}

/* --- waits -------------------------------------------------------------------------------------------------------- */

/* One bucket of a histogram, or 0 where the list ends. */
static uint64_t bucket_of(const json_t *list, size_t i, double *ns)
{
	const json_t *pair = json_array_get(list, i);
	json_int_t count = json_integer_value(json_array_get(pair, 1));
	*ns = json_number_value(json_array_get(pair, 0));
	return count > 0 ? (uint64_t)count : 0;
}

/* What the bucket at `ns` had before: both lists are ascending, and `*at` follows. */
static uint64_t count_before(const json_t *list, size_t *at, double ns)
{
	for (; *at < json_array_size(list); (*at)++) {
		double there;
		uint64_t count = bucket_of(list, *at, &there);
		if (there >= ns)
			return there > ns ? 0 : count;
	}
	return 0;
}

/* Waits between two samples: how many; and the one that so many of them do not exceed, ns. */
static uint64_t waits_between(const json_t *before, const json_t *now, uint64_t rank, double *reached)
{
	uint64_t sum = 0;
	size_t at = 0;
	for (size_t i = 0; i < json_array_size(now) && (rank == 0 || sum < rank); i++) {
		uint64_t count = bucket_of(now, i, reached), old = count_before(before, &at, *reached);
		sum += count > old ? count - old : 0;
	}
	return sum;
}

static const char *time_text(char text[CTL_TOP_CELL], double ns)
{
	static const char *const units[] = {"ns", "us", "ms", "s"};
	unsigned unit = 0;
	for (; ns >= 999.5 && unit + 1 < ARRAY_SIZE(units); unit++)
		ns /= 1000;
	(void)snprintf(text, CTL_TOP_CELL, "%.*f %s", unit == 0 || ns >= 99.95 ? 0 : 1, ns, units[unit]);
	return text;
}

/* A quantile of the time between the samples, or since the start while there is only one; "-": nothing was timed. */
static const char *quantile_text(char text[CTL_TOP_CELL], const json_t *old, const json_t *thread, const char *wait,
				 double fraction)
{
	const json_t *before = json_object_get(json_object_get(old, wait), "buckets");
	const json_t *now = json_object_get(json_object_get(thread, wait), "buckets");
	double ns = 0;
	uint64_t count = waits_between(before, now, 0, &ns);
	if (count == 0)
		return "-";
	uint64_t rank = (uint64_t)ceil(fraction * (double)count);
	(void)waits_between(before, now, rank != 0 ? rank : 1, &ns);
	return time_text(text, ns);
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

/* Name, four waits, packets and datagrams of those that send little, sessions and bytes that wait, drops: as wide as a
 * terminal of 80. */
#define ROW_FORMAT "%-10.10s %8s %8s %8s %8s %8s %6s %8s %7s"

static void write_worker(FILE *out, const struct ctl_top_view *view, const json_t *thread, size_t place)
{
	static const struct {
		const char *wait;
		double fraction;
	} quantiles[] = {{"socket_wait", 0.5}, {"socket_wait", 0.99}, {"ring_wait", 0.5}, {"ring_wait", 0.99}};
	const json_t *old = ctl_top_thread_before(view, thread, place);
	char line[QUEUES_LINE * 4], cells[ARRAY_SIZE(quantiles)][CTL_TOP_CELL], sparse[CTL_TOP_CELL],
		drops[CTL_TOP_CELL], sessions[CTL_NUMBER_MAX] = "-", bytes[CTL_NUMBER_MAX] = "-";
	const char *shown[ARRAY_SIZE(quantiles)];
	for (size_t i = 0; i < ARRAY_SIZE(quantiles); i++)
		shown[i] = quantile_text(cells[i], old, thread, quantiles[i].wait, quantiles[i].fraction);
	if (ctl_number(thread, "waiting_sessions") != 0) {
		(void)ctl_count(sessions, ctl_number(thread, "waiting_sessions"));
		(void)ctl_bytes(bytes, ctl_number(thread, "waiting_bytes"));
	}
	const json_t *counted = json_object_get(old, "counters"), *counters = json_object_get(thread, "counters");
	double packets = ctl_top_rate(view, counted, counters, "sparse_packets") +
			 ctl_top_rate(view, counted, counters, "sparse_datagrams");
	(void)snprintf(line, sizeof line, ROW_FORMAT, ctl_text(thread, "name"), shown[0], shown[1], shown[2], shown[3],
		       ctl_top_rate_text(sparse, packets), sessions, bytes,
		       ctl_top_rate_text(drops, ctl_top_rate(view, old, thread, "drops_queueing")));
	ctl_top_write_line(out, view, line);
}

void ctl_top_write_queues(FILE *out, const struct ctl_top_view *view)
{
	size_t i;
	json_t *thread;
	char line[QUEUES_LINE];
	if (ctl_top_queue_lines(view->now.status) == 0)
		return;
	(void)snprintf(line, sizeof line, ROW_FORMAT, "queues", "sock p50", "sock p99", "ring p50", "ring p99",
		       "sparse/s", "shaped", "bytes", "drops/s");
	fputc('\n', out);
	fputc(CTL_TOP_HEADING, out);
	ctl_top_write_line(out, view, line);
	json_array_foreach (json_object_get(view->now.status, "threads"), i, thread) {
		if (is_worker(thread))
			write_worker(out, view, thread, i);
	}
}
