// SPDX-License-Identifier: Apache-2.0
/* The time stamp counter: serialized reads, calibrated against the monotonic clock; the clock itself, in ns, where
 * there is no counter or where it does not run at one rate. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

/* Whether the counter tells time: it runs at one rate, in all states of the CPU (CPUID 8000_0007h EDX[8]). */
bool tsc_is_invariant(void);

/* Current stamp in ticks. LFENCE before RDTSC: no earlier instruction is still running (Intel SDM vol. 2, RDTSC). */
static inline uint64_t tsc_now(void)
{
#if defined(__x86_64__)
	_mm_lfence();
	return __rdtsc();
#else
	return clock_monotonic(&clock_system);
#endif
}

struct tsc_calibration {
	double hz;	/* ticks per second; 1e9 when the monotonic clock stands in */
	bool invariant; /* tsc_is_invariant() */
};

/* Measures the frequency in about 2 ms, if there is one to measure: clients wait for it when they connect. Start-up,
 * before data threads. */
struct tsc_calibration tsc_calibrate(void);

static inline double tsc_to_ns(const struct tsc_calibration *calibration, double ticks)
{
	return ticks * 1e9 / calibration->hz;
}
