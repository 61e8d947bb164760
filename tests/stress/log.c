// SPDX-License-Identifier: Apache-2.0
/* The log under fire: several threads write more than a reader takes, which also pauses. No thread waits for the
 * reader, each line comes once, whole and in its thread's order, or is counted as dropped, and what the log says is
 * missing is exactly what is, in the place where it is. */
#include "core/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/stress/tap.h"

enum {
	WRITERS = 4,
	LINES = 20000,
	PIPE_SIZE = 4096,
	REST_EVERY = 200,
	READER_RESTS_EVERY = 3000,
	READER_RESTS_MS = 30
};

struct writer {
	unsigned index;
	pthread_barrier_t *start;
};

struct findings {
	FILE *from;
	_Atomic unsigned came;
	unsigned whole[WRITERS], last[WRITERS];
	unsigned long long missing;
	unsigned gaps, odd, disordered;
};

static void pause_ms(long ms)
{
	const struct timespec time = {ms / 1000, ms % 1000 * 1000000};
	(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

static void *write_lines(void *argument)
{
	const struct writer *writer = argument;
	pthread_barrier_wait(writer->start);
	for (unsigned i = 1; i <= LINES; i++) {
		log_info("writer %u line %u of %u", writer->index, i, i ^ 0x5a5au);
		if (i % REST_EVERY == 0)
			pause_ms(1); /* so that the queue is empty now and then */
	}
	return NULL;
}

static void take(struct findings *findings, const char *line)
{
	unsigned writer, number, check;
	unsigned long long missing;
	char newline;
	if (sscanf(line, "warning: %llu lines of this log are missing here", &missing) == 1) {
		findings->missing += missing;
		findings->gaps++;
	} else if (sscanf(line, "info: writer %u line %u of %u%c", &writer, &number, &check, &newline) == 4 &&
		   writer < WRITERS && (number ^ 0x5a5au) == check && newline == '\n') {
		findings->whole[writer]++;
		findings->disordered += number <= findings->last[writer];
		findings->last[writer] = number;
	} else {
		findings->odd++;
		printf("# %s", line);
	}
}

static void *read_lines(void *argument)
{
	struct findings *findings = argument;
	char line[2048];
	pause_ms(READER_RESTS_MS);
	while (fgets(line, sizeof line, findings->from) != NULL) {
		take(findings, line);
		if (++findings->came % READER_RESTS_EVERY == 0)
			pause_ms(READER_RESTS_MS);
	}
	return NULL;
}

static void *run_log(void *none)
{
	log_run();
	return none;
}

static pthread_t start(void *(*run)(void *), void *argument)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, run, argument) != 0)
		abort();
	return thread;
}

/* True: all that was logged is written. */
static bool write_all_at_once(void)
{
	pthread_barrier_t barrier;
	pthread_t threads[WRITERS];
	struct writer writers[WRITERS];
	pthread_barrier_init(&barrier, NULL, WRITERS);
	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){i, &barrier};
		threads[i] = start(write_lines, &writers[i]);
	}
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&barrier);
	return log_flush(60000);
}

int main(void)
{
	static struct findings findings;
	struct tap tap = {0};
	int ends[2], standard_error = dup(STDERR_FILENO);
	unsetenv("JOURNAL_STREAM");
	if (standard_error < 0 || pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0)
		abort();
	(void)fcntl(ends[1], F_SETPIPE_SZ, PIPE_SIZE);
	close(ends[1]);
	findings.from = fdopen(ends[0], "r");

	log_begin();
	log_queue_all();
	pthread_t log = start(run_log, NULL), reader = start(read_lines, &findings);
	tap_ok(&tap, write_all_at_once(), "the log is written once its reader reads");
	bool ended = log_end(true);
	if (ended)
		pthread_join(log, NULL);
	tap_ok(&tap, ended, "its thread ends");
	(void)dup2(standard_error, STDERR_FILENO); /* the pipe's end */
	pthread_join(reader, NULL);
	fclose(findings.from);

	unsigned whole = 0;
	for (unsigned i = 0; i < WRITERS; i++)
		whole += findings.whole[i];
	printf("# %u lines came, %llu are missing in %u places\n", whole, findings.missing, findings.gaps);
	tap_ok(&tap, findings.odd == 0, "each line is whole");
	tap_ok(&tap, findings.disordered == 0, "and comes once, in its thread's order");
	tap_ok(&tap, findings.missing > 0 && whole > LOG_QUEUE_LINES, "some were dropped, some were not");
	tap_ok(&tap, whole + findings.missing == WRITERS * LINES, "what is said to be missing is what is missing");
	tap_ok(&tap, log_dropped() == findings.missing, "and what is counted");
	return tap_done(&tap);
}
