// SPDX-License-Identifier: Apache-2.0
/* Sessions from their first HELLO to their end, on a clock that the tests move: core/protocol/PROTOCOL.md, 4. */
#include "tests/harness/unit.h"

TestSuite(life_cycle, .timeout = 60);

/* --- handshake ---------------------------------------------------------------------------------------------------- */

Test(life_cycle, a_handshake_takes_one_round_trip)
{
	struct harness *h = START(0);
	harness_connect(h, 0);
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	cr_assert_eq(h->clients[0].seen.state, CLIENT_UP);
	cr_assert_eq(client_count(h, STATS_tx_hello), 1);
	cr_assert_eq(gateway_count(h, STATS_rx_hello), 1);
	cr_assert_eq(client_count(h, STATS_rx_welcome), 1);
	cr_assert_eq(gateway_count(h, STATS_rx_client_ack), 1);
	cr_assert_eq(client_count(h, STATS_rx_keepalive), 1, "a fresh CLIENT_ACK is answered");
	cr_assert_eq(gateway_count(h, STATS_sessions_started), 1);
	cr_assert(pings(h));
	finish(h);
}

Test(life_cycle, hello_is_repeated_after_1_s_doubling_to_16_s)
{
	struct harness *h = START(0);
	struct impairment *impairment = lose(h, 1 << WIRE_WELCOME);
	harness_connect(h, 0);
	harness_pump(h);
	uint64_t expected = 1000, last = h->clock.monotonic;
	double shortest = 1, longest = 1;
	for (unsigned sent = 1; sent < 40; sent++, expected = expected < 16000 ? expected * 2 : expected) {
		while (client_count(h, STATS_tx_hello) == sent)
			harness_advance(h, WORKER_TICK_NS);
		double waited = (double)(h->clock.monotonic - last) / (double)NS_PER_MS;
		last = h->clock.monotonic;
		double tick = (double)WORKER_TICK_NS / (double)NS_PER_MS;
		cr_assert_geq(waited, (double)expected * 0.75, "%u: %g ms", sent, waited);
		cr_assert_leq(waited, (double)expected * 1.25 + tick, "%u: %g ms", sent, waited);
		shortest = waited / (double)expected < shortest ? waited / (double)expected : shortest;
		longest = waited / (double)expected > longest ? waited / (double)expected : longest;
		cr_assert_eq(h->clients[0].seen.hellos, sent + 1, "the control thread sees the tries");
	}
	cr_assert_lt(shortest, 0.95, "it is random");
	cr_assert_gt(longest, 1.05, "it is random");
	cr_assert_eq(gateway_count(h, STATS_sessions_started), 0);
	cr_assert_leq(h->gateway.role.pending, 1);

	impairment->lose = 0;
	cr_assert(harness_wait(h, 0, CLIENT_UP, 21 * NS_PER_S));
	impairment_free(impairment);
	finish(h);
}

Test(life_cycle, a_lost_client_ack_is_repeated_every_250_ms)
{
	struct harness *h = START(0);
	struct impairment *impairment = lose(h, 1 << WIRE_CLIENT_ACK);
	harness_connect(h, 0);
	harness_advance(h, 2 * NS_PER_S);
	cr_assert_eq(h->clients[0].role.state, CLIENT_CONFIRM);
	cr_assert_eq(client_count(h, STATS_tx_client_ack), 9);
	cr_assert_eq(gateway_count(h, STATS_sessions_started), 0);
	impairment->lose = 0;
	harness_advance(h, WORKER_TICK_NS);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	cr_assert_eq(client_count(h, STATS_tx_hello), 1);
	impairment_free(impairment);
	finish(h);
}

Test(life_cycle, data_confirms_as_well)
{
	struct harness *h = START(0);
	struct impairment *impairment = lose(h, 1 << WIRE_CLIENT_ACK);
	harness_connect(h, 0);
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_CONFIRM);
	cr_assert_null(harness_gateway_session(h, 0));
	cr_assert(harness_ping(h, 0, TO_GATEWAY));
	cr_assert_not_null(harness_gateway_session(h, 0));
	cr_assert(harness_ping(h, 0, TO_CLIENT));
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	impairment_free(impairment);
	finish(h);
}

