// SPDX-License-Identifier: Apache-2.0
#include "core/base/clock.h"

#include <time.h>

#include "core/base/hot.h"

static uint64_t read_ns(clockid_t id)
{
	struct timespec now;
	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

HOT static uint64_t system_monotonic(const struct clock *clock)
{
	(void)clock;
	return read_ns(CLOCK_BOOTTIME);
}

static uint64_t system_wall(const struct clock *clock)
{
	(void)clock;
	return read_ns(CLOCK_REALTIME);
}

static uint64_t system_slept(const struct clock *clock)
{
	(void)clock;
	uint64_t before, all, after;
	do { /* until no preemption came in between */
		before = read_ns(CLOCK_MONOTONIC);
		all = read_ns(CLOCK_BOOTTIME);
		after = read_ns(CLOCK_MONOTONIC);
	} while (after - before > NS_PER_MS);
	return all > after ? all - after : 0;
}

const struct clock clock_system = {.monotonic = system_monotonic, .wall = system_wall, .slept = system_slept};
