// SPDX-License-Identifier: Apache-2.0
#include "perf/record/tsc.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdlib.h>
#include <time.h>

enum {
	ROUNDS = 5,		   /* intervals, of which the median counts: one that was disturbed does no harm */
	ROUND_NS = NS_PER_MS / 4,  /* a read that is 40 ns late is 160 ppm, of what is shown with 3 digits */
	PAIR_TRIES = 8,		   /* reads of both clocks, of which the tightest counts */
	LEAF_POWER = 0x80000007,   /* Advanced Power Management Information */
	EDX_INVARIANT_TSC = 1 << 8 /* Intel SDM vol. 3, 18.17.1 */
};

/* Both clocks at (nearly) one moment. */
struct pair {
	uint64_t ticks;
	uint64_t ns;
};

static uint64_t raw_ns(void)
{
	/* RAW: the frequency correction of NTP, which bends CLOCK_MONOTONIC, would go into the result. */
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static struct pair read_pair(void)
{
	struct pair best = {0};
	uint64_t tightest = UINT64_MAX;
	for (int i = 0; i < PAIR_TRIES; i++) {
		uint64_t before = tsc_now();
		uint64_t ns = raw_ns();
		uint64_t gap = tsc_now() - before;
		if (gap < tightest) {
			tightest = gap;
			best = (struct pair){.ticks = before + gap / 2, .ns = ns};
		}
	}
	return best;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

bool tsc_is_invariant(void)
{
	unsigned eax, ebx, ecx, edx;
	return __get_cpuid(LEAF_POWER, &eax, &ebx, &ecx, &edx) && (edx & EDX_INVARIANT_TSC) != 0;
}

struct tsc_calibration tsc_calibrate(void)
{
	double hz[ROUNDS];
	if (!tsc_is_invariant())
		return (struct tsc_calibration){.hz = 1e9, .invariant = false};
	for (int i = 0; i < ROUNDS; i++) {
		struct pair start = read_pair();
		nanosleep(&(struct timespec){.tv_nsec = ROUND_NS}, NULL);
		struct pair end = read_pair();
		hz[i] = (double)(end.ticks - start.ticks) * 1e9 / (double)(end.ns - start.ns);
	}
	qsort(hz, ROUNDS, sizeof hz[0], compare_doubles);
	return (struct tsc_calibration){.hz = hz[ROUNDS / 2], .invariant = true};
}

#elif defined(__aarch64__)

bool tsc_is_invariant(void)
{
	return true;
}

struct tsc_calibration tsc_calibrate(void)
{
	uint64_t hz;
	__asm__("mrs %0, cntfrq_el0" : "=r"(hz));
	return (struct tsc_calibration){.hz = (double)hz, .invariant = true};
}

#else

bool tsc_is_invariant(void)
{
	return false;
}

struct tsc_calibration tsc_calibrate(void)
{
	return (struct tsc_calibration){.hz = 1e9, .invariant = false};
}

#endif
