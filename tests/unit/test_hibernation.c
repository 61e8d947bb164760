// SPDX-License-Identifier: Apache-2.0
/* Idle sessions at the gateway give their expanded keys back, without effect on traffic. */
#include "tests/harness/unit.h"

TestSuite(hibernation, .timeout = 60);

enum { IDLE_BYTES = 1024 };

static struct session *at_gateway(struct harness *h)
{
	return harness_gateway_session(h, 0);
}

static bool awake(struct harness *h)
{
	return transport_key_is_live(at_gateway(h)->current);
}

/* DATA moved just now, and then none until the key sleeps. */
static struct harness *asleep(struct harness_options options)
{
	struct harness *h = unit_start_up(options);
	cr_assert(pings(h));
	harness_advance(h, SESSION_HIBERNATE_NS + 2 * WORKER_TICK_NS);
	cr_assert_not(awake(h));
	return h;
}

Test(hibernation, keys_sleep_after_a_minute_without_data)
{
	struct harness *h = START_UP(.clients = 3, .rekey_interval = 10000);
	for (unsigned round = 0; round < 3; round++) {
		cr_assert(harness_ping(h, 0, (enum direction)(round % 2)));
		cr_assert(awake(h));
		harness_advance(h, SESSION_HIBERNATE_NS - WORKER_TICK_NS);
		cr_assert(awake(h), "round %u", round);
		cr_assert(harness_ping(h, 1, TO_GATEWAY));
		harness_advance(h, 3 * WORKER_TICK_NS);
		cr_assert_not(awake(h), "round %u", round);
		cr_assert(transport_key_is_live(harness_gateway_session(h, 1)->current), "its neighbour goes on");
	}
	finish(h);
}

Test(hibernation, a_session_is_born_asleep)
{
	struct harness *h = START_UP(0);
	cr_assert_not(awake(h));
	cr_assert(harness_ping(h, 0, TO_GATEWAY));
	cr_assert(awake(h));
	finish(h);
}

Test(hibernation, keepalives_do_not_wake)
{
	struct harness *h = asleep((struct harness_options){.persistent_keepalive = 5});
	uint64_t before = gateway_count(h, STATS_rx_keepalive);
	for (unsigned tick = 0; tick < 400; tick++) {
		harness_advance(h, WORKER_TICK_NS);
		cr_assert_not(awake(h));
	}
	cr_assert_geq(gateway_count(h, STATS_rx_keepalive), before + 18);
	cr_assert_not_null(at_gateway(h));
	finish(h);
}

Test(hibernation, data_wakes_in_either_direction)
{
	for (unsigned direction = 0; direction < 2; direction++) {
		struct harness *h = asleep((struct harness_options){0});
		cr_assert(harness_ping(h, 0, (enum direction)direction));
		cr_assert(awake(h));
		cr_assert(pings(h));
		finish(h);
	}
}

/* What was delivered before is a replay, asleep or awake again; all that is new is delivered, also out of order. */
Test(hibernation, nothing_is_lost_or_delivered_twice)
{
	enum { COUNT = 20 };
	struct harness *h = START_UP(.persistent_keepalive = 20, .rekey_interval = 10000, .session_timeout = 10000);
	struct impairment *impairment = impairment_new(h, 1);
	impairment->types = 1 << WIRE_DATA;
	impairment->from = &h->clients[0].node.link;
	for (unsigned round = 0; round < 5; round++) {
		size_t kept = impairment->kept_count;
		impairment->keep = true;
		for (unsigned i = 0; i < COUNT; i++)
			cr_assert(harness_ping(h, 0, TO_GATEWAY));
		impairment->keep = false;
		cr_assert_eq(impairment->kept_count, kept + COUNT);
		harness_advance(h, SESSION_HIBERNATE_NS + 2 * WORKER_TICK_NS);
		cr_assert_not(awake(h));
		uint64_t replays = node_drops(&h->gateway.node, DROP_REPLAY);
		for (size_t i = 0; i < impairment->kept_count; i++)
			impairment_replay(impairment, i), harness_pump(h);
		cr_assert_eq(node_drops(&h->gateway.node, DROP_REPLAY), replays + impairment->kept_count);
		cr_assert_not(awake(h), "what was seen does not wake");

		impairment->delay = 100;
		cr_assert_not(harness_ping(h, 0, TO_GATEWAY));
		cr_assert_not(harness_ping(h, 0, TO_GATEWAY));
		impairment->delay = 0;
		cr_assert(harness_ping(h, 0, TO_GATEWAY));
		cr_assert(awake(h));
		for (size_t i = 0; i < impairment->kept_count; i++)
			impairment_replay(impairment, i), harness_pump(h);
		cr_assert_eq(node_drops(&h->gateway.node, DROP_REPLAY), replays + 2 * impairment->kept_count);
		cr_assert_eq(node_waiting(&h->gateway.node), 0);
		impairment_release(impairment);
		harness_pump(h);
		cr_assert_eq(node_waiting(&h->gateway.node), 2, "overtaken by what woke it, and welcome");
		(void)node_take(&h->gateway.node), (void)node_take(&h->gateway.node);
		cr_assert(pings(h));
	}
	impairment_free(impairment);
	finish(h);
}

