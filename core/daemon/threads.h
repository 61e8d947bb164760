// SPDX-License-Identifier: Apache-2.0
/* The threads of a daemon besides the control thread, which owns this list: started in order, stopped in mirror order,
 * each with its name, CPU and load. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/cpu.h"
#include "core/base/error.h"
#include "core/host/cpu_priority.h"
#include "core/host/seccomp_filter.h"
#include "workers/event_loop.h"

struct thread_params {
	char name[24]; /* "worker 0"; the kernel shows 15 characters */
	int cpu;       /* to be pinned to, or CPU_FLOATS; where it really is, the kernel knows: cpu_allowed() */
	int nice;      /* 0, or more modest */
	enum cpu_priority priority; /* of one that moves packets; else CPU_PRIORITY_INHERITED */
	void (*run)(void *object);  /* until `loop` is stopped or fails */
	void *object;
	struct event_loop *loop; /* of the object */
};

struct thread {
	struct thread_params params;
	int exit_fd; /* of the list */
	pthread_t id;
	pid_t tid; /* as the kernel calls it, while it runs */
	bool running;
	struct cpu_priority_thread priority; /* as it was when the thread started */
	/* written by the control thread, read by the metrics thread too: relaxed */
	_Atomic uint64_t cpu_time; /* ns, when the load was last measured */
	_Atomic double load;	   /* part of a CPU in the last second */
	_Atomic int64_t allocated; /* bytes it ever asked jemalloc for, when last measured; -1: not known */
	const uint64_t *allocator; /* where jemalloc counts them, while the thread runs; NULL: it is not linked */
	/* the control thread's */
	uint64_t seen;	/* of its counters, when threads_alive() last looked */
	bool moved;	/* counted or slept since that last returned true */
	bool displaced; /* it is not on the CPU of its parameters any more, and that was said */
};

struct threads {
	struct thread *list;
	size_t count, room;
	int exit_fd;			     /* readable when a thread ended by itself */
	const struct seccomp_filter *filter; /* that each thread loads; NULL: none */
	uint64_t measured;		     /* monotonic ns */
};

int threads_init(struct threads *threads, struct error *error);
void threads_deinit(struct threads *threads);

/* Starts one more, registered for RCU and without capabilities, and waits until it runs. All signals are blocked by
 * then. */
int threads_start(struct threads *threads, const struct thread_params *params, struct error *error);

/* Stops and joins them, kind by kind (by `run`), the youngest first; the list stays for reports. */
void threads_stop(struct threads *threads);

/* Measures the load since the last call, and what they allocated. Once a second. */
void threads_measure(struct threads *threads, uint64_t now);

/* Whether each of them has counted something, or slept, since this last returned true. Called every second or less
 * often. */
bool threads_alive(struct threads *threads);

/* What became of CpuPriority: of a thread that did not get all that was wanted, or else of one that did; NULL: none
 * wanted more than the normal one. */
const struct cpu_priority_thread *threads_priority(const struct threads *threads);

/* The first failure among those that ended by themselves, or 0. */
int threads_failure(const struct threads *threads);
