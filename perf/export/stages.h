// SPDX-License-Identifier: Apache-2.0
/* The histograms of all stages, merged over the threads, at one moment: from a running daemon or read back from what
 * status_stages_raw() returned, and what was added between two of them. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "core/base/error.h"
#include "perf/export/status.h"
#include "perf/record/histogram.h"
#include "perf/record/stage.h"

struct stages {
	struct tsc_calibration tsc;
	uint64_t uptime; /* of the daemon, ns */
	uint64_t since;	 /* where it is a difference: the uptime at its beginning; else 0 */
	uint32_t sampling;
	struct histogram_sum sums[STAGE_COUNT];
};

/* Of a daemon, with relaxed loads while it goes on. Any one thread. */
void stages_read(struct stages *stages, const struct status_source *source);

/* As JSON; for its contents see status_stages(). NULL: no memory. */
json_t *stages_report(const struct stages *stages, bool raw);

/* Reads a raw report back. Stages that it does not have are empty, and unknown ones are left out. -EINVAL: it is none,
 * or its buckets are cut otherwise. */
int stages_parse(struct stages *stages, json_t *report, struct error *error);

/* Takes what was there before from what is there later. The largest value of the time between is not known: the upper
 * end of the highest bucket stands for it. -EINVAL: `before` is not an earlier report of the same daemon. */
int stages_subtract(struct stages *later, const struct stages *before, struct error *error);

/* How long packets waited at one thread: {"count", "p50_ns", "p99_ns", "buckets": [[ns, count], ...]}, where ns is the
 * middle of a bucket that is not empty, ascending, and all is since the start. Two of these with some time between them
 * give the quantiles of that time. The caller owns it; NULL: no memory. Any one thread. */
json_t *stages_wait(const struct stage_recorder *recorder, enum stage wait, const struct tsc_calibration *tsc);
