// SPDX-License-Identifier: Apache-2.0
#include "core/base/timer_wheel.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <time.h>

#include "core/base/clock.h"

#define TICK	TIMER_WHEEL_TICK_NS
#define NO_TICK UINT64_MAX

enum { MANY = UINT32_MAX /* a limit that is none */ };

static struct timer_wheel wheel;
static uint64_t clock_now;

/* What is expected of a timer stands beside it, kept by the tests without the wheel's help. */
struct entry {
	struct timer timer;
	uint64_t tick;	 /* boundary at which it has to fire; NO_TICK: not armed */
	uint64_t wanted; /* time it was set for */
	unsigned fired;
};

static struct entry *entry_of(struct timer *timer)
{
	return caa_container_of(timer, struct entry, timer);
}

static void start(uint64_t now)
{
	clock_now = now;
	timer_wheel_init(&wheel, now, TIMER_WHEEL_TICK_BITS);
}

/* The first boundary that is neither before the time nor over. `heard` is the time that the wheel was given last. */
static uint64_t expected_tick(uint64_t due, uint64_t heard)
{
	uint64_t after_now = heard / TICK + 1, at_due = due / TICK + (due % TICK != 0);
	return at_due > after_now ? at_due : after_now;
}

static void set(struct entry *entry, uint64_t due)
{
	timer_set(&wheel, &entry->timer, due);
	entry->wanted = due;
	entry->tick = expected_tick(due, clock_now);
	cr_assert(timer_armed(&entry->timer));
}

static void clear(struct entry *entry)
{
	timer_clear(&wheel, &entry->timer);
	entry->tick = NO_TICK;
	cr_assert(!timer_armed(&entry->timer));
}

static void note(struct timer *timer, void *context)
{
	struct entry *entry = entry_of(timer);
	unsigned *total = context;
	cr_assert(!timer_armed(timer), "disarmed before its callback");
	cr_assert(entry->wanted <= clock_now, "early");
	entry->fired++;
	entry->tick = NO_TICK;
	++*total;
}

