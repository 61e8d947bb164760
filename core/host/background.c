// SPDX-License-Identifier: Apache-2.0
#include "core/host/background.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/host/process.h"

/* One byte each way: that the process between the two is gone, and the status. */
_Noreturn static void wait_for_status(int fd, pid_t between)
{
	sigset_t signals;
	unsigned char status = EXIT_FAILURE;
	process_signals(&signals);
	(void)pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
	while (waitpid(between, NULL, 0) < 0 && errno == EINTR)
		;
	(void)send(fd, &status, sizeof status, MSG_NOSIGNAL);
	if (recv(fd, &status, sizeof status, 0) != sizeof status)
		status = EXIT_FAILURE;
	_exit(status);
}

/* Not a pipe: the unit's sandbox allows none. */
int background_begin(struct background *background, struct error *error)
{
	int ends[2];
	char byte;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return error_set(error, -errno, "background: socketpair: %s", strerror(errno));
	pid_t between = fork();
	if (between < 0) {
		int code = -errno;
		close(ends[0]);
		close(ends[1]);
		return error_set(error, code, "background: fork: %s", strerror(-code));
	}
	close(ends[between == 0 ? 0 : 1]);
	if (between != 0)
		wait_for_status(ends[0], between);
	(void)setsid();
	if (fork() != 0)
		_exit(EXIT_SUCCESS);
	/* From here on the parent is process 1, or a service manager. */
	if (recv(ends[1], &byte, 1, 0) != 1)
		_exit(EXIT_FAILURE);
	background->fd = ends[1];
	return 0;
}

void background_tell(struct background *background, int status)
{
	unsigned char byte = (unsigned char)status;
	if (background->fd < 0)
		return;
	(void)send(background->fd, &byte, sizeof byte, MSG_NOSIGNAL);
	close(background->fd);
	background->fd = -1;
}
