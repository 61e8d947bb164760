// SPDX-License-Identifier: Apache-2.0
/* HELLO names the client's last session also after it ended, by which a cluster takes it to the gateway that has the
 * client's address now. core/protocol/PROTOCOL.md, 2. */
#include "tests/harness/unit.h"

static void bye(struct harness *h, enum wire_bye_reason reason)
{
	struct inbox_message *message = calloc(1, sizeof *message);
	cr_assert_not_null(message);
	uint32_t id = harness_gateway_session(h, 0)->id;
	*message = (struct inbox_message){.kind = INBOX_END, .session_id = id, .end.reason = reason};
	inbox_post(&harness_owner(h, id)->inbox, message);
	harness_pump(h);
	cr_assert_null(harness_client_session(h, 0));
}

static uint32_t named(const struct impairment *impairment)
{
	cr_assert_gt(impairment->kept_count, 0);
	return wire_session_id(impairment->kept[impairment->kept_count - 1].message.data);
}

Test(last_session, a_client_that_had_none_names_none)
{
	struct harness *h = START(0);
	struct impairment *impairment = lose(h, 1 << WIRE_HELLO);
	impairment->keep = true;
	harness_connect(h, 0);
	harness_advance(h, WORKER_TICK_NS);
	cr_assert_eq(named(impairment), 0);
	impairment_free(impairment);
	finish(h);
}

static void after_bye(enum wire_bye_reason reason)
{
	struct harness *h = START_UP(0);
	uint32_t id = harness_client_session(h, 0)->id;
	struct impairment *impairment = lose(h, 1 << WIRE_HELLO);
	impairment->keep = true;
	bye(h, reason);
	harness_advance(h, 30 * NS_PER_S);
	cr_assert_gt(impairment->kept_count, 1);
	for (size_t i = 0; i < impairment->kept_count; i++)
		cr_assert_eq(wire_session_id(impairment->kept[i].message.data), id);
	impairment_free(impairment);
	cr_assert(harness_wait(h, 0, CLIENT_UP, 30 * NS_PER_S));
	cr_assert_neq(harness_gateway_session(h, 0)->id, id, "it is another one");
	cr_assert(pings(h));
	finish(h);
}

Test(last_session, is_named_after_bye)
{
	after_bye(WIRE_BYE_RESTARTING);
	after_bye(WIRE_BYE_REMOVED);
}

/* An ID that is none of the client's any more is no session to renew, for the operator neither. */
Test(last_session, a_refused_hello_that_names_one_that_ended_is_no_failed_rekey)
{
	struct harness *h = START(.clients = 2, .address4 = "10.8.0.1/30", .address6 = "fd00:8::1/126",
				  .max_sessions = 1);
	harness_connect(h, 0);
	cr_assert(harness_wait(h, 0, CLIENT_UP, 5 * NS_PER_S));
	uint32_t id = harness_client_session(h, 0)->id;
	bye(h, WIRE_BYE_RESTARTING);
	struct event *event;
	harness_connect(h, 1); /* takes the only place */
	cr_assert(harness_wait(h, 1, CLIENT_UP, NS_PER_S / 2));
	while ((event = event_take(&h->gateway.events)) != NULL)
		free(event);
	harness_advance(h, 3 * NS_PER_S);
	event = event_take(&h->gateway.events);
	cr_assert_not_null(event, "%x", id);
	cr_assert_eq(event->kind, EVENT_REFUSED);
	cr_assert_eq(event->session_id, 0);
	free(event);
	finish(h);
}
