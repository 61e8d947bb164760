// SPDX-License-Identifier: Apache-2.0
/* A copy ring under fire: four threads push, one pops, opens in place and sleeps when nothing is there. What a push
 * took comes out once, whole, and in its producer's order; a push that failed leaves nothing behind; every wake-up
 * comes; a consumer that stalls makes pushes fail, and no producer waits for it. */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/waker.h"
#include "tests/stress/tap.h"
#include "workers/copy_ring.h"

enum {
	PRODUCERS = 4,
	PUSHES = 20000, /* of each, that succeeded */
	ENTRIES = 64,
	BATCH = 16, /* peeked before any is popped */
	LONGEST = 300,
	STALLS = 4,
	STALL_EVERY = PRODUCERS * PUSHES / (STALLS + 1), /* datagrams */
	STALL_REFUSED = 100, /* pushes that each producer must see fail before a stall ends */
	ROUND_TRIPS = 20000,
	TIMEOUT_MS = 20000,
};

struct shared {
	struct copy_ring *ring;
	struct waker waker;
	struct owner owner; /* of the consumer's end */
	pthread_barrier_t start;
	_Atomic unsigned popped;	     /* so that producers can see the consumer at work */
	_Atomic unsigned pushed;	     /* one by one, wake-up included */
	_Atomic bool over;		     /* the consumer gave up: producers shall not wait for room */
	_Atomic unsigned refused[PRODUCERS]; /* so that the consumer can see them at work */
};

struct producer {
	struct shared *shared;
	unsigned index;
	unsigned overlapped; /* pushes between which the consumer popped something */
	unsigned wakes;
};

/* A datagram has its producer and the number of its push; all else follows from that. */
struct label {
	uint32_t producer, number;
};

static uint32_t length_of(struct label label)
{
	return (uint32_t)sizeof label +
	       (label.number * 31 + label.producer * 7) % (LONGEST - (uint32_t)sizeof label + 1);
}

static uint8_t byte_of(struct label label, uint32_t at)
{
	return (uint8_t)(label.number * 13 + label.producer * 101 + at);
}

static struct endpoint endpoint_of(struct label label)
{
	struct endpoint endpoint = {.remote = {.sin6_family = AF_INET6, .sin6_port = (in_port_t)label.producer}};
	memcpy(&endpoint.remote.sin6_addr, &label, sizeof label);
	memcpy(&endpoint.local, &label, sizeof label);
	return endpoint;
}

static bool push(struct producer *producer, unsigned number)
{
	struct label label = {.producer = producer->index, .number = number};
	struct endpoint from = endpoint_of(label);
	uint8_t data[LONGEST];
	uint32_t length = length_of(label);
	memcpy(data, &label, sizeof label);
	for (uint32_t i = sizeof label; i < length; i++)
		data[i] = byte_of(label, i);
	bool taken = copy_ring_push(producer->shared->ring, &from, number & 3, data, length);
	memset(data, 0xaa, sizeof data); /* it was copied */
	return taken;
}

static void *produce(void *argument)
{
	struct producer *producer = argument;
	struct shared *shared = producer->shared;
	unsigned seen = 0;
	pthread_barrier_wait(&shared->start);
	for (unsigned number = 0; number < PUSHES && !atomic_load_explicit(&shared->over, memory_order_relaxed);) {
		if (push(producer, number)) {
			producer->wakes += waker_wake(&shared->waker);
			unsigned popped = atomic_load_explicit(&shared->popped, memory_order_relaxed);
			producer->overlapped += popped != seen;
			seen = popped;
			number++;
			if (number % 1000 == 0)
				(void)poll(NULL, 0, 1); /* so that the consumer finds the ring empty at times */
		} else {
			atomic_fetch_add_explicit(&shared->refused[producer->index], 1, memory_order_relaxed);
			sched_yield();
		}
	}
	return NULL;
}

struct findings {
	unsigned popped;
	unsigned wrong, disordered;
	unsigned interleaved; /* datagrams whose predecessor was another producer's */
	unsigned sleeps, lost_wakes;
	unsigned stalls, blocked_stalls;
	uint32_t next[PRODUCERS]; /* number that has to come next */
	uint32_t last;		  /* producer */
};

