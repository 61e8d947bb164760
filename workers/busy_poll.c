// SPDX-License-Identifier: Apache-2.0
#include "workers/busy_poll.h"

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t busy_poll_begin(struct busy_poll *poll, uint64_t now)
{
	poll->credit = smaller(poll->credit + (now - poll->counted) / BUSY_POLL_SHARE, BUSY_POLL_CREDIT_NS);
	poll->counted = now;
	if (poll->length == 0 && now >= poll->resumes)
		poll->length = BUSY_POLL_MOST_NS;
	/* Not for a part of it: that nothing came would say nothing. */
	return poll->length <= poll->credit && !busy_poll_defers(poll, now) ? poll->length : 0;
}

void busy_poll_end(struct busy_poll *poll, uint64_t began, uint64_t now, bool found)
{
	poll->credit -= smaller(poll->credit, now - began);
	poll->counted = now;
	poll->length = found ? BUSY_POLL_MOST_NS : poll->length / 2;
	if (poll->length < BUSY_POLL_LEAST_NS) {
		poll->length = 0;
		poll->resumes = now + BUSY_POLL_PAUSE_NS;
	}
}

void busy_poll_held_up(struct busy_poll *poll, uint64_t now)
{
	bool soon = now - poll->until < poll->defer;
	poll->defer = soon ? smaller(4 * poll->defer, BUSY_POLL_DEFER_MOST_NS) : BUSY_POLL_DEFER_NS;
	poll->until = now + poll->defer;
}
