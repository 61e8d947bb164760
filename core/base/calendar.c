// SPDX-License-Identifier: Apache-2.0
#include "core/base/calendar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/base/clock.h"

enum {
	DAY_S = 86400,
	WEEK_DAYS = 7,
	FIRST_MONDAY = -3, /* day of week 0: 1970 began on a Thursday */
	MONTHS = 12,
	FIRST_YEAR = 1970,
};

static const char *const names[CALENDAR_PERIODS] = {"day", "week", "month"};

/* A date of the proleptic Gregorian calendar. Not gmtime_r(), which reads the time zone's file, and timegm(). */
struct date {
	unsigned year, month, day; /* month and day from 1 */
};

/* Years that begin in March have their leap day last, so that days come from months by one line (E. G. Richards,
 * "Mapping Time", 1998); an era is 400 years, after which all repeats. */
enum { ERA_YEARS = 400, ERA_DAYS = 146097, ERA_START = 719468 /* days from 0000-03-01 to 1970-01-01 */ };

static struct date date_of(uint64_t day)
{
	uint64_t days = day + ERA_START, era = days / ERA_DAYS, of_era = days % ERA_DAYS;
	uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	uint64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	uint64_t from_march = (5 * of_year + 2) / 153;
	uint64_t month = from_march < 10 ? from_march + 3 : from_march - 9;
	return (struct date){.year = (unsigned)(year + era * ERA_YEARS + (month <= 2 ? 1 : 0)),
			     .month = (unsigned)month,
			     .day = (unsigned)(of_year - (153 * from_march + 2) / 5 + 1)};
}

uint32_t calendar_number(enum calendar_period period, uint64_t wall)
{
	uint64_t day = wall / NS_PER_S / DAY_S;
	if (period == CALENDAR_DAY)
		return (uint32_t)day;
	if (period == CALENDAR_WEEK)
		return (uint32_t)((day - (uint64_t)FIRST_MONDAY) / WEEK_DAYS);
	struct date date = date_of(day);
	return (date.year - FIRST_YEAR) * MONTHS + date.month - 1;
}

const char *calendar_name(enum calendar_period period)
{
	return names[period];
}

bool calendar_parse(const char *name, size_t length, enum calendar_period *period)
{
	for (unsigned i = 0; i < CALENDAR_PERIODS; i++) {
		if (strlen(names[i]) == length && strncasecmp(name, names[i], length) == 0) {
			*period = (enum calendar_period)i;
			return true;
		}
	}
	return false;
}

const char *calendar_format(enum calendar_period period, uint32_t number, char text[CALENDAR_TEXT])
{
	struct date date = {.year = FIRST_YEAR + number / MONTHS, .month = number % MONTHS + 1, .day = 1};
	if (period == CALENDAR_DAY)
		date = date_of(number);
	if (period == CALENDAR_WEEK) /* the first one began before there were numbers of days */
		date = number == 0 ? (struct date){FIRST_YEAR - 1, MONTHS, 29}
				   : date_of((uint64_t)number * WEEK_DAYS + (uint64_t)FIRST_MONDAY);
	(void)snprintf(text, CALENDAR_TEXT, "%04u-%02u-%02u", date.year, date.month, date.day);
	return text;
}
