// SPDX-License-Identifier: Apache-2.0
/* Other CPUs than those that the threads were planned for: the plan for these, lists of CPUs, threads that are placed
 * from outside, and what the gateway does when it sees them moved. */
#include "core/gateway/placement.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* --- plans -------------------------------------------------------------------------------------------------------- */

/* n CPUs: 10, 12, 14, ... so that numbers and indices differ. */
static struct cpu_list cpus(size_t n)
{
	struct cpu_list list = {.count = n, .share = n};
	for (size_t i = 0; i < n; i++)
		list.cpus[i] = (uint16_t)(10 + 2 * i);
	return list;
}

static struct cpu_plan plan_for(size_t n, int readers)
{
	struct cpu_plan plan;
	struct cpu_list list = cpus(n);
	cpu_plan_make(&plan, &list, &(struct cpu_wanted){.readers = readers});
	return plan;
}

/* Threads are on the CPUs with these indices in the list, in turn; none: they float. */
static void expect_cpus(const char *what, size_t row, const int *threads, size_t count, size_t first, size_t some)
{
	for (size_t i = 0; i < count; i++) {
		int expected = some > 0 ? (int)(10 + 2 * (first + i % some)) : CPU_FLOATS;
		cr_expect_eq(threads[i], expected, "row %zu: %s %zu is on %d, not %d", row, what, i, threads[i],
			     expected);
	}
}

Test(cpu_plan, moves_with_its_threads)
{
	static const struct {
		size_t from, to;
		int readers;
		size_t reader_cpus, worker_cpus; /* 0: they float */
	} table[] = {
		/* Few: workers are pinned where each can have one */
		{2, 4, -1, 0, 4},
		{4, 4, -1, 0, 4},
		{4, 3, -1, 0, 0},
		{2, 1, -1, 0, 0},
		{1, 1, -1, 0, 1},
		/* Many: 8 have 6 workers and a reader */
		{8, 12, -1, 1, 10},
		{8, 7, -1, 1, 5},
		{8, 6, -1, 1, 4},
		{8, 5, -1, 0, 0},
		{8, 2, -1, 0, 0},
		{3, 64, 0, 0, 63},
	};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct cpu_list list = cpus(table[i].to);
		struct cpu_plan plan = plan_for(table[i].from, table[i].readers), before = plan;
		cpu_plan_move(&plan, &list, false);
		bool many = table[i].to > 4 && table[i].worker_cpus != 0;
		cr_expect_eq(plan.workers, before.workers, "row %zu", i);
		cr_expect_eq(plan.readers, before.readers, "row %zu", i);
		cr_expect_eq(plan.handshakers, before.handshakers, "row %zu", i);
		cr_expect(!plan.spin || (many && plan.workers <= table[i].worker_cpus), "row %zu", i);
		expect_cpus("control", i, &plan.control_cpu, 1, 0, many);
		expect_cpus("handshaker", i, plan.handshaker_cpus, plan.handshakers, 0, many);
		expect_cpus("reader", i, plan.reader_cpus, plan.readers, many, table[i].reader_cpus);
		expect_cpus("worker", i, plan.worker_cpus, plan.workers, many + table[i].reader_cpus,
			    table[i].worker_cpus);
	}
}

Test(cpu_plan, under_a_quota_moved_threads_float)
{
	struct cpu_plan plan = plan_for(8, -1);
	struct cpu_list list = cpus(8);
	list.share = 3;
	cpu_plan_move(&plan, &list, false);
	cr_expect_eq(plan.workers, 6);
	cr_expect_not(plan.spin);
	expect_cpus("worker", 0, plan.worker_cpus, plan.workers, 0, 0);
	cpu_plan_move(&plan, &(struct cpu_list){.cpus = {1, 2, 3, 4, 5, 6, 7, 8}, .count = 8, .share = 8}, true);
	cr_expect_not(plan.spin, "under a real-time policy");
	cr_expect_eq(plan.worker_cpus[0], 3);
}

/* --- lists -------------------------------------------------------------------------------------------------------- */

Test(cpu_list, as_text)
{
	static const struct {
		size_t count;
		uint16_t cpus[8];
		const char *text;
	} lists[] = {
		{0, {0}, ""},
		{1, {7}, "7"},
		{2, {0, 1}, "0-1"},
		{4, {0, 1, 2, 8}, "0-2,8"},
		{6, {0, 2, 3, 5, 65534, 65535}, "0,2-3,5,65534-65535"},
	};
	char text[CPU_LIST_TEXT];
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		struct cpu_list list = {.count = lists[i].count};
		memcpy(list.cpus, lists[i].cpus, sizeof lists[i].cpus);
		cr_expect_str_eq(cpu_list_format(&list, text), lists[i].text);
	}
	for (size_t n = 0; n <= CPU_LIST_MAX; n++) {
		struct cpu_list list = cpus(n); /* no two of them in a row */
		cpu_list_format(&list, text);
		cr_expect_lt(strlen(text), sizeof text);
		cr_expect(n < 40 || strcmp(text + strlen(text) - 4, ",...") == 0, "%s", text);
	}
}

