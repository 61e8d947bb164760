// SPDX-License-Identifier: Apache-2.0
/* While packets flow, workers and TUN readers neither allocate nor lock: malloc and its family and pthread's locks are
 * interposed and counted on their threads. Not for sanitizers, which interpose the same. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

#include "tests/harness/feed.h"
#include "tests/stress/tap.h"

enum {
	PACKETS = 20000, /* through each worker, at least, while it is counted */
};

static _Thread_local bool counted; /* this thread is a worker or a TUN reader */
static _Atomic bool measuring;
static _Atomic unsigned allocations, locks;

static void note(_Atomic unsigned *counter)
{
	if (counted && atomic_load_explicit(&measuring, memory_order_relaxed))
		atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* --- interposed --------------------------------------------------------------------------------------------------- */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

void *malloc(size_t size)
{
	note(&allocations);
	return __libc_malloc(size);
}

void *calloc(size_t nmemb, size_t size)
{
	note(&allocations);
	return __libc_calloc(nmemb, size);
}

void *realloc(void *ptr, size_t size)
{
	note(&allocations);
	return __libc_realloc(ptr, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	note(&allocations);
	return __libc_memalign(alignment, size);
}

int posix_memalign(void **memptr, size_t alignment, size_t size)
{
	note(&allocations);
	*memptr = __libc_memalign(alignment, size);
	return *memptr != NULL ? 0 : ENOMEM;
}

void free(void *ptr)
{
	note(&allocations);
	__libc_free(ptr);
}

/* The parameter's name is that of the header, as clang-tidy demands. */
#define INTERPOSE_LOCK(name, type, lock)                                                     \
	int name(type *lock)                                                                 \
	{                                                                                    \
		static int (*_Atomic real)(type *);                                          \
		int (*function)(type *) = atomic_load_explicit(&real, memory_order_relaxed); \
		if (function == NULL) {                                                      \
			*(void **)&function = dlsym(RTLD_NEXT, #name);                       \
			atomic_store_explicit(&real, function, memory_order_relaxed);        \
		}                                                                            \
		note(&locks);                                                                \
		return function(lock);                                                       \
	}

INTERPOSE_LOCK(pthread_mutex_lock, pthread_mutex_t, mutex)
INTERPOSE_LOCK(pthread_mutex_trylock, pthread_mutex_t, mutex)
INTERPOSE_LOCK(pthread_rwlock_rdlock, pthread_rwlock_t, rwlock)
INTERPOSE_LOCK(pthread_rwlock_wrlock, pthread_rwlock_t, rwlock)

static int (*real_spin_lock)(pthread_spinlock_t *);

int pthread_spin_lock(pthread_spinlock_t *lock)
{
	note(&locks);
	return real_spin_lock(lock);
}

/* --- the counter works -------------------------------------------------------------------------------------------- */

static void *deliberate(void *argument)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
	pthread_spinlock_t spinlock;
	pthread_spin_init(&spinlock, 0);
	counted = argument != NULL;
	void *volatile memory = malloc(1);
	memory = realloc(memory, 2);
	free(memory);
	memory = aligned_alloc(64, 64);
	free(memory);
	pthread_mutex_lock(&mutex);
	pthread_mutex_unlock(&mutex);
	pthread_rwlock_rdlock(&rwlock);
	pthread_rwlock_unlock(&rwlock);
	pthread_spin_lock(&spinlock);
	pthread_spin_unlock(&spinlock);
	counted = false;
	return NULL;
}

static void prove_the_counter(struct tap *tap)
{
	pthread_t thread;
	measuring = true;
	for (unsigned is_counted = 0; is_counted < 2; is_counted++) {
		if (pthread_create(&thread, NULL, deliberate, is_counted ? &thread : NULL) != 0)
			abort();
		pthread_join(thread, NULL);
		tap_ok(tap, allocations == (is_counted ? 5 : 0) && locks == (is_counted ? 3 : 0),
		       is_counted ? "5 deliberate allocations and 3 locks are counted"
				  : "those of other threads are not");
	}
	measuring = false;
	allocations = locks = 0;
}

/* --- traffic ------------------------------------------------------------------------------------------------------ */

static void begins(int worker)
{
	(void)worker;
	counted = true;
}

static void ended(void)
{
	counted = false;
}

static void measure(struct tap *tap, unsigned workers, bool reader)
{
	struct feed_options options = {.workers = workers, .reader = reader, .begins = begins, .ended = ended};
	struct feed *feed = feed_start(&options);
	tap_ok(tap, feed != NULL, reader ? "pool and TUN reader: the clients are up" : "the client is up");
	if (feed == NULL)
		return;
	bool warm = feed_wait(feed, 100);
	uint64_t before = feed_moved(feed);
	allocations = locks = 0;
	measuring = true;
	bool flowed = warm && feed_wait(feed, PACKETS);
	measuring = false;
	printf("# %lu packets through each worker, %u allocations, %u locks\n", feed_moved(feed) - before, allocations,
	       locks);
	tap_ok(tap, flowed, "tens of thousands of packets flowed through each worker");
	tap_ok(tap, allocations == 0, "no allocation");
	tap_ok(tap, locks == 0, "no lock");
	feed_stop(feed);
}

int main(void)
{
	struct tap tap = {0};
	*(void **)&real_spin_lock = dlsym(RTLD_NEXT, "pthread_spin_lock");
	prove_the_counter(&tap);
	measure(&tap, 1, false);
	measure(&tap, FEED_CLIENTS, true);
	return tap_done(&tap);
}
