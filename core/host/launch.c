// SPDX-License-Identifier: Apache-2.0
#include "core/host/launch.h"

#include <semaphore.h>

#include "core/base/cpu.h"
#include "core/host/privileges.h"

/* Arguments for the new thread. Its creator waits until `ready`, so they may be on the stack. */
struct start {
	const struct launch *launch;
	sem_t ready;
	int result;
	const char *failed; /* which step failed */
};

/* A thread that could not drop its rights does not run. */
static void give_up_rights(struct start *start)
{
	start->failed = "capset";
	start->result = privileges_drop_thread();
	if (start->result == 0 && start->launch->filter != NULL) {
		start->failed = "seccomp";
		start->result = seccomp_filter_load(start->launch->filter);
	}
}

static void *thread_main(void *argument)
{
	struct start *start = argument;
	struct launch launch = *start->launch; /* both are invalid once the creator continues */
	thread_set_name(launch.name);
	if (launch.settle != NULL)
		launch.settle(launch.context);
	give_up_rights(start);
	bool runs = start->result == 0;
	(void)sem_post(&start->ready);
	return runs ? launch.run(launch.context) : NULL;
}

int launch_thread(const struct launch *launch, pthread_t *thread, struct error *error)
{
	struct start start = {.launch = launch};
	(void)sem_init(&start.ready, 0, 0); /* fails for a bad value only */
	int failure = pthread_create(thread, NULL, thread_main, &start);
	if (failure != 0) {
		(void)sem_destroy(&start.ready);
		return error_set(error, -failure, "thread '%s': %s", launch->name, strerror(failure));
	}
	while (sem_wait(&start.ready) != 0)
		; /* a signal came */
	(void)sem_destroy(&start.ready);
	if (start.result == 0)
		return 0;
	(void)pthread_join(*thread, NULL);
	return error_set(error, start.result, "thread '%s': %s: %s", launch->name, start.failed,
			 strerror(-start.result));
}
