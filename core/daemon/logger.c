// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/logger.h"

#include <pthread.h>
#include <stdbool.h>

#include "core/base/log.h"
#include "core/host/launch.h"

/* One for the process, as the log itself. */
static pthread_t thread;
static bool started;

static void *run(void *none)
{
	(void)none;
	log_run();
	return NULL;
}

int logger_start(const struct seccomp_filter *filter, struct error *error)
{
	const struct launch launch = {.name = "log", .filter = filter, .run = run};
	log_queue_all();
	int result = launch_thread(&launch, &thread, error);
	started = result == 0;
	return result;
}

void logger_end(void)
{
	bool ended = log_end(started);
	if (started && ended)
		(void)pthread_join(thread, NULL);
	else if (started)
		(void)pthread_detach(thread); /* the end of the process takes it along */
	started = false;
}
