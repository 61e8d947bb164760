// SPDX-License-Identifier: Apache-2.0
/* To be preloaded: clocks that a test sets. All others are the kernel's.
 *
 * WALL_CLOCK_FILE: CLOCK_REALTIME is as many seconds off as this file says. It is read at each call, so that a test can
 * put the clock while a program runs.
 *
 * SLEEP_FILE: CLOCK_BOOTTIME is as many seconds ahead as this file says, as if the machine had slept so long.
 *
 * CLOCK_SPEED: CLOCK_MONOTONIC and CLOCK_BOOTTIME run so many times as fast, and what waits for them does not. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long offset(const char *path)
{
	FILE *file = fopen(path, "re");
	char text[32] = "";
	if (file == NULL)
		abort();
	if (fgets(text, sizeof text, file) == NULL)
		abort();
	(void)fclose(file);
	return strtol(text, NULL, 10);
}

static void hasten(struct timespec *now, long speed)
{
	enum { NS = 1000000000 };
	long ns = now->tv_nsec * speed;
	now->tv_sec = now->tv_sec * speed + ns / NS;
	now->tv_nsec = ns % NS;
}

// NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the C library's names are reserved
int clock_gettime(clockid_t id, struct timespec *now)
{
	long result = syscall(SYS_clock_gettime, id, now);
	const char *path = getenv("WALL_CLOCK_FILE"), *speed = getenv("CLOCK_SPEED");
	if (result == 0 && id == CLOCK_REALTIME && path != NULL)
		now->tv_sec += offset(path);
	path = getenv("SLEEP_FILE");
	if (result == 0 && id == CLOCK_BOOTTIME && path != NULL)
		now->tv_sec += offset(path);
	if (result == 0 && (id == CLOCK_MONOTONIC || id == CLOCK_BOOTTIME) && speed != NULL)
		hasten(now, strtol(speed, NULL, 10));
	return (int)result;
}