Test(hibernation, a_rekey_finds_the_key_asleep)
{
	struct harness *h = asleep((struct harness_options){.session_timeout = 1000});
	harness_advance(h, HARNESS_REKEY_INTERVAL * NS_PER_S);
	cr_assert_not(awake(h));
	uint8_t epoch = at_gateway(h)->current->epoch;
	h->clients[0].role.rekey_interval = 0;
	cr_assert(harness_ping(h, 0, TO_GATEWAY), "under the old key, which wakes");
	harness_advance(h, NS_PER_S);
	cr_assert_eq(at_gateway(h)->current->epoch, wire_next_epoch(epoch));
	cr_assert_eq(gateway_count(h, STATS_rekeys), 1);
	cr_assert(awake(h), "as the old one was");
	cr_assert(pings(h));
	finish(h);
}

/* The keys are new, and DATA that the old one sealed is late. */
Test(hibernation, a_previous_key_asleep_still_opens_what_is_late)
{
	struct harness *h = START_UP(.session_timeout = 1000);
	struct impairment *impairment = impairment_new(h, 1);
	cr_assert(pings(h));
	harness_advance(h, SESSION_HIBERNATE_NS + 2 * WORKER_TICK_NS);
	impairment->types = 1 << WIRE_DATA;
	impairment->delay = 100;
	cr_assert_not(harness_ping(h, 0, TO_GATEWAY));
	h->clients[0].role.rekey_interval = 0;
	harness_advance(h, NS_PER_S);
	cr_assert_eq(at_gateway(h)->current->epoch, 2);
	cr_assert_not(transport_key_is_live(at_gateway(h)->previous));
	impairment->delay = 0;
	impairment_release(impairment);
	harness_pump(h);
	cr_assert_eq(node_waiting(&h->gateway.node), 1);
	cr_assert(transport_key_is_live(at_gateway(h)->previous));
	harness_advance(h, SESSION_PREVIOUS_KEY_NS + WORKER_TICK_NS);
	cr_assert_null(at_gateway(h)->previous);
	impairment_free(impairment);
	finish(h);
}

Test(hibernation, an_idle_session_is_small)
{
	struct harness *h = START_UP(.clients = 8);
	for (size_t i = 0; i < 8; i++)
		cr_assert(harness_ping(h, i, TO_GATEWAY));
	harness_advance(h, SESSION_HIBERNATE_NS + 2 * WORKER_TICK_NS);
	for (size_t i = 0; i < 8; i++) {
		const struct session *session = harness_gateway_session(h, i);
		cr_assert(!transport_key_is_live(session->current) && session->previous == NULL &&
			  session->next == NULL);
	}
	/* The session, its one key, its slot in the table and its place in the pool. */
	size_t slot = sizeof(void *) + 2 * sizeof(uint32_t);
	size_t place = sizeof(uint64_t) + sizeof(uint8_t) + sizeof(struct pool_link);
	size_t bytes = sizeof(struct session) + sizeof(struct transport_key) + slot + place;
	cr_assert_leq(bytes, IDLE_BYTES, "%zu bytes", bytes);
	finish(h);
}
