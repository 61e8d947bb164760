// SPDX-License-Identifier: Apache-2.0
#include "perf/stgun/rate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"

#define RATE_MOST 1e13

int rate_parse(const char *text, struct rate *rate, struct error *error)
{
	static const struct {
		char letter;
		double factor;
	} scales[] = {{'k', 1e3}, {'M', 1e6}, {'G', 1e9}};
	char *end;
	double value = strtod(text, &end);
	*rate = (struct rate){0};
	if (strcmp(text, "max") == 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(scales); i++) {
		if (*end == scales[i].letter) {
			value *= scales[i].factor;
			end++;
			break;
		}
	}
	bool digit = (*text >= '0' && *text <= '9') || *text == '.';
	bool packets = *end == '\0' || strcmp(end, "pps") == 0;
	if (!digit || (!packets && strcmp(end, "bit") != 0) || !(value > 0 && value <= RATE_MOST))
		return error_set(error, -EINVAL, "\"%s\": a rate is like 250k, 1.5Mpps, 10Gbit or max", text);
	*rate = (struct rate){.per_second = value, .bits = !packets};
	return 0;
}

uint64_t pacer_offered(const struct pacer *pacer)
{
	if (pacer->interval == 0)
		return UINT64_MAX;
	double offered = ceil((double)(pacer->end - pacer->start) / pacer->interval);
	return offered < 0x1p63 ? (uint64_t)offered : UINT64_MAX;
}

uint64_t pacer_due(const struct pacer *pacer, uint64_t now, uint64_t most)
{
	if (now < pacer->start)
		return 0;
	if (pacer->interval == 0)
		return now < pacer->end ? most : 0;
	uint64_t due = (uint64_t)((double)(now - pacer->start) / pacer->interval) + 1, offered = pacer_offered(pacer);
	due = due < offered ? due : offered;
	due = due > pacer->issued ? due - pacer->issued : 0;
	return due < most ? due : most;
}