Test(life_cycle, a_gateway_sends_nothing_but_welcome_before_confirmation)
{
	struct harness *h = START(0);
	struct impairment *impairment = lose(h, 1 << WIRE_CLIENT_ACK);
	harness_connect(h, 0);
	harness_pump(h);
	cr_assert_not(harness_ping(h, 0, TO_CLIENT));
	cr_assert_eq(node_drops(&h->gateway.node, DROP_OUT_NO_SESSION), 1);
	harness_advance(h, 3 * NS_PER_S);
	cr_assert_eq(gateway_count(h, STATS_udp_tx_packets), gateway_count(h, STATS_tx_welcome));
	impairment_free(impairment);
	finish(h);
}

Test(life_cycle, an_unconfirmed_handshake_expires_and_gives_everything_back)
{
	struct harness *h = START(0);
	struct impairment *impairment = lose(h, 1 << WIRE_WELCOME);
	harness_connect(h, 0);
	harness_pump(h);
	cr_assert_eq(h->gateway.role.pending, 1);
	cr_assert_eq(h->gateway.registry.pool.used, 1);
	harness_stop_client(h, 0, false);
	harness_advance(h, SESSION_PENDING_NS - NS_PER_S);
	cr_assert_eq(h->gateway.role.pending, 1);
	harness_advance(h, NS_PER_S + WORKER_TICK_NS);
	cr_assert_eq(h->gateway.role.pending, 0);
	cr_assert_eq(h->gateway.registry.pool.used, 0);
	cr_assert_eq(h->gateway.node.worker->session_count, 0);
	impairment_free(impairment);
	finish(h);
}

Test(life_cycle, retransmissions_keep_the_pending_id_and_address)
{
	struct harness *h = START(0);
	struct impairment *impairment = lose(h, 1 << WIRE_WELCOME);
	harness_connect(h, 0);
	harness_pump(h);
	uint32_t id = harness_peer(h, 0)->pending->id, index = harness_peer(h, 0)->pending->pool_index;
	while (gateway_count(h, STATS_rx_hello) < 4)
		harness_advance(h, WORKER_TICK_NS);
	cr_assert_eq(harness_peer(h, 0)->pending->id, id);
	cr_assert_eq(harness_peer(h, 0)->pending->pool_index, index);
	cr_assert_eq(h->gateway.registry.pool.used, 1);
	impairment_free(impairment);
	finish(h);
}

/* --- refusals ----------------------------------------------------------------------------------------------------- */

Test(life_cycle, a_replayed_hello_is_stale_and_hurts_nobody)
{
	struct harness *h = START(0);
	struct impairment *impairment = impairment_new(h, 1);
	impairment->types = 1 << WIRE_HELLO;
	impairment->keep = true;
	cr_assert(harness_up(h));
	impairment_replay(impairment, 0);
	harness_pump(h);
	cr_assert_eq(node_drops(&h->gateway.node, DROP_STALE), 1);
	cr_assert_eq(h->gateway.role.pending, 0);
	cr_assert(pings(h));
	impairment_free(impairment);
	finish(h);
}

/* A gateway that restarted knows no timestamps: it demands a cookie, which a recording does not have. */
Test(life_cycle, a_replayed_hello_after_a_restart_changes_nothing)
{
	struct harness *h = START(0);
	struct impairment *impairment = impairment_new(h, 1);
	impairment->types = 1 << WIRE_HELLO;
	impairment->keep = true;
	cr_assert(harness_up(h));
	harness_stop_gateway(h, true);
	cookie_jar_init(&h->gateway.jar);
	harness_start_gateway(h);
	impairment_replay(impairment, 0);
	harness_pump(h);
	cr_assert_eq(node_drops(&h->gateway.node, DROP_STALE), 1);
	cr_assert_eq(gateway_count(h, STATS_tx_cookie), 1);
	cr_assert(h->gateway.role.pending == 0 && h->gateway.registry.orders == 0);
	cr_assert(h->gateway.registry.pool.used == 0 && h->gateway.registry.pool.fresh == 1, "no address was touched");
	harness_advance(h, 3 * NS_PER_S);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	cr_assert_eq(client_count(h, STATS_tx_hello), 3, "one more, with the cookie");
	uint32_t orders = h->gateway.registry.orders;
	for (size_t i = 0; i < impairment->kept_count; i++)
		impairment_replay(impairment, i);
	harness_pump(h);
	cr_assert(h->gateway.role.pending == 0 && h->gateway.registry.orders == orders);
	cr_assert(pings(h));
	impairment_free(impairment);
	finish(h);
}

