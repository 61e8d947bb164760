// SPDX-License-Identifier: Apache-2.0
/* What a worker does between two turns: polls, lets others run, sleeps, or naps. */
#include "workers/worker_wait.h"

#include "tests/unit/pool_frames.h"

TestSuite(worker_wait, .timeout = 60);

/* A packet that came alone is handled, and the next one is there already. Returns whether polling found that. */
static bool finds_by_polling(struct harness *h, struct worker *worker)
{
	put_sparse(h, 0, 0);
	woken_by(&worker->loop, EVENT_LOOP_TUN_SPARSE);
	size_t work = worker_turn(worker);
	cr_assert_eq(work, 1);
	put(h, 0, 1);
	worker_wait(worker, work);
	cr_expect(event_loop_found(&worker->loop, EVENT_LOOP_TUN), "the wait ends by it, however the worker waits");
	bool polled = worker->polled;
	harness_pump(h);
	cr_expect_eq(take(h, 0, 0), 2);
	return polled;
}

Test(worker_wait, a_worker_polls_before_it_sleeps)
{
	struct harness *h = START_UP(.clients = 1, .workers = 1, .sparse = true, .no_offloads = true);
	harness_advance(h, WORKER_TICK_NS);
	cr_expect(finds_by_polling(h, owner(h, 0)));
	finish(h);
}

/* Other threads of its priority would have to wait for it. */
Test(worker_wait, a_worker_with_a_real_time_policy_does_not)
{
	struct harness *h = START_UP(.clients = 1, .workers = 1, .sparse = true, .no_offloads = true);
	harness_advance(h, WORKER_TICK_NS);
	owner(h, 0)->loop.realtime = true;
	cr_expect_not(finds_by_polling(h, owner(h, 0)));
	finish(h);
}

/* A clock that goes on by a step each time that it is read. */
struct steps {
	struct clock clock;
	uint64_t *now, step;
};

static uint64_t step(const struct clock *clock)
{
	const struct steps *steps = caa_container_of(clock, struct steps, clock);
	return *steps->now += steps->step;
}

static const struct clock *go_by_steps(struct worker *worker, struct steps *steps, uint64_t *now, uint64_t length)
{
	const struct clock *before = worker->clock;
	*now = clock_monotonic(before);
	*steps = (struct steps){.clock = {.monotonic = step}, .now = now, .step = length};
	worker->clock = &steps->clock;
	return before;
}

Test(worker_wait, a_worker_sleeps_at_once_for_a_while_after_others_needed_the_cpu)
{
	static const struct {
		uint64_t step; /* each yield takes one */
		bool realtime, sleeps_at_once;
	} table[] = {{BUSY_POLL_HELD_UP_NS / 20, false, false},
		     {BUSY_POLL_HELD_UP_NS, false, true},
		     {BUSY_POLL_HELD_UP_NS, true, false}};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct harness *h = START_UP(.clients = 1, .workers = 1, .sparse = true, .no_offloads = true);
		struct worker *worker = owner(h, 0);
		struct steps steps;
		uint64_t now;
		harness_advance(h, WORKER_TICK_NS);
		worker->loop.short_slices = true;
		worker->loop.realtime = table[i].realtime;
		const struct clock *manual = go_by_steps(worker, &steps, &now, table[i].step);
		(void)finds_by_polling(h, worker);

		now += NS_PER_MS;
		worker->tun->shared->drained = now + NS_PER_S; /* the first queue is known to be empty */
		uint64_t before = worker->loop.stats.counters[STATS_yields];
		steps.step = BUSY_POLL_HELD_UP_NS / 20;
		(void)finds_by_polling(h, worker);
		cr_expect_eq(worker->loop.stats.counters[STATS_yields] == before, table[i].sleeps_at_once, "%zu", i);
		worker->clock = manual;
		finish(h);
	}
}

/* How often a worker yields after a batch of the first queue, behind which it does not poll. */
static uint64_t yields_after_a_batch(struct harness *h, struct worker *worker)
{
	const _Atomic uint64_t *yields = &worker->loop.stats.counters[STATS_yields];
	put(h, 0, 0);
	size_t work = worker_turn(worker);
	cr_assert_eq(work, 1);
	uint64_t before = *yields;
	worker_wait(worker, work);
	harness_pump(h);
	cr_assert_eq(take(h, 0, 0), 1);
	return *yields - before;
}

Test(worker_wait, a_worker_lets_others_run_where_that_is_needed_and_cheap)
{
	static const struct {
		const char *what;
		bool shared, short_slices, realtime;
		unsigned yields;
	} table[] = {{"a shared CPU, short slices", true, true, false, 1},
		     {"it would be behind for a long slice", true, false, false, 0},
		     {"a CPU of its own", false, true, false, 0},
		     {"a real-time policy", true, false, true, 1},
		     {"that, and a CPU of its own", false, false, true, 1}};
	struct harness *h = START_UP(.clients = 1, .workers = 1, .sparse = true, .no_offloads = true);
	struct worker *worker = owner(h, 0);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		worker_set_waiting(worker, table[i].shared ? 0 : NS_PER_US, 0);
		worker->loop.short_slices = table[i].short_slices;
		worker->loop.realtime = table[i].realtime;
		cr_expect_eq(yields_after_a_batch(h, worker), table[i].yields, "%s", table[i].what);
	}
	finish(h);
}