static void check(const struct udp_message *message, struct findings *findings)
{
	struct label label;
	memcpy(&label, message->data, sizeof label);
	if (label.producer >= PRODUCERS) {
		findings->wrong++;
		return;
	}
	struct endpoint from = endpoint_of(label);
	bool good = message->length == length_of(label) && message->ecn == (label.number & 3) &&
		    message->segment_size == 0 && memcmp(&message->endpoint, &from, sizeof from) == 0;
	for (uint32_t i = sizeof label; good && i < message->length; i++)
		good = message->data[i] == byte_of(label, i);
	findings->wrong += !good;
	findings->disordered += label.number != findings->next[label.producer];
	findings->next[label.producer] = label.number + 1;
	findings->interleaved += label.producer != findings->last;
	findings->last = label.producer;
}

static unsigned pop_batch(struct shared *shared, struct findings *findings)
{
	const struct udp_message *messages[BATCH];
	unsigned count = 0;
	while (count < BATCH && (messages[count] = copy_ring_peek(shared->ring, count)) != NULL)
		count++;
	for (unsigned i = 0; i < count; i++) {
		check(messages[i], findings);
		memset(messages[i]->data, 0xee, messages[i]->length); /* as if it were opened in place */
	}
	copy_ring_pop(shared->ring, count);
	findings->popped += count;
	atomic_store_explicit(&shared->popped, findings->popped, memory_order_relaxed);
	return count;
}

/* False when no wake-up came for a long time. */
static bool sleep_until_woken(struct shared *shared, struct findings *findings)
{
	int ready = 1;
	waker_prepare(&shared->waker);
	bool empty = copy_ring_empty(shared->ring);
	if (empty) {
		struct pollfd polled = {.fd = shared->waker.fd, .events = POLLIN};
		findings->sleeps++;
		ready = poll(&polled, 1, TIMEOUT_MS);
	}
	waker_done(&shared->waker, empty && ready == 1);
	return ready != 0;
}

/* Takes nothing until each producer that has something left saw pushes fail. Were one to wait in a push instead, this
 * would last until the time is over. */
static bool stall(struct shared *shared, const struct findings *findings)
{
	unsigned before[PRODUCERS];
	for (unsigned i = 0; i < PRODUCERS; i++)
		before[i] = atomic_load_explicit(&shared->refused[i], memory_order_relaxed);
	uint64_t deadline = clock_monotonic(&clock_system) + TIMEOUT_MS * NS_PER_MS;
	for (unsigned i = 0; i < PRODUCERS; i++) {
		if (findings->next[i] + ENTRIES >= PUSHES)
			continue; /* may be done */
		while (atomic_load_explicit(&shared->refused[i], memory_order_relaxed) - before[i] < STALL_REFUSED) {
			if (clock_monotonic(&clock_system) > deadline)
				return false;
			sched_yield();
		}
	}
	return true;
}

static void consume(struct shared *shared, struct findings *findings)
{
	while (findings->popped < PRODUCERS * PUSHES) {
		if (pop_batch(shared, findings) == 0 && !sleep_until_woken(shared, findings)) {
			findings->lost_wakes++;
			if (copy_ring_empty(shared->ring))
				return; /* something got lost in the ring itself */
		}
		if (findings->popped / STALL_EVERY > findings->stalls && findings->stalls < STALLS &&
		    findings->blocked_stalls == 0) {
			findings->stalls++;
			findings->blocked_stalls += !stall(shared, findings);
		}
	}
}

/* One at a time, and every other one as late as can be, between the consumer's last look and its prepare: if the
 * consumer overlooks a datagram when it goes to sleep, no other comes to wake it. */
static void *push_one_by_one(void *argument)
{
	struct producer *producer = argument;
	struct shared *shared = producer->shared;
	pthread_barrier_wait(&shared->start);
	for (unsigned number = 0; number < ROUND_TRIPS; number++) {
		while (atomic_load_explicit(&shared->popped, memory_order_relaxed) < number &&
		       !atomic_load_explicit(&shared->over, memory_order_relaxed))
			sched_yield();
		(void)push(producer, number); /* there is room */
		producer->wakes += waker_wake(&shared->waker);
		atomic_store_explicit(&shared->pushed, number + 1, memory_order_relaxed);
	}
	return NULL;
}

