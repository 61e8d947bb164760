// SPDX-License-Identifier: Apache-2.0
#include "core/daemon/threads.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/heap.h"
#include "core/base/log.h"
#include "core/base/rcu.h"
#include "core/host/launch.h"

int threads_init(struct threads *threads, struct error *error)
{
	*threads = (struct threads){.exit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	if (threads->exit_fd < 0)
		return error_set(error, -errno, "threads: eventfd: %s", strerror(errno));
	return 0;
}

void threads_deinit(struct threads *threads)
{
	free(threads->list);
	if (threads->exit_fd >= 0)
		close(threads->exit_fd);
	*threads = (struct threads){.exit_fd = -1};
}

/* Handed to a new thread, which frees it. */
struct starting {
	struct thread thread;
	struct thread *listed; /* does not move until the thread is settled */
};

/* A thread that cannot be placed, or gets no priority, runs all the same, only slower. */
static void settle(void *context)
{
	struct starting *starting = context;
	const struct thread_params *params = &starting->thread.params;
	starting->listed->allocator = heap_thread_counter();
	starting->listed->tid = gettid();
	int result = params->cpu != CPU_FLOATS ? cpu_pin(params->cpu) : 0;
	if (result != 0)
		log_warning("%s: cannot be pinned to CPU %d: %s", params->name, params->cpu, strerror(-result));
	if (params->nice != 0)
		(void)thread_set_nice(params->nice);
	cpu_priority_take(&cpu_priority_kernel, params->priority, &starting->listed->priority);
	params->loop->realtime = cpu_priority_took_realtime(&starting->listed->priority);
	params->loop->short_slices = cpu_priority_took_slices(&starting->listed->priority);
}

static void *thread_main(void *argument)
{
	/* threads_start() may reallocate the list while this runs: what is needed is copied. */
	struct thread thread = ((struct starting *)argument)->thread;
	free(argument);
	rcu_join();
	thread.params.run(thread.params.object);
	rcu_leave();
	if (event_loop_failure(thread.params.loop) != 0) {
		uint64_t one = 1;
		ssize_t written = write(thread.exit_fd, &one, sizeof one);
		(void)written;
	}
	return NULL;
}

static struct thread *add(struct threads *threads)
{
	if (threads->count == threads->room) {
		size_t room = threads->room != 0 ? threads->room * 2 : 8;
		struct thread *list = realloc(threads->list, room * sizeof *list);
		if (list == NULL)
			return NULL;
		threads->list = list;
		threads->room = room;
	}
	return &threads->list[threads->count];
}

int threads_start(struct threads *threads, const struct thread_params *params, struct error *error)
{
	struct thread *thread = add(threads);
	struct starting *starting = malloc(sizeof *starting);
	if (thread == NULL || starting == NULL) {
		free(starting);
		return error_set(error, -ENOMEM, "%s: out of memory", params->name);
	}
	*thread = (struct thread){.params = *params, .exit_fd = threads->exit_fd, .allocated = -1};
	*starting = (struct starting){.thread = *thread, .listed = thread};
	struct launch launch = {.name = params->name,
				.filter = threads->filter,
				.settle = settle,
				.run = thread_main,
				.context = starting};
	int result = launch_thread(&launch, &thread->id, error);
	if (result != 0) {
		free(starting);
		return result;
	}
	thread->running = true;
	threads->count++;
	return 0;
}

/* Threads of one kind are all asked to stop before the first is joined: each may have messages left to send, and they
 * send them at the same time. */
void threads_stop(struct threads *threads)
{
	for (size_t end = threads->count; end > 0;) {
		size_t first = end;
		while (first > 0 && threads->list[first - 1].params.run == threads->list[end - 1].params.run)
			first--;
		for (size_t i = first; i < end; i++) {
			if (threads->list[i].running)
				event_loop_stop(threads->list[i].params.loop);
		}
		for (size_t i = first; i < end; i++) {
			if (threads->list[i].running)
				(void)pthread_join(threads->list[i].id, NULL);
			threads->list[i].running = false;
		}
		end = first;
	}
}

static uint64_t cpu_time(const struct thread *thread)
{
	clockid_t clock;
	struct timespec spent;
	if (!thread->running || pthread_getcpuclockid(thread->id, &clock) != 0 || clock_gettime(clock, &spent) != 0)
		return thread->cpu_time; /* it ended */
	return (uint64_t)spent.tv_sec * NS_PER_S + (uint64_t)spent.tv_nsec;
}

/* The thread goes on writing this word, whose memory is gone when the thread is joined. */
static void measure_allocations(struct thread *thread)
{
	if (thread->running && thread->allocator != NULL)
		atomic_store_explicit(&thread->allocated, (int64_t)__atomic_load_n(thread->allocator, __ATOMIC_RELAXED),
				      memory_order_relaxed);
}

void threads_measure(struct threads *threads, uint64_t now)
{
	uint64_t passed = now - threads->measured;
	if (passed == 0)
		return;
	for (size_t i = 0; i < threads->count; i++) {
		struct thread *thread = &threads->list[i];
		uint64_t spent = cpu_time(thread);
		double load = (double)(spent - thread->cpu_time) / (double)passed;
		atomic_store_explicit(&thread->load, load, memory_order_relaxed);
		atomic_store_explicit(&thread->cpu_time, spent, memory_order_relaxed);
		measure_allocations(thread);
	}
	threads->measured = now;
}

/* A thread that neither counts nor sleeps is stuck, in a loop or in a system call. */
static bool has_moved(const struct thread *thread, uint64_t counted)
{
	return !thread->running || counted != thread->seen || event_loop_asleep(thread->params.loop);
}

bool threads_alive(struct threads *threads)
{
	bool all = true;
	for (size_t i = 0; i < threads->count; i++) {
		struct thread *thread = &threads->list[i];
		uint64_t counted = stats_total(&thread->params.loop->stats);
		thread->moved |= has_moved(thread, counted);
		thread->seen = counted;
		all &= thread->moved;
	}
	for (size_t i = 0; all && i < threads->count; i++)
		threads->list[i].moved = false;
	return all;
}

const struct cpu_priority_thread *threads_priority(const struct threads *threads)
{
	const struct cpu_priority_thread *found = NULL;
	for (size_t i = 0; i < threads->count; i++) {
		const struct cpu_priority_thread *thread = &threads->list[i].priority;
		if (thread->wanted <= CPU_PRIORITY_NORMAL)
			continue;
		if (thread->realtime != 0 || thread->nice != 0 || thread->slice != 0)
			return thread;
		found = thread;
	}
	return found;
}

int threads_failure(const struct threads *threads)
{
	int failure = 0;
	for (size_t i = 0; i < threads->count && failure == 0; i++)
		failure = event_loop_failure(threads->list[i].params.loop);
	return failure;
}
