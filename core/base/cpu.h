// SPDX-License-Identifier: Apache-2.0
/* Which CPUs we may use, which thread gets which, and how a thread goes there. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CPU_LIST_MAX = 1024,
	CPU_WORKERS_MAX = 250,
	CPU_READERS_MAX = 16,
	CPU_HANDSHAKERS_MAX = 16,
	CPU_TUN_QUEUES_MAX = 256, /* the kernel's MAX_TAP_QUEUES: workers and readers have one each */
	CPU_FLOATS = -1,	  /* in place of a CPU: the thread may run on any of the list */
};

/* Numbers of CPUs, ascending, each once. */
struct cpu_list {
	uint16_t cpus[CPU_LIST_MAX];
	size_t count;
};

/* The first n CPUs of the calling thread's affinity mask, n = min(CPUs of the mask, quota of the cgroup rounded up):
 * at least one. Before anything is pinned. 0 or a negative errno. */
int cpu_available(struct cpu_list *list);

/* The same with another directory in place of "/" for /proc and the cgroup file systems; "" is the real one. */
int cpu_available_at(const char *root, struct cpu_list *list);

/* How many CPUs' time our cgroup and all above it may use, rounded up: the smallest of cpu.max (version 2) and
 * cpu.cfs_quota_us (version 1). CPU_NO_QUOTA when none of them limits it, or when there is nothing to read. */
#define CPU_NO_QUOTA UINT_MAX
unsigned cpu_quota(const char *root);

/* How many threads somebody asks for. What is beyond the bounds above is cut to them. */
struct cpu_wanted {
	unsigned workers;     /* 0: auto, one for each CPU left to workers */
	int readers;	      /* of the TUN; -1: auto; 0: the worker itself reads, which makes it one worker */
	unsigned handshakers; /* 0: auto */
};

/* How many threads there are and the CPU of each, or CPU_FLOATS. */
struct cpu_plan {
	unsigned workers;     /* at least 1 */
	unsigned readers;     /* 0: the worker itself reads */
	unsigned handshakers; /* at least 1 */
	bool spin;	      /* a worker may spin before it sleeps: it takes nobody's CPU away */
	int worker_cpus[CPU_WORKERS_MAX];
	int reader_cpus[CPU_READERS_MAX];
	int handshaker_cpus[CPU_HANDSHAKERS_MAX];
	int control_cpu; /* of all other threads: control, metrics, deferred frees */
};

/* With up to 4 CPUs workers are pinned to all of them and the others float. With more, control and the first handshake
 * thread share the first one, which is where the kernel's own chores tend to run, then each further handshake thread
 * has one, then each reader, the rest is the workers'. Who wants more threads than there are CPUs for them shares
 * those, in turn; readers come before handshake threads, and one CPU stays for workers. No system call: the
 * same arguments give the same plan. `available` has at least one CPU. */
void cpu_plan_make(struct cpu_plan *plan, const struct cpu_list *available, const struct cpu_wanted *wanted);

/* All for the calling thread. 0 or a negative errno: who could not be pinned runs all the same. */
int cpu_pin(int cpu);
int cpu_float(const struct cpu_list *list);

/* What top and gdb show; cut to 15 characters. */
void thread_set_name(const char *name);

/* 19, the most modest, to -20, of this thread alone. To lower it takes a privilege. 0 or a negative errno. */
int thread_set_nice(int nice);