static void open_shared(struct tap *tap, struct shared *shared, unsigned producers)
{
	*shared = (struct shared){.ring = copy_ring_new(ENTRIES, LONGEST, NULL)};
	tap_ok(tap, shared->ring != NULL && waker_init(&shared->waker) == 0, "a ring and its waker");
	copy_ring_own(shared->ring, &shared->owner);
	owner_set(&shared->owner);
	pthread_barrier_init(&shared->start, NULL, producers + 1);
}

static void close_shared(struct shared *shared)
{
	pthread_barrier_destroy(&shared->start);
	waker_deinit(&shared->waker);
	copy_ring_free(shared->ring);
}

static void wake_ups(struct tap *tap)
{
	struct shared shared;
	struct findings findings = {0};
	pthread_t thread;
	open_shared(tap, &shared, 1);
	struct producer producer = {.shared = &shared};
	if (pthread_create(&thread, NULL, push_one_by_one, &producer) != 0)
		abort();
	pthread_barrier_wait(&shared.start);
	while (findings.popped < ROUND_TRIPS && findings.lost_wakes == 0) {
		if (pop_batch(&shared, &findings) != 0)
			continue;
		while (findings.popped % 2 == 0 &&
		       atomic_load_explicit(&shared.pushed, memory_order_relaxed) <= findings.popped)
			sched_yield();
		findings.lost_wakes += !sleep_until_woken(&shared, &findings);
	}
	atomic_store_explicit(&shared.over, true, memory_order_relaxed);
	pthread_join(thread, NULL);
	printf("# %u round trips, %u sleeps, %u wakes\n", findings.popped, findings.sleeps, producer.wakes);
	tap_ok(tap, findings.lost_wakes == 0, "no datagram is overlooked before a sleep");
	tap_ok(tap, findings.wrong == 0 && findings.disordered == 0, "one by one");
	tap_ok(tap, findings.sleeps > 0 && producer.wakes > 0, "the consumer slept");
	close_shared(&shared);
}

static void many_producers(struct tap *tap)
{
	struct shared shared;
	struct producer producers[PRODUCERS];
	pthread_t threads[PRODUCERS];
	struct findings findings = {0};
	open_shared(tap, &shared, PRODUCERS);
	for (unsigned i = 0; i < PRODUCERS; i++) {
		producers[i] = (struct producer){.shared = &shared, .index = i};
		if (pthread_create(&threads[i], NULL, produce, &producers[i]) != 0)
			abort();
	}
	pthread_barrier_wait(&shared.start);
	consume(&shared, &findings);
	atomic_store_explicit(&shared.over, true, memory_order_relaxed);
	unsigned least_overlapped = UINT32_MAX, least_refused = UINT32_MAX, wakes = 0;
	for (unsigned i = 0; i < PRODUCERS; i++) {
		pthread_join(threads[i], NULL);
		unsigned refused = atomic_load_explicit(&shared.refused[i], memory_order_relaxed);
		least_overlapped = producers[i].overlapped < least_overlapped ? producers[i].overlapped
									      : least_overlapped;
		least_refused = refused < least_refused ? refused : least_refused;
		wakes += producers[i].wakes;
	}
	printf("# %u popped, %u interleaved, at least %u refused and %u overlapped of each producer, %u sleeps, %u "
	       "wakes\n",
	       findings.popped, findings.interleaved, least_refused, least_overlapped, findings.sleeps, wakes);
	tap_ok(tap, findings.popped == PRODUCERS * PUSHES, "what was taken comes out, and nothing else");
	tap_ok(tap, findings.wrong == 0, "whole");
	tap_ok(tap, findings.disordered == 0, "once, and in its producer's order");
	tap_ok(tap, copy_ring_empty(shared.ring), "nothing is left");
	tap_ok(tap, findings.lost_wakes == 0, "every wake-up came");
	tap_ok(tap, findings.stalls == STALLS && findings.blocked_stalls == 0, "a stalled consumer holds nobody up");
	tap_ok(tap, least_refused >= STALL_REFUSED, "pushes to a full ring fail");
	tap_ok(tap, least_overlapped > 100 && findings.interleaved > 100, "the threads overlapped");
	tap_ok(tap, findings.sleeps > 0 && wakes > 0, "the consumer slept");
	close_shared(&shared);
}

int main(void)
{
	struct tap tap = {0};
	wake_ups(&tap);
	many_producers(&tap);
	return tap_done(&tap);
}
