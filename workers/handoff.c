// SPDX-License-Identifier: Apache-2.0
#include "workers/handoff.h"

#include "core/base/waker.h"
#include "core/protocol/wire.h"

static enum drop_reason check(const struct handover *handover, const uint8_t *data, uint32_t length)
{
	if (length < WIRE_SMALLEST)
		return DROP_RUNT;
	switch (wire_type(data)) {
	case WIRE_HELLO:
		if (wire_high(data) != WIRE_VERSION)
			return DROP_VERSION;
		return length == WIRE_HELLO_SIZE ? DROP_NONE : length < WIRE_HELLO_SIZE ? DROP_RUNT : DROP_OVERSIZED;
	case WIRE_DATA:
	case WIRE_CLIENT_ACK:
	case WIRE_BYE:
	case WIRE_KEEPALIVE:
		if (length < WIRE_OVERHEAD)
			return DROP_RUNT;
		return session_table_find(handover->table, wire_session_id(data)) != NULL ? DROP_NONE : DROP_SESSION;
	default:
		return DROP_TYPE;
	}
}

enum drop_reason handover_pass(const struct handover *handover, const struct endpoint *from, uint8_t ecn,
			       const uint8_t *data, uint32_t length, struct stats *stats)
{
	enum drop_reason reason = check(handover, data, length);
	if (reason != DROP_NONE)
		return reason;
	const struct handover_target *target = &handover->targets[steering_thread(&handover->steering, data, length)];
	if (!copy_ring_push(target->ring, from, ecn, data, length))
		return DROP_HANDOVER;
	stats_add(stats, handed_over, 1);
	(void)waker_wake(target->waker);
	return DROP_NONE;
}
