// SPDX-License-Identifier: Apache-2.0
/* Starts threads that drop their rights before they run. Every thread of the programs starts here, except liburcu's
 * (core/host/privileges.h) and the client's for scripts and name resolution. */
#pragma once

#include <pthread.h>

#include "core/base/error.h"
#include "core/host/seccomp_filter.h"

struct launch {
	const char *name;		     /* of the thread; the kernel shows 15 characters */
	const struct seccomp_filter *filter; /* NULL: none */
	void (*settle)(void *context);	     /* before that: place and priority; NULL: nothing to do */
	void *(*run)(void *context);
	void *context; /* alive until the thread ends */
};

/* Waits until the thread has no capability and its filter, and runs. 0, or a negative errno with `error`: then there
 * is no thread. By one thread at a time. */
int launch_thread(const struct launch *launch, pthread_t *thread, struct error *error);
