// SPDX-License-Identifier: Apache-2.0
/* How the kernel's scheduler treats the threads that move packets, where other programs need the same CPUs: the option
 * CpuPriority.
 *
 *   normal     the weight that was inherited, and short slices: a thread runs sooner after it was woken, for no more
 *              time in all
 *   high       more weight: the threads' nice values, and the autogroup of the session
 *   realtime   SCHED_RR at the lowest priority; where that is refused, as above
 *
 * Between which groups a weight counts, the kernel decides from the outside in. Under systemd that is the unit's cgroup
 * (CPUWeight=), whatever is set here. Without such a cgroup each session has a group of its own, the autogroup, so that
 * a nice value counts among the processes of one terminal only. The autogroup has a nice value itself.
 *
 * Each thread sets its own, with the capabilities that it inherited and before it gives them up. The system calls go by
 * way of a table, so that tests can refuse them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/host/sysctl.h"

enum cpu_priority {
	CPU_PRIORITY_INHERITED, /* nothing is changed: threads that move no packets */
	CPU_PRIORITY_NORMAL,
	CPU_PRIORITY_HIGH,
	CPU_PRIORITY_REALTIME,
};

enum {
	/* Ten times the weight of nice 0: another program that needs all of the CPU still gets a tenth of it. */
	CPU_PRIORITY_NICE = -10,
	/* The shortest slice that the kernel takes. A thread with a shorter slice runs sooner after it was woken. */
	CPU_PRIORITY_SLICE_NS = 100000,
	CPU_PRIORITY_RR = 1, /* the lowest; the kernel's own threads of SCHED_FIFO are at 50 */
};

/* What the scheduler has of a thread. */
struct cpu_scheduling {
	uint32_t policy;   /* SCHED_OTHER, SCHED_RR, ... */
	uint32_t priority; /* with SCHED_RR and SCHED_FIFO; else 0 */
	int32_t nice;
	uint64_t slice; /* ns, with SCHED_OTHER; 0: the kernel has none for single threads (before Linux 6.12) */
	uint64_t flags; /* of sched_setattr(2) */
};

/* All for the calling thread or its process; those that return int return 0 or a negative errno. */
struct cpu_priority_calls {
	int (*get)(struct cpu_scheduling *scheduling);
	int (*set)(const struct cpu_scheduling *scheduling);
	int (*set_nice)(int nice);
	int (*set_autogroup)(int nice);
	bool (*in_autogroup)(void);
	bool (*leads_session)(void);
	bool (*cgroup_weighs)(void);
	const char *(*sysctl)(const char *name, char text[SYSCTL_TEXT]);
};

extern const struct cpu_priority_calls cpu_priority_kernel;

/* Of one thread. */
struct cpu_priority_thread {
	enum cpu_priority wanted;
	/* 0: in force, or not wanted; else the negative errno by which it was refused. Slices that the kernel does not
	 * have are -EOPNOTSUPP. */
	int realtime, nice, slice;
	bool known; /* what is in force: */
	struct cpu_scheduling now;
};

/* "normal", "high" or "realtime", in any case. False: none of these. */
bool cpu_priority_parse(const char *text, enum cpu_priority *priority);

/* Whether threads will run under a real-time policy, inherited ones included. Then none of them may spin: what it
 * waits for could not get the CPU. Control thread. */
bool cpu_priority_is_realtime(const struct cpu_priority_calls *calls, enum cpu_priority wanted);

/* The calling thread takes what is wanted, as far as it may. A nice value or a real-time policy that it inherited and
 * that is stronger stays. */
void cpu_priority_take(const struct cpu_priority_calls *calls, enum cpu_priority wanted,
		       struct cpu_priority_thread *thread);

/* Whether the thread runs under a real-time policy, be it inherited: then the kernel does not divide the CPU by time
 * between it and others of its priority. Any thread. */
bool cpu_priority_took_realtime(const struct cpu_priority_thread *thread);

/* Whether it was given short slices: to yield costs it no more than what is left of one. */
bool cpu_priority_took_slices(const struct cpu_priority_thread *thread);

/* What became of the session's autogroup. */
enum cpu_priority_group {
	CPU_PRIORITY_GROUP_NONE,    /* not wanted, or the process is in no autogroup: the threads' nice values count */
	CPU_PRIORITY_GROUP_RAISED,  /* in force */
	CPU_PRIORITY_GROUP_CGROUP,  /* left alone: the cgroup's weight counts */
	CPU_PRIORITY_GROUP_SHARED,  /* left alone: the session is another process's */
	CPU_PRIORITY_GROUP_REFUSED, /* no rights */
};

/* Raises the autogroup of the session for `high`, but only if this process leads the session. In another's session,
 * such as a shell's, all jobs of the terminal would be raised, and stay so after the end of this one. What the process
 * itself starts is raised with it. Before privileges are dropped: the file in /proc is root's. */
enum cpu_priority_group cpu_priority_raise_group(const struct cpu_priority_calls *calls, enum cpu_priority wanted);

enum { CPU_PRIORITY_TEXT = 512 };

/* What is in force and what was refused and why, in one line. False: not all that was wanted is in force. */
bool cpu_priority_report(const struct cpu_priority_thread *thread, enum cpu_priority_group group,
			 char text[CPU_PRIORITY_TEXT]);

/* What bounds real-time threads: for how long the kernel stops them, or that it does not. */
const char *cpu_priority_throttling(const struct cpu_priority_calls *calls, char text[CPU_PRIORITY_TEXT]);

/* "other", "rr", ...; never NULL. */
const char *cpu_priority_policy_name(uint32_t policy);
