// SPDX-License-Identifier: Apache-2.0
/* Clocks are passed in: all code reads time through one of these, so that tests can control it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

struct clock {
	/* Nanoseconds since some start, counting sleep (CLOCK_BOOTTIME); never goes back, never 0. Any thread. */
	uint64_t (*monotonic)(const struct clock *clock);
	/* Nanoseconds since 1970 UTC (CLOCK_REALTIME); may be wrong and may jump. Any thread. */
	uint64_t (*wall)(const struct clock *clock);
	/* Nanoseconds of `monotonic` during which the machine slept; may be off by a millisecond. NULL: it never
	 * sleeps. Any thread. */
	uint64_t (*slept)(const struct clock *clock);
};

/* The kernel's clocks. */
extern const struct clock clock_system;

static inline uint64_t clock_monotonic(const struct clock *clock)
{
	return clock->monotonic(clock);
}

static inline uint64_t clock_wall(const struct clock *clock)
{
	return clock->wall(clock);
}

static inline uint64_t clock_slept(const struct clock *clock)
{
	return clock->slept != NULL ? clock->slept(clock) : 0;
}
