// SPDX-License-Identifier: Apache-2.0
/* A program that goes on in the background, and the one that waits for it. */
#include <criterion/criterion.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/host/background.h"

TestSuite(background, .timeout = 60);

struct shared {
	pid_t first, background, parent, session;
};

static struct shared *shared;

/* What the process that was started ends with: the one in the background says that, or is killed (-1). */
static int status_of(int said)
{
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(shared, MAP_FAILED);
	pid_t child = fork();
	if (child == 0) {
		struct background background = {.fd = -1};
		shared->first = getpid();
		if (background_begin(&background, NULL) != 0)
			_exit(100);
		shared->background = getpid();
		shared->parent = getppid();
		shared->session = getsid(0);
		if (said < 0)
			(void)raise(SIGKILL);
		background_tell(&background, said);
		background_tell(&background, 99);
		_exit(0);
	}
	int status;
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

Test(background, the_process_that_was_started_ends_with_what_the_other_says)
{
	cr_expect_eq(status_of(0), 0);
	cr_expect_eq(status_of(3), 3);
	cr_expect_eq(status_of(-1), 1, "it was killed");
}

/* A service manager that waits for the first process takes none that this one has to wait for. */
Test(background, it_is_no_child_of_the_process_that_waits)
{
	cr_expect_eq(status_of(0), 0);
	cr_expect_neq(shared->background, shared->first);
	cr_expect_neq(shared->parent, shared->first);
	cr_expect_neq(shared->session, getsid(0));
	cr_expect_neq(shared->session, shared->background, "and can get no terminal");
}

Test(background, without_a_process_that_waits_there_is_nothing_to_tell)
{
	struct background background = {.fd = -1};
	background_tell(&background, 0);
	cr_expect_eq(background.fd, -1);
}
