// SPDX-License-Identifier: Apache-2.0
#include "core/base/log.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
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

/* --- as a daemon has it ------------------------------------------------------------------------------------------- */

static void *run_log(void *none)
{
	log_run();
	return none;
}

static void start_log(void)
{
	pthread_t thread;
	log_queue_all();
	cr_assert_eq(pthread_create(&thread, NULL, run_log, NULL), 0);
	cr_assert_eq(pthread_detach(thread), 0);
}

/* The pipe is full and not read. */
static void fill_pipe(void)
{
	char bytes[4096] = "";
	capture();
	cr_assert_eq(fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK), 0);
	while (write(STDERR_FILENO, bytes, sizeof bytes) > 0)
		;
	while (write(STDERR_FILENO, bytes, 1) > 0)
		;
	cr_assert_eq(fcntl(STDERR_FILENO, F_SETFL, 0), 0);
}

Test(log, before_its_thread_it_writes_what_does_not_block, .init = capture, .timeout = 60)
{
	char text[4096] = "";
	log_begin();
	log_info("early");
	log_last_words("program", "it failed\x1b");
	cr_assert_gt(read(captured, text, sizeof text), 0);
	cr_assert_eq(strncmp(text, "info: early\nprogram: it failed\\x1b\n", 36), 0, "%s", text);
	cr_assert(log_end(false), "there is nothing left to write");
}

Test(log, nobody_who_reads_stops_nobody, .init = fill_pipe, .timeout = 60)
{
	enum { LINES = LOG_QUEUE_LINES + 500 };
	log_begin();
	log_info("before the thread");
	start_log();
	for (unsigned i = 1; i < LINES; i++)
		log_info("line %u", i);
	cr_expect_eq(log_dropped(), LINES - LOG_QUEUE_LINES);
	cr_expect_not(log_flush(1));
	cr_expect_not(log_end(true), "it is stuck in write(2)");
}

Test(log, a_start_that_fails_while_nobody_reads_ends, .init = fill_pipe, .timeout = 60)
{
	log_begin();
	log_last_words("program", "it failed");
	cr_expect_not(log_end(false));
}

Test(log, what_is_queued_comes_before_the_end, .init = capture, .timeout = 60)
{
	char text[4096];
	log_begin();
	start_log();
	log_info("one");
	log_last_words("program", "two");
	cr_assert(log_end(true));
	log_info("three");
	drain(text, sizeof text);
	cr_expect_str_eq(text, "info: one\nprogram: two\ninfo: three\n");
	cr_expect_eq(log_dropped(), 0);
}

Test(log, what_cannot_be_written_is_counted_and_told, .init = capture, .timeout = 60)
{
	char text[4096];
	int pipe_end = dup(STDERR_FILENO), full = open("/dev/full", O_WRONLY);
	log_begin();
	cr_assert(full >= 0 && pipe_end >= 0 && dup2(full, STDERR_FILENO) >= 0);
	start_log();
	log_info("nowhere");
	log_info("nowhere");
	cr_assert(log_flush(30000));
	cr_expect_eq(log_dropped(), 2);
	cr_assert_geq(dup2(pipe_end, STDERR_FILENO), 0);
	log_info("here");
	cr_assert(log_end(true));
	drain(text, sizeof text);
	cr_expect_str_eq(
		text,
		"warning: 2 lines of this log are missing here: they came faster than they were read\ninfo: here\n");
}

/* As a terminal that another program made non-blocking. */
Test(log, a_descriptor_that_does_not_block_is_waited_for, .init = fill_pipe, .timeout = 60)
{
	char text[1 << 17];
	cr_assert_eq(fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK), 0);
	log_begin();
	start_log();
	log_info("late");
	cr_expect_not(log_flush(50));
	cr_assert_gt(read(captured, text, sizeof text), 0);
	cr_expect(log_flush(30000));
	ssize_t got = read(captured, text, sizeof text - 1);
	cr_assert_gt(got, 0);
	text[got] = '\0';
	cr_expect_str_eq(text, "info: late\n");
	cr_expect_eq(log_dropped(), 0);
}

static char sent[4096];

static bool keep_event(enum log_level level, const char *line)
{
	snprintf(sent + strlen(sent), sizeof sent - strlen(sent), "%d %s\n", (int)level, line);
	return strstr(line, "refused") == NULL;
}

Test(log, events_go_where_they_are_wanted, .init = capture, .timeout = 60)
{
	char text[4096];
	log_events_to(keep_event);
	log_begin();
	start_log();
	log_event(LOG_LEVEL_INFO, "event=connect name=\"x y\"");
	log_event(LOG_LEVEL_DEBUG, "event=not_wanted");
	log_event(LOG_LEVEL_WARNING, "event=refused");
	cr_assert(log_end(true));
	drain(text, sizeof text);
	cr_expect_str_eq(sent, "2 event=connect name=\"x y\"\n1 event=refused\n");
	cr_expect_str_eq(text, "warning: event=refused\n", "what was not sent is written");
}

Test(log, a_child_writes_its_own_lines, .init = capture, .timeout = 60)
{
	char text[4096];
	log_begin();
	start_log();
	pid_t pid = fork();
	if (pid == 0) {
		log_info("child");
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	cr_assert(log_end(true));
	drain(text, sizeof text);
	cr_expect_str_eq(text, "info: child\n");
}
