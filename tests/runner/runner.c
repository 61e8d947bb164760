// SPDX-License-Identifier: Apache-2.0
/* Usage: unit_tap [PATTERN...]: runs the unit tests whose SUITE/NAME matches one of the shell patterns, or all. TAP.
 * Environment: UNIT_JOBS, how many at a time (as many as there are CPUs); UNIT_LIMIT, seconds that each may take (300).
 *
 * Each test runs in a child of its own, forked from this process, which has one thread and does nothing else: a test
 * finds no trace of another, and may crash, hang, or leave threads and programs behind. The limit is there for what
 * hangs; how long something takes is for benchmarks. */
#include "tests/runner/runner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { JOBS_MAX = 64, SLOWEST = 5 };

/* The linker's names for the ends of the sections in which Test() and TestSuite() leave pointers. */
extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
extern struct criterion_suite *__start_cr_sts[], *__stop_cr_sts[];

struct job {
	const struct criterion_test *test; /* NULL: free */
	struct outcome *outcome;
	pid_t pid;  /* and its process group */
	int output; /* what the test and its programs print */
	double started;
	bool hung;
};

struct run {
	struct job jobs[JOBS_MAX];
	unsigned places, running;
	unsigned number, failed; /* of tests that have ended */
	double limit;
	struct {
		const struct criterion_test *test;
		double seconds;
	} slowest[SLOWEST];
	sigset_t signals; /* that this process waits for; the children get the mask from before */
	sigset_t before;
};

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static const struct criterion_suite *suite_of(const struct criterion_test *test)
{
	for (struct criterion_suite **suite = __start_cr_sts; suite < __stop_cr_sts; suite++)
		if (*suite != NULL && strcmp((*suite)->name, test->category) == 0)
			return *suite;
	return NULL;
}

static bool chosen(const struct criterion_test *test, char **patterns)
{
	char name[256];
	snprintf(name, sizeof(name), "%s/%s", test->category, test->name);
	bool match = patterns[0] == NULL;
	for (; *patterns != NULL && !match; patterns++)
		match = fnmatch(*patterns, name, 0) == 0;
	return match;
}

/* --- one test ----------------------------------------------------------------------------------------------------- */

static _Noreturn void child(const struct run *run, const struct job *job, pid_t parent)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	int input = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (input < 0 || dup2(input, STDIN_FILENO) < 0 || dup2(job->output, STDOUT_FILENO) < 0 ||
	    dup2(job->output, STDERR_FILENO) < 0)
		_exit(1);
	close_range(STDERR_FILENO + 1, ~0U, 0);
	sigprocmask(SIG_SETMASK, &run->before, NULL);
	run_test(job->test, suite_of(job->test), job->outcome);
}

static _Noreturn void give_up(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

static void start(struct run *run, const struct criterion_test *test)
{
	struct job *job = run->jobs;
	while (job->test != NULL)
		job++;
	memset(job->outcome, 0, sizeof(*job->outcome));
	job->test = test;
	job->hung = false;
	job->started = now();
	job->output = memfd_create("output", MFD_CLOEXEC);
	if (job->output < 0)
		give_up("memfd_create");
	fflush(stdout);
	pid_t parent = getpid();
	job->pid = fork();
	if (job->pid < 0)
		give_up("fork");
	if (job->pid == 0)
		child(run, job, parent);
	setpgid(job->pid, job->pid); /* whichever of both is first */
	run->running++;
}

/* What is wrong with a test that ended, in text; false when nothing is. */
static bool judge(const struct run *run, const struct job *job, int status, char *text, size_t size)
{
	const struct criterion_test_extra_data *expected = job->test->data;
	unsigned failed = atomic_load(&job->outcome->failed), passed = atomic_load(&job->outcome->passed);
	int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	if (job->hung)
		snprintf(text, size, "hung: stopped after %.0f s", run->limit);
	else if (failed > 0)
		snprintf(text, size, "%u of %u assertions failed", failed, passed + failed);
	else if (signal != expected->signal && signal != 0)
		snprintf(text, size, "ended by signal %d (%s)", signal, strsignal(signal));
	else if (signal != expected->signal)
		snprintf(text, size, "not ended by signal %d (%s)", expected->signal, strsignal(expected->signal));
	else if (signal != 0)
		return false;
	else if (WEXITSTATUS(status) != expected->exit_code)
		snprintf(text, size, "exit status %d", WEXITSTATUS(status));
	else if (!atomic_load(&job->outcome->finished) && !atomic_load(&job->outcome->skipped) &&
		 expected->exit_code == 0)
		snprintf(text, size, "called exit()");
	else if (passed == 0 && !atomic_load(&job->outcome->skipped))
		snprintf(text, size, "asserts nothing");
	else
		return false;
	return true;
}

/* As comments, which is what TAP takes everything else for. */
static void show_output(int descriptor)
{
	FILE *output = fdopen(descriptor, "r");
	if (output == NULL)
		give_up("fdopen");
	rewind(output);
	char *line = NULL;
	size_t size = 0;
	for (ssize_t length; (length = getline(&line, &size, output)) > 0;)
		printf("# %s%s", line, line[length - 1] == '\n' ? "" : "\n");
	free(line);
	fclose(output);
}

static void note_time(struct run *run, const struct criterion_test *test, double seconds)
{
	for (unsigned i = 0; i < SLOWEST; i++) {
		if (seconds <= run->slowest[i].seconds)
			continue;
		memmove(&run->slowest[i + 1], &run->slowest[i], (SLOWEST - 1 - i) * sizeof(run->slowest[0]));
		run->slowest[i].test = test;
		run->slowest[i].seconds = seconds;
		break;
	}
}

static void end(struct run *run, struct job *job)
{
	/* While the child is a zombie, its number is no other process group's. */
	kill(-job->pid, SIGKILL);
	int status = 0;
	waitpid(job->pid, &status, 0);
	const struct criterion_test *test = job->test;
	note_time(run, test, now() - job->started);
	run->number++;
	char problem[128];
	if (judge(run, job, status, problem, sizeof(problem))) {
		run->failed++;
		printf("not ok %u - %s/%s: %s (%s:%u)\n", run->number, test->category, test->name, problem,
		       test->data->file_, test->data->line_);
		show_output(job->output);
	} else {
		bool skipped = atomic_load(&job->outcome->skipped);
		printf("ok %u - %s/%s%s%s\n", run->number, test->category, test->name, skipped ? " # SKIP " : "",
		       skipped ? job->outcome->reason : "");
		close(job->output);
	}
	fflush(stdout);
	job->test = NULL;
	run->running--;
}

/* --- several at a time -------------------------------------------------------------------------------------------- */

/* Where the threads of a test that hangs are, so far as the kernel says. */
static void show_threads(const struct job *job)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/task", job->pid);
	DIR *threads = opendir(path);
	if (threads == NULL)
		return;
	for (struct dirent *entry; (entry = readdir(threads)) != NULL;) {
		char file[512], text[2][64] = {"", ""};
		if (entry->d_name[0] == '.')
			continue;
		for (unsigned i = 0; i < 2; i++) {
			snprintf(file, sizeof(file), "%s/%s/%s", path, entry->d_name, i == 0 ? "comm" : "wchan");
			FILE *stream = fopen(file, "re");
			if (stream == NULL || fscanf(stream, "%63s", text[i]) != 1)
				text[i][0] = '\0';
			if (stream != NULL)
				fclose(stream);
		}
		bool sleeps = text[1][0] != '\0' && strcmp(text[1], "0") != 0;
		dprintf(job->output, "thread %s \"%s\" %s %s\n", entry->d_name, text[0], sleeps ? "sleeps in" : "runs",
			sleeps ? text[1] : "");
	}
	closedir(threads);
}

