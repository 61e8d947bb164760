// SPDX-License-Identifier: Apache-2.0
#include "perf/record/histogram.h"

#include <math.h>

uint64_t histogram_bucket_low(unsigned bucket)
{
	if (bucket < HISTOGRAM_SUB_COUNT)
		return bucket;
	unsigned shift = bucket / HISTOGRAM_SUB_COUNT - 1;
	return (uint64_t)(HISTOGRAM_SUB_COUNT + bucket % HISTOGRAM_SUB_COUNT) << shift;
}

uint64_t histogram_bucket_high(unsigned bucket)
{
	return bucket == HISTOGRAM_BUCKETS - 1 ? UINT64_MAX : histogram_bucket_low(bucket + 1) - 1;
}

uint64_t histogram_bucket_middle(unsigned bucket)
{
	uint64_t low = histogram_bucket_low(bucket);
	return bucket == HISTOGRAM_BUCKETS - 1 ? low : low + (histogram_bucket_high(bucket) - low) / 2;
}

void histogram_merge(struct histogram_sum *sum, const struct histogram *histogram)
{
	/* The count is what the buckets add up to as they were read, so that a quantile always finds its rank. */
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t count = atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
		sum->buckets[i] += count;
		sum->count += count;
	}
	sum->sum += atomic_load_explicit(&histogram->sum, memory_order_relaxed);
	uint64_t max = atomic_load_explicit(&histogram->max, memory_order_relaxed);
	if (max > sum->max)
		sum->max = max;
}

uint64_t histogram_quantile(const struct histogram_sum *sum, double fraction)
{
	if (sum->count == 0)
		return 0;
	double wanted = ceil(fraction * (double)sum->count);
	uint64_t rank = wanted < 1 ? 1 : wanted >= (double)sum->count ? sum->count : (uint64_t)wanted;

	unsigned bucket = 0;
	for (uint64_t seen = sum->buckets[0]; seen < rank; seen += sum->buckets[bucket])
		bucket++;
	if (bucket == HISTOGRAM_BUCKETS - 1)
		return sum->max;
	uint64_t middle = histogram_bucket_middle(bucket);
	return middle < sum->max ? middle : sum->max;
}
