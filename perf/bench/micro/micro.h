// SPDX-License-Identifier: Apache-2.0
/* Timing of single operations for the micro-benchmarks: the median over many batches of what one call costs, in
 * nanoseconds and in ticks of the time stamp counter. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf/record/tsc.h"

enum {
	MICRO_BATCHES = 501,
	MICRO_BATCHES_LEAST = 21, /* even when they take longer than ... */
	MICRO_MS_MOST = 250,	  /* ... all of them together should */
};

static inline int micro_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* Ticks of one call: the median batch of `calls` of them. */
static inline double micro_ticks(void (*operation)(void *context), void *context, unsigned calls)
{
	static uint64_t times[MICRO_BATCHES];
	uint64_t end = clock_monotonic(&clock_system) + MICRO_MS_MOST * NS_PER_MS;
	size_t batches = 0;
	while (batches < MICRO_BATCHES) {
		uint64_t start = tsc_now();
		for (unsigned i = 0; i < calls; i++)
			operation(context);
		times[batches++] = tsc_now() - start;
		if (batches >= MICRO_BATCHES_LEAST && clock_monotonic(&clock_system) > end)
			break;
	}
	qsort(times, batches, sizeof *times, micro_compare);
	uint64_t median = times[batches / 2];
	return (double)median / calls;
}

/* The line of one result: all benchmarks print theirs like this. */
static inline void micro_line(const char *name, double ns, double cycles)
{
	printf("%-52s %12.1f ns %12.1f cycles\n", name, ns, cycles);
	fflush(stdout);
}

/* Measures and prints a line; one call does the operation `items` times. Returns the ns of one. */
static inline double micro_report(const char *name, void (*operation)(void *context), void *context, unsigned calls,
				  unsigned items)
{
	static struct tsc_calibration calibration;
	if (calibration.hz == 0)
		calibration = tsc_calibrate();
	double ticks = micro_ticks(operation, context, calls) / items;
	double ns = tsc_to_ns(&calibration, ticks);
	micro_line(name, ns, ticks);
	return ns;
}

/* Adds a line to the file of samples that the environment's BENCH_SAMPLES names, where it does: how
 * perf/bench/compare/run collects them. Figures have the names that perf/plot/figures.py knows. */
static inline void micro_sample(const char *figure, double value)
{
	const char *path = getenv("BENCH_SAMPLES");
	if (path == NULL)
		return;
	FILE *file = fopen(path, "a");
	bool written = file != NULL && fprintf(file, "shardtun %s %.3f\n", figure, value) > 0;
	if (file == NULL || fclose(file) != 0 || !written) {
		fprintf(stderr, "%s: the sample cannot be written (%s)\n", path, strerror(errno));
		exit(1);
	}
}

/* Keeps a value that nothing else uses from being optimized away. */
#define MICRO_KEEP(value) __asm__ volatile("" : : "r"(value) : "memory")
