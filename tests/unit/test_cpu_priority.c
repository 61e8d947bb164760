// SPDX-License-Identifier: Apache-2.0
/* CpuPriority against a kernel that refuses some of it, and what is said about that; the real calls on one thread. */
#include "core/host/cpu_priority.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "core/base/cpu.h"
#include "core/daemon/threads.h"

/* --- a kernel of our own ------------------------------------------------------------------------------------------ */

static struct {
	struct cpu_scheduling thread;
	int refuse_get, refuse_realtime, refuse_slice, refuse_nice, refuse_autogroup;
	bool no_slices, no_autogroup, shared_session, cgroup;
	const char *autogroups, *rt_runtime, *rt_period;
	int autogroup; /* its nice value */
	unsigned changes;
} kernel = {.thread = {.policy = SCHED_OTHER, .slice = 2800000},
	    .autogroups = "1\n",
	    .rt_runtime = "950000\n",
	    .rt_period = "1000000\n"};

static int get(struct cpu_scheduling *scheduling)
{
	if (kernel.refuse_get == 0)
		*scheduling = kernel.thread;
	return kernel.refuse_get;
}

static int set(const struct cpu_scheduling *scheduling)
{
	bool realtime = scheduling->policy == SCHED_RR;
	int refused = realtime ? kernel.refuse_realtime : kernel.refuse_slice;
	if (refused != 0)
		return refused;
	uint64_t slice = kernel.no_slices ? 0 : scheduling->slice;
	kernel.thread = *scheduling;
	kernel.thread.slice = slice;
	kernel.changes++;
	return 0;
}

static int set_nice(int nice)
{
	if (kernel.refuse_nice == 0) {
		kernel.thread.nice = nice;
		kernel.changes++;
	}
	return kernel.refuse_nice;
}

static int set_autogroup(int nice)
{
	if (kernel.refuse_autogroup == 0) {
		kernel.autogroup = nice;
		kernel.changes++;
	}
	return kernel.refuse_autogroup;
}

static bool in_autogroup(void)
{
	return !kernel.no_autogroup;
}

static bool leads_session(void)
{
	return !kernel.shared_session;
}

static bool cgroup_weighs(void)
{
	return kernel.cgroup;
}

static const char *read_setting(const char *name, char text[SYSCTL_TEXT])
{
	const char *value = "";
	if (strcmp(name, "kernel/sched_autogroup_enabled") == 0)
		value = kernel.autogroups;
	if (strcmp(name, "kernel/sched_rt_runtime_us") == 0)
		value = kernel.rt_runtime;
	if (strcmp(name, "kernel/sched_rt_period_us") == 0)
		value = kernel.rt_period;
	(void)snprintf(text, SYSCTL_TEXT, "%s", value);
	return text;
}

static const struct cpu_priority_calls calls = {.get = get,
						.set = set,
						.set_nice = set_nice,
						.set_autogroup = set_autogroup,
						.in_autogroup = in_autogroup,
						.leads_session = leads_session,
						.cgroup_weighs = cgroup_weighs,
						.sysctl = read_setting};

/* All that a start does; returns what it says. */
static const char *take(enum cpu_priority wanted, bool complete)
{
	static char text[CPU_PRIORITY_TEXT];
	struct cpu_priority_thread thread;
	enum cpu_priority_group group = cpu_priority_raise_group(&calls, wanted);
	cpu_priority_take(&calls, wanted, &thread);
	cr_expect_eq(thread.wanted, wanted);
	cr_expect_eq(cpu_priority_report(&thread, group, text), complete, "%s", text);
	cr_assert(thread.known, "and what is in force is what is shown:");
	cr_expect_eq(thread.now.policy, kernel.thread.policy);
	cr_expect_eq(thread.now.priority, kernel.thread.priority);
	cr_expect_eq(thread.now.nice, kernel.thread.nice);
	cr_expect_eq(thread.now.slice, kernel.thread.slice);
	cr_expect_eq(cpu_priority_took_realtime(&thread), kernel.thread.policy != SCHED_OTHER, "as the kernel says");
	return text;
}

/* --- the values --------------------------------------------------------------------------------------------------- */

