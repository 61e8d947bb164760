// SPDX-License-Identifier: Apache-2.0
#include "workers/handoff.h"

#include "core/base/waker.h"
#include "core/protocol/messages.h"

/* A sealed message goes to the thread that owns its session, which counts what else is wrong with its length. */
static enum drop_reason check(const struct handoff *handoff, const uint8_t *data, uint32_t length)
{
	struct wire_verdict verdict = message_classify(WIRE_SIDE_GATEWAY, data, length);
	if (!wire_is_transport(verdict.class))
		return verdict.reason;
	if (length < (uint32_t)(message_is_wireguard(data) ? WG_DATA_MIN : WIRE_OVERHEAD))
		return DROP_RUNT;
	return session_table_find(handoff->table, message_session_id(data)) != NULL ? DROP_NONE : DROP_SESSION;
}

enum drop_reason handoff_pass(const struct handoff *handoff, const struct endpoint *from, uint8_t ecn,
			      const uint8_t *data, uint32_t length, struct stats *stats)
{
	enum drop_reason reason = check(handoff, data, length);
	if (reason != DROP_NONE)
		return reason;
	const struct handoff_target *target = &handoff->targets[steering_thread(&handoff->steering, data, length)];
	if (!copy_ring_push(target->ring, from, ecn, data, length))
		return DROP_HANDOFF;
	stats_add(stats, handed_over, 1);
	(void)waker_wake(target->waker);
	return DROP_NONE;
}
