// SPDX-License-Identifier: Apache-2.0
/* Which thread may change a data-path struct: asserted by every function that changes one, in builds with OWNERS=1
 * (that under a sanitizer are), and nothing, neither a byte nor an instruction, in all others.
 *
 *   owner_set(&worker->owner);                      a thread begins to run it, and is its owner until owner_clear()
 *   owner_follow(&queue->owner, &worker->owner);    the queue belongs to whoever that belongs to
 *   owner_check(&queue->owner, "send queue");       in what changes it: aborts, with one line, in any other thread
 *
 * What nobody owns is open to all: it is being made before the threads run, or freed after they ended, or is on its
 * way from one thread to another (new keys, a session that ended). So a handover is to follow another owner, and to let
 * go is to follow none. Zeroed memory is owned by nobody. */
#pragma once

#ifndef SHARDTUN_OWNERS
#define SHARDTUN_OWNERS 0
#endif

#if SHARDTUN_OWNERS

#include <stdatomic.h>
#include <stddef.h>

struct owner_thread; /* one for each thread that ever owned something; in owner.c */

/* Relaxed words, so that a foreign thread is reported here and not by ThreadSanitizer as a race upon the owner. */
struct owner {
	_Atomic(const struct owner *) followed;	     /* NULL: it stands for itself */
	_Atomic(const struct owner_thread *) thread; /* NULL: nobody */
};

/* The calling thread owns it from here. Nobody does yet, or the process ends. */
void owner_set(struct owner *owner);

/* Ends the process when a thread other than the calling one owns it; `what` says in a word or two what it is. */
void owner_check(const struct owner *owner, const char *what);

/* Belongs to whom `followed` belongs to, which lives longer; NULL: to nobody. */
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

/* Belongs to nobody from here. */
#define owner_clear(owner) owner_follow((owner), NULL)