Test(life_cycle, a_clock_that_goes_back_does_not_lock_the_client_out)
{
	struct harness *h = START_UP(0);
	h->clock.wall -= 86400 * NS_PER_S;
	for (unsigned rekeys = 1; rekeys <= 3; rekeys++) {
		while (gateway_count(h, STATS_rekeys) < rekeys) {
			cr_assert(pings(h));
			harness_advance(h, NS_PER_S);
		}
	}
	cr_assert_eq(node_drops(&h->gateway.node, DROP_STALE), 0);
	finish(h);
}

Test(life_cycle, who_is_not_listed_is_not_answered)
{
	struct harness *h = START(.clients = 2, .listed = 1);
	harness_connect(h, 1);
	harness_advance(h, 10 * NS_PER_S);
	cr_assert_gt(node_drops(&h->gateway.node, DROP_UNKNOWN_PEER), 2);
	cr_assert_eq(gateway_count(h, STATS_udp_tx_packets), 0);
	cr_assert_eq(h->clients[1].role.state, CLIENT_HANDSHAKE);
	finish(h);
}

Test(life_cycle, another_psk_leads_nowhere)
{
	struct harness *h = START(0);
	harness_change_preshared_key(h, 0);
	harness_connect(h, 0);
	harness_advance(h, 10 * NS_PER_S);
	cr_assert_eq(h->clients[0].role.state, CLIENT_HANDSHAKE);
	cr_assert_eq(node_drops(&h->clients[0].node, DROP_HANDSHAKE_FORGED), gateway_count(h, STATS_tx_welcome));
	cr_assert_eq(gateway_count(h, STATS_sessions_started), 0);
	finish(h);
}

Test(life_cycle, no_common_suite_is_not_answered)
{
	struct harness *h = START(.suites = 1 << AEAD_CHACHA20_POLY1305, .client_suites = {AEAD_AES_256_GCM});
	harness_connect(h, 0);
	harness_advance(h, 2 * NS_PER_S);
	cr_assert_geq(node_drops(&h->gateway.node, DROP_NO_SUITE), 1);
	cr_assert_eq(gateway_count(h, STATS_udp_tx_packets), 0);
	cr_assert_eq(h->gateway.registry.pool.used, 0);
	finish(h);
}

Test(life_cycle, each_suite_carries_data_and_unknown_numbers_are_passed_over)
{
	static const uint8_t offers[][WIRE_SUITES_MAX] = {
		{AEAD_CHACHA20_POLY1305}, {AEAD_AES_256_GCM}, {99, 200, AEAD_CHACHA20_POLY1305, AEAD_AES_256_GCM}};
	struct aead_engine *engine = aead_engine_new("auto", NULL);
	bool has_aes = aead_engine_suite(engine, AEAD_AES_256_GCM) != NULL;
	aead_engine_free(engine);
	for (size_t i = 0; i < ARRAY_SIZE(offers); i++) {
		struct harness_options options = {0};
		if (offers[i][0] == AEAD_AES_256_GCM && !has_aes)
			continue;
		memcpy(options.client_suites, offers[i], sizeof options.client_suites);
		struct harness *h = unit_start_up(options);
		cr_assert_eq(harness_gateway_session(h, 0)->current->aead->suite, offers[i][i == 2 ? 2 : 0]);
		cr_assert(pings(h));
		finish(h);
	}
}

/* --- end of sessions ---------------------------------------------------------------------------------------------- */

Test(life_cycle, a_client_that_leaves_says_bye)
{
	struct harness *h = START_UP(0);
	harness_stop_client(h, 0, true);
	harness_pump(h);
	cr_assert_eq(gateway_count(h, STATS_rx_bye), 1);
	cr_assert_eq(gateway_count(h, STATS_sessions_ended), 1);
	cr_assert_eq(h->gateway.role.active, 0);
	cr_assert_eq(h->gateway.registry.pool.used, 0);
	finish(h);
}

Test(life_cycle, a_gateway_that_restarts_says_so_and_the_client_is_back_within_1_s)
{
	struct harness *h = START_UP(0);
	harness_stop_gateway(h, true);
	harness_start_gateway(h);
	harness_pump(h);
	cr_assert_eq(h->clients[0].seen.bye_reason, WIRE_BYE_RESTARTING);
	cr_assert_eq(h->clients[0].role.state, CLIENT_HANDSHAKE);
	harness_advance(h, 400 * NS_PER_MS); /* it waits for 600, 25 % more or less */
	cr_assert_eq(client_count(h, STATS_tx_hello), 1);
	cr_assert(harness_wait(h, 0, CLIENT_UP, 400 * NS_PER_MS));
	cr_assert(pings(h));
	finish(h);
}

