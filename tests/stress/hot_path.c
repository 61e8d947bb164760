// SPDX-License-Identifier: Apache-2.0
/* While packets flow, workers and TUN readers neither allocate nor lock: malloc and its family and pthread's locks are
 * interposed and counted on their threads. Not for sanitizers, which interpose the same. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

#include "tests/harness/harness.h"
#include "tests/stress/tap.h"

enum {
	PACKETS = 20000, /* through each worker, at least, while it is counted */
	CLIENTS = 2,	 /* at most; one for each of the gateway's workers */
	THREADS = 2 * CLIENTS + 1,
	FRAMES = 3,
};

static _Thread_local bool counted; /* this thread is a worker or a TUN reader */
static _Atomic bool measuring;
static _Atomic unsigned allocations, locks;

static void note(_Atomic unsigned *counter)
{
	if (counted && atomic_load_explicit(&measuring, memory_order_relaxed))
		atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* --- interposed ------------------------------------------------------------------------------------------------------
 */

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

/* The parameter's name is that of the header, as clang-tidy wants it. */
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

/* --- the counter works -----------------------------------------------------------------------------------------------
 */

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

/* --- traffic ---------------------------------------------------------------------------------------------------------
 */

static void *run_worker(void *argument)
{
	rcu_join();
	counted = true;
	worker_run(argument);
	counted = false;
	rcu_leave();
	return NULL;
}

static void *run_reader(void *argument)
{
	rcu_join();
	counted = true;
	tun_reader_run(argument);
	counted = false;
	rcu_leave();
	return NULL;
}

/* What goes into a TUN: for each client a small packet, a TCP super-packet, a UDP super-packet. */
struct traffic {
	struct node *node;
	size_t clients;
	uint8_t *frames[CLIENTS][FRAMES];
	size_t lengths[CLIENTS][FRAMES];
	_Atomic bool *stop;
};

/* The other end of a TUN: feeds and empties it. */
static void *feed(void *argument)
{
	struct traffic *traffic = argument;
	static _Thread_local uint8_t frame[TUN_FRAME_MAX];
	for (unsigned i = 0; !atomic_load_explicit(traffic->stop, memory_order_relaxed); i++) {
		unsigned which = i % 8 == 0 ? 1 : i % 8 == 4 ? 2 : 0;
		for (size_t c = 0; c < traffic->clients; c++)
			(void)tun_pair_put(&traffic->node->tun, traffic->frames[c][which], traffic->lengths[c][which]);
		while (tun_pair_take(&traffic->node->tun, frame) > 0)
			continue;
		if (i % 64 == 63)
			sched_yield();
	}
	return NULL;
}

static void make_frames(struct traffic *traffic, struct harness *h, size_t client, enum direction direction)
{
	static const uint8_t payload[30000];
	struct packet_spec udp = harness_spec(h, client, direction, 6, IPPROTO_UDP);
	struct packet_spec tcp = harness_spec(h, client, direction, 4, IPPROTO_TCP);
	uint8_t **frames = traffic->frames[traffic->clients];
	size_t *lengths = traffic->lengths[traffic->clients++];
	for (unsigned i = 0; i < FRAMES; i++)
		frames[i] = calloc(1, TUN_FRAME_MAX);
	lengths[0] = packet_build_frame(&udp, payload, 200, 0, frames[0]);
	lengths[1] = packet_build_frame(&tcp, payload, sizeof payload, 1380, frames[1]);
	lengths[2] = packet_build_frame(&udp, payload, sizeof payload, 1300, frames[2]);
}

static void free_frames(struct traffic *traffic)
{
	for (size_t c = 0; c < traffic->clients; c++) {
		for (unsigned i = 0; i < FRAMES; i++)
			free(traffic->frames[c][i]);
	}
}

/* What the slowest of all workers delivered. */
static uint64_t moved(struct harness *h)
{
	uint64_t least = UINT64_MAX;
	for (unsigned i = 0; i < h->options.workers + h->options.clients; i++) {
		const struct worker *worker = i < h->options.workers ? harness_gateway_worker(h, i)
								     : h->clients[i - h->options.workers].node.worker;
		uint64_t packets = atomic_load_explicit(&worker->stats.counters[STATS_tun_tx_packets],
							memory_order_relaxed);
		least = packets < least ? packets : least;
	}
	return least;
}

/* Waits until all of them delivered so many packets more; false after 100 s. */
static bool wait_for(struct harness *h, uint64_t packets)
{
	const struct timespec pause = {.tv_nsec = 5000000};
	uint64_t goal = moved(h) + packets;
	for (unsigned i = 0; i < 20000; i++) {
		if (moved(h) >= goal)
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

static void start(pthread_t *thread, void *(*run)(void *), void *argument)
{
	if (pthread_create(thread, NULL, run, argument) != 0)
		abort();
}

/* The gateway's threads, then the clients'. */
static size_t start_threads(struct harness *h, pthread_t threads[THREADS])
{
	size_t count = 0;
	for (unsigned i = 0; i < h->options.workers; i++)
		start(&threads[count++], run_worker, harness_gateway_worker(h, i));
	if (h->gateway.reader != NULL)
		start(&threads[count++], run_reader, h->gateway.reader);
	for (size_t i = 0; i < h->options.clients; i++)
		start(&threads[count++], run_worker, h->clients[i].node.worker);
	return count;
}

static void stop_threads(struct harness *h, const pthread_t threads[THREADS], size_t count)
{
	if (h->gateway.reader != NULL)
		tun_reader_stop(h->gateway.reader);
	for (unsigned i = 0; i < h->options.workers; i++)
		worker_stop(harness_gateway_worker(h, i));
	for (size_t i = 0; i < h->options.clients; i++)
		worker_stop(h->clients[i].node.worker);
	for (size_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

static void measure(struct tap *tap, unsigned workers, bool reader)
{
	struct harness *h = harness_new(&(struct harness_options){.clients = workers,
								  .workers = workers,
								  .reader = reader,
								  .fast_aead = true,
								  .clock = &clock_system,
								  .stage_sampling = 4});
	tap_ok(tap, harness_up(h), reader ? "pool and TUN reader: the clients are up" : "the client is up");
	_Atomic bool stop = false;
	struct traffic traffic[CLIENTS + 1] = {0}; /* the gateway's first */
	pthread_t threads[THREADS], feeders[CLIENTS + 1];
	for (size_t i = 0; i <= workers; i++) {
		traffic[i].node = i == 0 ? &h->gateway.node : &h->clients[i - 1].node;
		traffic[i].stop = &stop;
		for (size_t c = 0; c < workers; c++) {
			if (i == 0 || i == c + 1)
				make_frames(&traffic[i], h, c, i == 0 ? TO_CLIENT : TO_GATEWAY);
		}
	}
	size_t count = start_threads(h, threads);
	for (size_t i = 0; i <= workers; i++)
		start(&feeders[i], feed, &traffic[i]);
	bool warm = wait_for(h, 100);
	uint64_t before = moved(h);
	allocations = locks = 0;
	measuring = true;
	bool flowed = warm && wait_for(h, PACKETS);
	measuring = false;
	printf("# %lu packets through each worker, %u allocations, %u locks\n", moved(h) - before, allocations, locks);
	tap_ok(tap, flowed, "tens of thousands of packets flowed through each worker");
	tap_ok(tap, allocations == 0, "no allocation");
	tap_ok(tap, locks == 0, "no lock");

	stop = true;
	for (size_t i = 0; i <= workers; i++)
		pthread_join(feeders[i], NULL);
	stop_threads(h, threads, count);
	for (size_t i = 0; i <= workers; i++)
		free_frames(&traffic[i]);
	harness_free(h);
}

int main(void)
{
	struct tap tap = {0};
	*(void **)&real_spin_lock = dlsym(RTLD_NEXT, "pthread_spin_lock");
	prove_the_counter(&tap);
	measure(&tap, 1, false);
	measure(&tap, CLIENTS, true);
	return tap_done(&tap);
}