enum { MANY = 300 /* frames: more than a turn takes */ };

static size_t frames_of_a_turn(struct harness *h, struct worker *worker)
{
	for (unsigned i = 0; i < MANY; i++)
		put(h, 0, (uint16_t)i);
	return worker_turn(worker);
}

static uint64_t yields_of_a_wait(struct worker *worker)
{
	const _Atomic uint64_t *yields = &worker->loop.stats.counters[STATS_yields];
	uint64_t before = *yields;
	worker_wait(worker, worker_turn(worker));
	return *yields - before;
}

Test(worker_wait, turns_are_short_while_packets_go_ahead_and_then_not_each_lets_others_run)
{
	struct harness *h = START_UP(.clients = 1, .workers = 1, .sparse = true, .no_offloads = true);
	struct worker *worker = owner(h, 0);
	harness_advance(h, WORKER_TICK_NS);
	worker_set_waiting(worker, 0, 0);
	worker->loop.short_slices = true;
	size_t most = 0;
	for (unsigned i = 0; i < 2; i++) {
		most = frames_of_a_turn(h, worker);
		cr_expect_not(worker->more);
		cr_expect_eq(yields_of_a_wait(worker), 1, "each long turn does");
		harness_pump(h);
		cr_expect_eq(take(h, 0, 0), MANY);
	}

	put_sparse(h, 0, 0);
	harness_pump(h);
	cr_expect_eq(take(h, 0, 0), 1);
	harness_advance(h, NS_PER_MS);
	size_t few = frames_of_a_turn(h, worker);
	cr_expect(few > 0 && few <= most / 3, "%zu, %zu", few, most);
	cr_expect(worker->more);
	cr_expect_eq(yields_of_a_wait(worker), 1);
	cr_expect_eq(yields_of_a_wait(worker), 0, "it did a moment ago");
	harness_pump(h);
	cr_expect_eq(take(h, 0, 0), MANY);

	harness_advance(h, WORKER_TICK_NS);
	cr_expect_eq(frames_of_a_turn(h, worker), most, "none went ahead lately");
	harness_pump(h);
	cr_expect_eq(take(h, 0, 0), MANY);
	finish(h);
}

#define LONG_NAP (200 * NS_PER_MS)

/* Packets came while the worker slept, as soon as it did, and the next is there: for how long it sleeps then, ns. */
static uint64_t sleep_among_packets(struct harness *h, struct worker *worker, uint64_t nap)
{
	harness_pump(h);
	worker_set_waiting(worker, 0, nap);
	put(h, 0, 0);
	worker_wait(worker, 0);
	cr_assert(event_loop_found(&worker->loop, EVENT_LOOP_TUN));
	cr_assert_eq(worker_turn(worker), 1);
	worker_wait(worker, 1); /* there may be more: a turn that looks */
	cr_assert_eq(worker_turn(worker), 0);

	put(h, 0, 1);
	uint64_t before = clock_monotonic(&clock_system);
	worker_wait(worker, 0);
	uint64_t slept = clock_monotonic(&clock_system) - before;
	cr_expect(event_loop_found(&worker->loop, EVENT_LOOP_TUN), "it sees what came meanwhile");
	harness_pump(h);
	cr_expect_eq(take(h, 0, 0), 2);
	return slept;
}

Test(worker_wait, where_packets_come_closely_a_worker_sleeps_by_the_clock)
{
	struct harness *h = START_UP(.clients = 1, .workers = 1, .sparse = true, .no_offloads = true);
	struct worker *worker = owner(h, 0);
	cr_expect_geq(sleep_among_packets(h, worker, LONG_NAP), LONG_NAP);
	cr_expect(worker->dense);

	worker_wait(worker, 1); /* what was moved */
	worker_wait(worker, 0);
	cr_expect_not(worker->dense, "nothing came during a nap: the next packet ends the sleep");
	put(h, 0, 0);
	uint64_t before = clock_monotonic(&clock_system);
	worker_wait(worker, 0);
	cr_expect_lt(clock_monotonic(&clock_system) - before, LONG_NAP);
	finish(h);
}

Test(worker_wait, but_not_where_a_nap_would_only_delay_them)
{
	struct harness *h = START_UP(.clients = 1, .workers = 1, .sparse = true, .no_offloads = true);
	struct worker *worker = owner(h, 0);
	cr_expect_lt(sleep_among_packets(h, worker, 0), LONG_NAP, "none is wanted");
	worker->loop.realtime = true;
	cr_expect_lt(sleep_among_packets(h, worker, LONG_NAP), LONG_NAP, "a real-time policy");
	finish(h);
}