Test(life_cycle, a_client_that_was_removed_waits_16_s)
{
	struct harness *h = START_UP(0);
	uint8_t reason = WIRE_BYE_REMOVED, message[64];
	struct session *session = harness_gateway_session(h, 0);
	uint32_t length = node_seal(&h->gateway.node, session, session->current, WIRE_BYE, &reason, 1, message);
	impairment_forge(&h->clients[0].node, &h->gateway.node, message, length);
	harness_advance(h, 11 * NS_PER_S);
	cr_assert_eq(h->clients[0].seen.bye_reason, WIRE_BYE_REMOVED);
	cr_assert_eq(client_count(h, STATS_tx_hello), 1);
	cr_assert(harness_wait(h, 0, CLIENT_UP, 10 * NS_PER_S));
	finish(h);
}

Test(life_cycle, a_gateway_that_crashed_is_noticed_after_15_s_of_silence)
{
	struct harness *h = START_UP(0);
	uint32_t id = harness_client_session(h, 0)->id;
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
	cr_assert_not(harness_ping(h, 0, TO_GATEWAY));
	cr_assert_eq(node_drops(&h->gateway.node, DROP_SESSION), 1);
	harness_advance(h, 14 * NS_PER_S);
	cr_assert_eq(client_count(h, STATS_tx_hello), 1);
	harness_advance(h, NS_PER_S + WORKER_TICK_NS);
	cr_assert_eq(client_count(h, STATS_tx_hello), 3, "the second with the cookie that it was asked for");
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	cr_assert_neq(harness_client_session(h, 0)->id, id);
	cr_assert(pings(h));
	finish(h);
}

Test(life_cycle, a_silent_network_is_told_and_the_session_goes_on_meanwhile)
{
	struct harness *h = START_UP(0);
	uint32_t id = harness_client_session(h, 0)->id;
	struct impairment *impairment = lose(h, ~0u);
	cr_assert_not(harness_ping(h, 0, TO_GATEWAY));
	harness_advance(h, 16 * NS_PER_S);
	cr_assert_eq(h->clients[0].seen.state, CLIENT_RECONNECT);
	cr_assert_eq(harness_client_session(h, 0)->id, id);
	impairment->lose = 0;
	cr_assert(pings(h), "the keys still hold");
	cr_assert(harness_wait(h, 0, CLIENT_UP, 20 * NS_PER_S));
	cr_assert_eq(harness_client_session(h, 0)->id, id);
	impairment_free(impairment);
	finish(h);
}

/* The rekey's HELLOs go unanswered before the silence is long enough to count: it must be reported all the same. */
Test(life_cycle, a_gateway_that_dies_when_a_rekey_is_due_is_noticed_too)
{
	struct harness *h = START_UP(0);
	struct client_role *role = &h->clients[0].role;
	while (h->clock.monotonic - role->session->current->born < role->rekey_interval - 3 * NS_PER_S) {
		cr_assert(pings(h));
		harness_advance(h, NS_PER_S);
	}
	struct impairment *impairment = lose(h, ~0u);
	for (unsigned second = 0; second < 40; second++) {
		(void)harness_ping(h, 0, TO_GATEWAY);
		harness_advance(h, NS_PER_S);
	}
	cr_assert_eq(h->clients[0].seen.state, CLIENT_RECONNECT);
	cr_assert_geq(h->clients[0].seen.hellos, 3, "so that the name is looked up again");
	impairment->lose = 0;
	cr_assert(harness_wait(h, 0, CLIENT_UP, 20 * NS_PER_S));
	cr_assert(pings(h));
	impairment_free(impairment);
	finish(h);
}

/* A machine that slept for an hour wakes with a packet in each queue. */
Test(life_cycle, a_key_that_died_in_sleep_neither_seals_nor_opens)
{
	struct harness *h = START_UP(0);
	uint64_t sealed = client_count(h, STATS_udp_tx_data);
	h->clock.monotonic += DIALECT_OWN_KEY_MAX_AGE_NS;
	cr_assert_not(harness_ping(h, 0, TO_GATEWAY));
	cr_assert_eq(client_count(h, STATS_udp_tx_data), sealed);
	cr_assert(harness_wait(h, 0, CLIENT_UP, 5 * NS_PER_S));
	cr_assert(pings(h));
	finish(h);
}

