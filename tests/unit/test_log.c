// SPDX-License-Identifier: Apache-2.0
#include "core/base/log.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

/* Standard error goes into a pipe; reading takes what was written so far. Each test is a process of its own. */
static int captured;

static void capture(void)
{
	int ends[2];
	cr_assert_eq(pipe(ends), 0);
	cr_assert_neq(dup2(ends[1], STDERR_FILENO), -1);
	close(ends[1]);
	captured = ends[0];
	unsetenv("JOURNAL_STREAM");
}

static size_t drain(char *text, size_t size)
{
	log_write(LOG_LEVEL_ERROR, "end"); /* so that the read never blocks */
	ssize_t got = read(captured, text, size - 1);
	cr_assert_geq(got, 4);
	text[got] = '\0';
	char *end = strstr(text, getenv("JOURNAL_STREAM") != NULL ? "<3>end\n" : "error: end\n");
	cr_assert_neq(end, NULL);
	*end = '\0';
	return (size_t)(end - text);
}

Test(log, line_carries_level_and_text, .init = capture)
{
	char text[4096];
	log_error("disk %s", "full");
	log_warning("w");
	log_info("i");
	drain(text, sizeof text);
	cr_assert_str_eq(text, "error: disk full\nwarning: w\ninfo: i\n");
}

Test(log, one_line_whatever_a_text_holds, .init = capture)
{
	char text[4096];
	log_info("peer %s", "\x1b[2J\nerror: forged\xff");
	drain(text, sizeof text);
	cr_assert_str_eq(text, "info: peer \\x1b[2J\\x0aerror: forged\\xff\n");
}

Test(log, journal_gets_syslog_priorities, .init = capture)
{
	char text[4096];
	setenv("JOURNAL_STREAM", "8:1", 1);
	log_set_level(LOG_LEVEL_DEBUG);
	log_error("e");
	log_warning("w");
	log_info("i");
	log_debug("d");
	drain(text, sizeof text);
	cr_assert_str_eq(text, "<3>e\n<4>w\n<6>i\n<7>d\n");
}

Test(log, levels_above_the_set_one_are_silent, .init = capture)
{
	char text[4096];
	log_debug("hidden by default");
	log_set_level(LOG_LEVEL_WARNING);
	log_info("hidden");
	log_warning("seen");
	drain(text, sizeof text);
	cr_assert_str_eq(text, "warning: seen\n");
}

Test(log, overlong_line_is_cut_and_still_ends, .init = capture)
{
	/* Around the edge, and far beyond it. */
	for (int size = 1000; size < 3000; size += size < 1030 ? 1 : 1000) {
		char text[4096], huge[3000];
		memset(huge, 'x', (size_t)size);
		huge[size] = '\0';
		log_error("%s", huge);
		size_t length = drain(text, sizeof text);
		cr_assert_gt(length, 1000);
		cr_assert_lt(length, 1024);
		cr_assert_eq(strspn(text + strlen("error: "), "x"), length - strlen("error: ") - 1, "%d: stray bytes",
			     size);
		cr_assert_eq(text[length - 1], '\n');
	}
}

Test(log, level_names_parse_and_nothing_else_does)
{
	static const char *const names[] = {"error", "warning", "info", "debug"};
	enum log_level level;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		cr_assert(log_level_parse(names[i], &level));
		cr_assert_eq(level, (enum log_level)i);
	}
	static const char *const bad[] = {"", "Error", "warn", "debug ", "7"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		cr_assert_not(log_level_parse(bad[i], &level), "\"%s\"", bad[i]);
}
