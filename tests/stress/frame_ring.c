// SPDX-License-Identifier: Apache-2.0
/* One reader, four workers: each gets what was pushed for it, byte by byte, while the others stall at random and one of
 * them all the time. A worker may write to what it holds; ThreadSanitizer reports access by another thread.
 * Workers sleep by a waker: a wake-up that got lost would end a sleep by its time-out. */
#include "workers/frame_ring.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/base/waker.h"
#include "crypto/aead.h"
#include "tests/harness/frames.h"
#include "tests/stress/tap.h"

enum {
	WORKERS = 4,
	STALLED = 3, /* takes nothing until all others are through */
	SHARE = 6,
	ENTRIES = 16,
	FRAMES = 60000,
	ROUNDS = 10000, /* or as many as there is time for, and more until each kind came OFTEN */
	OFTEN = 10,
	SHIFTS = 4093,
	BATCH = 16,
	PATIENCE_MS = 20000,
};

#define ROUNDS_NS     (3 * NS_PER_S)
#define ROUNDS_MAX_NS (60 * NS_PER_S)

struct fixture {
	struct frame_pool *pool; /* the reader's */
	struct owner owner;	 /* of it: the reader */
	pthread_barrier_t start;
	uint8_t content[TUN_FRAME_MAX + SHIFTS];
	_Atomic unsigned pushed; /* so that workers can see the reader at work */
	_Atomic bool over;	 /* nothing more will be pushed */
	_Atomic bool released;	 /* the stalled one may go on */
};

struct consumer {
	struct fixture *fixture;
	struct waker waker;
	struct owner owner; /* of its end of the ring */
	pthread_t thread;
	uint32_t index;
	uint64_t random;
	_Atomic unsigned taken; /* so that the reader can see the worker at work */
	/* Read when the thread has ended. */
	uint32_t next; /* number of the frame it expects */
	uint32_t position;
	unsigned wrong, overslept, sleeps, overlapped;
	/* The reader's. */
	uint32_t pushed;
	unsigned refused, most_held, seen, seen_working;
	bool given_up;
};

static uint32_t random_below(uint64_t *state, uint32_t limit)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((*state >> 33) % limit);
}

/* What frame `number` of a worker is like, so that both sides know: many small ones, some of any size. */
static uint32_t frame_length(uint32_t worker, uint32_t number)
{
	uint64_t state = (uint64_t)worker << 32 | number;
	(void)random_below(&state, 1);
	switch (random_below(&state, 8)) {
	case 0:
		return random_below(&state, TUN_FRAME_MAX + 1 - VNET_HEADER_SIZE) + VNET_HEADER_SIZE;
	case 1:
		return TUN_FRAME_MAX;
	case 2:
	case 3:
		return random_below(&state, 2 * FRAME_SMALL_MAX) + VNET_HEADER_SIZE;
	default:
		return random_below(&state, FRAME_SMALL_MAX + 1 - VNET_HEADER_SIZE) + VNET_HEADER_SIZE;
	}
}

static const uint8_t *frame_content(const struct fixture *fixture, uint32_t worker, uint32_t number)
{
	return fixture->content + (number * 31 + worker * 1009) % SHIFTS;
}

static uint32_t frame_session(uint32_t worker, uint32_t number)
{
	return number * 2654435761u + worker;
}

/* --- a worker ----------------------------------------------------------------------------------------------------- */

static void read_frame(struct consumer *consumer, const struct frame_ref *frame)
{
	uint32_t number = consumer->next++;
	uint32_t length = frame_length(consumer->index, number);
	consumer->position += length;
	uint8_t *data = frame->packet.data - VNET_HEADER_SIZE;
	if (frame->packet.length + VNET_HEADER_SIZE != length || frame->packet.protocol != (uint8_t)number ||
	    frame->stamp != number || frame->position != consumer->position ||
	    frame->session_id != frame_session(consumer->index, number) ||
	    memcmp(data, frame_content(consumer->fixture, consumer->index, number), length) != 0)
		consumer->wrong++;
	memset(data, (int)(0xa0 + consumer->index), length + AEAD_INPUT_SLACK);
}

