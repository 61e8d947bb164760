// SPDX-License-Identifier: Apache-2.0
/* Days, weeks and months, against those of the C library. */
#include "core/base/calendar.h"

#include <criterion/criterion.h>
#include <string.h>
#include <time.h>

#include "core/base/clock.h"

enum { DAY_S = 86400, DAYS = 366 * 400 /* until past 2300 */ };

static uint64_t wall(int year, int month, int day, int hour, int minute, int second)
{
	struct tm date = {.tm_year = year - 1900,
			  .tm_mon = month - 1,
			  .tm_mday = day,
			  .tm_hour = hour,
			  .tm_min = minute,
			  .tm_sec = second};
	return (uint64_t)timegm(&date) * NS_PER_S;
}

Test(calendar, each_day_for_four_centuries)
{
	for (uint32_t day = 0; day < DAYS; day++) {
		time_t seconds = (time_t)day * DAY_S;
		uint64_t ns = (uint64_t)seconds * NS_PER_S, last = ns + DAY_S * NS_PER_S - 1;
		struct tm date;
		char expected[CALENDAR_TEXT], text[CALENDAR_TEXT];
		cr_assert_not_null(gmtime_r(&seconds, &date));
		cr_assert_eq(calendar_number(CALENDAR_DAY, ns), day);
		cr_assert_eq(calendar_number(CALENDAR_DAY, last), day);
		uint32_t month = (uint32_t)((date.tm_year - 70) * 12 + date.tm_mon);
		cr_assert_eq(calendar_number(CALENDAR_MONTH, ns), month, "%u", day);
		cr_assert_eq(calendar_number(CALENDAR_MONTH, last), month, "%u", day);
		strftime(expected, sizeof expected, "%Y-%m-%d", &date);
		cr_assert_str_eq(calendar_format(CALENDAR_DAY, day, text), expected);
		memcpy(expected + 8, "01", 2);
		cr_assert_str_eq(calendar_format(CALENDAR_MONTH, month, text), expected);
		/* A week more exactly on Mondays. */
		uint32_t week = calendar_number(CALENDAR_WEEK, ns);
		uint32_t before = day == 0 ? 0 : calendar_number(CALENDAR_WEEK, ns - 1);
		cr_assert_eq(week, before + (date.tm_wday == 1 ? 1 : 0), "%u", day);
		if (date.tm_wday == 1) {
			strftime(expected, sizeof expected, "%Y-%m-%d", &date);
			cr_assert_str_eq(calendar_format(CALENDAR_WEEK, week, text), expected);
		}
	}
}

Test(calendar, ends_of_months)
{
	static const struct {
		int year, month, day;
	} lasts[] = {{2026, 11, 30}, {2026, 12, 31}, {2027, 2, 28}, {2028, 2, 29}, {2100, 2, 28}, {2000, 2, 29}};
	for (size_t i = 0; i < sizeof lasts / sizeof *lasts; i++) {
		uint64_t end = wall(lasts[i].year, lasts[i].month, lasts[i].day, 23, 59, 59) + NS_PER_S - 1;
		uint32_t month = calendar_number(CALENDAR_MONTH, end);
		cr_expect_eq(month, (uint32_t)((lasts[i].year - 1970) * 12 + lasts[i].month - 1));
		cr_expect_eq(calendar_number(CALENDAR_MONTH, end + 1), month + 1);
	}
}

Test(calendar, the_first_week_began_before_1970)
{
	char text[CALENDAR_TEXT];
	cr_expect_eq(calendar_number(CALENDAR_WEEK, 0), 0u);
	cr_expect_eq(calendar_number(CALENDAR_WEEK, wall(1970, 1, 4, 23, 59, 59)), 0u);
	cr_expect_eq(calendar_number(CALENDAR_WEEK, wall(1970, 1, 5, 0, 0, 0)), 1u);
	cr_expect_str_eq(calendar_format(CALENDAR_WEEK, 0, text), "1969-12-29");
}

Test(calendar, names)
{
	enum calendar_period period;
	for (unsigned i = 0; i < CALENDAR_PERIODS; i++) {
		const char *name = calendar_name((enum calendar_period)i);
		cr_expect(calendar_parse(name, strlen(name), &period) && period == i);
	}
	cr_expect(calendar_parse("MonthS", 5, &period) && period == CALENDAR_MONTH);
	cr_expect(!calendar_parse("months", 6, &period) && !calendar_parse("mon", 3, &period) &&
		  !calendar_parse("", 0, &period) && !calendar_parse("year", 4, &period));
}
