// SPDX-License-Identifier: Apache-2.0
/* The report about a running daemon, in the text format of Prometheus, version 0.0.4.
 *
 * Base units, HELP and TYPE for each name, no series for a single session: the number of lines depends on threads and
 * on the tables of counters, drop reasons and stages alone. */
#pragma once

#include "perf/export/process.h"
#include "perf/export/status.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum { METRICS_BUCKETS = 20 /* of a stage, without that of infinity */ };

/* Upper bounds in seconds, the same on every machine. A time stamp counter's ticks fall into buckets of our own which
 * do not end there: each counts below a bound if its middle is, so a bound is met to 2 percent
 * (HISTOGRAM_ERROR_PERCENT). */
extern const double metrics_bounds[METRICS_BUCKETS];

/* The text, terminated, with its length without that; the caller frees it. NULL: no memory. Any one thread. */
char *metrics_text(const struct status_source *source, const struct process_figures *process, size_t *length);

/* How many recorded values lie below each bound, as a Prometheus histogram has them. */
void metrics_buckets(const struct histogram_sum *sum, const struct tsc_calibration *tsc,
		     uint64_t below[METRICS_BUCKETS]);