Test(cpu_list, equal)
{
	struct cpu_list a = cpus(3), b = cpus(3), c = cpus(2);
	cr_expect(cpu_list_equal(&a, &b));
	cr_expect_not(cpu_list_equal(&a, &c));
	b.cpus[2]++;
	cr_expect_not(cpu_list_equal(&a, &b));
}

Test(cpu_list, alone_is_who_shares_with_nobody)
{
	/* 3 and 4 have one each, the next two are on 5, one may be on 6 or 7, one on 7; 65535 is the last there is. */
	static const struct cpu_list masks[] = {{.cpus = {3}, .count = 1},    {.cpus = {4}, .count = 1},
						{.cpus = {5}, .count = 1},    {.cpus = {5}, .count = 1},
						{.cpus = {6, 7}, .count = 2}, {.cpus = {7}, .count = 1},
						{.cpus = {8}, .count = 1},    {.cpus = {65535}, .count = 1}};
	static const bool expected[] = {true, true, false, false, false, false, true, true};
	bool alone[ARRAY_SIZE(masks)];
	cr_assert_eq(cpu_list_alone(masks, ARRAY_SIZE(masks), alone), 0);
	for (size_t i = 0; i < ARRAY_SIZE(masks); i++)
		cr_expect_eq(alone[i], expected[i], "thread %zu", i);
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

struct sleeper {
	pthread_t thread;
	pid_t tid;
	bool told;
};

static void *sleep_until_told(void *context)
{
	struct sleeper *sleeper = context;
	__atomic_store_n(&sleeper->tid, gettid(), __ATOMIC_RELEASE);
	while (!__atomic_load_n(&sleeper->told, __ATOMIC_ACQUIRE))
		usleep(1000);
	return NULL;
}

static void sleeper_start(struct sleeper *sleeper)
{
	cr_assert_eq(pthread_create(&sleeper->thread, NULL, sleep_until_told, sleeper), 0);
	while (__atomic_load_n(&sleeper->tid, __ATOMIC_ACQUIRE) == 0)
		usleep(1000);
}

static void sleeper_end(struct sleeper *sleeper)
{
	__atomic_store_n(&sleeper->told, true, __ATOMIC_RELEASE);
	pthread_join(sleeper->thread, NULL);
}

static void expect_on(pid_t thread, const struct cpu_list *list)
{
	struct cpu_list now;
	char text[CPU_LIST_TEXT], expected[CPU_LIST_TEXT];
	cr_assert_eq(cpu_allowed(thread, &now), 0);
	cr_expect(cpu_list_equal(&now, list), "on %s, not %s", cpu_list_format(&now, text),
		  cpu_list_format(list, expected));
	cr_expect_eq(now.share, now.count);
}

static struct cpu_list only(uint16_t cpu)
{
	return (struct cpu_list){.cpus = {cpu}, .count = 1, .share = 1};
}

Test(cpu_thread, another_is_placed_and_seen)
{
	struct cpu_list all, now;
	struct sleeper sleeper = {0};
	cr_assert_eq(cpu_available(&all), 0);
	sleeper_start(&sleeper);
	cr_expect_eq(cpu_place(sleeper.tid, all.cpus[0], &all), 0);
	expect_on(sleeper.tid, &(struct cpu_list){.cpus = {all.cpus[0]}, .count = 1});
	expect_on(0, &all);
	cr_expect_eq(cpu_place(sleeper.tid, CPU_FLOATS, &all), 0);
	expect_on(sleeper.tid, &all);
	cr_expect_eq(cpu_place(sleeper.tid, 60000, &all), -EINVAL, "no machine has it");
	sleeper_end(&sleeper);
	/* The kernel's task may go a moment after the thread was joined. */
	int result = 0;
	for (int i = 0; i < 10000 && (result = cpu_allowed(sleeper.tid, &now)) == 0; i++)
		usleep(1000);
	cr_expect_eq(result, -ESRCH);
}

/* --- the gateway's ------------------------------------------------------------------------------------------------ */

/* A worker on one CPU, a handshake thread and the control thread on another, and one that is never placed. */
static struct placement placement;
static struct gateway_threads gateway;
static struct thread list[2];
static struct threads started = {.list = list, .count = 2};
static struct sleeper sleepers[3];
static uint16_t first, second;
enum { WORKER, HANDSHAKER, WITNESS };

static bool start(void)
{
	struct cpu_list all;
	cr_assert_eq(cpu_available(&all), 0);
	if (all.share < 2)
		return false;
	first = all.cpus[0], second = all.cpus[1];
	all.count = 2;
	cr_assert_eq(cpu_float(&all), 0);
	for (size_t i = 0; i < 3; i++)
		sleeper_start(&sleepers[i]);
	gateway.plan = (struct cpu_plan){.workers = 1,
					 .handshakers = 1,
					 .worker_cpus = {first},
					 .handshaker_cpus = {second},
					 .control_cpu = second};
	gateway.workers = calloc(1, sizeof(struct worker *));
	gateway.workers[0] = aligned_alloc(CACHE_LINE, sizeof(struct worker));
	gateway.handshakers = calloc(1, sizeof(struct handshaker *));
	gateway.handshakers[0] = aligned_alloc(CACHE_LINE, sizeof(struct handshaker));
	list[0] = (struct thread){.params = {.name = "worker 0", .cpu = first}, .tid = sleepers[WORKER].tid};
	list[1] = (struct thread){.params = {.name = "handshake 0", .cpu = second}, .tid = sleepers[HANDSHAKER].tid};
	placement = (struct placement){.allowed = all, .witness = sleepers[WITNESS].tid};
	placement.allowed.share = 2;
	for (size_t i = 0; i < 2; i++)
		cr_assert_eq(cpu_place(list[i].tid, list[i].params.cpu, NULL), 0);
	cr_assert_eq(cpu_pin(second), 0);
	worker_set_waiting(gateway.workers[0], 77, 77);
	return true;
}

static void end(void)
{
	for (size_t i = 0; i < 3; i++)
		sleeper_end(&sleepers[i]);
	free(gateway.workers[0]);
	free(gateway.handshakers[0]);
	free(gateway.workers);
	free(gateway.handshakers);
}

static void look(unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		placement_check(&placement, &gateway, &started);
}

static uint64_t spin(void)
{
	return atomic_load(&gateway.workers[0]->spin);
}

Test(placement, what_is_as_planned_stays)
{
	if (!start())
		cr_skip_test("needs two CPUs");
	look(5);
	cr_expect_eq(spin(), 77, "nothing is set anew");
	cr_expect_eq(list[0].params.cpu, first);
	end();
}

Test(placement, spinning_ends_on_a_cpu_that_is_shared)
{
	if (!start())
		cr_skip_test("needs two CPUs");
	cr_assert_eq(cpu_place(list[1].tid, first, NULL), 0);
	look(1);
	cr_expect_eq(spin(), 77, "one look is not enough");
	look(1);
	cr_expect_eq(spin(), 0);
	cr_expect(list[1].displaced);
	struct cpu_list on = only(first);
	expect_on(list[1].tid, &on);
	look(3);
	expect_on(list[1].tid, &on);
	cr_assert_eq(cpu_place(list[1].tid, second, NULL), 0);
	look(2);
	cr_expect_neq(spin(), 0, "it has its CPU for itself again");
	cr_expect_not(list[1].displaced);
	placement.realtime = true;
	cr_assert_eq(cpu_place(list[1].tid, first, NULL), 0);
	look(2);
	cr_assert_eq(cpu_place(list[1].tid, second, NULL), 0);
	look(2);
	cr_expect_eq(spin(), 0, "under a real-time policy never");
	end();
}

Test(placement, a_change_that_is_gone_at_the_next_look_is_none)
{
	if (!start())
		cr_skip_test("needs two CPUs");
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(cpu_place(list[1].tid, first, NULL), 0);
		look(1);
		cr_assert_eq(cpu_place(list[1].tid, second, NULL), 0);
		look(1);
	}
	cr_expect_eq(spin(), 77);
	end();
}

/* As by taskset for all threads, or by a cpuset. */
Test(placement, other_cpus_for_all_are_planned_anew)
{
	if (!start())
		cr_skip_test("needs two CPUs");
	struct cpu_list both = placement.allowed, left = only(second);
	for (size_t i = 0; i < 3; i++)
		cr_assert_eq(cpu_place(sleepers[i].tid, second, NULL), 0);
	look(2);
	expect_on(list[0].tid, &left);
	cr_expect_eq(gateway.plan.worker_cpus[0], second, "there is one for the one worker");
	cr_expect_eq(spin(), 0, "others use it as well");
	cr_expect_eq(list[0].params.cpu, second);
	cr_expect_eq(list[1].params.cpu, CPU_FLOATS);
	cr_expect(cpu_list_equal(&placement.allowed, &left));
	cr_assert_eq(cpu_place(placement.witness, CPU_FLOATS, &both), 0);
	look(2);
	expect_on(list[1].tid, &both);
	cr_expect_eq(list[0].params.cpu, first);
	cr_expect_eq(gateway.plan.workers, 1);
	expect_on(0, &both);
	end();
}