Test(cpu_priority, names)
{
	enum cpu_priority priority = CPU_PRIORITY_NORMAL;
	cr_expect(cpu_priority_parse("realtime", &priority));
	cr_expect_eq(priority, CPU_PRIORITY_REALTIME);
	cr_expect(cpu_priority_parse("High", &priority));
	cr_expect_eq(priority, CPU_PRIORITY_HIGH);
	cr_expect(cpu_priority_parse("normal", &priority));
	cr_expect_eq(priority, CPU_PRIORITY_NORMAL);
	static const char *const bad[] = {"", "hig", "highest", "real-time", "-10", "rr"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		cr_expect_not(cpu_priority_parse(bad[i], &priority), "\"%s\"", bad[i]);
	cr_expect_str_eq(cpu_priority_policy_name(SCHED_OTHER), "other");
	cr_expect_str_eq(cpu_priority_policy_name(SCHED_RR), "rr");
	cr_expect_str_eq(cpu_priority_policy_name(4), "unknown", "there is none of this number");
	cr_expect_str_eq(cpu_priority_policy_name(77), "unknown");
}

Test(cpu_priority, what_moves_no_packets_is_left_as_it_is)
{
	struct cpu_priority_thread thread;
	cpu_priority_take(&calls, CPU_PRIORITY_INHERITED, &thread);
	cr_expect_eq(kernel.changes, 0);
	cr_expect(thread.known, "and is shown");
	cr_expect_eq(thread.now.slice, 2800000);
	cr_expect_not(cpu_priority_took_slices(&thread));
}

Test(cpu_priority, normal_is_short_slices_and_no_more_weight)
{
	struct cpu_priority_thread thread;
	kernel.thread.nice = 5;
	kernel.refuse_nice = kernel.refuse_autogroup = -EACCES;
	cr_expect_eq(cpu_priority_raise_group(&calls, CPU_PRIORITY_NORMAL), CPU_PRIORITY_GROUP_NONE);
	cpu_priority_take(&calls, CPU_PRIORITY_NORMAL, &thread);
	cr_expect_eq(kernel.changes, 1);
	cr_expect_eq(kernel.thread.policy, SCHED_OTHER);
	cr_expect_eq(kernel.thread.nice, 5);
	cr_expect_eq(kernel.thread.slice, 100000);
	cr_expect(cpu_priority_took_slices(&thread));
	cr_expect_not(cpu_priority_is_realtime(&calls, CPU_PRIORITY_NORMAL));
}

Test(cpu_priority, slices_that_are_not_to_be_had_are_not_counted_on)
{
	struct cpu_priority_thread thread;
	kernel.no_slices = true;
	kernel.thread.slice = 0;
	cpu_priority_take(&calls, CPU_PRIORITY_NORMAL, &thread);
	cr_expect_not(cpu_priority_took_slices(&thread), "before Linux 6.12");

	kernel.no_slices = false;
	kernel.refuse_slice = -EPERM;
	cpu_priority_take(&calls, CPU_PRIORITY_NORMAL, &thread);
	cr_expect_not(cpu_priority_took_slices(&thread), "a filter refuses the call");

	kernel.refuse_slice = 0;
	kernel.thread = (struct cpu_scheduling){.policy = SCHED_RR, .priority = 1};
	cpu_priority_take(&calls, CPU_PRIORITY_NORMAL, &thread);
	cr_expect_not(cpu_priority_took_slices(&thread), "a real-time policy has none");
	cr_expect_eq(kernel.thread.policy, SCHED_RR, "and stays");
}

Test(cpu_priority, high_is_nice_slice_and_autogroup)
{
	cr_expect_str_eq(take(CPU_PRIORITY_HIGH, true),
			 "CpuPriority = high: nice -10, slices of 0.1 ms, autogroup at nice -10");
	cr_expect_eq(kernel.thread.policy, SCHED_OTHER);
	cr_expect_eq(kernel.thread.nice, -10);
	cr_expect_eq(kernel.thread.slice, 100000);
	cr_expect_eq(kernel.autogroup, -10);
	cr_expect_not(cpu_priority_is_realtime(&calls, CPU_PRIORITY_HIGH));
}

Test(cpu_priority, realtime_is_the_lowest_round_robin)
{
	cr_expect(cpu_priority_is_realtime(&calls, CPU_PRIORITY_REALTIME), "before a thread is there");
	cr_expect_str_eq(take(CPU_PRIORITY_REALTIME, true), "CpuPriority = realtime: policy rr, priority 1");
	cr_expect_eq(kernel.thread.policy, SCHED_RR);
	cr_expect_eq(kernel.thread.priority, 1);
	cr_expect_eq(kernel.thread.flags, 1, "not for what the thread may start");
	cr_expect_eq(kernel.changes, 1, "neither nice nor the session's group");
}

/* --- what may not be ---------------------------------------------------------------------------------------------- */

Test(cpu_priority, no_rights_leave_the_slice)
{
	kernel.refuse_nice = -EACCES;
	kernel.refuse_autogroup = -EACCES;
	cr_expect_str_eq(take(CPU_PRIORITY_HIGH, false),
			 "CpuPriority = high: nice -10 refused (Permission denied; it takes CAP_SYS_NICE, or "
			 "LimitNICE=-10 in a unit), slices of 0.1 ms; beside other sessions nothing, since the "
			 "autogroup may not be raised");
	cr_expect_eq(kernel.thread.nice, 0);
	cr_expect_eq(kernel.thread.slice, 100000);
}

Test(cpu_priority, a_kernel_without_slices_claims_none)
{
	kernel.no_slices = true;
	kernel.thread.slice = 0;
	cr_expect_str_eq(
		take(CPU_PRIORITY_HIGH, false),
		"CpuPriority = high: nice -10, no slices in this kernel (since Linux 6.12), autogroup at nice -10");
}

Test(cpu_priority, a_filter_that_refuses_the_call_leaves_nice)
{
	kernel.refuse_slice = -EPERM;
	kernel.refuse_get = 0;
	cr_expect_str_eq(take(CPU_PRIORITY_HIGH, false), "CpuPriority = high: nice -10, slices refused (Operation not "
							 "permitted), autogroup at nice -10");
	kernel.refuse_get = -ENOSYS;
	struct cpu_priority_thread thread;
	cpu_priority_take(&calls, CPU_PRIORITY_HIGH, &thread);
	cr_expect_eq(thread.nice, 0);
	cr_expect_eq(thread.slice, -ENOSYS);
	cr_expect_not(thread.known);
}

Test(cpu_priority, realtime_that_is_refused_becomes_weight)
{
	kernel.refuse_realtime = -EPERM;
	cr_expect_str_eq(take(CPU_PRIORITY_REALTIME, false),
			 "CpuPriority = realtime: SCHED_RR refused (Operation not permitted; it takes CAP_SYS_NICE, or "
			 "LimitRTPRIO=1 and RestrictRealtime=no in a unit), nice -10, slices of 0.1 ms");
	cr_expect_eq(kernel.thread.policy, SCHED_OTHER);
	cr_expect_eq(kernel.thread.nice, -10);
}

/* --- what is left alone ------------------------------------------------------------------------------------------- */

Test(cpu_priority, what_was_inherited_and_is_stronger_stays)
{
	kernel.thread.nice = -15;
	cr_expect_str_eq(take(CPU_PRIORITY_HIGH, true),
			 "CpuPriority = high: nice -15, slices of 0.1 ms, autogroup at nice -10");
	cr_expect_eq(kernel.thread.nice, -15);

	kernel.thread = (struct cpu_scheduling){.policy = SCHED_FIFO, .priority = 20};
	cr_expect(cpu_priority_is_realtime(&calls, CPU_PRIORITY_NORMAL), "chrt -f 20: then nothing may spin either");
	(void)take(CPU_PRIORITY_REALTIME, true);
	cr_expect_eq(kernel.thread.policy, SCHED_FIFO);
	cr_expect_eq(kernel.thread.priority, 20);
}

Test(cpu_priority, a_session_of_others_is_left_alone)
{
	kernel.shared_session = true;
	cr_expect_str_eq(take(CPU_PRIORITY_HIGH, false),
			 "CpuPriority = high: nice -10, slices of 0.1 ms; beside other sessions nothing, since this "
			 "one is not our own (setsid gives it one)");
	cr_expect_eq(kernel.autogroup, 0);
}

Test(cpu_priority, a_cgroup_with_a_weight_decides_alone)
{
	kernel.cgroup = true;
	cr_expect_str_eq(take(CPU_PRIORITY_HIGH, true), "CpuPriority = high: nice -10, slices of 0.1 ms; beside other "
							"services the weight of the cgroup counts");
	cr_expect_eq(kernel.autogroup, 0);
}

Test(cpu_priority, a_kernel_without_autogroups_has_none_to_raise)
{
	static const char *const off[] = {"0\n", ""};
	for (size_t i = 0; i < ARRAY_SIZE(off); i++) {
		kernel.autogroups = off[i];
		cr_expect_str_eq(take(CPU_PRIORITY_HIGH, true), "CpuPriority = high: nice -10, slices of 0.1 ms");
		cr_expect_eq(kernel.autogroup, 0);
	}
}

Test(cpu_priority, a_process_of_the_root_group_has_none_to_raise)
{
	kernel.no_autogroup = kernel.shared_session = true;
	cr_expect_str_eq(take(CPU_PRIORITY_HIGH, true), "CpuPriority = high: nice -10, slices of 0.1 ms");
	cr_expect_eq(kernel.autogroup, 0);
}

Test(cpu_priority, throttling_of_realtime_threads)
{
	char text[CPU_PRIORITY_TEXT];
	cr_expect_str_eq(cpu_priority_throttling(&calls, text),
			 "kernel.sched_rt_runtime_us = 950000: a thread that is always busy may be stopped for 50 ms "
			 "in each 1000 ms, to let other programs run");
	kernel.rt_runtime = "-1\n";
	cr_expect_str_eq(cpu_priority_throttling(&calls, text),
			 "kernel.sched_rt_runtime_us = -1: nothing bounds real-time threads, and under full load no "
			 "other program may get their CPUs");
	kernel.rt_runtime = "";
	cr_expect_str_eq(cpu_priority_throttling(&calls, text), "", "no such setting: nothing is known");
}

/* --- the real kernel ---------------------------------------------------------------------------------------------- */

static void end_at_once(void *object)
{
	(void)object;
}

/* What the event loop of a thread is told of the slices that its priority brings. */
static bool has_short_slices(struct threads *threads, enum cpu_priority priority)
{
	struct event_loop loop = {.epoll_fd = -1};
	struct error error;
	struct thread_params params = {
		.name = "one", .cpu = CPU_FLOATS, .priority = priority, .run = end_at_once, .loop = &loop};
	cr_assert_eq(threads_start(threads, &params, &error), 0);
	threads_stop(threads);
	const struct cpu_priority_thread *got = &threads->list[threads->count - 1].priority;
	cr_expect_eq(loop.short_slices, cpu_priority_took_slices(got));
	cr_expect_not(loop.realtime);
	return loop.short_slices;
}

Test(cpu_priority, threads_that_move_packets_know_their_slices)
{
	struct cpu_scheduling now;
	struct threads threads;
	struct error error;
	cr_assert_eq(cpu_priority_kernel.get(&now), 0);
	cr_assert_eq(threads_init(&threads, &error), 0);
	cr_expect_not(has_short_slices(&threads, CPU_PRIORITY_INHERITED));
	bool kernel_has_slices = now.slice != 0;
	cr_expect_eq(has_short_slices(&threads, CPU_PRIORITY_NORMAL), kernel_has_slices);
	threads_deinit(&threads);
}

static void *take_high(void *result)
{
	struct cpu_priority_thread *thread = result;
	cpu_priority_take(&cpu_priority_kernel, CPU_PRIORITY_HIGH, thread);
	cr_expect_eq(getpriority(PRIO_PROCESS, (id_t)gettid()), thread->now.nice);
	return NULL;
}

Test(cpu_priority, the_kernel_s_answer_is_what_is_shown)
{
	pthread_t other;
	struct cpu_priority_thread thread;
	int before = getpriority(PRIO_PROCESS, (id_t)gettid());
	cr_assert_eq(pthread_create(&other, NULL, take_high, &thread), 0);
	cr_assert_eq(pthread_join(other, NULL), 0);
	cr_expect_eq(getpriority(PRIO_PROCESS, (id_t)gettid()), before, "only the thread itself");
	cr_assert(thread.known);
	cr_expect_eq(thread.nice == 0, thread.now.nice <= CPU_PRIORITY_NICE);
	cr_expect_eq(thread.slice == 0, thread.now.slice == CPU_PRIORITY_SLICE_NS);
}
