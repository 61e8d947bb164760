// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/placement.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/rcu.h"

static void find_out(void *tid)
{
	*(pid_t *)tid = gettid();
}

void placement_begin(struct placement *placement, const struct cpu_list *allowed, bool realtime)
{
	*placement = (struct placement){.allowed = *allowed, .realtime = realtime};
	rcu_run_on_thread(find_out, &placement->witness);
}

/* --- where threads are -------------------------------------------------------------------------------------------- */

/* Where a thread was put, and where it is. */
struct place {
	const char *name;
	pid_t tid;
	int *cpu;	 /* put there, or CPU_FLOATS */
	bool *displaced; /* said already */
};

/* The control thread is the one behind the last. */
static struct place place_of(struct placement *placement, struct gateway_threads *threads, struct threads *started,
			     size_t i)
{
	if (i == started->count)
		return (struct place){"control thread", gettid(), &threads->plan.control_cpu,
				      &placement->control_displaced};
	struct thread *thread = &started->list[i];
	return (struct place){thread->params.name, thread->tid, &thread->params.cpu, &thread->displaced};
}

/* Whether it was pinned and is elsewhere; `now`: where. */
static bool is_displaced(const struct place *place, struct cpu_list *now)
{
	return *place->cpu != CPU_FLOATS && cpu_allowed(place->tid, now) == 0 &&
	       (now->count != 1 || now->cpus[0] != *place->cpu);
}

static bool any_moved(struct placement *placement, struct gateway_threads *threads, struct threads *started)
{
	struct cpu_list now;
	for (size_t i = 0; i <= started->count; i++) {
		struct place place = place_of(placement, threads, started, i);
		if (is_displaced(&place, &now) != *place.displaced)
			return true;
	}
	return false;
}

/* --- what follows ------------------------------------------------------------------------------------------------- */

static void move(struct placement *placement, struct gateway_threads *threads, struct threads *started)
{
	struct cpu_plan *plan = &threads->plan;
	cpu_plan_move(plan, &placement->allowed, placement->realtime);
	for (size_t i = 0; i < started->count; i++) {
		const int *cpus = i < plan->workers ? &plan->worker_cpus[i]
				  : i < plan->workers + plan->readers
					  ? &plan->reader_cpus[i - plan->workers]
					  : &plan->handshaker_cpus[i - plan->workers - plan->readers];
		started->list[i].params.cpu = *cpus;
	}
	for (size_t i = 0; i <= started->count; i++) {
		struct place place = place_of(placement, threads, started, i);
		*place.displaced = false;
		/* What the kernel refuses is displaced, and said as such. */
		(void)cpu_place(place.tid, *place.cpu, &placement->allowed);
	}
}

enum { ALLOWED_TEXT = CPU_LIST_TEXT + 40 };

static const char *format_allowed(const struct cpu_list *list, char text[ALLOWED_TEXT])
{
	cpu_list_format(list, text);
	if (list->share < list->count)
		(void)snprintf(text + strlen(text), ALLOWED_TEXT - CPU_LIST_TEXT, " (the time of %zu)", list->share);
	return text;
}

static void plan_again(struct placement *placement, struct gateway_threads *threads, struct threads *started,
		       const struct cpu_list *now)
{
	char before[ALLOWED_TEXT], after[ALLOWED_TEXT];
	(void)format_allowed(&placement->allowed, before);
	placement->allowed = *now;
	move(placement, threads, started);
	const char *how = threads->plan.worker_cpus[0] != CPU_FLOATS ? "each worker is pinned to one of them"
			  : now->count < threads->plan.workers ? "all threads float, for they are fewer than workers"
							       : "all threads float, under a quota of CPU time";
	log_warning("CPUs that this process may use are %s now, and were %s: %s", format_allowed(now, after), before,
		    how);
}

/* One line, however many there are. */
static void tell_displaced(struct placement *placement, struct gateway_threads *threads, struct threads *started)
{
	char text[CPU_LIST_TEXT], line[256] = "";
	size_t more = 0;
	for (size_t i = 0; i <= started->count; i++) {
		struct cpu_list now;
		struct place place = place_of(placement, threads, started, i);
		bool displaced = is_displaced(&place, &now), changed = displaced != *place.displaced;
		*place.displaced = displaced;
		if (changed && line[0] != '\0')
			more++;
		else if (changed && displaced)
			(void)snprintf(line, sizeof line, "%s is not on CPU %d any more: CPUs allowed to it now %s",
				       place.name, *place.cpu, cpu_list_format(&now, text));
		else if (changed)
			(void)snprintf(line, sizeof line, "%s is on CPU %d again", place.name, *place.cpu);
	}
	if (line[0] != '\0' && more != 0)
		log_warning("%s; and %zu more threads were moved", line, more);
	else if (line[0] != '\0')
		log_warning("%s", line);
}

/* A CPU of one's own is the condition for spinning. Where that cannot be found out, none spins. */
static void share(struct placement *placement, struct gateway_threads *threads, struct threads *started)
{
	size_t count = started->count + 1;
	struct cpu_list *masks = calloc(count, sizeof *masks);
	bool *alone = calloc(count, sizeof *alone);
	bool may = masks != NULL && !placement->realtime && placement->allowed.share == placement->allowed.count;
	for (size_t i = 0; i < count && may; i++) {
		struct place place = place_of(placement, threads, started, i);
		may = cpu_allowed(place.tid, &masks[i]) == 0;
	}
	if (alone != NULL) {
		if (may)
			(void)cpu_list_alone(masks, count, alone);
		gateway_threads_share(threads, &placement->allowed, alone);
	}
	free(alone);
	free(masks);
}

void placement_check(struct placement *placement, struct gateway_threads *threads, struct threads *started)
{
	struct cpu_list now;
	if (cpu_allowed(placement->witness, &now) != 0)
		return;
	unsigned quota = cpu_quota("");
	now.share = quota < now.count ? quota : now.count;
	bool changed = !cpu_list_equal(&now, &placement->allowed) || now.share != placement->allowed.share;
	if (!changed && !any_moved(placement, threads, started)) {
		placement->suspect = false;
		return;
	}
	if (!placement->suspect) {
		placement->suspect = true;
		return;
	}
	placement->suspect = false;
	if (changed)
		plan_again(placement, threads, started, &now);
	tell_displaced(placement, threads, started);
	share(placement, threads, started);
}
