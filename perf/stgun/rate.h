// SPDX-License-Identifier: Apache-2.0
/* Rates, and an open loop at one: packet k is due at its time, whatever became of those before. A thread that falls
 * behind sends what is due at once, each with the time it was meant to leave, so that no delay hides (G. Tene:
 * coordinated omission). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/base/clock.h"
#include "core/base/error.h"

struct rate {
	double per_second; /* 0: as fast as it goes */
	bool bits;	   /* of inner packets; else packets */
};

/* "250k", "1.5Mpps", "10Gbit", "max". 0, or -EINVAL with `error` set. */
int rate_parse(const char *text, struct rate *rate, struct error *error);

/* Packets in a second, when they have `mean` bytes. */
static inline double rate_packets(const struct rate *rate, double mean)
{
	return rate->bits ? rate->per_second / 8 / mean : rate->per_second;
}

struct pacer {
	uint64_t start;	 /* ns: packet 0 is due */
	uint64_t end;	 /* ns: packets that are due then or later are not sent */
	double interval; /* ns; 0: each is due at once */
	uint64_t issued; /* packets; the next one has this number */
};

/* When packet k is due. As fast as it goes: `now`. */
static inline uint64_t pacer_time(const struct pacer *pacer, uint64_t k, uint64_t now)
{
	return pacer->interval == 0 ? now : pacer->start + (uint64_t)((double)k * pacer->interval);
}

/* How many packets are due and not issued, at most `most`. */
uint64_t pacer_due(const struct pacer *pacer, uint64_t now, uint64_t most);

/* How many packets are due until the end: what is offered. UINT64_MAX as fast as it goes. */
uint64_t pacer_offered(const struct pacer *pacer);
