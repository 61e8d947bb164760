// SPDX-License-Identifier: Apache-2.0
/* The time stamp counter: serialized reads, calibrated against the monotonic clock on x86-64, at the rate that the
 * hardware states on aarch64; the clock itself, in ns, elsewhere. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

/* Whether the counter can serve as a clock: it runs at one rate in all states of the CPU. x86-64: CPUID
 * 8000_0007h EDX[8]; aarch64: always (Arm Architecture Reference Manual, The Generic Timer). */
bool tsc_is_invariant(void);

/* Current stamp in ticks. LFENCE before RDTSC: no earlier instruction is still running (Intel SDM vol. 2, RDTSC). ISB
 * before the read of CNTVCT_EL0 has the same effect. */
static inline uint64_t tsc_now(void)
{
#if defined(__x86_64__)
	_mm_lfence();
	return __rdtsc();
#elif defined(__aarch64__)
	uint64_t ticks;
	__asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(ticks) : : "memory");
	return ticks;
#else
	return clock_monotonic(&clock_system);
#endif
}

struct tsc_calibration {
	double hz;	/* ticks per second; 1e9 when the monotonic clock stands in */
	bool invariant; /* tsc_is_invariant() */
};

/* The frequency; measured on x86-64, in about 2 ms: clients wait for it when they connect. Start-up,
 * before data threads. */
struct tsc_calibration tsc_calibrate(void);

static inline double tsc_to_ns(const struct tsc_calibration *calibration, double ticks)
{
	return ticks * 1e9 / calibration->hz;
}
