// SPDX-License-Identifier: Apache-2.0
#include "core/host/cpu_priority.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "core/base/cpu.h"

/* --- the kernel --------------------------------------------------------------------------------------------------- */

/* struct sched_attr of sched_setattr(2) in its first version. glibc has it since 2.41 only, and the kernel's header
 * cannot be included beside <sched.h>. */
struct attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};
_Static_assert(sizeof(struct attributes) == 48, "SCHED_ATTR_SIZE_VER0");

enum { RESET_ON_FORK = 1 }; /* SCHED_FLAG_RESET_ON_FORK */

static int kernel_get(struct cpu_scheduling *scheduling)
{
	struct attributes attributes = {0};
	if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0)
		return -errno;
	*scheduling = (struct cpu_scheduling){.policy = attributes.policy,
					      .priority = attributes.priority,
					      .nice = attributes.nice,
					      .slice = attributes.runtime,
					      .flags = attributes.flags};
	return 0;
}

static int kernel_set(const struct cpu_scheduling *scheduling)
{
	struct attributes attributes = {.size = sizeof attributes,
					.policy = scheduling->policy,
					.flags = scheduling->flags,
					.nice = scheduling->nice,
					.priority = scheduling->priority,
					.runtime = scheduling->slice};
	return syscall(SYS_sched_setattr, 0, &attributes, 0) == 0 ? 0 : -errno;
}

static int kernel_set_autogroup(int nice)
{
	int fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int result = dprintf(fd, "%d", nice) > 0 ? 0 : -errno;
	close(fd);
	return result;
}