Test(life_cycle, a_client_that_restarts_gets_the_same_address_and_the_old_session_ends)
{
	struct harness *h = START_UP(0);
	struct ip_address address = harness_client_session(h, 0)->inner4.address;
	uint32_t id = harness_client_session(h, 0)->id;
	struct impairment *impairment = impairment_new(h, 1);
	impairment->types = 1 << WIRE_BYE;
	impairment->keep = true;
	harness_stop_client(h, 0, false);
	harness_start_client(h, 0);
	h->clock.wall += NS_PER_S;
	cr_assert(harness_up(h));
	cr_assert(ip_address_equal(&harness_client_session(h, 0)->inner4.address, &address));
	cr_assert_neq(harness_client_session(h, 0)->id, id);
	cr_assert_eq(impairment->kept_count, 1);
	cr_assert_eq(wire_session_id(impairment->kept[0].message.data), id, "BYE names the old session");
	cr_assert_eq(gateway_count(h, STATS_sessions_ended), 1);
	cr_assert_eq(h->gateway.registry.pool.used, 1);
	cr_assert(pings(h));
	impairment_free(impairment);
	finish(h);
}

/* Two machines with one key: the one that was replaced comes back only after about 16 s. */
Test(life_cycle, who_was_replaced_is_told_so_and_waits)
{
	struct harness *h = START(.clients = 2, .listed = 1);
	h->clients[1].identity = h->clients[0].identity;
	h->clients[1].remote = h->clients[0].remote;
	harness_connect(h, 0);
	cr_assert(harness_wait(h, 0, CLIENT_UP, NS_PER_S));
	h->clock.wall += NS_PER_S;
	harness_connect(h, 1);
	cr_assert(harness_wait(h, 1, CLIENT_UP, NS_PER_S));
	cr_assert_eq(h->clients[0].seen.bye_reason, WIRE_BYE_REPLACED);
	harness_advance(h, 11 * NS_PER_S);
	cr_assert_eq(h->clients[1].role.state, CLIENT_UP);
	cr_assert_eq(h->clients[0].role.state, CLIENT_HANDSHAKE);
	finish(h);
}

Test(life_cycle, silence_for_session_timeout_ends_the_session_at_the_gateway)
{
	struct harness *h = START_UP(.session_timeout = 60);
	harness_advance(h, 59 * NS_PER_S);
	cr_assert_eq(h->gateway.role.active, 1);
	harness_advance(h, NS_PER_S + WORKER_TICK_NS);
	cr_assert_eq(h->gateway.role.active, 0);
	cr_assert_eq(h->gateway.registry.pool.used, 0);
	cr_assert_eq(h->clients[0].seen.bye_reason, WIRE_BYE_TIMED_OUT);
	cr_assert(harness_wait(h, 0, CLIENT_UP, 2 * NS_PER_S), "the client is back after about 1 s");
	finish(h);
}

/* Another gateway may have the client's block by then: 0.6 s +- 25 %, wherever that is between two ticks. */
Test(life_cycle, bye_restarting_is_followed_by_hello_within_a_second)
{
	for (unsigned i = 0; i < 10; i++) {
		struct harness *h = START_UP(0);
		harness_advance(h, i * 27 * NS_PER_MS);
		struct inbox_message *message = calloc(1, sizeof *message);
		cr_assert_not_null(message);
		uint32_t id = harness_gateway_session(h, 0)->id;
		*message = (struct inbox_message){
			.kind = INBOX_END, .session_id = id, .end.reason = WIRE_BYE_RESTARTING};
		inbox_post(&harness_owner(h, id)->inbox, message);
		harness_pump(h);
		cr_assert_null(harness_client_session(h, 0));
		unsigned waited = 0;
		for (; h->clients[0].role.state != CLIENT_UP && waited < 3000; waited += 10)
			harness_advance(h, 10 * NS_PER_MS);
		cr_assert(waited >= 450 && waited <= 760, "%u ms", waited);
		finish(h);
	}
}

Test(life_cycle, bye_ends_the_session_that_it_names_and_no_other)
{
	struct harness *h = START_UP(.clients = 2);
	harness_stop_client(h, 1, true);
	harness_pump(h);
	cr_assert_null(harness_gateway_session(h, 1));
	cr_assert_not_null(harness_gateway_session(h, 0));
	cr_assert(pings(h));
	finish(h);
}

/* --- KEEPALIVE ---------------------------------------------------------------------------------------------------- */

