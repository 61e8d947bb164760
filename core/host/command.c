// SPDX-License-Identifier: Apache-2.0
#include "core/host/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SAID_MAX = 256, SUBJECT_MAX = 100, MS_PER_S = 1000 };

/* Files in memory instead of pipes: neither side blocks on the other, and output that a background process writes
 * later is harmless. */
struct streams {
	int input, output;
};

static void close_streams(struct streams *streams)
{
	if (streams->input >= 0)
		close(streams->input);
	if (streams->output >= 0)
		close(streams->output);
}

static int open_streams(struct streams *streams, const char *input)
{
	*streams = (struct streams){.input = memfd_create("input", MFD_CLOEXEC), .output = -1};
	if (streams->input < 0)
		return -errno;
	streams->output = memfd_create("output", MFD_CLOEXEC);
	size_t length = input != NULL ? strlen(input) : 0;
	if (streams->output < 0 || (length > 0 && pwrite(streams->input, input, length, 0) != (ssize_t)length)) {
		int result = -errno;
		close_streams(streams);
		return result;
	}
	return 0;
}

/* In a process group of its own, so that it can be killed with its children, and ^C does not reach it. */
static int spawn(const char *const argv[], const struct streams *streams, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	int failure = posix_spawn_file_actions_init(&actions);
	if (failure != 0)
		return -failure;
	failure = posix_spawnattr_init(&attributes);
	if (failure != 0) {
		posix_spawn_file_actions_destroy(&actions);
		return -failure;
	}
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	if ((failure = posix_spawn_file_actions_adddup2(&actions, streams->input, STDIN_FILENO)) == 0 &&
	    (failure = posix_spawn_file_actions_adddup2(&actions, streams->output, STDOUT_FILENO)) == 0 &&
	    (failure = posix_spawn_file_actions_adddup2(&actions, streams->output, STDERR_FILENO)) == 0)
		failure = posix_spawnp(pid, argv[0], &actions, &attributes, (char *const *)argv, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return -failure;
}

/* Whether it ended within that time; it is not reaped here. */
static bool ends_within(pid_t pid, unsigned seconds)
{
	struct pollfd polled = {.fd = pidfd_open(pid, 0), .events = POLLIN};
	if (polled.fd < 0)
		return true; /* fall back to waitpid() without a limit */
	struct timespec start, now;
	clock_gettime(CLOCK_MONOTONIC, &start);
	int ready = 0;
	for (int left = (int)seconds * MS_PER_S; ready <= 0 && left > 0;) {
		ready = poll(&polled, 1, left);
		clock_gettime(CLOCK_MONOTONIC, &now);
		left = (int)seconds * MS_PER_S - (int)((now.tv_sec - start.tv_sec) * MS_PER_S) -
		       (int)((now.tv_nsec - start.tv_nsec) / 1000000);
	}
	close(polled.fd);
	return ready > 0;
}

/* The last line of what it printed, without control characters; "" when there is none. */
static const char *last_words(int output, char said[SAID_MAX])
{
	off_t end = lseek(output, 0, SEEK_END);
	off_t from = end > SAID_MAX - 1 ? end - (SAID_MAX - 1) : 0;
	ssize_t got = pread(output, said, SAID_MAX - 1, from);
	said[got > 0 ? got : 0] = '\0';
	for (size_t length = strlen(said); length > 0 && (said[length - 1] == '\n' || said[length - 1] == ' ');)
		said[--length] = '\0';
	char *newline = strrchr(said, '\n'), *line = newline != NULL ? newline + 1 : said;
	for (char *c = line; *c != '\0'; c++)
		*c = (unsigned char)*c < ' ' || *c == 0x7f ? ' ' : *c;
	return line;
}

static int explain(const char *subject, int status, int output, struct error *error)
{
	char said[SAID_MAX];
	const char *words = last_words(output, said);
	if (words[0] != '\0')
		return error_set(error, -EIO, "%s: %s", subject, words);
	if (WIFSIGNALED(status))
		return error_set(error, -EIO, "%s: ended by signal %d", subject, WTERMSIG(status));
	return error_set(error, -EIO, "%s: exit status %d", subject, WEXITSTATUS(status));
}

struct printed {
	char *text;
	size_t size;
};

static void read_printed(int output, const struct printed *printed)
{
	ssize_t got = pread(output, printed->text, printed->size - 1, 0);
	printed->text[got > 0 ? got : 0] = '\0';
}

/* `printed` may be NULL. */
static int run(const char *subject, const char *const argv[], const char *input, unsigned seconds,
	       const struct printed *printed, struct error *error)
{
	struct streams streams;
	pid_t pid = -1;
	int status = 0;
	int result = open_streams(&streams, input);
	if (result != 0)
		return error_set(error, result, "%s: %s", subject, strerror(-result));
	result = spawn(argv, &streams, &pid);
	if (result != 0) {
		close_streams(&streams);
		return error_set(error, result, "%s: %s", subject, strerror(-result));
	}
	bool ended = ends_within(pid, seconds);
	if (!ended)
		kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!ended)
		result = error_set(error, -ETIMEDOUT, "%s: it did not end within %u s", subject, seconds);
	else if (status != 0)
		result = explain(subject, status, streams.output, error);
	else if (printed != NULL)
		read_printed(streams.output, printed);
	close_streams(&streams);
	return result;
}

int command_run(const char *const argv[], const char *input, unsigned seconds, struct error *error)
{
	return run(argv[0], argv, input, seconds, NULL, error);
}

int command_read(const char *const argv[], unsigned seconds, char *output, size_t size, struct error *error)
{
	const struct printed printed = {output, size};
	return run(argv[0], argv, NULL, seconds, &printed, error);
}

/* `line` with %i replaced, for the caller to free. */
static char *expand(const char *line, const char *interface)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	if (out == NULL)
		return NULL;
	for (const char *c = line; *c != '\0'; c++) {
		if (c[0] == '%' && c[1] == 'i') {
			(void)fputs(interface, out);
			c++;
		} else {
			(void)fputc(*c, out);
		}
	}
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

int command_run_shell(const char *line, const char *interface, unsigned seconds, struct error *error)
{
	char *text = expand(line, interface);
	if (text == NULL)
		return error_set(error, -ENOMEM, "%s: out of memory", line);
	const char *const argv[] = {"/bin/sh", "-c", text, NULL};
	char subject[SUBJECT_MAX];
	(void)snprintf(subject, sizeof subject, strlen(line) < sizeof subject ? "%s" : "%.90s...", line);
	int result = run(subject, argv, NULL, seconds, NULL, error);
	free(text);
	return result;
}

bool command_exists(const char *name)
{
	const char *path = getenv("PATH");
	char *copy = strdup(path != NULL ? path : "/usr/sbin:/usr/bin:/sbin:/bin"), *rest = copy;
	bool found = false;
	for (char *directory; copy != NULL && !found && (directory = strsep(&rest, ":")) != NULL;) {
		char *file;
		if (asprintf(&file, "%s/%s", directory, name) < 0)
			break;
		found = access(file, X_OK) == 0;
		free(file);
	}
	free(copy);
	return found;
}