/* The file is empty for a process of the root group: one whose ancestors never called setsid(2). */
static bool kernel_in_autogroup(void)
{
	char byte;
	int fd = open("/proc/self/autogroup", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool in_one = read(fd, &byte, 1) == 1;
	close(fd);
	return in_one;
}

static bool kernel_leads_session(void)
{
	return getsid(0) == getpid();
}

static bool kernel_cgroup_weighs(void)
{
	return cpu_cgroup_weighs("");
}

const struct cpu_priority_calls cpu_priority_kernel = {
	.get = kernel_get,
	.set = kernel_set,
	.set_nice = thread_set_nice,
	.set_autogroup = kernel_set_autogroup,
	.in_autogroup = kernel_in_autogroup,
	.leads_session = kernel_leads_session,
	.cgroup_weighs = kernel_cgroup_weighs,
	.sysctl = sysctl_read,
};

/* --- names -------------------------------------------------------------------------------------------------------- */

static const char *const names[] = {
	[CPU_PRIORITY_NORMAL] = "normal", [CPU_PRIORITY_HIGH] = "high", [CPU_PRIORITY_REALTIME] = "realtime"};

bool cpu_priority_parse(const char *text, enum cpu_priority *priority)
{
	for (size_t i = CPU_PRIORITY_NORMAL; i < ARRAY_SIZE(names); i++) {
		if (strcasecmp(text, names[i]) == 0) {
			*priority = (enum cpu_priority)i;
			return true;
		}
	}
	return false;
}

const char *cpu_priority_policy_name(uint32_t policy)
{
	static const char *const policies[] = {[SCHED_OTHER] = "other",
					       [SCHED_FIFO] = "fifo",
					       [SCHED_RR] = "rr",
					       [SCHED_BATCH] = "batch",
					       [SCHED_IDLE] = "idle"};
	const char *name = policy < ARRAY_SIZE(policies) ? policies[policy] : NULL;
	return name != NULL ? name : "unknown";
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

static bool is_realtime(uint32_t policy)
{
	return policy == SCHED_FIFO || policy == SCHED_RR;
}

bool cpu_priority_is_realtime(const struct cpu_priority_calls *calls, enum cpu_priority wanted)
{
	struct cpu_scheduling now;
	return wanted == CPU_PRIORITY_REALTIME || (calls->get(&now) == 0 && is_realtime(now.policy));
}

/* Threads that such a one makes are of the normal policy again. */
static int set_realtime(const struct cpu_priority_calls *calls)
{
	const struct cpu_scheduling scheduling = {
		.policy = SCHED_RR, .priority = CPU_PRIORITY_RR, .flags = RESET_ON_FORK};
	return calls->set(&scheduling);
}

/* A kernel without slices takes the call and forgets the value. */
static int set_slice(const struct cpu_priority_calls *calls)
{
	struct cpu_scheduling scheduling;
	int result = calls->get(&scheduling);
	if (result != 0)
		return result;
	scheduling.slice = CPU_PRIORITY_SLICE_NS;
	result = calls->set(&scheduling);
	if (result == 0)
		result = calls->get(&scheduling);
	return result == 0 && scheduling.slice != CPU_PRIORITY_SLICE_NS ? -EOPNOTSUPP : result;
}

void cpu_priority_take(const struct cpu_priority_calls *calls, enum cpu_priority wanted,
		       struct cpu_priority_thread *thread)
{
	*thread = (struct cpu_priority_thread){.wanted = wanted};
	bool as_inherited = wanted == CPU_PRIORITY_INHERITED ||
			    (calls->get(&thread->now) == 0 && is_realtime(thread->now.policy));
	if (!as_inherited && wanted == CPU_PRIORITY_REALTIME)
		thread->realtime = set_realtime(calls);
	bool weighs = wanted == CPU_PRIORITY_HIGH || thread->realtime != 0;
	if (!as_inherited && weighs && thread->now.nice > CPU_PRIORITY_NICE)
		thread->nice = calls->set_nice(CPU_PRIORITY_NICE);
	if (!as_inherited && (weighs || wanted == CPU_PRIORITY_NORMAL))
		thread->slice = set_slice(calls);
	thread->known = calls->get(&thread->now) == 0;
}

bool cpu_priority_took_realtime(const struct cpu_priority_thread *thread)
{
	return thread->known && is_realtime(thread->now.policy);
}

bool cpu_priority_took_slices(const struct cpu_priority_thread *thread)
{
	return thread->known && !is_realtime(thread->now.policy) && thread->slice == 0 &&
	       thread->now.slice == CPU_PRIORITY_SLICE_NS;
}

/* --- the session's group ------------------------------------------------------------------------------------------ */

enum cpu_priority_group cpu_priority_raise_group(const struct cpu_priority_calls *calls, enum cpu_priority wanted)
{
	char text[SYSCTL_TEXT];
	if (wanted != CPU_PRIORITY_HIGH)
		return CPU_PRIORITY_GROUP_NONE;
	if (calls->cgroup_weighs())
		return CPU_PRIORITY_GROUP_CGROUP;
	if (calls->sysctl("kernel/sched_autogroup_enabled", text)[0] != '1' || !calls->in_autogroup())
		return CPU_PRIORITY_GROUP_NONE;
	if (!calls->leads_session())
		return CPU_PRIORITY_GROUP_SHARED;
	return calls->set_autogroup(CPU_PRIORITY_NICE) == 0 ? CPU_PRIORITY_GROUP_RAISED : CPU_PRIORITY_GROUP_REFUSED;
}

/* --- what is said ------------------------------------------------------------------------------------------------- */

static void append(char text[CPU_PRIORITY_TEXT], const char *format, ...) PRINTF_LIKE(2, 3);

static void append(char text[CPU_PRIORITY_TEXT], const char *format, ...)
{
	va_list arguments;
	size_t length = strlen(text);
	va_start(arguments, format);
	(void)vsnprintf(text + length, CPU_PRIORITY_TEXT - length, format, arguments);
	va_end(arguments);
}

/* Between items; none behind the colon. */
static const char *separator(const char *text)
{
	return text[strlen(text) - 1] == ' ' ? "" : ", ";
}

static void report_weight(const struct cpu_priority_thread *thread, char text[CPU_PRIORITY_TEXT])
{
	if (thread->nice == 0)
		append(text, "%snice %d", separator(text), (int)thread->now.nice);
	else
		append(text, "%snice %d refused (%s; it takes CAP_SYS_NICE, or LimitNICE=%d in a unit)",
		       separator(text), CPU_PRIORITY_NICE, strerror(-thread->nice), CPU_PRIORITY_NICE);
	if (thread->slice == 0)
		append(text, ", slices of %g ms", CPU_PRIORITY_SLICE_NS / 1e6);
	else if (thread->slice == -EOPNOTSUPP)
		append(text, ", no slices in this kernel (since Linux 6.12)");
	else
		append(text, ", slices refused (%s)", strerror(-thread->slice));
}

static void report_group(enum cpu_priority_group group, char text[CPU_PRIORITY_TEXT])
{
	if (group == CPU_PRIORITY_GROUP_RAISED)
		append(text, ", autogroup at nice %d", CPU_PRIORITY_NICE);
	else if (group == CPU_PRIORITY_GROUP_CGROUP)
		append(text, "; beside other services the weight of the cgroup counts");
	else if (group == CPU_PRIORITY_GROUP_SHARED)
		append(text, "; beside other sessions nothing, since this one is not our own (setsid gives it one)");
	else if (group == CPU_PRIORITY_GROUP_REFUSED)
		append(text, "; beside other sessions nothing, since the autogroup may not be raised");
}

bool cpu_priority_report(const struct cpu_priority_thread *thread, enum cpu_priority_group group,
			 char text[CPU_PRIORITY_TEXT])
{
	text[0] = '\0';
	append(text, "CpuPriority = %s: ", names[thread->wanted]);
	bool realtime = thread->known && is_realtime(thread->now.policy);
	if (realtime)
		append(text, "policy %s, priority %u", cpu_priority_policy_name(thread->now.policy),
		       (unsigned)thread->now.priority);
	if (thread->realtime != 0)
		append(text,
		       "SCHED_RR refused (%s; it takes CAP_SYS_NICE, or LimitRTPRIO=%d and RestrictRealtime=no in a "
		       "unit)",
		       strerror(-thread->realtime), CPU_PRIORITY_RR);
	if (!realtime)
		report_weight(thread, text);
	report_group(group, text);
	return thread->realtime == 0 && thread->nice == 0 && thread->slice == 0 && group != CPU_PRIORITY_GROUP_SHARED &&
	       group != CPU_PRIORITY_GROUP_REFUSED;
}

const char *cpu_priority_throttling(const struct cpu_priority_calls *calls, char text[CPU_PRIORITY_TEXT])
{
	char runtime_text[SYSCTL_TEXT], period_text[SYSCTL_TEXT];
	long runtime = strtol(calls->sysctl("kernel/sched_rt_runtime_us", runtime_text), NULL, 10);
	long period = strtol(calls->sysctl("kernel/sched_rt_period_us", period_text), NULL, 10);
	text[0] = '\0';
	if (runtime_text[0] == '\0' || period <= 0)
		return text;
	if (runtime < 0 || runtime >= period)
		append(text,
		       "kernel.sched_rt_runtime_us = %ld: nothing bounds real-time threads, and under full load no "
		       "other "
		       "program may get their CPUs",
		       runtime);
	else
		append(text,
		       "kernel.sched_rt_runtime_us = %ld: a thread that is always busy may be stopped for %g ms in "
		       "each "
		       "%g ms, to let other programs run",
		       runtime, (double)(period - runtime) / 1e3, (double)period / 1e3);
	return text;
}
