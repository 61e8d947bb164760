// SPDX-License-Identifier: Apache-2.0
/* A hierarchical timing wheel: setting, moving and clearing a timer take constant time, whatever the number of timers.
 * G. Varghese and T. Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987, scheme 7.
 *
 * Time counts in ticks of a power of two of nanoseconds, which each wheel chooses. A level is one digit of the tick
 * number, to the base of 64: a timer waits at the highest digit in which its tick differs from the wheel's, in the
 * bucket of its own digit there, and sinks a level or more when the wheel comes to that bucket. Eight levels hold every
 * 64-bit time, so there is no horizon. A bitmap of the occupied buckets of each level leads from one straight to the
 * next: a clock jump of hours costs no more than the timers that become due.
 *
 * A timer never fires before its time, and becomes due at the first tick boundary at or after it. A time in the past
 * counts as the next boundary, so a timer that its own callback sets again fires at most once per call.
 *
 * Timers are embedded in the caller's structs; the wheel never allocates. Owned by one thread. Times are nanoseconds of
 * clock_monotonic(). A wheel cannot be copied or moved. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <urcu/list.h>

#include "core/base/owner.h"

enum {
	TIMER_WHEEL_TICK_BITS = 24, /* 16.8 ms: for what has minutes */
	TIMER_WHEEL_FINE_BITS = 19, /* 0.5 ms, the least: for packets that wait */
	TIMER_WHEEL_DIGIT_BITS = 6,
	TIMER_WHEEL_BUCKETS = 1 << TIMER_WHEEL_DIGIT_BITS, /* of a level */
	TIMER_WHEEL_LEVELS = 8,
	TIMER_WHEEL_SINKS = 8, /* timers that may sink per callback of a call: about the same amount of work */
};

#define TIMER_WHEEL_TICK_NS (1ull << TIMER_WHEEL_TICK_BITS)

_Static_assert(TIMER_WHEEL_LEVELS *TIMER_WHEEL_DIGIT_BITS > 64 - TIMER_WHEEL_FINE_BITS,
	       "every time has its bucket, also when rounded up");

/* Embedded in what the timer is for. All zero: not armed. */
struct timer {
	struct cds_list_head node; /* next is NULL when not armed */
	uint64_t due;		   /* ns; what was set, or the next boundary if that is later */
};

struct timer_wheel {
	unsigned tick_bits; /* a tick is 2^tick_bits ns */
	uint64_t now;	    /* tick of the last `now`; later ones are not due */
	uint64_t position;  /* tick that the levels refer to; behind `now` only when a call ended at its limit */
	unsigned sinking;   /* level whose bucket at `position` is being emptied; 0: none */
	uint64_t occupied[TIMER_WHEEL_LEVELS]; /* a bit for each bucket that holds a timer */
	struct cds_list_head buckets[TIMER_WHEEL_LEVELS][TIMER_WHEEL_BUCKETS];
	struct owner owner;
};

/* May set and clear any timer of the wheel, this one included, and free a struct whose embedded timer is not armed;
 * this timer no longer is. */
typedef void timer_callback(struct timer *timer, void *context);

/* `tick_bits` is at least TIMER_WHEEL_FINE_BITS. */
void timer_wheel_init(struct timer_wheel *wheel, uint64_t now, unsigned tick_bits);

static inline bool timer_armed(const struct timer *timer)
{
	return timer->node.next != NULL;
}

/* Arms the timer for `due`, or moves it there. UINT64_MAX never comes. */
void timer_set(struct timer_wheel *wheel, struct timer *timer, uint64_t due);

/* Disarms it; does nothing if it is not armed. */
void timer_clear(struct timer_wheel *wheel, struct timer *timer);

/* Disarms what is due at `now` and calls back, tick by tick in order (within a tick in any), at most `limit` times,
 * which is at least 1. At most TIMER_WHEEL_SINKS times as many timers sink in one call. True when work is left over:
 * call again soon. Not to be called from a callback. A clock that goes back is treated as one that stands still. */
bool timer_wheel_advance(struct timer_wheel *wheel, uint64_t now, timer_callback *callback, void *context,
			 uint32_t limit);

/* The time before which timer_wheel_advance() need not be called, ns: nothing fires earlier. In the past when a call
 * left work; UINT64_MAX when no timer is armed. A timer far away costs one early call for each level that it sinks. */
uint64_t timer_wheel_next(const struct timer_wheel *wheel);
