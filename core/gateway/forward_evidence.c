// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/forward_evidence.h"

/* Nearly all, and most: between these it is a filter that does what it is there for. */
enum { LOST_ONE_PASSES_OF = 10, PASSES_ONE_OF = 2 };

enum forward_finding forward_evidence_add(struct forward_evidence *evidence, uint64_t offered, uint64_t passed,
					  uint64_t enough)
{
	if (offered < evidence->offered || passed < evidence->passed)
		evidence->since_offered = evidence->since_passed = 0; /* the table was laid anew */
	evidence->offered = offered;
	evidence->passed = passed;
	uint64_t came = offered - evidence->since_offered, went = passed - evidence->since_passed;
	if (came < enough)
		return FORWARD_UNCLEAR;
	if (went > came)
		went = came;
	evidence->since_offered = offered;
	evidence->since_passed = passed;
	evidence->lost_of = came;
	evidence->lost = came - went;
	if (went * LOST_ONE_PASSES_OF < came)
		return FORWARD_DROPPED;
	return went * PASSES_ONE_OF >= came ? FORWARD_PASSES : FORWARD_UNCLEAR;
}
