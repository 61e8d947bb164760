// SPDX-License-Identifier: Apache-2.0
#include "workers/codel.h"

#include "core/base/bytes.h"

enum { REMEMBERED_INTERVALS = 16 };

void codel_init(struct codel *codel, uint64_t target, uint32_t interval, uint32_t max_packet)
{
	*codel = (struct codel){.target = target, .interval = interval, .max_packet = max_packet};
}

/* Rounded down; Newton's method, from above. */
static uint64_t square_root(uint64_t value)
{
	if (value < 2)
		return value;
	int bits = 64 - __builtin_clzll(value);
	uint64_t root = 1ull << (bits + 1) / 2;
	for (;;) {
		uint64_t next = (root + value / root) / 2;
		if (next >= root)
			return root;
		root = next;
	}
}

/* time + interval / sqrt(count), exact to the nanosecond: an interval of 32 bits has a square of 64. */
static uint64_t control_law(const struct codel *codel, uint64_t time)
{
	uint64_t square = (uint64_t)codel->interval * codel->interval;
	return time + square_root(square / codel->count);
}

/* Whether the wait has been above target for an interval. */
static bool stands(struct codel *codel, uint64_t sojourn, uint64_t now, uint64_t behind)
{
	if (likely(sojourn < codel->target || behind <= codel->max_packet)) {
		codel->first_above = 0;
		return false;
	}
	if (codel->first_above == 0) {
		codel->first_above = now + codel->interval;
		return false;
	}
	return now >= codel->first_above;
}

static void start_dropping(struct codel *codel, uint64_t now)
{
	/* Soon after the last time, the rate that ended it is a better start than the lowest. */
	uint32_t grown = codel->count - codel->last_count;
	bool soon = now < codel->drop_next + (uint64_t)REMEMBERED_INTERVALS * codel->interval;
	codel->count = grown > 1 && soon ? grown : 1;
	codel->last_count = codel->count;
	codel->drop_next = control_law(codel, now);
	codel->dropping = true;
}

bool codel_drop(struct codel *codel, uint64_t sojourn, uint64_t now, uint64_t behind)
{
	if (!stands(codel, sojourn, now, behind)) {
		codel->dropping = false;
		return false;
	}
	if (!codel->dropping) {
		start_dropping(codel, now);
		return true;
	}
	if (now < codel->drop_next)
		return false;
	if (codel->count < UINT32_MAX)
		codel->count++;
	codel->drop_next = control_law(codel, codel->drop_next);
	return true;
}