Test(life_cycle, data_without_an_answer_is_answered_by_keepalive_after_10_s)
{
	static const enum direction directions[] = {TO_GATEWAY, TO_CLIENT};
	for (size_t i = 0; i < ARRAY_SIZE(directions); i++) {
		struct harness *h = START_UP(0);
		harness_advance(h, NS_PER_S);
		struct node *receiver = directions[i] == TO_GATEWAY ? &h->gateway.node : &h->clients[0].node;
		uint64_t before = node_counter(receiver, STATS_tx_keepalive);
		cr_assert(harness_ping(h, 0, directions[i]));
		harness_advance(h, 9 * NS_PER_S);
		cr_assert_eq(node_counter(receiver, STATS_tx_keepalive), before);
		harness_advance(h, NS_PER_S + WORKER_TICK_NS);
		cr_assert_eq(node_counter(receiver, STATS_tx_keepalive), before + 1);
		harness_advance(h, 60 * NS_PER_S);
		cr_assert_eq(node_counter(receiver, STATS_tx_keepalive), before + 1, "once, and it is not answered");
		finish(h);
	}
}

Test(life_cycle, data_that_was_answered_needs_no_keepalive)
{
	struct harness *h = START_UP(0);
	uint64_t before = client_count(h, STATS_tx_keepalive) + gateway_count(h, STATS_tx_keepalive);
	cr_assert(harness_ping(h, 0, TO_GATEWAY));
	cr_assert(harness_ping(h, 0, TO_CLIENT));
	cr_assert(harness_ping(h, 0, TO_GATEWAY));
	cr_assert(harness_ping(h, 0, TO_CLIENT));
	harness_advance(h, 9 * NS_PER_S);
	cr_assert(harness_ping(h, 0, TO_GATEWAY)); /* the client answered; the gateway owes one again */
	cr_assert_eq(client_count(h, STATS_tx_keepalive) + gateway_count(h, STATS_tx_keepalive), before);
	before = gateway_count(h, STATS_tx_keepalive);
	harness_advance(h, 9 * NS_PER_S);
	cr_assert_eq(gateway_count(h, STATS_tx_keepalive), before);
	finish(h);
}

/* Its last DATA may be an acknowledgement that nothing follows because a NAT has forgotten it. */
Test(life_cycle, data_that_nothing_follows_is_followed_by_two_signs_of_life)
{
	struct harness *h = START_UP(0);
	harness_advance(h, 60 * NS_PER_S);
	uint64_t before = client_count(h, STATS_tx_keepalive);
	cr_assert(harness_ping(h, 0, TO_GATEWAY));
	harness_advance(h, 2 * NS_PER_S - WORKER_TICK_NS);
	cr_assert_eq(client_count(h, STATS_tx_keepalive), before);
	harness_advance(h, 2 * WORKER_TICK_NS);
	cr_assert_eq(client_count(h, STATS_tx_keepalive), before + 1);
	harness_advance(h, 4 * NS_PER_S);
	cr_assert_eq(client_count(h, STATS_tx_keepalive), before + 2);
	harness_advance(h, 60 * NS_PER_S);
	cr_assert_eq(client_count(h, STATS_tx_keepalive), before + 2, "then it is idle");
	for (unsigned i = 0; i < 8; i++) {
		cr_assert(pings(h));
		harness_advance(h, 3 * NS_PER_S);
	}
	cr_assert_eq(client_count(h, STATS_tx_keepalive), before + 2, "what is answered needs none");
	finish(h);
}

Test(life_cycle, a_client_whose_address_changed_under_a_download_is_found_again)
{
	struct harness *h = START_UP(0);
	cr_assert(harness_ping(h, 0, TO_CLIENT));
	cr_assert(harness_ping(h, 0, TO_GATEWAY));
	link_move(&h->clients[0].node.link, network_address("192.0.2.77", 99));
	cr_assert_not(harness_ping(h, 0, TO_CLIENT));
	harness_advance(h, 2 * NS_PER_S + WORKER_TICK_NS);
	cr_assert(harness_ping(h, 0, TO_CLIENT));
	cr_assert_eq(gateway_count(h, STATS_roams), 1);
	finish(h);
}

Test(life_cycle, persistent_keepalive_holds_an_idle_session)
{
	struct harness *h = START_UP(.persistent_keepalive = 25, .session_timeout = 60);
	harness_advance(h, 1000 * NS_PER_S);
	uint64_t sent = client_count(h, STATS_tx_keepalive);
	cr_assert_geq(sent, 1000 / 26);
	cr_assert_leq(sent, 1000 / 25);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	cr_assert_eq(gateway_count(h, STATS_sessions_started), 1);
	cr_assert_eq(client_count(h, STATS_tx_hello), 1, "an idle key is not renewed");
	finish(h);
}
