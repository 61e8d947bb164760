// SPDX-License-Identifier: Apache-2.0
#include "core/cli/ctl_text.h"

#include <inttypes.h>
#include <stdio.h>

uint64_t ctl_number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

const char *ctl_text_of(const json_t *value)
{
	return json_is_string(value) ? json_string_value(value) : "-";
}

const char *ctl_text(const json_t *object, const char *key)
{
	return ctl_text_of(json_object_get(object, key));
}

static const char *scaled(char text[CTL_NUMBER_MAX], double value, double step, const char *const *units)
{
	while (value >= step && units[1] != NULL) {
		value /= step;
		units++;
	}
	snprintf(text, CTL_NUMBER_MAX, "%.*f%s", value < 10 ? 2 : value < 100 ? 1 : 0, value, *units);
	return text;
}

const char *ctl_count(char text[CTL_NUMBER_MAX], uint64_t count)
{
	static const char *const units[] = {"", " k", " M", " G", " T", NULL};
	if (count >= 1000000)
		return scaled(text, (double)count, 1000, units);
	snprintf(text, CTL_NUMBER_MAX, "%" PRIu64, count);
	return text;
}

const char *ctl_bytes(char text[CTL_NUMBER_MAX], uint64_t bytes)
{
	static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB", NULL};
	if (bytes >= 1024)
		return scaled(text, (double)bytes, 1024, units);
	snprintf(text, CTL_NUMBER_MAX, "%" PRIu64 " B", bytes);
	return text;
}

const char *ctl_duration(char text[CTL_NUMBER_MAX], uint64_t seconds)
{
	unsigned days = (unsigned)(seconds / 86400), hours = (unsigned)(seconds / 3600 % 24);
	unsigned minutes = (unsigned)(seconds / 60 % 60);
	if (days > 0)
		snprintf(text, CTL_NUMBER_MAX, "%u d %u h", days, hours);
	else if (hours > 0)
		snprintf(text, CTL_NUMBER_MAX, "%u h %u min", hours, minutes);
	else if (minutes > 0)
		snprintf(text, CTL_NUMBER_MAX, "%u min %u s", minutes, (unsigned)(seconds % 60));
	else
		snprintf(text, CTL_NUMBER_MAX, "%u s", (unsigned)seconds);
	return text;
}