static size_t take_batch(struct consumer *consumer, struct frame_ring *ring)
{
	const struct frame_ref *frames;
	size_t got = frame_ring_peek(ring, &frames, 1 + random_below(&consumer->random, BATCH));
	for (size_t i = 0; i < got; i++) {
		read_frame(consumer, &frames[i]);
		if (frame_ring_behind(ring, &frames[i]) > (uint64_t)ENTRIES * TUN_FRAME_MAX)
			consumer->wrong++;
	}
	if (got == 0)
		return 0;
	/* Some at once and the rest later. */
	size_t first = random_below(&consumer->random, (uint32_t)got + 1);
	frame_ring_release(ring, first);
	if (random_below(&consumer->random, 4) == 0)
		sched_yield();
	frame_ring_release(ring, got - first);
	atomic_fetch_add_explicit(&consumer->taken, (unsigned)got, memory_order_relaxed);
	return got;
}

static void sleep_until_woken(struct consumer *consumer, const struct frame_ring *ring)
{
	bool signalled = false;
	waker_prepare(&consumer->waker);
	if (frame_ring_empty(ring) && !atomic_load_explicit(&consumer->fixture->over, memory_order_relaxed)) {
		struct pollfd polled = {.fd = consumer->waker.fd, .events = POLLIN};
		signalled = poll(&polled, 1, PATIENCE_MS) == 1;
		consumer->overslept += !signalled;
		consumer->sleeps++;
	}
	waker_done(&consumer->waker, signalled);
}

static void stall(struct consumer *consumer)
{
	if (random_below(&consumer->random, 50) == 0)
		nanosleep(&(struct timespec){.tv_nsec = 1 + random_below(&consumer->random, 2 * NS_PER_MS)}, NULL);
}

static void *work(void *argument)
{
	struct consumer *consumer = argument;
	struct fixture *fixture = consumer->fixture;
	struct frame_ring *ring = frame_pool_ring(fixture->pool, consumer->index);
	unsigned seen = 0;
	frame_ring_own(ring, &consumer->owner);
	owner_set(&consumer->owner);
	pthread_barrier_wait(&fixture->start);
	while (consumer->index == STALLED && !atomic_load_explicit(&fixture->released, memory_order_relaxed))
		nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
	for (;;) {
		bool over = atomic_load_explicit(&fixture->over, memory_order_acquire);
		if (take_batch(consumer, ring) > 0) {
			unsigned pushed = atomic_load_explicit(&fixture->pushed, memory_order_relaxed);
			consumer->overlapped += pushed != seen && !over;
			seen = pushed;
			stall(consumer);
		} else if (over) {
			return NULL;
		} else {
			sleep_until_woken(consumer, ring);
		}
	}
}

/* --- the reader --------------------------------------------------------------------------------------------------- */

static void publish_all(struct fixture *fixture, struct consumer consumers[])
{
	for (uint32_t i = 0; i < WORKERS; i++)
		if (frame_pool_publish(fixture->pool, i))
			(void)waker_wake(&consumers[i].waker);
}

static bool push(struct fixture *fixture, struct consumer *consumer)
{
	uint32_t number = consumer->pushed, length = frame_length(consumer->index, number);
	uint8_t *buffer = frame_pool_buffer(fixture->pool);
	memcpy(buffer, frame_content(fixture, consumer->index, number), length);
	struct inner packet = frame_unparsed(buffer, length, (uint8_t)number);
	bool pushed = frame_pool_push(fixture->pool, consumer->index, &packet, frame_session(consumer->index, number),
				      number);
	consumer->pushed += pushed;
	consumer->refused += !pushed;
	uint32_t held = frame_pool_held(fixture->pool, consumer->index);
	consumer->most_held = held > consumer->most_held ? held : consumer->most_held;
	unsigned taken = atomic_load_explicit(&consumer->taken, memory_order_relaxed);
	consumer->seen_working += taken != consumer->seen;
	consumer->seen = taken;
	return pushed;
}

/* Pushes until it is taken, for as long as a test may last: a ring that is served gets room again. */
static void push_surely(struct fixture *fixture, struct consumer consumers[], struct consumer *consumer)
{
	uint64_t deadline = clock_monotonic(&clock_system) + PATIENCE_MS * NS_PER_MS;
	while (!push(fixture, consumer)) {
		publish_all(fixture, consumers);
		sched_yield();
		if (clock_monotonic(&clock_system) > deadline) {
			consumer->given_up = true;
			return;
		}
	}
}

