// SPDX-License-Identifier: Apache-2.0
#include "perf/record/histogram.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

static const uint64_t beyond = 1ull << HISTOGRAM_MAX_BITS;

Test(histogram, buckets_tile_all_values_without_gap_or_overlap)
{
	cr_assert_eq(histogram_bucket_low(0), 0);
	for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
		uint64_t low = histogram_bucket_low(bucket), high = histogram_bucket_high(bucket);
		cr_assert_geq(high, low);
		cr_assert_eq(histogram_bucket(low), bucket, "low edge %lu", low);
		cr_assert_eq(histogram_bucket(high), bucket, "high edge %lu", high);
		if (bucket + 1 < HISTOGRAM_BUCKETS)
			cr_assert_eq(histogram_bucket_low(bucket + 1), high + 1);
	}
}

Test(histogram, middle_of_a_bucket_is_within_the_stated_error_at_both_edges)
{
	cr_assert_leq(HISTOGRAM_ERROR_PERCENT, 3);
	for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
		uint64_t edges[2] = {histogram_bucket_low(bucket), histogram_bucket_high(bucket)};
		if (bucket == HISTOGRAM_BUCKETS - 1)
			edges[1] = beyond - 1; /* what is larger is only known to be large */
		for (int i = 0; i < 2; i++) {
			/* With a maximum elsewhere, so that the answer is the middle and not the maximum itself. */
			struct histogram_sum sum = {.count = 2, .max = beyond - 1};
			sum.buckets[bucket]++;
			sum.buckets[HISTOGRAM_BUCKETS - 1]++;
			uint64_t answer = histogram_quantile(&sum, 0.5);
			double error = fabs((double)answer - (double)edges[i]);
			cr_assert_leq(error, (double)edges[i] * HISTOGRAM_ERROR_PERCENT / 100, "edge %lu read as %lu",
				      edges[i], answer);
		}
	}
}

Test(histogram, small_values_are_exact)
{
	for (uint64_t value = 0; value < 2 * HISTOGRAM_SUB_COUNT; value++) {
		struct histogram histogram = {0};
		histogram_record(&histogram, value);
		struct histogram_sum sum = {0};
		histogram_merge(&sum, &histogram);
		cr_assert_eq(histogram_quantile(&sum, 0.5), value);
	}
}

Test(histogram, rank_between_two_values_is_the_upper_one)
{
	struct histogram histogram = {0};
	for (uint64_t value = 10; value <= 30; value += 10)
		histogram_record(&histogram, value);
	struct histogram_sum sum = {0};
	histogram_merge(&sum, &histogram);
	cr_assert_eq(histogram_quantile(&sum, 0.33), 10);
	cr_assert_eq(histogram_quantile(&sum, 0.34), 20);
	cr_assert_eq(histogram_quantile(&sum, 0.5), 20);
	cr_assert_eq(histogram_quantile(&sum, 0.67), 30);
}

Test(histogram, empty_one_answers_zero)
{
	struct histogram_sum sum = {0};
	cr_assert_eq(histogram_quantile(&sum, 0), 0);
	cr_assert_eq(histogram_quantile(&sum, 1), 0);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* splitmix64: the same values on each run. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

Test(histogram, quantiles_agree_with_a_sorted_array)
{
	enum { VALUES = 20000 };
	static const double fractions[] = {0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 1};
	static uint64_t values[VALUES];
	static struct histogram histogram;
	uint64_t random = 1, total = 0;

	for (unsigned i = 0; i < VALUES; i++) {
		/* All magnitudes alike: 1 to 39 bits. */
		values[i] = next_random(&random) >> (25 + next_random(&random) % 39);
		histogram_record(&histogram, values[i]);
		total += values[i];
	}
	qsort(values, VALUES, sizeof values[0], compare_u64);
	struct histogram_sum sum = {0};
	histogram_merge(&sum, &histogram);

	cr_assert_eq(sum.count, VALUES);
	cr_assert_eq(sum.sum, total);
	cr_assert_eq(sum.max, values[VALUES - 1]);
	for (size_t i = 0; i < ARRAY_SIZE(fractions); i++) {
		double rank = fmax(1, ceil(fractions[i] * VALUES));
		double expected = (double)values[(unsigned)rank - 1];
		double got = (double)histogram_quantile(&sum, fractions[i]);
		cr_assert_leq(fabs(got - expected), expected * HISTOGRAM_ERROR_PERCENT / 100,
			      "quantile %g: %.0f, not %.0f", fractions[i], got, expected);
	}
}

Test(histogram, too_large_values_count_in_the_last_bucket_and_keep_the_true_maximum)
{
	static const uint64_t values[] = {beyond - 1, beyond, beyond * 1000, UINT64_MAX};
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		struct histogram histogram = {0};
		cr_assert_eq(histogram_bucket(values[i]), HISTOGRAM_BUCKETS - 1);
		histogram_record(&histogram, values[i]);
		struct histogram_sum sum = {0};
		histogram_merge(&sum, &histogram);
		cr_assert_eq(sum.max, values[i]);
		cr_assert_eq(histogram_quantile(&sum, 0.99), values[i]);
	}
}

Test(histogram, merging_adds_counts_and_keeps_the_larger_maximum)
{
	struct histogram a = {0}, b = {0};
	for (int i = 0; i < 90; i++)
		histogram_record(&a, 10);
	for (int i = 0; i < 10; i++)
		histogram_record(&b, 993); /* its bucket's middle is 999 */
	struct histogram_sum sum = {0};
	histogram_merge(&sum, &b);
	histogram_merge(&sum, &a);
	cr_assert_eq(sum.count, 100);
	cr_assert_eq(sum.sum, 90 * 10 + 10 * 993);
	cr_assert_eq(sum.max, 993);
	cr_assert_eq(histogram_quantile(&sum, 0.9), 10);
	cr_assert_eq(histogram_quantile(&sum, 0.91), 993, "never above the maximum");
}
