// SPDX-License-Identifier: Apache-2.0
#include "core/base/timer_wheel.h"

#include <stddef.h>

#include "core/base/hot.h"

/* The first tick that starts at or after a time. */
static uint64_t tick_at_or_after(const struct timer_wheel *wheel, uint64_t ns)
{
	return (ns >> wheel->tick_bits) + ((ns & ((1ull << wheel->tick_bits) - 1)) != 0);
}

static uint64_t tick_start(const struct timer_wheel *wheel, uint64_t tick)
{
	return tick > UINT64_MAX >> wheel->tick_bits ? UINT64_MAX : tick << wheel->tick_bits;
}

static unsigned digit(uint64_t tick, unsigned level)
{
	return (unsigned)(tick >> (level * TIMER_WHEEL_DIGIT_BITS)) & (TIMER_WHEEL_BUCKETS - 1);
}

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now, unsigned tick_bits)
{
	*wheel = (struct timer_wheel){.tick_bits = tick_bits, .now = now >> tick_bits, .position = now >> tick_bits};
	for (unsigned level = 0; level < TIMER_WHEEL_LEVELS; level++) {
		for (unsigned bucket = 0; bucket < TIMER_WHEEL_BUCKETS; bucket++)
			CDS_INIT_LIST_HEAD(&wheel->buckets[level][bucket]);
	}
}

/* Its tick is not before the position, so its digit at the level where they differ is the greater one: all timers of
 * a level are due before all timers of the levels above. */
static void file(struct timer_wheel *wheel, struct timer *timer)
{
	uint64_t tick = tick_at_or_after(wheel, timer->due);
	uint64_t differs = (tick ^ wheel->position) | 1;
	unsigned level = (63 - (unsigned)__builtin_clzll(differs)) / TIMER_WHEEL_DIGIT_BITS;
	unsigned bucket = digit(tick, level);
	cds_list_add_tail(&timer->node, &wheel->buckets[level][bucket]);
	wheel->occupied[level] |= 1ull << bucket;
}

static void unfile(struct timer_wheel *wheel, struct timer *timer)
{
	struct cds_list_head *next = timer->node.next;
	if (next == timer->node.prev) {
		/* The only timer of its bucket, which the address of the list head identifies. */
		size_t index = (size_t)(next - &wheel->buckets[0][0]);
		wheel->occupied[index / TIMER_WHEEL_BUCKETS] &= ~(1ull << index % TIMER_WHEEL_BUCKETS);
	}
	cds_list_del(&timer->node);
	timer->node.next = NULL;
}

void timer_set(struct timer_wheel *wheel, struct timer *timer, uint64_t due)
{
	owner_check(&wheel->owner, "timer wheel");
	if (timer_armed(timer))
		unfile(wheel, timer);
	/* Never puts it into the bucket that is firing, so that firing a bucket ends. */
	uint64_t earliest = tick_start(wheel, wheel->now + 1);
	timer->due = due > earliest ? due : earliest;
	file(wheel, timer);
}

void timer_clear(struct timer_wheel *wheel, struct timer *timer)
{
	owner_check(&wheel->owner, "timer wheel");
	if (timer_armed(timer))
		unfile(wheel, timer);
}

/* Moves the timers of the bucket at the position to the levels below. False when the limit did not suffice. */
static bool sink(struct timer_wheel *wheel, uint64_t *allowance)
{
	unsigned level = wheel->sinking;
	if (level == 0)
		return true;
	struct cds_list_head *bucket = &wheel->buckets[level][digit(wheel->position, level)];
	for (; !cds_list_empty(bucket); (*allowance)--) {
		if (*allowance == 0)
			return false;
		struct timer *timer = cds_list_first_entry(bucket, struct timer, node);
		unfile(wheel, timer);
		file(wheel, timer);
	}
	wheel->sinking = 0;
	return true;
}

/* Calls back for the bucket of the position's own tick. False when the limit did not suffice. */
static bool fire(struct timer_wheel *wheel, timer_callback *callback, void *context, uint32_t *limit)
{
	struct cds_list_head *bucket = &wheel->buckets[0][digit(wheel->position, 0)];
	for (; !cds_list_empty(bucket); (*limit)--) {
		if (*limit == 0)
			return false;
		struct timer *timer = cds_list_first_entry(bucket, struct timer, node);
		unfile(wheel, timer);
		callback(timer, context);
	}
	return true;
}

/* The level and the first tick of the earliest bucket behind the position; UINT64_MAX when all are empty. */
static uint64_t earliest_bucket(const struct timer_wheel *wheel, unsigned *level)
{
	for (*level = 0; *level < TIMER_WHEEL_LEVELS; (*level)++) {
		uint64_t occupied = wheel->occupied[*level];
		if (occupied == 0)
			continue;
		unsigned low = *level * TIMER_WHEEL_DIGIT_BITS, high = low + TIMER_WHEEL_DIGIT_BITS;
		uint64_t above = wheel->position >> high << high;
		return above | (uint64_t)__builtin_ctzll(occupied) << low;
	}
	return UINT64_MAX;
}

/* Moves the position to the next bucket that is due, or to now. No occupied bucket is passed, so all stay in place. */
static bool step(struct timer_wheel *wheel)
{
	unsigned level;
	uint64_t tick = earliest_bucket(wheel, &level);
	if (tick > wheel->now) {
		wheel->position = wheel->now;
		return false;
	}
	wheel->position = tick;
	wheel->sinking = level;
	return true;
}

HOT bool timer_wheel_advance(struct timer_wheel *wheel, uint64_t now, timer_callback *callback, void *context,
			     uint32_t limit)
{
	owner_check(&wheel->owner, "timer wheel");
	uint64_t tick = now >> wheel->tick_bits;
	uint64_t allowance = (uint64_t)limit * TIMER_WHEEL_SINKS;
	if (tick > wheel->now)
		wheel->now = tick;
	do {
		if (!sink(wheel, &allowance) || !fire(wheel, callback, context, &limit))
			return true;
	} while (step(wheel));
	return false;
}

HOT uint64_t timer_wheel_next(const struct timer_wheel *wheel)
{
	unsigned level;
	if (wheel->sinking != 0)
		return tick_start(wheel,
				  wheel->position); /* timers that have yet to sink may be due before those that sank */
	return tick_start(wheel, earliest_bucket(wheel, &level));
}
