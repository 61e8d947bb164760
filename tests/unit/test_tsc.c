// SPDX-License-Identifier: Apache-2.0
#include "perf/record/tsc.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/base/bytes.h"

static double raw_seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

Test(tsc, stamps_never_go_back)
{
	uint64_t last = tsc_now();
	for (int i = 0; i < 100000; i++) {
		uint64_t now = tsc_now();
		cr_assert(now >= last);
		last = now;
	}
}

Test(tsc, calibration_measures_an_independent_interval)
{
	/* The best of some: a reader that is put to sleep between the two clocks proves nothing. */
	double best = 1;
	for (int i = 0; i < 20 && best > 0.0005; i++) {
		struct tsc_calibration calibration = tsc_calibrate();
		double seconds = raw_seconds();
		uint64_t ticks = tsc_now();
		nanosleep(&(struct timespec){.tv_nsec = 20 * NS_PER_MS}, NULL);
		ticks = tsc_now() - ticks;
		seconds = raw_seconds() - seconds;
		double measured = tsc_to_ns(&calibration, (double)ticks) / 1e9;
		double error = measured > seconds ? measured / seconds - 1 : seconds / measured - 1;
		best = error < best ? error : best;
	}
	cr_assert_leq(best, 0.0005, "off by %g", best);
}

Test(tsc, two_calibrations_agree)
{
	double a = 0, b = 0, best = 1;
	for (int i = 0; i < 20 && best >= 0.001; i++) { /* as above */
		a = tsc_calibrate().hz;
		b = tsc_calibrate().hz;
		cr_assert_gt(a, 1e6);
		double error = a > b ? a / b - 1 : b / a - 1;
		best = error < best ? error : best;
	}
	cr_assert_lt(best, 0.001, "%.0f and %.0f", a, b);
}

Test(tsc, ticks_convert_at_the_calibrated_rate)
{
	struct tsc_calibration calibration = {.hz = 2.5e9};
	cr_assert_float_eq(tsc_to_ns(&calibration, 2500), 1000, 1e-9);
}

Test(tsc, invariance_is_what_the_kernel_says)
{
#if defined(__x86_64__)
	/* The kernel sets nonstop_tsc from the same CPUID bit. */
	FILE *file = fopen("/proc/cpuinfo", "r");
	if (file == NULL)
		cr_skip_test("no /proc/cpuinfo");
	char line[8192];
	bool expected = false;
	while (fgets(line, sizeof line, file) != NULL) {
		if (strncmp(line, "flags", 5) == 0)
			expected = strstr(line, " nonstop_tsc") != NULL;
	}
	fclose(file);
	cr_assert_eq(tsc_calibrate().invariant, expected);
#elif defined(__aarch64__)
	cr_assert(tsc_calibrate().invariant);
#else
	cr_assert_not(tsc_calibrate().invariant);
#endif
}
