// SPDX-License-Identifier: Apache-2.0
#include "core/base/owner.h"

#if SHARDTUN_OWNERS

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Its address identifies the thread; the members are for the error line. */
struct owner_thread {
	pid_t id;
	char name[16]; /* as the kernel shows it */
};

static _Thread_local struct owner_thread self;

static const struct owner_thread *current(void)
{
	if (self.id == 0) {
		self.id = gettid();
		(void)pthread_getname_np(pthread_self(), self.name, sizeof self.name);
	}
	return &self;
}

static const struct owner_thread *owner_of(const struct owner *owner)
{
	const struct owner *followed;
	while ((followed = atomic_load_explicit(&owner->followed, memory_order_relaxed)) != NULL)
		owner = followed;
	return atomic_load_explicit(&owner->thread, memory_order_relaxed);
}

static void violation(const char *what, const struct owner_thread *owner)
{
	const struct owner_thread *foreign = current();
	(void)dprintf(STDERR_FILENO, "owner: %s: belongs to thread %d (%s), but thread %d (%s) changes it\n", what,
		      (int)owner->id, owner->name, (int)foreign->id, foreign->name);
	abort();
}

void owner_set(struct owner *owner)
{
	owner_check(owner, "thread object");
	atomic_store_explicit(&owner->thread, current(), memory_order_relaxed);
}

void owner_check(const struct owner *owner, const char *what)
{
	const struct owner_thread *thread = owner_of(owner);
	if (thread != NULL && thread != current())
		violation(what, thread);
}

#else

/* ISO C forbids an empty translation unit. */
typedef int owner_is_not_checked;

#endif
