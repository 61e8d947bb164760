// SPDX-License-Identifier: Apache-2.0
#include "workers/seen_sources.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_BITS = 64, WORDS = SEEN_SOURCES_BITS / WORD_BITS };

int seen_sources_init(struct seen_sources *seen)
{
	*seen = (struct seen_sources){0};
	for (size_t i = 0; i < 2; i++) {
		seen->bits[i] = calloc(WORDS, sizeof *seen->bits[i]);
		if (seen->bits[i] == NULL) {
			seen_sources_deinit(seen);
			return -ENOMEM;
		}
	}
	randombytes_buf(seen->hash_key, sizeof seen->hash_key);
	return 0;
}

void seen_sources_deinit(struct seen_sources *seen)
{
	free(seen->bits[0]);
	free(seen->bits[1]);
	*seen = (struct seen_sources){0};
}

static void clear(uint64_t *bits)
{
	memset(bits, 0, WORDS * sizeof *bits);
}

static void turn(struct seen_sources *seen, uint64_t period)
{
	if (period == seen->period)
		return;
	uint64_t *oldest = seen->bits[1];
	seen->bits[1] = seen->bits[0];
	seen->bits[0] = oldest;
	clear(oldest);
	if (period != seen->period + 1)
		clear(seen->bits[1]);
	seen->period = period;
}

bool seen_sources_note(struct seen_sources *seen, const struct sockaddr_in6 *source, uint64_t now)
{
	uint8_t input[16 + 2];
	uint64_t hash;
	memcpy(input, &source->sin6_addr, 16);
	memcpy(input + 16, &source->sin6_port, 2);
	crypto_shorthash((uint8_t *)&hash, input, sizeof input, seen->hash_key);
	turn(seen, now / SEEN_SOURCES_PERIOD_NS);
	uint64_t word = hash / WORD_BITS % WORDS, bit = 1ull << hash % WORD_BITS;
	bool before = ((seen->bits[0][word] | seen->bits[1][word]) & bit) != 0;
	seen->bits[0][word] |= bit;
	return before;
}