/* Returns how many seconds there are to the next limit. */
static double stop_the_hung(struct run *run)
{
	double least = run->limit;
	for (unsigned i = 0; i < run->places; i++) {
		struct job *job = &run->jobs[i];
		if (job->test == NULL || job->hung)
			continue;
		double left = job->started + run->limit - now();
		if (left <= 0) {
			job->hung = true;
			show_threads(job);
			kill(-job->pid, SIGKILL);
		} else if (left < least) {
			least = left;
		}
	}
	return least;
}

static _Noreturn void stopped(struct run *run, int signal)
{
	for (unsigned i = 0; i < run->places; i++) {
		struct job *job = &run->jobs[i];
		if (job->test == NULL)
			continue;
		show_threads(job);
		kill(-job->pid, SIGKILL);
		printf("not ok %u - %s/%s: stopped after %.1f s by signal %d\n", ++run->number, job->test->category,
		       job->test->name, now() - job->started, signal);
		show_output(job->output);
	}
	exit(1);
}

/* Until a test has ended. */
static void wait_for_one(struct run *run)
{
	for (;;) {
		for (unsigned i = 0; i < run->places; i++) {
			siginfo_t info = {0};
			if (run->jobs[i].test != NULL &&
			    waitid(P_PID, (id_t)run->jobs[i].pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
			    info.si_pid != 0) {
				end(run, &run->jobs[i]);
				return;
			}
		}
		double left = stop_the_hung(run);
		struct timespec timeout = {(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};
		int signal = sigtimedwait(&run->signals, NULL, &timeout);
		if (signal > 0 && signal != SIGCHLD)
			stopped(run, signal);
	}
}

static unsigned long number_from(const char *variable, unsigned long otherwise)
{
	const char *text = getenv(variable);
	if (text == NULL || *text == '\0')
		return otherwise;
	char *rest;
	unsigned long value = strtoul(text, &rest, 10);
	if (*rest != '\0' || value == 0) {
		printf("Bail out! %s is a number above 0, not \"%s\"\n", variable, text);
		exit(2);
	}
	return value;
}

static void prepare(struct run *run)
{
	unsigned long jobs = number_from("UNIT_JOBS", (unsigned long)sysconf(_SC_NPROCESSORS_ONLN));
	run->places = jobs < JOBS_MAX ? (unsigned)jobs : JOBS_MAX;
	run->limit = (double)number_from("UNIT_LIMIT", 300);
	struct outcome *outcomes = mmap(NULL, run->places * sizeof(struct outcome), PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (outcomes == MAP_FAILED)
		give_up("mmap");
	for (unsigned i = 0; i < run->places; i++)
		run->jobs[i].outcome = &outcomes[i];
	sigemptyset(&run->signals);
	static const int signals[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP};
	for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaddset(&run->signals, signals[i]);
	sigprocmask(SIG_BLOCK, &run->signals, &run->before);
}

int main(int argc, char **argv)
{
	(void)argc;
	static struct run run;
	prepare(&run);
	double started = now();
	for (struct criterion_test **test = __start_cr_tst; test < __stop_cr_tst; test++) {
		if (*test == NULL || !chosen(*test, argv + 1))
			continue;
		while (run.running == run.places)
			wait_for_one(&run);
		start(&run, *test);
	}
	while (run.running > 0)
		wait_for_one(&run);
	printf("1..%u\n# %.1f s", run.number, now() - started);
	for (unsigned i = 0; i < SLOWEST && run.slowest[i].test != NULL; i++)
		printf("%s %s/%s %.1f", i == 0 ? "; slowest:" : ",", run.slowest[i].test->category,
		       run.slowest[i].test->name, run.slowest[i].seconds);
	printf("\n");
	return run.failed > 0 || run.number == 0;
}
