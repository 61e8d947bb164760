// SPDX-License-Identifier: Apache-2.0
/* Which CPUs the process may use, which thread runs on which, and pinning. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	CPU_LIST_MAX = 1024,
	CPU_WORKERS_MAX = 250,
	CPU_READERS_MAX = 16,
	CPU_HANDSHAKERS_MAX = 16,
	CPU_TUN_QUEUES_MAX = 256, /* the kernel's MAX_TAP_QUEUES: workers and readers have one each */
	CPU_FLOATS = -1,	  /* in place of a CPU: the thread may run on any of the list */
	CPU_LIST_TEXT = 64,	  /* of a list as text; a longer one is cut */
};

/* Numbers of CPUs, ascending, each once. */
struct cpu_list {
	uint16_t cpus[CPU_LIST_MAX];
	size_t count;
	size_t share; /* so many CPUs' time may be used: `count`, or less where a quota limits it */
};

/* The CPUs of the calling thread's affinity mask, at least one, and the share of them that the quota of the cgroup
 * leaves, rounded up. Before anything is pinned. 0 or a negative errno. */
int cpu_available(struct cpu_list *list);

/* The same with another directory in place of "/" for /proc and the cgroup file systems; "" is the real one. */
int cpu_available_at(const char *root, struct cpu_list *list);

/* The CPUs on which a thread of this process may run now, as the kernel has it: its mask, less CPUs that are offline;
 * `share` is their number. 0: the calling thread. 0 or a negative errno. */
int cpu_allowed(pid_t thread, struct cpu_list *list);

bool cpu_list_equal(const struct cpu_list *a, const struct cpu_list *b);

/* "0-3,8". Returns `text`. */
const char *cpu_list_format(const struct cpu_list *list, char text[CPU_LIST_TEXT]);

/* Which threads have a CPU of their own: one that is all that they may use, and that no other of them may. `masks` and
 * `alone` have `count` items. -ENOMEM: none, as far as is known. */
int cpu_list_alone(const struct cpu_list *masks, size_t count, bool *alone);

/* How many CPUs' time our cgroup and all above it may use, rounded up: the smallest of cpu.max (version 2) and
 * cpu.cfs_quota_us (version 1). CPU_NO_QUOTA when none of them limits it, or when there is nothing to read. */
#define CPU_NO_QUOTA UINT_MAX
unsigned cpu_quota(const char *root);

/* Whether our cgroup, or one above it, has a weight of CPU time (cpu.weight of version 2, cpu.shares of version 1), so
 * that this decides against processes outside of it, and not the session. False when there is nothing to read. */
bool cpu_cgroup_weighs(const char *root);

/* The configured numbers of threads. Values beyond the bounds above are cut to them. */
struct cpu_wanted {
	unsigned workers;     /* 0: auto, one for each CPU left to workers */
	int readers;	      /* of the TUN; -1: auto; 0: workers read it themselves */
	unsigned handshakers; /* 0: auto */
	bool realtime;	      /* threads run under a real-time policy: none may spin */
};

/* How many threads there are and the CPU of each, or CPU_FLOATS. */
struct cpu_plan {
	unsigned workers;     /* at least 1 */
	unsigned readers;     /* 0: each worker reads a queue of its own */
	unsigned handshakers; /* at least 1 */
	bool spin;	      /* a worker may spin before it sleeps: no thread that it waits for needs its CPU */
	int worker_cpus[CPU_WORKERS_MAX];
	int reader_cpus[CPU_READERS_MAX];
	int handshaker_cpus[CPU_HANDSHAKERS_MAX];
	int control_cpu; /* of all other threads: control, metrics, deferred frees */
};

/* With up to 4 CPUs workers are pinned to all of them, each of which reads a TUN queue of its own, and all other
 * threads float: a worker that spins would delay what it waits for. With more, control and the first handshake thread
 * share the first one, which tends to run the kernel's own work, then each further handshake thread has one, then each
 * reader, by default one, and workers have the rest. Threads for which there are too few CPUs share those in turn;
 * readers come before handshake threads, and one CPU stays for workers.
 *
 * A share that is less than the CPUs is a quota of time, on whichever of them: as many threads as for so few CPUs, and
 * all float, so that processes with a quota on one machine do not meet on its first CPUs.
 *
 * No system call: the same arguments give the same plan. `available` has at least one CPU. */
void cpu_plan_make(struct cpu_plan *plan, const struct cpu_list *available, const struct cpu_wanted *wanted);

/* Where the kernel cannot steer packets to the workers' queues: one reader, which floats, reads for them all. */
void cpu_plan_add_reader(struct cpu_plan *plan);

/* The same threads as in the plan, on other CPUs: as if the plan had been made for these with just so many threads,
 * but that all float where there are fewer CPUs than workers. */
void cpu_plan_move(struct cpu_plan *plan, const struct cpu_list *available, bool realtime);

/* All for the calling thread. 0 or a negative errno: a thread that could not be pinned runs all the same. */
int cpu_pin(int cpu);
int cpu_float(const struct cpu_list *list);

/* The same for a thread of this process: on `cpu` alone, or with CPU_FLOATS on any of the list. */
int cpu_place(pid_t thread, int cpu, const struct cpu_list *list);

/* What top and gdb show; cut to 15 characters. */
void thread_set_name(const char *name);

/* Nice value of this thread alone, 19 (lowest priority) to -20. Lowering it takes a privilege. 0 or a negative
 * errno. */
int thread_set_nice(int nice);
