// SPDX-License-Identifier: Apache-2.0
/* Days, weeks from Monday and months of UTC, as numbers that grow by one with each: what is counted by the calendar
 * compares numbers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum calendar_period {
	CALENDAR_DAY,	/* since 1970-01-01 */
	CALENDAR_WEEK,	/* since Monday, 1969-12-29 */
	CALENDAR_MONTH, /* since 1970-01 */
	CALENDAR_PERIODS,
};

enum { CALENDAR_TEXT = 24 };

/* The number of the period that a moment is in, ns since 1970 UTC. Any thread. */
uint32_t calendar_number(enum calendar_period period, uint64_t wall);

/* "day", "week" or "month". Any thread. */
const char *calendar_name(enum calendar_period period);

/* From such a name, in any case; `length` bytes of it. False: it is none. Any thread. */
bool calendar_parse(const char *name, size_t length, enum calendar_period *period);

/* The first day of a period, "2026-11-01". Any thread. */
const char *calendar_format(enum calendar_period period, uint32_t number, char text[CALENDAR_TEXT]);
