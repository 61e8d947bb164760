// SPDX-License-Identifier: Apache-2.0
/* What two counters say of packets that are dropped between them. */
#include "core/gateway/forward_evidence.h"

#include <criterion/criterion.h>

Test(forward_evidence, few_packets_say_nothing)
{
	struct forward_evidence evidence = {0};
	cr_assert_eq(forward_evidence_add(&evidence, 2, 0, 3), FORWARD_UNCLEAR);
	cr_assert_eq(forward_evidence_add(&evidence, 3, 0, 3), FORWARD_DROPPED, "they add up");
	cr_assert_eq(evidence.lost, 3);
	cr_assert_eq(evidence.lost_of, 3);
	cr_assert_eq(forward_evidence_add(&evidence, 3, 0, 3), FORWARD_UNCLEAR, "and count once");
}

Test(forward_evidence, what_passes_and_what_is_filtered)
{
	struct forward_evidence evidence = {0};
	cr_assert_eq(forward_evidence_add(&evidence, 100, 100, 20), FORWARD_PASSES);
	cr_assert_eq(forward_evidence_add(&evidence, 200, 150, 20), FORWARD_PASSES);
	cr_assert_eq(forward_evidence_add(&evidence, 300, 190, 20), FORWARD_UNCLEAR, "a filter does what it is for");
	cr_assert_eq(forward_evidence_add(&evidence, 400, 199, 20), FORWARD_DROPPED);
	cr_assert_eq(evidence.lost, 91);
	cr_assert_eq(forward_evidence_add(&evidence, 420, 225, 20), FORWARD_PASSES, "read at two instants");
}

Test(forward_evidence, counters_begin_again_with_their_table)
{
	struct forward_evidence evidence = {0};
	cr_assert_eq(forward_evidence_add(&evidence, 1000, 1000, 20), FORWARD_PASSES);
	cr_assert_eq(forward_evidence_add(&evidence, 10, 10, 20), FORWARD_UNCLEAR);
	cr_assert_eq(forward_evidence_add(&evidence, 30, 10, 20), FORWARD_UNCLEAR);
	cr_assert_eq(forward_evidence_add(&evidence, 60, 10, 20), FORWARD_DROPPED);
}
