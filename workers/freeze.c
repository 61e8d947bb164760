// SPDX-License-Identifier: Apache-2.0
#include "workers/freeze.h"

#include <time.h>

#include "core/base/rcu.h"

#define FREEZE_LOOK_NS (50 * NS_PER_US)
#define FREEZE_ROOM_NS (20 * NS_PER_MS) /* for full sockets to take what is queued */
enum { FREEZE_ROUNDS = 1000 /* in which workers pass on what they got from each other; a few are enough */ };

static bool all_frozen(const struct freeze_kind *kind)
{
	for (size_t i = 0; i < kind->count; i++) {
		if (!event_loop_frozen(kind->loops[i]))
			return false;
	}
	return true;
}

static bool wait_for_kind(const struct freeze_kind *kind, const struct clock *clock, uint64_t deadline)
{
	const struct timespec look = {.tv_nsec = FREEZE_LOOK_NS};
	while (!all_frozen(kind)) {
		if (clock_monotonic(clock) >= deadline)
			return false;
		(void)nanosleep(&look, NULL);
	}
	return true;
}

static bool freeze_kind(const struct freeze_kind *kind, const struct clock *clock, uint64_t deadline)
{
	for (size_t i = 0; i < kind->count; i++)
		event_loop_freeze(kind->loops[i]);
	return wait_for_kind(kind, clock, deadline);
}

/* Of the first worker whose socket is full. False: there is none, or the time is up. */
static bool wait_for_room(struct worker *const *workers, size_t count, const struct clock *clock, uint64_t deadline)
{
	size_t i = 0;
	while (i < count && !workers[i]->send.blocked)
		i++;
	uint64_t now = clock_monotonic(clock);
	if (i == count || now >= deadline)
		return false;
	worker_wait_for_room(workers[i], deadline - now);
	return true;
}

static void settle(struct worker *const *workers, size_t count, const struct clock *clock)
{
	uint64_t deadline = clock_monotonic(clock) + FREEZE_ROOM_NS;
	size_t work = 1;
	rcu_online();
	for (unsigned round = 0; work != 0 && round < FREEZE_ROUNDS; round++) {
		work = 0;
		for (size_t i = 0; i < count; i++)
			work += worker_settle(workers[i]);
		if (work == 0)
			work = wait_for_room(workers, count, clock, deadline);
		rcu_quiescent();
	}
	rcu_offline();
}

bool freeze(const struct freeze_kind *kinds, size_t kind_count, struct worker *const *workers, size_t worker_count,
	    const struct clock *clock, uint64_t limit)
{
	uint64_t deadline = clock_monotonic(clock) + limit;
	for (size_t i = 0; i < kind_count; i++) {
		if (!freeze_kind(&kinds[i], clock, deadline)) {
			thaw(kinds, i + 1);
			return false;
		}
	}
	settle(workers, worker_count, clock);
	return true;
}

bool freeze_wait(const struct freeze_kind *kinds, size_t kind_count, const struct clock *clock, uint64_t limit)
{
	uint64_t deadline = clock_monotonic(clock) + limit;
	for (size_t i = 0; i < kind_count; i++) {
		if (!wait_for_kind(&kinds[i], clock, deadline))
			return false;
	}
	return true;
}

void thaw(const struct freeze_kind *kinds, size_t kind_count)
{
	for (size_t i = kind_count; i-- > 0;) {
		for (size_t k = 0; k < kinds[i].count; k++)
			event_loop_thaw(kinds[i].loops[k]);
	}
}
