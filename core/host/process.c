// SPDX-License-Identifier: Apache-2.0
#include "core/host/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

/* open() returns the lowest free descriptor, which is the missing one. Not O_CLOEXEC: child processes need it as
 * well. Without /dev/null, in a bare root directory, any descriptor serves that can neither be read nor written. */
static void fill_descriptor(int flags)
{
	if (open("/dev/null", flags | O_NOCTTY) < 0)
		(void)open("/", O_PATH);
}

void process_begin(void)
{
	/* Standard output is opened read-only, so that writing to it fails (EBADF): output that was asked for must
	 * not get lost silently. */
	static const int flags[] = {[STDIN_FILENO] = O_RDONLY, [STDOUT_FILENO] = O_RDONLY, [STDERR_FILENO] = O_WRONLY};
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			fill_descriptor(flags[fd]);
	}
	(void)signal(SIGPIPE, SIG_DFL);
	(void)signal(SIGCHLD, SIG_DFL);
}

void process_signals(sigset_t *set)
{
	static const int numbers[] = {SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2};
	sigemptyset(set);
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		sigaddset(set, numbers[i]);
}

void process_hold_signals(void)
{
	sigset_t set;
	process_signals(&set);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL); /* fails for a bad first argument only */
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGTTIN, SIG_IGN);
	(void)signal(SIGTTOU, SIG_IGN);
}
