// SPDX-License-Identifier: Apache-2.0
#include "crypto/rate_limit.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"

enum { SET_SIZE = RATE_LIMITER_WAYS * sizeof(struct rate_limiter_bucket) };

_Static_assert(SET_SIZE % CACHE_LINE == 0, "a set fills whole cache lines");
_Static_assert(sizeof((struct rate_limiter *)NULL)->hash_key == crypto_shorthash_KEYBYTES, "key of SipHash-2-4");

int rate_limiter_init(struct rate_limiter *limiter, uint32_t sources, struct token_rate rate)
{
	size_t sets = 1;
	while (sets * RATE_LIMITER_WAYS < sources)
		sets *= 2;
	*limiter = (struct rate_limiter){.rate = rate, .set_mask = (uint32_t)(sets - 1)};
	limiter->buckets = aligned_alloc(CACHE_LINE, sets * SET_SIZE);
	if (limiter->buckets == NULL)
		return -ENOMEM;
	memset(limiter->buckets, 0, sets * SET_SIZE);
	randombytes_buf(limiter->hash_key, sizeof limiter->hash_key);
	return 0;
}

void rate_limiter_deinit(struct rate_limiter *limiter)
{
	free(limiter->buckets);
	limiter->buckets = NULL;
}

/* The whole hash stands for the source: under a secret key, collisions are negligible. */
static uint64_t source_hash(const uint8_t hash_key[16], const uint8_t address[16])
{
	static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};
	uint8_t source[16] = {0};
	bool v4 = memcmp(address, v4_mapped, sizeof v4_mapped) == 0;
	memcpy(source, address, v4 ? 16 : 8);
	uint64_t hash;
	crypto_shorthash((uint8_t *)&hash, source, sizeof source, hash_key);
	return hash;
}

static struct rate_limiter_bucket *find_bucket(struct rate_limiter *limiter, uint64_t source, uint64_t now)
{
	struct rate_limiter_bucket *set = limiter->buckets + (source & limiter->set_mask) * RATE_LIMITER_WAYS;
	struct rate_limiter_bucket *fullest = &set[0];
	for (size_t i = 0; i < RATE_LIMITER_WAYS; i++) {
		if (set[i].source == source)
			return &set[i];
		if (set[i].tat < fullest->tat)
			fullest = &set[i];
	}
	*fullest = (struct rate_limiter_bucket){
		.source = source,
		.tat = fullest->tat > now ? now + limiter->rate.tolerance : 0,
	};
	return fullest;
}

bool rate_limiter_allow(struct rate_limiter *limiter, const uint8_t address[16], uint64_t now)
{
	struct rate_limiter_bucket *bucket = find_bucket(limiter, source_hash(limiter->hash_key, address), now);
	return token_take(&limiter->rate, &bucket->tat, now);
}

void shared_limiter_init(struct shared_limiter *limiter, uint32_t buckets, struct token_rate rate)
{
	*limiter = (struct shared_limiter){.rate = rate, .mask = buckets - 1};
	randombytes_buf(limiter->hash_key, sizeof limiter->hash_key);
}

bool shared_limiter_allow(struct shared_limiter *limiter, const uint8_t address[16], uint64_t now)
{
	uint64_t *tat = &limiter->tats[source_hash(limiter->hash_key, address) & limiter->mask];
	return token_take(&limiter->rate, tat, now);
}
