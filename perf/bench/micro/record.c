// SPDX-License-Identifier: Apache-2.0
/* What the data path does for every packet beside the packet itself: the replay window in the orders that a network
 * delivers, a value into a histogram, a time stamp; and what a reader of histograms pays. */
#include <sodium.h>

#include "crypto/replay.h"
#include "perf/bench/micro/micro.h"
#include "perf/record/histogram.h"

enum {
	COUNTERS = 4096, /* in one call */
	FAR = 1000,	 /* how much later a late packet comes */
	GAPS = 256,	 /* in one call */
	GAP = REPLAY_WINDOW / 2,
};

struct bench {
	struct replay_window window;
	uint64_t counter;
	uint64_t values[COUNTERS];
	struct histogram histogram;
	struct histogram_sum sum;
};

static void in_order(void *context)
{
	struct bench *bench = context;
	for (size_t i = 0; i < COUNTERS; i++)
		MICRO_KEEP(replay_accept(&bench->window, bench->counter++));
}

/* Each pair comes the wrong way round. */
static void swapped(void *context)
{
	struct bench *bench = context;
	for (size_t i = 0; i < COUNTERS; i++)
		MICRO_KEEP(replay_accept(&bench->window, bench->counter++ ^ 1));
}

/* Every other one is `FAR` packets late, as when two links share the load and one of them is longer. */
static void late(void *context)
{
	struct bench *bench = context;
	for (size_t i = 0; i < COUNTERS; i++) {
		uint64_t counter = bench->counter++;
		MICRO_KEEP(replay_accept(&bench->window, (counter & 1) != 0 ? counter - FAR : counter));
	}
}

/* None of them is new. */
static void replayed(void *context)
{
	struct bench *bench = context;
	for (uint64_t i = 0; i < COUNTERS; i++)
		MICRO_KEEP(replay_accept(&bench->window, bench->counter - 1 - i));
}

/* After a loss of half the window, which has to be cleared, each time. */
static void after_a_gap(void *context)
{
	struct bench *bench = context;
	for (size_t i = 0; i < GAPS; i++)
		MICRO_KEEP(replay_accept(&bench->window, bench->counter += GAP));
}

static void record_values(void *context)
{
	struct bench *bench = context;
	for (size_t i = 0; i < COUNTERS; i++)
		histogram_record(&bench->histogram, bench->values[i]);
}

static void merge(void *context)
{
	struct bench *bench = context;
	histogram_merge(&bench->sum, &bench->histogram);
}

static void quantile(void *context)
{
	const struct bench *bench = context;
	MICRO_KEEP(histogram_quantile(&bench->sum, 0.99));
}

static void stamp(void *context)
{
	(void)context;
	for (size_t i = 0; i < COUNTERS; i++)
		MICRO_KEEP(tsc_now());
}

int main(void)
{
	static const struct {
		const char *name;
		void (*operation)(void *context);
		unsigned items;
	} subjects[] = {
		{"replay window, in order", in_order, COUNTERS},
		{"replay window, neighbours swapped", swapped, COUNTERS},
		{"replay window, every other one late", late, COUNTERS},
		{"replay window, all replayed", replayed, COUNTERS},
		{"replay window, half of it lost each time", after_a_gap, GAPS},
		{"histogram, one value", record_values, COUNTERS},
		{"histogram, merge a thread's", merge, 1},
		{"histogram, a quantile", quantile, 1},
		{"time stamp", stamp, COUNTERS},
	};
	static struct bench bench;
	if (sodium_init() < 0)
		abort();
	/* As durations are: many alike, few far above. */
	for (size_t i = 0; i < COUNTERS; i++)
		bench.values[i] = 200 + (1u << randombytes_uniform(12)) + randombytes_uniform(64);
	for (size_t i = 0; i < ARRAY_SIZE(subjects); i++)
		micro_report(subjects[i].name, subjects[i].operation, &bench, 1, subjects[i].items);
	return 0;
}