/* All that fires at `now`; at most `limit`. */
static unsigned advance(uint64_t now)
{
	unsigned total = 0;
	clock_now = now;
	cr_assert(!timer_wheel_advance(&wheel, now, note, &total, MANY), "nothing is left over");
	return total;
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

Test(timer_wheel, starts_empty)
{
	struct entry entry = {0};
	start(5 * NS_PER_S);
	cr_assert(!timer_armed(&entry.timer), "all zero is disarmed");
	cr_assert(timer_wheel_next(&wheel) == UINT64_MAX);
	timer_clear(&wheel, &entry.timer);
	cr_assert(advance(6 * NS_PER_S) == 0);
	cr_assert(timer_wheel_next(&wheel) == UINT64_MAX);
}

Test(timer_wheel, never_early_and_at_most_a_tick_late)
{
	static const uint64_t delays[] = {
		1,	   NS_PER_MS, TICK - 1,	     TICK,	    TICK + 1,	     17 * TICK,	      NS_PER_S,
		63 * TICK, 64 * TICK, 64 * TICK + 1, 68 * NS_PER_S, 4096 * TICK - 1, 4096 * TICK + 1, 3600 * NS_PER_S};
	for (size_t i = 0; i < sizeof delays / sizeof delays[0]; i++) {
		struct entry entry = {0};
		uint64_t born = 1000 * NS_PER_S + i * 12345678;
		start(born);
		uint64_t due = born + delays[i];
		set(&entry, due);
		if (delays[i] > 2 * TICK)
			cr_assert(advance(due - TICK) == 0, "delay %lu", delays[i]);
		uint64_t now = clock_now;
		while (entry.fired == 0) {
			now += NS_PER_MS / 2;
			cr_assert(now < due + TICK + NS_PER_MS / 2, "delay %lu: late", delays[i]);
			(void)advance(now);
		}
		cr_assert(now >= due, "delay %lu: early", delays[i]);
		cr_assert(entry.fired == 1 && timer_wheel_next(&wheel) == UINT64_MAX);
	}
}

Test(timer_wheel, a_time_that_is_over_fires_at_the_next_boundary)
{
	static const uint64_t past[] = {0, 1, 99 * TICK, 100 * TICK, 100 * TICK + 5};
	for (size_t i = 0; i < sizeof past / sizeof past[0]; i++) {
		struct entry entry = {0};
		start(100 * TICK + 5);
		set(&entry, past[i]);
		cr_assert(entry.timer.due == 101 * TICK);
		cr_assert(timer_wheel_next(&wheel) == 101 * TICK);
		cr_assert(advance(101 * TICK - 1) == 0);
		cr_assert(advance(101 * TICK) == 1);
	}
}

Test(timer_wheel, moving_and_clearing)
{
	struct entry a = {0}, b = {0};
	start(0);
	set(&a, 10 * TICK);
	set(&b, 10 * TICK);
	set(&a, 5000 * TICK); /* later, another level */
	cr_assert(advance(10 * TICK) == 1 && b.fired == 1);
	set(&a, 20 * TICK); /* sooner */
	cr_assert(timer_wheel_next(&wheel) == 20 * TICK);
	clear(&a);
	clear(&a);
	cr_assert(timer_wheel_next(&wheel) == UINT64_MAX, "an emptied bucket is not waited for");
	cr_assert(advance(6000 * TICK) == 0);
	set(&a, 0);
	set(&a, 0);
	cr_assert(advance(6001 * TICK) == 1 && a.fired == 1);
}

/* Whatever digits the ticks of wheel and timer have. */
Test(timer_wheel, levels_wrap)
{
	static const uint64_t powers[] = {64, 4096, 262144, 16777216, 1ull << 30, 1ull << 36};
	for (size_t i = 0; i < 6; i++) {
		for (uint64_t from = powers[i] - 2; from <= powers[i] + 2; from++) {
			for (size_t j = 0; j < 6; j++) {
				for (uint64_t span = powers[j] - 2; span <= powers[j] + 2; span++) {
					struct entry entry = {0};
					start(from * TICK);
					set(&entry, (from + span) * TICK);
					cr_assert(advance((from + span) * TICK - 1) == 0);
					cr_assert(advance((from + span) * TICK) == 1, "%lu + %lu", from, span);
				}
			}
		}
	}
}

Test(timer_wheel, the_end_of_time)
{
	struct entry last = {0}, never = {0};
	uint64_t end = UINT64_MAX / TICK * TICK;
	start(NS_PER_S);
	set(&never, UINT64_MAX);
	cr_assert(timer_wheel_next(&wheel) == UINT64_MAX);
	set(&last, end);
	cr_assert(timer_wheel_next(&wheel) <= end);
	cr_assert(advance(end - 1) == 0);
	cr_assert(advance(UINT64_MAX) == 1 && last.fired == 1);
	set(&last, 7);
	cr_assert(advance(UINT64_MAX) == 0 && timer_armed(&never.timer));
	cr_assert(timer_wheel_next(&wheel) == UINT64_MAX);
}

Test(timer_wheel, a_clock_that_goes_back_stands)
{
	struct entry entry = {0};
	start(100 * TICK);
	set(&entry, 110 * TICK);
	cr_assert(!timer_wheel_advance(&wheel, 50 * TICK, note, NULL, MANY));
	struct entry other = {0};
	set(&other, 70 * TICK);
	cr_assert(advance(101 * TICK) == 1 && other.fired == 1);
	cr_assert(advance(110 * TICK) == 1 && entry.fired == 1);
}

/* A thread that sleeps until timer_wheel_next() is in time for all, and is not woken much more often than needed. */
Test(timer_wheel, next_is_a_bound_worth_sleeping_for)
{
	static const uint64_t delays[] = {3 * TICK, 250 * NS_PER_MS, 10 * NS_PER_S, 3600 * NS_PER_S, 604800 * NS_PER_S};
	for (size_t i = 0; i < sizeof delays / sizeof delays[0]; i++) {
		struct entry entry = {0};
		start(123456789 * NS_PER_MS);
		set(&entry, clock_now + delays[i]);
		unsigned calls = 0;
		while (entry.fired == 0) {
			uint64_t next = timer_wheel_next(&wheel);
			cr_assert(next > clock_now, "it moves on");
			cr_assert(next < entry.wanted + TICK, "it is in time");
			(void)advance(next);
			calls++;
		}
		cr_assert(calls <= TIMER_WHEEL_LEVELS, "%u calls", calls);
	}
}

struct again {
	unsigned calls;
	uint64_t due;
	bool relative; /* one tick behind what it was due for, not the same time again */
};

static void set_again(struct timer *timer, void *context)
{
	struct again *again = context;
	again->calls++;
	timer_set(&wheel, timer, again->relative ? timer->due + TICK : again->due);
}

Test(timer_wheel, a_callback_sets_its_own_timer_for_the_same_time)
{
	struct timer timers[3] = {0};
	struct again again = {.due = 10 * TICK};
	start(0);
	for (size_t i = 0; i < 3; i++)
		timer_set(&wheel, &timers[i], again.due);
	cr_assert(!timer_wheel_advance(&wheel, 10 * TICK, set_again, &again, 1000));
	cr_assert(again.calls == 3, "%u: once each", again.calls);
	cr_assert(!timer_wheel_advance(&wheel, 11 * TICK - 1, set_again, &again, 1000));
	cr_assert(again.calls == 3);
	cr_assert(!timer_wheel_advance(&wheel, 11 * TICK, set_again, &again, 1000));
	cr_assert(again.calls == 6);
	/* after a jump too */
	cr_assert(!timer_wheel_advance(&wheel, 1ull << 50, set_again, &again, 1000));
	cr_assert(again.calls == 9, "%u", again.calls);
	again.relative = true; /* its target is over as well */
	cr_assert(!timer_wheel_advance(&wheel, 1ull << 51, set_again, &again, 1000));
	cr_assert(again.calls == 12, "%u: nobody is called for each tick of a long sleep", again.calls);
}

/* A wheel behind its clock (a call ended at its limit) does not let a timer fire twice either. */
Test(timer_wheel, a_timer_that_sets_itself_again_starves_nobody)
{
	enum { GREEDY = 4, MODEST = 100 };
	struct timer greedy[GREEDY] = {0}, modest[MODEST] = {0};
	struct again again = {.due = 0};
	start(0);
	for (size_t i = 0; i < GREEDY; i++)
		timer_set(&wheel, &greedy[i], TICK);
	for (size_t i = 0; i < MODEST; i++)
		timer_set(&wheel, &modest[i], (2 + i) * TICK);
	bool left;
	do {
		unsigned before = again.calls;
		left = timer_wheel_advance(&wheel, 200 * TICK, set_again, &again, GREEDY);
		cr_assert(again.calls <= before + GREEDY);
	} while (left);
	cr_assert(again.calls == GREEDY + MODEST, "%u: once each", again.calls);
	for (size_t i = 0; i < MODEST; i++)
		cr_assert(modest[i].due == 201 * TICK, "%zu was called", i);
}

/* A session dies of its own timer, and takes another with it. */
struct mortal {
	struct timer timer;
	struct mortal **victim;
};

static void die(struct timer *timer, void *context)
{
	struct mortal *self = caa_container_of(timer, struct mortal, timer);
	++*(unsigned *)context;
	if (self->victim != NULL && *self->victim != NULL) {
		timer_clear(&wheel, &(*self->victim)->timer);
		free(*self->victim);
		*self->victim = NULL;
	}
	free(self);
}

Test(timer_wheel, a_callback_frees_its_own_and_others)
{
	struct mortal *victims[3];
	unsigned calls = 0;
	start(0);
	for (size_t i = 0; i < 3; i++) {
		struct mortal *killer = calloc(1, sizeof *killer);
		victims[i] = calloc(1, sizeof *victims[i]);
		killer->victim = &victims[i];
		timer_set(&wheel, &killer->timer, 10 * TICK);
		timer_set(&wheel, &victims[i]->timer, (10 + 100 * i) * TICK); /* in its bucket, or elsewhere */
	}
	cr_assert(!timer_wheel_advance(&wheel, 1000 * TICK, die, &calls, MANY));
	cr_assert(calls == 3, "%u", calls);
	cr_assert(timer_wheel_next(&wheel) == UINT64_MAX);
}

Test(timer_wheel, limit)
{
	enum { COUNT = 1000, LIMIT = 150 };
	static struct entry entries[COUNT];
	start(0);
	for (size_t i = 0; i < COUNT; i++)
		set(&entries[i], (i % 3 + 7) * TICK);
	clock_now = 1000 * TICK;
	unsigned total = 0;
	for (unsigned call = 1; call <= 6; call++) {
		cr_assert(timer_wheel_advance(&wheel, clock_now, note, &total, LIMIT), "some are left");
		cr_assert(total == call * LIMIT);
		cr_assert(timer_wheel_next(&wheel) <= clock_now, "no sleep");
	}
	/* What happens between two calls counts. */
	size_t waiting = 0;
	while (!timer_armed(&entries[waiting].timer))
		waiting++;
	clear(&entries[waiting]);
	cr_assert(!timer_wheel_advance(&wheel, clock_now, note, &total, LIMIT));
	cr_assert(total == COUNT - 1 && entries[waiting].fired == 0);
	cr_assert(timer_wheel_next(&wheel) == UINT64_MAX);

	set(&entries[0], 0);
	set(&entries[1], 0);
	total = 0;
	clock_now += TICK;
	cr_assert(timer_wheel_advance(&wheel, clock_now, note, &total, 1) && total == 1);
	cr_assert(!timer_wheel_advance(&wheel, clock_now, note, &total, 1) && total == 2, "exactly the limit");
}

/* A bucket of a higher level that sinks is work as well. */
Test(timer_wheel, the_limit_bounds_what_sinks)
{
	enum { COUNT = 10000, LIMIT = 10 };
	static struct entry entries[COUNT];
	start(0);
	for (size_t i = 0; i < COUNT; i++)
		set(&entries[i], (4096 + i % 4096) * TICK + 1);
	unsigned total = 0, calls = 1;
	clock_now = 4096 * TICK;
	while (timer_wheel_advance(&wheel, clock_now, note, &total, LIMIT)) {
		cr_assert(timer_wheel_next(&wheel) <= clock_now, "no sleep, though what sank is due later");
		if (calls++ == 5)
			clear(&entries[COUNT - 1]); /* from the bucket that sinks */
	}
	cr_assert(total == 0 && calls >= COUNT / (LIMIT * TIMER_WHEEL_SINKS), "%u calls", calls);
	cr_assert(timer_wheel_next(&wheel) > clock_now);
	cr_assert(advance(9000 * TICK) == COUNT - 1);
}

Test(timer_wheel, a_clock_that_jumps)
{
	enum { COUNT = 100 };
	static struct entry entries[COUNT];
	start(NS_PER_S);
	double began = seconds();
	for (unsigned jump = 10; jump < 63; jump++) {
		for (size_t i = 0; i < COUNT; i++)
			set(&entries[i], clock_now + (i + 1) * ((1ull << jump) / COUNT));
		cr_assert(advance(clock_now + (1ull << jump) + 2 * TICK) == COUNT);
	}
	cr_assert(seconds() - began < 1, "a jump costs what it makes due, not what time passed");
}

/* A random life against a plain list. */
enum { MODEL_TIMERS = 300, MODEL_ROUNDS = 30000 };

static struct model {
	struct entry entries[MODEL_TIMERS];
	uint64_t random;
	uint64_t last_tick; /* of what fired, in this call */
	unsigned calls;
	bool behind; /* the last call left some over */
} model;

static uint64_t random_below(uint64_t bound)
{
	/* xorshift64*, so that a failure can be repeated */
	model.random ^= model.random >> 12;
	model.random ^= model.random << 25;
	model.random ^= model.random >> 27;
	return (model.random * 2685821657736338717ull >> 11) % bound;
}

/* From a nanosecond to days, each size as likely as the other. */
static uint64_t random_span(void)
{
	return random_below(1ull << (1 + random_below(50)));
}

static struct entry *random_entry(void)
{
	return &model.entries[random_below(MODEL_TIMERS)];
}

static void random_change(void)
{
	switch (random_below(4)) {
	case 0:
		clear(random_entry());
		break;
	case 1:
		set(random_entry(), clock_now - random_below(clock_now)); /* over */
		break;
	default:
		set(random_entry(), clock_now + random_span());
	}
}

/* The list's answer: when the first one is due. */
static uint64_t model_first(void)
{
	uint64_t first = NO_TICK;
	for (size_t i = 0; i < MODEL_TIMERS; i++) {
		if (model.entries[i].tick < first)
			first = model.entries[i].tick;
	}
	return first;
}

static void model_fired(struct timer *timer, void *context)
{
	struct entry *entry = entry_of(timer);
	(void)context;
	cr_assert(!timer_armed(timer));
	cr_assert(entry->tick != NO_TICK, "it was set, and neither cleared nor fired since");
	cr_assert(entry->wanted <= clock_now && entry->tick <= clock_now / TICK, "early");
	cr_assert(entry->tick == model_first(), "the first comes first");
	entry->tick = NO_TICK;
	model.calls++;
	if (random_below(3) == 0)
		set(entry, random_below(2) == 0 ? entry->wanted : clock_now + random_span());
	if (random_below(3) == 0)
		random_change();
}

static void model_advance(void)
{
	uint32_t limit = random_below(3) == 0 ? 1 + (uint32_t)random_below(5) : MANY;
	model.calls = 0;
	if (random_below(3) == 0) {
		uint64_t next = timer_wheel_next(&wheel);
		clock_now = next > clock_now && next < clock_now + (1ull << 50) ? next : clock_now;
	} else {
		clock_now += random_span();
	}
	model.behind = timer_wheel_advance(&wheel, clock_now, model_fired, NULL, limit);
	cr_assert(model.calls <= limit);
	uint64_t first = model_first(), next = timer_wheel_next(&wheel);
	if (model.behind) {
		cr_assert(next <= clock_now);
		/* either may have ended the call */
		cr_assert(model.calls == limit || limit < MANY);
	} else {
		cr_assert(first > clock_now / TICK, "all that is due fired");
		cr_assert(next > clock_now);
		cr_assert(first == NO_TICK ? next == UINT64_MAX : next <= first * TICK, "a bound");
	}
}

static void check_model(void)
{
	for (size_t i = 0; i < MODEL_TIMERS; i++)
		cr_assert(timer_armed(&model.entries[i].timer) == (model.entries[i].tick != NO_TICK), "%zu", i);
}

Test(timer_wheel, behaves_like_a_sorted_list)
{
	for (uint64_t seed = 1; seed <= 4; seed++) {
		model = (struct model){.random = seed * 0x9e3779b97f4a7c15ull};
		for (size_t i = 0; i < MODEL_TIMERS; i++)
			model.entries[i].tick = NO_TICK;
		start(1 + random_span());
		uint64_t fired = 0, left_over = 0;
		for (unsigned round = 0; round < MODEL_ROUNDS; round++) {
			for (uint64_t changes = random_below(4); changes > 0; changes--)
				random_change();
			if (clock_now > 1ull << 62)
				break;
			model_advance();
			fired += model.calls;
			left_over += model.behind;
			if (round % 64 == 0)
				check_model();
		}
		cr_assert(fired > 5000 && left_over > 500, "%lu fired, %lu times some were left", fired, left_over);
	}
}

/* As many as sessions on a large gateway. The bound is for a slow machine under sanitizers; it fails what is not
 * constant per timer. */
Test(timer_wheel, a_million_timers)
{
	enum { COUNT = 1000000 };
	struct entry *entries = calloc(COUNT, sizeof *entries);
	cr_assert(entries != NULL);
	model.random = 42;
	start(NS_PER_S);
	double began = seconds();
	for (size_t i = 0; i < COUNT; i++)
		timer_set(&wheel, &entries[i].timer, clock_now + random_below(1000 * NS_PER_S));
	for (size_t i = 0; i < COUNT; i++) {
		entries[i].wanted = clock_now + random_below(3600 * NS_PER_S);
		timer_set(&wheel, &entries[i].timer, entries[i].wanted);
	}
	double set_time = seconds() - began;
	for (size_t i = 0; i < COUNT; i += 2)
		timer_clear(&wheel, &entries[i].timer);
	unsigned total = 0;
	for (unsigned second = 1; second <= 3601; second++)
		total += advance(clock_now + NS_PER_S);
	cr_assert(total == COUNT / 2, "%u", total);
	cr_assert(timer_wheel_next(&wheel) == UINT64_MAX);
	cr_assert(seconds() - began < 10, "%.2f s, of these %.2f s to set each twice", seconds() - began, set_time);
	free(entries);
}
