// SPDX-License-Identifier: Apache-2.0
#include "perf/record/stage.h"

#include <string.h>

const struct stage_info stage_infos[STAGE_COUNT] = {
#define X(stage, name, what, description) [stage] = {.label = name, .unit = what, .text = description},
	STAGES(X)
#undef X
};

void stage_recorder_sample(struct stage_recorder *recorder, uint32_t interval)
{
	atomic_store_explicit(&recorder->interval, interval, memory_order_relaxed);
}

void stage_recorder_init(struct stage_recorder *recorder, uint32_t interval, uint64_t ticks_per_second)
{
	/* A countdown of 0 samples the first batch: a thread that sees little traffic shows something at once. */
	memset(recorder, 0, sizeof *recorder);
	stage_recorder_sample(recorder, interval);
	recorder->invariant = tsc_is_invariant();
	recorder->ticks_per_ms = ticks_per_second / 1000;
}
