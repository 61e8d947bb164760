// SPDX-License-Identifier: Apache-2.0
/* The functions of libcriterion that its headers' macros call, so far as the unit tests use them. An assertion that
 * fails jumps to the end of its phase: set-up, test, or tear-down. */
#include <criterion/event.h>
#include <criterion/internal/asprintf-compat.h>
#include <criterion/logging.h>
#include <criterion/options.h>
#include <criterion/stats.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/runner/runner.h"

struct criterion_options criterion_options;

static const struct criterion_test *current;
static const struct criterion_suite *current_suite; /* or NULL */
static struct outcome *outcome;
static jmp_buf end_of_phase;

/* --- assertions --------------------------------------------------------------------------------------------------- */

void cri_asserts_passed_incr(void)
{
	atomic_fetch_add(&outcome->passed, 1);
}

void criterion_send_assert(struct criterion_assert_stats *assertion)
{
	if (assertion->passed)
		return;
	atomic_fetch_add(&outcome->failed, 1);
	dprintf(STDERR_FILENO, "%s:%u: %s\n", assertion->file, assertion->line, assertion->message);
}

char *cr_translate_assert_msg(int message, ...)
{
	static const char *const formats[] = {
		[CRITERION_ASSERT_MSG_FAIL] = "failed",
		[CRITERION_ASSERT_MSG_EXPR_FALSE] = "%s is false",
		[CRITERION_ASSERT_MSG_EXPR_AS_STRINGS_FALSE] = "%s is false: actual \"%s\", expected \"%s\"",
		[CRITERION_ASSERT_MSG_IS_NULL] = "%s is NULL",
		[CRITERION_ASSERT_MSG_IS_NOT_NULL] = "%s is not NULL",
		[CRITERION_ASSERT_MSG_IS_EMPTY] = "%s is empty",
		[CRITERION_ASSERT_MSG_IS_NOT_EMPTY] = "%s (\"%s\") is not empty",
	};
	enum { FORMATS = sizeof(formats) / sizeof(formats[0]) };
	if (message < 0 || message >= FORMATS || formats[message] == NULL)
		abort();

	char *text = NULL;
	va_list arguments;
	va_start(arguments, message);
	cr_vasprintf(&text, formats[message], arguments);
	va_end(arguments);
	return text;
}

void criterion_abort_test(void)
{
	longjmp(end_of_phase, 1);
}

void criterion_continue_test(void)
{
}

__attribute__((format(printf, 1, 2))) void criterion_skip_test(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(outcome->reason, sizeof(outcome->reason), format, arguments);
	va_end(arguments);
	atomic_store(&outcome->skipped, true);
	exit(0);
}

/* --- texts -------------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 0))) int cr_vasprintf(char **text, const char *format, va_list arguments)
{
	int length = vasprintf(text, format, arguments);
	if (length < 0)
		abort();
	return length;
}

__attribute__((format(printf, 2, 3))) int cr_asprintf(char **text, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int length = cr_vasprintf(text, format, arguments);
	va_end(arguments);
	return length;
}

void cr_asprintf_free(char *text)
{
	free(text);
}

void cr_log(enum criterion_severity severity, const char *format, ...)
{
	(void)severity;
	va_list arguments;
	va_start(arguments, format);
	vdprintf(STDERR_FILENO, format, arguments);
	va_end(arguments);
	dprintf(STDERR_FILENO, "\n");
}

/* --- phases ------------------------------------------------------------------------------------------------------- */

/* Both are called by what the macro Test() makes of a test. */
void criterion_internal_test_setup(void)
{
	if (setjmp(end_of_phase) != 0)
		abort(); /* nothing to run the test on, nor to tear down */
	if (current_suite != NULL && current_suite->data->init != NULL)
		current_suite->data->init();
	if (current->data->init != NULL)
		current->data->init();
}

void criterion_internal_test_main(void (*test)(void))
{
	if (setjmp(end_of_phase) == 0)
		test();
}

void criterion_internal_test_teardown(void)
{
	if (setjmp(end_of_phase) == 0) {
		if (current->data->fini != NULL)
			current->data->fini();
		if (current_suite != NULL && current_suite->data->fini != NULL)
			current_suite->data->fini();
	}
	atomic_store(&outcome->finished, true);
}

/* --- leaks -------------------------------------------------------------------------------------------------------- */

/* LeakSanitizer reads all static data of the program when a process ends, which takes ten times as long as most tests.
 * It asks this function first. Where no more bytes are allocated than before the test, nothing was lost. */
int __lsan_is_turned_off(void);
#pragma weak __sanitizer_get_current_allocated_bytes
size_t __sanitizer_get_current_allocated_bytes(void);

static size_t allocated_before;

int __lsan_is_turned_off(void)
{
	return allocated_before != 0 && __sanitizer_get_current_allocated_bytes() <= allocated_before;
}

static void note_allocated(void)
{
	if (__sanitizer_get_current_allocated_bytes != NULL)
		allocated_before = __sanitizer_get_current_allocated_bytes();
}

void run_test(const struct criterion_test *test, const struct criterion_suite *suite, struct outcome *its_outcome)
{
	current = test;
	current_suite = suite;
	outcome = its_outcome;
	note_allocated();
	test->test();
	exit(0); /* LeakSanitizer looks for leaks here */
}
