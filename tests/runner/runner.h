/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the unit tests in forked children of one process, in place of Criterion's own runner, which starts the program
 * anew for each test. criterion.c has what Criterion's headers call; runner.c starts the children and judges them. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include <criterion/criterion.h>

/* What a test leaves for its judge: written by the child, in memory that both share, so that a crash loses nothing. */
struct outcome {
	atomic_uint passed; /* assertions */
	atomic_uint failed;
	atomic_bool skipped;
	atomic_bool finished; /* it came to its end and was torn down */
	char reason[256];     /* why it was skipped */
};

/* In the child: runs the test with the set-up and tear-down of its suite and its own, and leaves the process by exit().
 * suite may be NULL. What assertions say goes to standard error. */
_Noreturn void run_test(const struct criterion_test *test, const struct criterion_suite *suite,
			struct outcome *outcome);
