// SPDX-License-Identifier: Apache-2.0
/* Log-linear histogram of unsigned values (after G. Tene's HdrHistogram): each power of two is cut into equal parts, so
 * a value read back is at most HISTOGRAM_ERROR_PERCENT off. Fixed memory. One writer, any readers (relaxed atomics: a
 * reader may see a value counted whose sum is not there yet). */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "core/base/bytes.h"

enum {
	HISTOGRAM_SUB_BITS = 5, /* 32 parts a power of two: half a part is 1.6 % */
	HISTOGRAM_SUB_COUNT = 1 << HISTOGRAM_SUB_BITS,
	HISTOGRAM_ERROR_PERCENT = 100 / (2 * HISTOGRAM_SUB_COUNT) + 1, /* half a part, rounded up */
	HISTOGRAM_MAX_BITS = 40, /* 2^40 cycles are minutes: larger values count in the last bucket */
	HISTOGRAM_BUCKETS = (HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1) * HISTOGRAM_SUB_COUNT,
};

struct histogram {
	_Atomic uint64_t sum;
	_Atomic uint64_t max;
	_Atomic uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* The bucket of a value, and the smallest and largest value of a bucket (of the last: UINT64_MAX). */
static inline unsigned histogram_bucket(uint64_t value)
{
	if (value >= 1ull << HISTOGRAM_MAX_BITS)
		value = (1ull << HISTOGRAM_MAX_BITS) - 1;
	if (value < HISTOGRAM_SUB_COUNT)
		return (unsigned)value;
	unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
	return (shift + 1) * HISTOGRAM_SUB_COUNT + (unsigned)(value >> shift) - HISTOGRAM_SUB_COUNT;
}
uint64_t histogram_bucket_low(unsigned bucket);
uint64_t histogram_bucket_high(unsigned bucket);

/* The value that stands for those of a bucket; of the last, which has no middle, its smallest. */
uint64_t histogram_bucket_middle(unsigned bucket);

/* Owner only. */
static inline void histogram_bump(_Atomic uint64_t *word, uint64_t by)
{
	atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + by, memory_order_relaxed);
}

/* Counts `value` `count` times. */
static inline void histogram_record_many(struct histogram *histogram, uint64_t value, uint64_t count)
{
	histogram_bump(&histogram->buckets[histogram_bucket(value)], count);
	histogram_bump(&histogram->sum, value * count);
	if (value > atomic_load_explicit(&histogram->max, memory_order_relaxed))
		atomic_store_explicit(&histogram->max, value, memory_order_relaxed);
}

static inline void histogram_record(struct histogram *histogram, uint64_t value)
{
	histogram_record_many(histogram, value, 1);
}

/* By its owner, while others may read it. */
static inline void histogram_clear(struct histogram *histogram)
{
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		atomic_store_explicit(&histogram->buckets[i], 0, memory_order_relaxed);
	atomic_store_explicit(&histogram->sum, 0, memory_order_relaxed);
	atomic_store_explicit(&histogram->max, 0, memory_order_relaxed);
}

/* Merged histograms of several threads; plain numbers, owned by the reader. */
struct histogram_sum {
	uint64_t count;
	uint64_t sum;
	uint64_t max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* Adds a thread's histogram. Any thread. `sum` starts zeroed. */
void histogram_merge(struct histogram_sum *sum, const struct histogram *histogram);

/* The smallest value that `fraction` (0…1) of the recorded ones do not exceed: the middle of its bucket, never above
 * max; in the last bucket, max itself. 0 when empty. */
uint64_t histogram_quantile(const struct histogram_sum *sum, double fraction);
