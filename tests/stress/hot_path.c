// SPDX-License-Identifier: Apache-2.0
/* While packets flow, workers neither allocate nor lock: malloc and its family and pthread's locks are interposed and
 * counted on the threads of the workers. Not for sanitizers, which interpose the same. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

#include "tests/harness/harness.h"
#include "tests/stress/tap.h"

enum { PACKETS = 20000 /* each way, at least, while it is counted */ };

static _Thread_local bool counted; /* this thread is a worker */
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

static void *work(void *argument)
{
	rcu_join();
	counted = true;
	worker_run(argument);
	counted = false;
	rcu_leave();
	return NULL;
}

struct traffic {
	struct node *node;
	uint8_t *frames[3]; /* a small packet, a TCP super-packet, a UDP super-packet */
	size_t lengths[3];
	_Atomic bool *stop;
};

/* The other end of a TUN: feeds and empties it. */
static void *feed(void *argument)
{
	struct traffic *traffic = argument;
	static _Thread_local uint8_t frame[TUN_FRAME_MAX];
	for (unsigned i = 0; !atomic_load_explicit(traffic->stop, memory_order_relaxed); i++) {
		unsigned which = i % 8 == 0 ? 1 : i % 8 == 4 ? 2 : 0;
		(void)tun_pair_put(&traffic->node->tun, traffic->frames[which], traffic->lengths[which]);
		while (tun_pair_take(&traffic->node->tun, frame) > 0)
			continue;
		if (i % 64 == 63)
			sched_yield();
	}
	return NULL;
}

static void make_traffic(struct traffic *traffic, struct harness *h, enum direction direction, _Atomic bool *stop)
{
	static const uint8_t payload[30000];
	struct packet_spec udp = harness_spec(h, 0, direction, 6, IPPROTO_UDP);
	struct packet_spec tcp = harness_spec(h, 0, direction, 4, IPPROTO_TCP);
	traffic->node = direction == TO_GATEWAY ? &h->clients[0].node : &h->gateway.node;
	traffic->stop = stop;
	for (unsigned i = 0; i < ARRAY_SIZE(traffic->frames); i++)
		traffic->frames[i] = calloc(1, TUN_FRAME_MAX);
	traffic->lengths[0] = packet_build_frame(&udp, payload, 200, 0, traffic->frames[0]);
	traffic->lengths[1] = packet_build_frame(&tcp, payload, sizeof payload, 1380, traffic->frames[1]);
	traffic->lengths[2] = packet_build_frame(&udp, payload, sizeof payload, 1300, traffic->frames[2]);
}

static uint64_t moved(const struct harness *h)
{
	uint64_t gateway = node_counter(&h->gateway.node, STATS_tun_tx_packets);
	uint64_t client = node_counter(&h->clients[0].node, STATS_tun_tx_packets);
	return gateway < client ? gateway : client;
}

/* Waits until both sides delivered so many packets more; false after 60 s. */
static bool wait_for(const struct harness *h, uint64_t packets)
{
	const struct timespec pause = {.tv_nsec = 5000000};
	uint64_t goal = moved(h) + packets;
	for (unsigned i = 0; i < 12000; i++) {
		if (moved(h) >= goal)
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

static void measure(struct tap *tap)
{
	struct harness *h = harness_new(&(struct harness_options){
		.clients = 1, .fast_aead = true, .clock = &clock_system, .stage_sampling = 4});
	tap_ok(tap, harness_up(h), "the client is up");
	_Atomic bool stop = false;
	struct traffic traffic[2];
	pthread_t workers[2], feeders[2];
	for (unsigned i = 0; i < 2; i++)
		make_traffic(&traffic[i], h, (enum direction)i, &stop);
	for (unsigned i = 0; i < 2; i++) {
		if (pthread_create(&workers[i], NULL, work, traffic[i].node->worker) != 0 ||
		    pthread_create(&feeders[i], NULL, feed, &traffic[i]) != 0)
			abort();
	}
	bool warm = wait_for(h, 100);
	uint64_t before = moved(h);
	measuring = true;
	bool flowed = warm && wait_for(h, PACKETS);
	measuring = false;
	printf("# %lu packets each way, %u allocations, %u locks\n", moved(h) - before, allocations, locks);
	tap_ok(tap, flowed, "tens of thousands of packets flowed both ways");
	tap_ok(tap, allocations == 0, "no allocation");
	tap_ok(tap, locks == 0, "no lock");

	stop = true;
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(feeders[i], NULL);
		worker_stop(traffic[i].node->worker);
		pthread_join(workers[i], NULL);
		for (unsigned k = 0; k < ARRAY_SIZE(traffic[i].frames); k++)
			free(traffic[i].frames[k]);
	}
	harness_free(h);
}

int main(void)
{
	struct tap tap = {0};
	*(void **)&real_spin_lock = dlsym(RTLD_NEXT, "pthread_spin_lock");
	prove_the_counter(&tap);
	measure(&tap);
	return tap_done(&tap);
}