static void read_frames(struct fixture *fixture, struct consumer consumers[])
{
	uint64_t random = 99;
	bool given_up = false;
	for (unsigned i = 0; i < FRAMES && !given_up; i++) {
		struct consumer *consumer = &consumers[random_below(&random, WORKERS)];
		if (consumer->index == STALLED)
			(void)push(fixture, consumer);
		else
			push_surely(fixture, consumers, consumer);
		given_up = consumer->given_up;
		atomic_store_explicit(&fixture->pushed, i, memory_order_relaxed);
		if (random_below(&random, BATCH) == 0)
			publish_all(fixture, consumers);
		if (random_below(&random, 500) == 0) /* so that workers come to sleep */
			nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
	}
	publish_all(fixture, consumers);
}

static void finish(struct fixture *fixture, struct consumer consumers[])
{
	atomic_store_explicit(&fixture->over, true, memory_order_release);
	for (uint32_t i = 0; i < STALLED; i++) {
		(void)waker_wake(&consumers[i].waker);
		pthread_join(consumers[i].thread, NULL);
	}
	atomic_store_explicit(&fixture->released, true, memory_order_relaxed);
	pthread_join(consumers[STALLED].thread, NULL);
}

static void report(struct tap *tap, struct fixture *fixture, const struct consumer consumers[])
{
	bool complete = true, bounded = true, whole = true, awake = true, served = true, slept = false, overlap = true;
	unsigned wrong = 0;
	for (uint32_t i = 0; i < WORKERS; i++) {
		const struct consumer *c = &consumers[i];
		printf("# worker %u: %u frames, %u refused, at most %u slots, %u sleeps, worked beside the reader %u "
		       "times, was seen at it %u times\n",
		       i, c->pushed, c->refused, c->most_held, c->sleeps, c->overlapped, c->seen_working);
		wrong += c->wrong;
		complete = complete && c->next == c->pushed;
		bounded = bounded && c->most_held <= SHARE;
		whole = whole && c->most_held == SHARE;
		awake = awake && c->overslept == 0;
		served = served && !c->given_up;
		slept = slept || c->sleeps > 10;
		overlap = overlap && (i == STALLED || (c->overlapped > 100 && c->seen_working > 100));
	}
	tap_ok(tap, wrong == 0, "each frame is what was pushed");
	tap_ok(tap, complete, "each worker got all that was pushed for it");
	tap_ok(tap, bounded, "no worker held more than its share");
	tap_ok(tap, consumers[STALLED].refused > 0 && served,
	       "one that stalled refused frames, the others took theirs");
	tap_ok(tap, whole, "each came to hold its whole share beside the stalled one");
	tap_ok(tap, awake && slept, "workers slept, and every wake-up came");
	tap_ok(tap, frame_pool_idle(fixture->pool), "all slots are free at the end");
	tap_ok(tap, overlap, "the threads overlapped");
}

/* --- one frame at a time ------------------------------------------------------------------------------------------ */

struct pair {
	struct frame_ring *ring;
	struct waker waker;
	_Atomic unsigned taken;
	_Atomic bool over;
	_Atomic unsigned sleeps, awake; /* after how many announcements the worker slept, or found a frame */
	unsigned overslept;
};

static void announce_and_sleep(struct pair *pair)
{
	bool signalled = false;
	waker_prepare(&pair->waker);
	if (frame_ring_empty(pair->ring) && !atomic_load_explicit(&pair->over, memory_order_relaxed)) {
		struct pollfd polled = {.fd = pair->waker.fd, .events = POLLIN};
		signalled = poll(&polled, 1, pair->overslept == 0 ? PATIENCE_MS : 1) == 1;
		pair->overslept += !signalled;
		atomic_fetch_add_explicit(&pair->sleeps, 1, memory_order_relaxed);
	} else {
		atomic_fetch_add_explicit(&pair->awake, 1, memory_order_relaxed);
	}
	waker_done(&pair->waker, signalled);
}

