// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include "core/daemon/steps.h"

/* What was opened and closed, in order: a letter each, closed ones in capitals. */
static char trace[16];
static int failure; /* of the third step */
static bool says_why;

static void note(char letter)
{
	size_t length = strlen(trace);
	cr_assert_lt(length, sizeof trace - 1);
	trace[length] = letter;
}

static int open_first(void *context, struct error *error)
{
	(void)error;
	cr_assert_eq(context, trace);
	note('a');
	return 0;
}

static int open_second(void *context, struct error *error)
{
	(void)context;
	note('b');
	error_set(error, 0, "no failure, only a text that is left over");
	return 0;
}

static int open_third(void *context, struct error *error)
{
	(void)context;
	note('c');
	return failure != 0 && says_why ? error_set(error, failure, "third: it says why") : failure;
}

static void close_first(void *context)
{
	cr_assert_eq(context, trace);
	note('A');
}

static void close_third(void *context)
{
	(void)context;
	note('C');
}

static const struct step table[] = {
	{"first", open_first, close_first},
	{"second", open_second, NULL},
	{"third", open_third, close_third},
};

static void clear(void)
{
	memset(trace, 0, sizeof trace);
}

Test(steps, are_closed_in_mirror_order_once)
{
	struct steps steps = STEPS(table, trace);
	struct error error = {0};
	cr_assert_eq(steps_open(&steps, &error), 0);
	cr_expect_str_eq(trace, "abc");
	clear();
	steps_close(&steps);
	steps_close(&steps);
	cr_expect_str_eq(trace, "CA");
	clear();
	cr_assert_eq(steps_open(&steps, NULL), 0);
	cr_expect_str_eq(trace, "abc", "they can be opened again");
}

Test(steps, before_the_one_that_failed_are_closed)
{
	struct steps steps = STEPS(table, trace);
	struct error error = {0};
	failure = -EMFILE;
	cr_assert_eq(steps_open(&steps, &error), -EMFILE);
	cr_expect_str_eq(trace, "abcA");
	cr_expect_str_eq(error.text, "third: Too many open files");
	clear();
	steps_close(&steps);
	cr_expect_str_eq(trace, "", "nothing is open");
	says_why = true;
	cr_assert_eq(steps_open(&steps, &error), -EMFILE);
	cr_expect_str_eq(error.text, "third: it says why");
	cr_assert_eq(steps_open(&steps, NULL), -EMFILE);
}
