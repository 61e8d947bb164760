// SPDX-License-Identifier: Apache-2.0
/* Rate limits: token buckets by the generic cell rate algorithm (GCRA, ITU-T I.371), alone, one for each source address
 * in a table of fixed size, or a fixed number of them that all sources share.
 *
 * A bucket is one word, the theoretical arrival time (TAT): when it will be full again. A TAT that has passed is a full
 * bucket, so 0 is a new one, and a bucket whose TAT has passed can be forgotten without loss. Times are monotonic ns.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct token_rate {
	uint64_t interval;  /* ns in which one token is added */
	uint64_t tolerance; /* how far TAT may lie ahead and still leave one token, ns: burst − 1 intervals */
};

/* `per_second`: tokens added in a second, 1…10^9; `burst`: tokens in a full bucket, at least 1. */
static inline struct token_rate token_rate_make(uint32_t per_second, uint32_t burst)
{
	uint64_t interval = 1000000000u / per_second;
	return (struct token_rate){.interval = interval, .tolerance = (burst - 1) * interval};
}

/* Takes a token if there is one; `*tat` is the bucket. */
static inline bool token_take(const struct token_rate *rate, uint64_t *tat, uint64_t now)
{
	uint64_t from = *tat > now ? *tat : now;
	if (from - now > rate->tolerance)
		return false;
	*tat = from + rate->interval;
	return true;
}

/* One bucket with its rate. Owned by one thread. */
struct token_bucket {
	struct token_rate rate;
	uint64_t tat;
};

static inline bool token_bucket_take(struct token_bucket *bucket, uint64_t now)
{
	return token_take(&bucket->rate, &bucket->tat, now);
}

/* A bucket for each source: an IPv4 address, or an IPv6 /64, which is what one host or line gets.
 *
 * The table is set-associative: a source's keyed hash names one set of RATE_LIMITER_WAYS buckets, so an attacker cannot
 * choose sources that share a set. A new source replaces the bucket of its set that will be full first. If that one is
 * full, which is the usual case, no state is lost; otherwise the new source starts with one token instead of a full
 * burst, so that sources which evict each other gain at most one token each. Owned by one thread. */
enum { RATE_LIMITER_WAYS = 8 };

struct rate_limiter_bucket {
	uint64_t source; /* the whole hash */
	uint64_t tat;
};

struct rate_limiter {
	struct token_rate rate;
	uint32_t set_mask;
	uint8_t hash_key[16];
	struct rate_limiter_bucket *buckets;
};

/* `sources`: how many the table holds, rounded up to a power of two; 16 bytes each. `rate`: as from
 * token_rate_make(). 0 or -ENOMEM. After keys_init(); start-up: nothing is allocated later. */
int rate_limiter_init(struct rate_limiter *limiter, uint32_t sources, struct token_rate rate);
void rate_limiter_deinit(struct rate_limiter *limiter);

/* Takes a token of the source's bucket, if there is one. `address`: 16 bytes in network order, IPv4 as v4-mapped. */
bool rate_limiter_allow(struct rate_limiter *limiter, const uint8_t address[16], uint64_t now);

/* Buckets that sources share by a keyed hash: their number bounds the total rate, however many addresses are forged.
 * A flood uses up only the buckets that its addresses hash to, and the keyed hash keeps an attacker from choosing
 * them, except by using a victim's own address. Owned by one thread. */
enum { SHARED_LIMITER_BUCKETS = 128 };

struct shared_limiter {
	struct token_rate rate;
	uint32_t mask;
	uint8_t hash_key[16];
	uint64_t tats[SHARED_LIMITER_BUCKETS];
};

/* `buckets`: a power of two, at most SHARED_LIMITER_BUCKETS. `rate`: of each. After keys_init(). */
void shared_limiter_init(struct shared_limiter *limiter, uint32_t buckets, struct token_rate rate);

/* Takes a token of the bucket that the source maps to, if there is one. */
bool shared_limiter_allow(struct shared_limiter *limiter, const uint8_t address[16], uint64_t now);