static void *take_one_by_one(void *argument)
{
	struct pair *pair = argument;
	uint64_t random = 3;
	const struct frame_ref *frames;
	while (!atomic_load_explicit(&pair->over, memory_order_relaxed)) {
		if (frame_ring_peek(pair->ring, &frames, 8) > 0) {
			frame_ring_release(pair->ring, 1);
			atomic_fetch_add_explicit(&pair->taken, 1, memory_order_relaxed);
			continue;
		}
		/* So that the frame comes before the announcement at times, on one CPU as on two. */
		if (random_below(&random, 4) == 0)
			sched_yield();
		announce_and_sleep(pair);
	}
	return NULL;
}

static bool both_often(struct pair *pair)
{
	return atomic_load_explicit(&pair->sleeps, memory_order_relaxed) > OFTEN &&
	       atomic_load_explicit(&pair->awake, memory_order_relaxed) > OFTEN;
}

/* The next frame comes when the one before was taken, while the worker is about to sleep: nothing that comes later
 * makes good for a frame that was overlooked. */
static void wake_ups(struct tap *tap)
{
	struct frame_pool *pool = frame_pool_new(
		&(struct frame_pool_params){.workers = 1, .slots_per_worker = 2, .ring_entries = 4});
	struct pair pair = {0};
	pthread_t thread;
	if (pool == NULL || waker_init(&pair.waker) != 0)
		abort();
	pair.ring = frame_pool_ring(pool, 0);
	if (pthread_create(&thread, NULL, take_one_by_one, &pair) != 0)
		abort();
	uint64_t start = clock_monotonic(&clock_system), passed = 0;
	unsigned round = 0;
	for (; both_often(&pair) ? round < ROUNDS && passed < ROUNDS_NS : passed < ROUNDS_MAX_NS; round++) {
		struct inner packet = frame_unparsed(frame_pool_buffer(pool), 64, 0);
		if (!frame_pool_push(pool, 0, &packet, 1, round) || !frame_pool_publish(pool, 0))
			abort();
		(void)waker_wake(&pair.waker);
		while (atomic_load_explicit(&pair.taken, memory_order_relaxed) != round + 1)
			sched_yield();
		passed = clock_monotonic(&clock_system) - start;
	}
	atomic_store_explicit(&pair.over, true, memory_order_relaxed);
	(void)waker_wake(&pair.waker);
	pthread_join(thread, NULL);
	printf("# %u frames one by one: %u sleeps, %u none\n", round, pair.sleeps, pair.awake);
	tap_ok(tap, pair.overslept == 0, "no frame is slept over");
	tap_ok(tap, both_often(&pair), "some came to a sleeper, some just before");
	waker_deinit(&pair.waker);
	frame_pool_free(pool);
}

static void many_workers(struct tap *tap)
{
	static struct fixture fixture;
	static struct consumer consumers[WORKERS];
	uint64_t random = 5;
	for (size_t i = 0; i < sizeof fixture.content; i++)
		fixture.content[i] = (uint8_t)random_below(&random, 256);
	fixture.pool = frame_pool_new(&(struct frame_pool_params){.workers = WORKERS,
								  .slots_per_worker = SHARE,
								  .ring_entries = ENTRIES,
								  .first_index = UINT32_MAX - 1000});
	if (fixture.pool == NULL)
		abort();
	frame_pool_own(fixture.pool, &fixture.owner);
	owner_set(&fixture.owner);
	pthread_barrier_init(&fixture.start, NULL, WORKERS + 1);
	for (uint32_t i = 0; i < WORKERS; i++) {
		consumers[i].fixture = &fixture;
		consumers[i].index = i;
		consumers[i].random = i;
		if (waker_init(&consumers[i].waker) != 0 ||
		    pthread_create(&consumers[i].thread, NULL, work, &consumers[i]) != 0)
			abort();
	}
	pthread_barrier_wait(&fixture.start);
	read_frames(&fixture, consumers);
	finish(&fixture, consumers);
	report(tap, &fixture, consumers);
	for (uint32_t i = 0; i < WORKERS; i++)
		waker_deinit(&consumers[i].waker);
	pthread_barrier_destroy(&fixture.start);
	frame_pool_free(fixture.pool);
}

int main(void)
{
	struct tap tap = {0};
	wake_ups(&tap);
	many_workers(&tap);
	return tap_done(&tap);
}
