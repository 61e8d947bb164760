// SPDX-License-Identifier: Apache-2.0
/* Mixes of packet sizes: "1400", "imix", or "64:7,576:4,1400:1", in which the second number says how many of the
 * twelve have that size. Sizes are those of inner IP packets. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"

enum { MIX_SIZES = 8, MIX_WEIGHTS = 128 /* all together */ };

/* The sizes in the order in which they are sent, over and over. */
struct mix {
	uint16_t order[MIX_WEIGHTS];
	size_t count;
	uint16_t least, most;
	double mean; /* bytes */
};

/* Reads the text. 0, or -EINVAL with `error` set. */
int mix_parse(const char *text, struct mix *mix, struct error *error);

static inline uint16_t mix_at(const struct mix *mix, uint64_t number)
{
	return mix->order[number % mix->count];
}
