// SPDX-License-Identifier: Apache-2.0
/* Keeps the plan of CPUs (core/base/cpu.h) true while the gateway runs: CPUs are given and taken away by cpusets of
 * cgroups, by taskset(1) from outside, and by CPUs that go offline, and their time by quotas of cgroups.
 *
 * What the process may use now is what the kernel has of a thread whose CPUs are never set here: liburcu's. When that
 * or the quota changes, the same threads are planned anew. A single thread that is not where it was put, while the rest
 * of the process is where it was, has been moved by the operator: it stays there. No worker spins on a CPU that it
 * shares. Control thread. */
#pragma once

#include "core/daemon/threads.h"
#include "core/gateway/threads.h"

struct placement {
	struct cpu_list allowed; /* of the plan */
	pid_t witness;		 /* the thread whose CPUs are never set here */
	bool realtime;		 /* threads run under a real-time policy: none may spin */
	bool suspect;		 /* something had changed at the last look */
	bool control_displaced;	 /* as struct thread's `displaced` */
};

/* All threads run, and are where the plan for `allowed` has them. */
void placement_begin(struct placement *placement, const struct cpu_list *allowed, bool realtime);

/* Looks, about once a second, and acts on what two looks in a row have seen: the CPUs of all threads are changed one by
 * one. `started`: workers, readers and handshake threads in this order. */
void placement_check(struct placement *placement, struct gateway_threads *threads, struct threads *started);
