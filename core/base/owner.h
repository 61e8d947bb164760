// SPDX-License-Identifier: Apache-2.0
/* Which thread may change a data-path struct: checked by every function that changes one, in builds with OWNERS=1 (the
 * default under a sanitizer); in other builds it adds no byte and no instruction.
 *
 *   owner_set(&worker->owner);                      the calling thread owns it until owner_clear()
 *   owner_follow(&queue->owner, &worker->owner);    the queue has the worker's owner from here on
 *   owner_check(&queue->owner, "send queue");       in what changes it: aborts, with one line, in any other thread
 *
 * A struct without owner may be changed by any thread: before the threads run, after they ended, or on its way from one
 * thread to another (new keys, a session that ended). So a handoff follows another owner, and a release follows none.
 * Zeroed memory has no owner. */
#pragma once

#ifndef SHARDTUN_OWNERS
#define SHARDTUN_OWNERS 0
#endif

#if SHARDTUN_OWNERS

#include <stdatomic.h>
#include <stddef.h>

struct owner_thread; /* one for each thread that ever owned something; in owner.c */

/* Relaxed atomics, so that a wrong thread is reported here and not by ThreadSanitizer as a data race on the owner. */
struct owner {
	_Atomic(const struct owner *) followed;	     /* NULL: its own `thread` counts */
	_Atomic(const struct owner_thread *) thread; /* NULL: no owner */
};

/* The calling thread owns it from here on. The process ends if another thread already does. */
void owner_set(struct owner *owner);

/* Ends the process when a thread other than the calling one owns it; `what` names it in the error line. */
void owner_check(const struct owner *owner, const char *what);

/* From here on it has the owner of `followed`, which outlives it; NULL: no owner. */
static inline void owner_follow(struct owner *owner, const struct owner *followed)
{
	atomic_store_explicit(&owner->followed, followed, memory_order_relaxed);
	atomic_store_explicit(&owner->thread, NULL, memory_order_relaxed);
}

#else

struct owner {
};

_Static_assert(sizeof(struct owner) == 0, "no build but one with OWNERS=1 pays for it");

#define owner_set(owner)	      ((void)(owner))
#define owner_check(owner, what)      ((void)(owner))
#define owner_follow(owner, followed) ((void)(owner), (void)(followed))

#endif

/* It has no owner from here on. */
#define owner_clear(owner) owner_follow((owner), NULL)
