// SPDX-License-Identifier: Apache-2.0
/* The code that each packet runs through lies together, fits in a second-level cache, and is fetched after a sleep. */
#include "core/base/hot.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <time.h>

#include "core/base/rcu.h"
#include "tests/unit/hello_by_hand.h"
#include "tun/coalesce.h"
#include "tun/inner.h"
#include "workers/downlink.h"
#include "workers/event_loop.h"
#include "workers/intake.h"
#include "workers/send_queue.h"
#include "workers/tun_reader.h"
#include "workers/uplink.h"
#include "workers/worker.h"
#include "workers/worker_wait.h"

extern const char __start_hot[], __stop_hot[];

/* Bytes. Of a release build there are 36 KiB, several times as many where sanitizers add to it. */
#ifdef __SANITIZE_ADDRESS__
#define HOT_MAX (512 << 10)
#else
#define HOT_MAX (128 << 10)
#endif

Test(hot, steps_of_a_packet_are_in_the_section)
{
	const void *steps[] = {
		(const void *)worker_turn,    (const void *)intake_batch,    (const void *)uplink_trains,
		(const void *)downlink_batch, (const void *)tun_reader_turn, (const void *)event_loop_wait,
		(const void *)inner_parse,    (const void *)coalescer_add,   (const void *)send_queue_flush};
	for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
		cr_assert(steps[i] >= (const void *)__start_hot && steps[i] < (const void *)__stop_hot, "step %zu", i);
}

Test(hot, start_up_is_not)
{
	cr_assert((const void *)worker_new < (const void *)__start_hot ||
		  (const void *)worker_new >= (const void *)__stop_hot);
}

Test(hot, the_section_is_small)
{
	cr_assert_lt(__stop_hot - __start_hot, HOT_MAX);
}

/* The linker has all calls come here (--wrap). */
static uint64_t longest;
void __real_hot_woke(uint64_t slept);
void __wrap_hot_woke(uint64_t slept);
void __wrap_hot_woke(uint64_t slept)
{
	longest = slept > longest ? slept : longest;
	__real_hot_woke(slept);
}

/* Goes on from where the harness's clock stands. */
static uint64_t offset;
static uint64_t running(const struct clock *clock)
{
	(void)clock;
	return clock_monotonic(&clock_system) + offset;
}

static void *run_reader(void *reader)
{
	rcu_join();
	tun_reader_run(reader);
	rcu_leave();
	return NULL;
}

/* The reader's thread runs alone. */
Test(hot, a_tun_reader_says_how_long_it_slept)
{
	const struct timespec look = {.tv_nsec = (long)NS_PER_MS}, cold = {.tv_nsec = 2 * (long)HOT_COLD_NS};
	struct harness *h = START(.clock = &clock_system, .reader = true);
	struct tun_reader *reader = h->gateway.reader;
	pthread_t thread;
	longest = 0;
	cr_assert_eq(pthread_create(&thread, NULL, run_reader, reader), 0);
	rcu_offline();
	while (atomic_load(&reader->loop.stats.counters[STATS_sleeps]) == 0)
		(void)nanosleep(&look, NULL);
	(void)nanosleep(&cold, NULL);
	event_loop_stop(&reader->loop);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	rcu_online();
	cr_expect_geq(longest, HOT_COLD_NS);
	finish(h);
}

Test(hot, a_worker_says_how_long_it_slept)
{
	const struct clock clock = {.monotonic = running};
	struct harness *h = START_UP(.clients = 1, .workers = 1);
	struct worker *worker = harness_owner(h, harness_gateway_session(h, 0)->id);
	const struct clock *manual = worker->clock;
	harness_advance(h, WORKER_TICK_NS);
	offset = clock_monotonic(manual) - clock_monotonic(&clock_system);
	worker->clock = &clock;
	longest = 0;
	for (unsigned i = 0; i < 10 && longest < HOT_COLD_NS; i++)
		worker_wait(worker, 0);
	cr_expect_geq(longest, HOT_COLD_NS);
	worker->clock = manual;
	finish(h);
}
