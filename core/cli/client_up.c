// SPDX-License-Identifier: Apache-2.0
#include "core/cli/client_up.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/client/client.h"
#include "core/client/journal.h"
#include "core/daemon/logger.h"
#include "core/host/process.h"

enum {
	END_SECONDS = 60,    /* for an orderly end: PostDown may take some */
	SPARE_SECONDS = 120, /* beyond the limit: a client that has not given up by then hangs, and is killed */
	MS_PER_S = 1000,
};

/* Loads and checks. NULL: an error was reported, and *status is the exit status. */
static struct client_config *load(const struct cli_program *program, const char *file, enum cli_status *status)
{
	struct error error = {0};
	struct client_config *config;
	*status = CLI_OK;
	if (config_load_client(file, &config, &error) == 0) {
		log_set_level(config->common.log_level);
		if (client_check(config, &error) == 0)
			return config;
		config_free_client(config);
	}
	*status = cli_fail(program, CLI_CONFIG, &error);
	return NULL;
}

static enum cli_status run_here(const struct cli_program *program, const char *file)
{
	struct error error = {0};
	enum cli_status status;
	struct client_config *config = load(program, file, &status);
	if (config == NULL)
		return status;
	if (client_run(config, NULL, &error) != 0)
		status = cli_fail(program, CLI_FAILED, &error);
	config_free_client(config);
	return status;
}

enum cli_status client_foreground(const struct cli_program *program, const char *file)
{
	log_begin();
	enum cli_status status = run_here(program, file);
	logger_end();
	return status;
}

/* --- up ----------------------------------------------------------------------------------------------------------- */

/* Between the parent, which waits, and the client; -1: closed. */
struct pipes {
	int ready[2];  /* one byte once connected */
	int output[2]; /* its standard error until then */
	int signal_fd;
};

static void close_pipes(struct pipes *pipes)
{
	int *const all[] = {&pipes->ready[0], &pipes->ready[1], &pipes->output[0], &pipes->output[1],
			    &pipes->signal_fd};
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		if (*all[i] >= 0)
			close(*all[i]);
		*all[i] = -1;
	}
}

static int open_pipes(struct pipes *pipes, struct error *error)
{
	sigset_t set;
	*pipes = (struct pipes){{-1, -1}, {-1, -1}, -1};
	process_signals(&set);
	sigdelset(&set, SIGUSR1);
	sigdelset(&set, SIGUSR2);
	pipes->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (pipes->signal_fd >= 0 && pipe2(pipes->ready, O_CLOEXEC) == 0 && pipe2(pipes->output, O_CLOEXEC) == 0)
		return 0;
	int code = -errno;
	close_pipes(pipes);
	return error_set(error, code, "start: %s", strerror(-code));
}

/* Leaves the terminal and the working directory. */
static bool detach(const struct pipes *pipes)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || setsid() < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(pipes->output[1], STDERR_FILENO) < 0 || chdir("/") != 0)
		return false;
	close(null);
	(void)umask(022);
	return true;
}

/* The child. */
static enum cli_status run_detached(const struct cli_program *program, const struct client_config *config,
				    struct pipes *pipes, pid_t parent, unsigned limit)
{
	struct client_start start = {.ready_fd = fcntl(pipes->ready[1], F_DUPFD_CLOEXEC, 0), .limit = limit};
	struct error error = {0};
	/* When the parent is killed while it waits, the client ends, too. */
	bool detached = start.ready_fd >= 0 && prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == parent &&
			detach(pipes);
	close_pipes(pipes);
	if (!detached)
		return CLI_FAILED;
	log_to_syslog(program->name);
	log_begin();
	enum cli_status status = CLI_OK;
	if (client_run(config, &start, &error) != 0)
		status = cli_fail(program, CLI_FAILED, &error);
	logger_end();
	return status;
}

static void copy_output(int from)
{
	char buffer[4096];
	ssize_t got;
	while ((got = read(from, buffer, sizeof buffer)) > 0) {
		ssize_t written = write(STDERR_FILENO, buffer, (size_t)got);
		(void)written; /* standard error is the last resort */
	}
}

static uint64_t monotonic_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * MS_PER_S + (uint64_t)now.tv_nsec / 1000000;
}

enum outcome { CONNECTED, ENDED, INTERRUPTED, STUCK };

static enum outcome wait_ready(struct pipes *pipes, unsigned limit)
{
	uint64_t end = monotonic_ms() + ((uint64_t)limit + SPARE_SECONDS) * MS_PER_S;
	struct pollfd polled[] = {{.fd = pipes->ready[0], .events = POLLIN},
				  {.fd = pipes->output[0], .events = POLLIN},
				  {.fd = pipes->signal_fd, .events = POLLIN}};
	for (uint64_t now; (now = monotonic_ms()) < end;) {
		if (poll(polled, ARRAY_SIZE(polled), (int)(end - now)) < 0)
			continue;
		if (polled[1].revents != 0) {
			copy_output(pipes->output[0]);
			/* A closed pipe stays readable: stop polling it. The other pipe reports the end. */
			polled[1].fd = (polled[1].revents & POLLIN) != 0 ? polled[1].fd : -1;
		}
		char byte;
		if (polled[0].revents != 0)
			return read(pipes->ready[0], &byte, 1) == 1 ? CONNECTED : ENDED;
		if (polled[2].revents != 0)
			return INTERRUPTED;
	}
	return STUCK;
}

