// SPDX-License-Identifier: Apache-2.0
/* Timing of single operations for the micro-benchmarks: the median over many batches of what one call costs, in
 * nanoseconds and in ticks of the time stamp counter. */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "perf/record/tsc.h"

enum { MICRO_BATCHES = 501 };

static inline int micro_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* Ticks of one call: the median batch of `calls` of them. */
static inline double micro_ticks(void (*operation)(void *context), void *context, unsigned calls)
{
	static uint64_t times[MICRO_BATCHES];
	for (size_t batch = 0; batch < MICRO_BATCHES; batch++) {
		uint64_t start = tsc_now();
		for (unsigned i = 0; i < calls; i++)
			operation(context);
		times[batch] = tsc_now() - start;
	}
	qsort(times, MICRO_BATCHES, sizeof *times, micro_compare);
	uint64_t median = times[MICRO_BATCHES / 2];
	return (double)median / calls;
}

/* Measures and prints a line; one call does the operation `items` times. */
static inline void micro_report(const char *name, void (*operation)(void *context), void *context, unsigned calls,
				unsigned items)
{
	static struct tsc_calibration calibration;
	if (calibration.hz == 0)
		calibration = tsc_calibrate();
	double ticks = micro_ticks(operation, context, calls) / items;
	printf("%-52s %10.1f ns %10.1f cycles\n", name, tsc_to_ns(&calibration, ticks), ticks);
}

/* Keeps a value that nothing else uses from being optimized away. */
#define MICRO_KEEP(value) __asm__ volatile("" : : "r"(value) : "memory")