/* Waits for the client's end, and kills it when that takes too long. Returns its wait status. */
static int reap(pid_t pid)
{
	int status = 0, fd = pidfd_open(pid, 0);
	struct pollfd polled = {.fd = fd, .events = POLLIN};
	if (fd >= 0 && poll(&polled, 1, END_SECONDS * MS_PER_S) == 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (fd >= 0)
		close(fd);
	return status;
}

static enum cli_status wait_for_client(const struct cli_program *program, const struct client_config *config, pid_t pid,
				       struct pipes *pipes, unsigned limit)
{
	struct error error = {0};
	enum outcome outcome = wait_ready(pipes, limit);
	if (outcome == CONNECTED) {
		copy_output(pipes->output[0]);
		return CLI_OK;
	}
	if (outcome != ENDED)
		kill(pid, outcome == INTERRUPTED ? SIGTERM : SIGKILL);
	int status = reap(pid);
	copy_output(pipes->output[0]);
	if (WIFEXITED(status) && outcome == ENDED)
		return WEXITSTATUS(status) == CLI_OK ? CLI_FAILED : (enum cli_status)WEXITSTATUS(status);
	const char *what = outcome == INTERRUPTED ? "interrupted" : "the client was killed";
	int left = client_clean(config, &error);
	if (left == 0 || left == -ENOENT)
		(void)error_set(&error, -EINTR, "%s; nothing is left", what);
	else
		(void)error_prefix(&error, left, "%s; ", what);
	return cli_fail(program, CLI_FAILED, &error);
}

static enum cli_status up(const struct cli_program *program, const struct client_config *config, unsigned limit)
{
	struct error error = {0};
	struct pipes pipes;
	if (open_pipes(&pipes, &error) != 0)
		return cli_fail(program, CLI_FAILED, &error);
	(void)fflush(NULL);
	pid_t parent = getpid(), pid = fork();
	if (pid == 0)
		return run_detached(program, config, &pipes, parent, limit);
	close(pipes.ready[1]);
	close(pipes.output[1]);
	pipes.ready[1] = pipes.output[1] = -1;
	enum cli_status status;
	if (pid < 0) {
		error_set(&error, -errno, "start: %s", strerror(errno));
		status = cli_fail(program, CLI_FAILED, &error);
	} else {
		(void)fcntl(pipes.output[0], F_SETFL, O_NONBLOCK);
		status = wait_for_client(program, config, pid, &pipes, limit);
	}
	close_pipes(&pipes);
	return status;
}

/* The client changes its working directory. Symbolic links are kept: relative paths in the file start at the link's
 * directory. */
static char *absolute(const char *file)
{
	char *path = NULL, *directory = file[0] != '/' ? getcwd(NULL, 0) : strdup("");
	if (directory != NULL && asprintf(&path, "%s%s%s", directory, file[0] != '/' ? "/" : "", file) < 0)
		path = NULL;
	free(directory);
	return path;
}

enum cli_status client_up(const struct cli_program *program, const char *file, unsigned limit)
{
	char *path = absolute(file);
	enum cli_status status;
	struct client_config *config = load(program, path != NULL ? path : file, &status);
	if (config != NULL)
		status = up(program, config, limit);
	config_free_client(config);
	free(path);
	return status;
}

/* --- down --------------------------------------------------------------------------------------------------------- */

/* Sends SIGTERM and waits for the end; kills the process when that takes too long. */
static int end_process(const struct client_config *config, pid_t pid, struct error *error)
{
	int fd = pidfd_open(pid, 0);
	if (fd < 0)
		return errno == ESRCH ? 0 : error_set(error, -errno, "process %d: %s", (int)pid, strerror(errno));
	/* Asked again, now that the pidfd is open: the process ID may have been reused before. */
	int result = 0;
	if (journal_holder(config, error) == pid) {
		struct pollfd polled = {.fd = fd, .events = POLLIN};
		if (pidfd_send_signal(fd, SIGTERM, NULL, 0) != 0)
			result = error_set(error, -errno, "process %d: %s%s", (int)pid, strerror(errno),
					   errno == EPERM ? "; run as root" : "");
		else if (poll(&polled, 1, END_SECONDS * MS_PER_S) == 0)
			result = pidfd_send_signal(fd, SIGKILL, NULL, 0) == 0 ? poll(&polled, 1, -1) : 0;
	}
	close(fd);
	return result < 0 ? result : 0;
}

static enum cli_status down(const struct cli_program *program, const struct client_config *config)
{
	struct error error = {0};
	pid_t pid = journal_holder(config, &error);
	int result = pid < 0 ? (int)pid : 0;
	if (pid > 0)
		result = end_process(config, pid, &error);
	if (result == 0) {
		result = client_clean(config, &error);
		if (result == -ENOENT && pid > 0)
			result = 0; /* it has undone everything itself */
		else if (result == -ENOENT)
			error_set(&error, result, "%s: it is not up", config->file);
	}
	return result == 0 ? CLI_OK : cli_fail(program, CLI_FAILED, &error);
}

enum cli_status client_down(const struct cli_program *program, const char *file)
{
	struct error error = {0};
	struct client_config *config;
	if (config_load_client(file, &config, &error) != 0)
		return cli_fail(program, CLI_CONFIG, &error);
	log_set_level(config->common.log_level);
	enum cli_status status = down(program, config);
	config_free_client(config);
	return status;
}
