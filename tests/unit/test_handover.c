// SPDX-License-Identifier: Apache-2.0
/* Sessions that another process goes on with: clients notice nothing. */
#include <sys/mman.h>

#include "core/handover/session_record.h"
#include "tests/harness/wireguard.h"
#include "tests/unit/handover_fixture.h"

TestSuite(handover, .timeout = 60);

static bool all_ping(struct harness *h)
{
	for (size_t i = 0; i < h->options.clients; i++) {
		if (!harness_ping(h, i, TO_GATEWAY) || !harness_ping(h, i, TO_CLIENT))
			return false;
	}
	return true;
}

Test(handover, clients_notice_nothing)
{
	struct harness *h = START_UP(.clients = 5, .workers = 3, .networks[1] = {"10.99.0.0/24"});
	cr_assert(all_ping(h));
	uint64_t hellos = client_count(h, STATS_tx_hello);
	for (unsigned round = 0; round < 20; round++) {
		cr_assert_eq(hand_over(h), 5);
		cr_assert(all_ping(h), "round %u", round);
		cr_assert_eq(client_count(h, STATS_tx_hello), hellos);
		cr_assert_eq(gateway_count(h, STATS_rx_hello), 0);
		check(h);
	}
	finish(h);
}

Test(handover, goes_on_with_rekeys_and_ends)
{
	struct harness *h = START_UP(.clients = 2);
	for (unsigned second = 0; second < 400; second++) {
		cr_assert(all_ping(h), "%u s", second);
		if (second % 7 == 0)
			cr_assert_eq(hand_over(h), 2);
		harness_advance(h, NS_PER_S);
	}
	cr_assert_geq(harness_gateway_session(h, 0)->view.rekeys, 2, "keys were renewed");
	cr_assert_eq(client_count(h, STATS_rx_reset), 0);
	/* A client that leaves is gone, and its address and ID can be given again. */
	harness_stop_client(h, 0, true);
	check(h);
	cr_assert_null(harness_gateway_session(h, 0));
	harness_start_client(h, 0);
	cr_assert(harness_up(h));
	cr_assert(all_ping(h));
	finish(h);
}

Test(handover, in_the_middle_of_a_handshake)
{
	struct harness *h = START(.clients = 1);
	struct impairment *impairment = lose(h, 1 << WIRE_CLIENT_ACK);
	harness_connect(h, 0);
	harness_pump(h);
	cr_assert_not_null(harness_pending_session(h, 0));
	cr_assert_eq(hand_over(h), 1);
	cr_assert_not_null(harness_pending_session(h, 0));
	impairment->lose = 0;
	cr_assert(harness_wait(h, 0, CLIENT_UP, 5 * NS_PER_S));
	cr_assert(pings(h));
	cr_assert_eq(client_count(h, STATS_tx_hello), 1);
	impairment_free(impairment);
	finish(h);
}

Test(handover, the_next_one_accepts_no_packet_twice)
{
	struct harness *h = START_UP(.clients = 1);
	struct impairment *impairment = impairment_new(h, 1);
	impairment->types = UINT32_MAX;
	impairment->from = &h->clients[0].node.link;
	impairment->keep = true;
	for (unsigned i = 0; i < 100; i++)
		cr_assert(pings(h));
	size_t count = impairment->kept_count;
	cr_assert_geq(count, 100);
	impairment->keep = false;
	cr_assert_eq(hand_over(h), 1);
	for (size_t i = 0; i < count; i++)
		impairment_replay(impairment, i);
	harness_pump(h);
	cr_assert_eq(gateway_drops(h, DROP_REPLAY), count);
	cr_assert_eq(gateway_count(h, STATS_tun_tx_packets), 0);
	cr_assert(pings(h));
	impairment_free(impairment);
	finish(h);
}

/* Else the records of the take-over after the next one would not be right. */
Test(handover, a_key_near_its_end_is_spent)
{
	struct harness *h = START_UP(.clients = 1);
	cr_assert(pings(h));
	harness_gateway_session(h, 0)->current->send_counter = TRANSPORT_COUNTER_LIMIT - HANDOVER_GAP - 10;
	cr_assert_eq(hand_over(h), 1);
	cr_assert_eq(harness_gateway_session(h, 0)->current->send_counter, TRANSPORT_COUNTER_LIMIT - 10);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(hand_over(h), 1);
		cr_assert_eq(harness_gateway_session(h, 0)->current->send_counter, TRANSPORT_COUNTER_LIMIT);
		cr_assert(transport_key_spent(harness_gateway_session(h, 0)->current));
	}
	finish(h);
}

/* One that was late arrives at the next gateway. */
Test(handover, packets_on_their_way_are_not_lost)
{
	struct harness *h = START_UP(.clients = 1);
	cr_assert(pings(h));
	struct impairment *impairment = impairment_new(h, 1);
	impairment->types = 1 << WIRE_DATA;
	impairment->delay = 100;
	for (unsigned i = 0; i < 4; i++) {
		(void)harness_ping(h, 0, TO_GATEWAY);
		(void)harness_ping(h, 0, TO_CLIENT);
	}
	cr_assert_eq(impairment->delayed_count, 8);
	impairment->delay = 0;
	for (unsigned i = 0; i < 10; i++)
		cr_assert(pings(h)); /* what is late is below what the window has seen */
	cr_assert_eq(hand_over(h), 1);
	for (unsigned i = 0; i < 10; i++)
		cr_assert(pings(h));
	uint64_t before = gateway_count(h, STATS_tun_tx_packets);
	impairment_release(impairment);
	harness_pump(h);
	cr_assert_eq(gateway_count(h, STATS_tun_tx_packets), before + 4);
	cr_assert_eq(gateway_drops(h, DROP_REPLAY), 0);
	cr_assert_eq(node_drops(&h->clients[0].node, DROP_REPLAY), 0);
	while (node_take(&h->clients[0].node) != NULL || node_take(&h->gateway.node) != NULL)
		;
	impairment_free(impairment);
	finish(h);
}

Test(handover, a_key_that_sleeps_sleeps_on)
{
	struct harness *h = START_UP(.clients = 1);
	cr_assert(pings(h));
	harness_advance(h, SESSION_HIBERNATE_NS + NS_PER_S);
	cr_assert_not(transport_key_is_live(harness_gateway_session(h, 0)->current));
	uint64_t seen = harness_gateway_session(h, 0)->current->seen;
	cr_assert_eq(hand_over(h), 1);
	const struct transport_key *key = harness_gateway_session(h, 0)->current;
	cr_assert_not(transport_key_is_live(key));
	cr_assert_eq(key->seen, seen);
	cr_assert(pings(h));
	finish(h);
}

Test(handover, of_wireguard_clients)
{
	struct harness *h = harness_new(&(struct harness_options){.clients = 1, .wireguard = true});
	struct wireguard *w = wireguard_new(h, 3);
	struct handover_fixture f = {0};
	struct handover_import import;
	cr_assert(harness_up(h));
	cr_assert(wireguard_up(w));
	for (size_t i = 0; i < 3; i++)
		cr_assert(wireguard_ping(w, i, TO_GATEWAY) && wireguard_ping(w, i, TO_CLIENT));
	uint32_t receiver = wireguard_session(w, 0)->current->receiver;
	cr_assert_eq(fixture_export(&f, h), 0);
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
	for (size_t i = 0; i < 3; i++)
		cr_assert_eq(wireguard_list(w, i, NULL), 0);
	fixture_aim(&f, h);
	cr_assert_eq(handover_read(&import, &f.memory, &f.target, &f.error), 0, "%s", f.error.text);
	cr_assert_eq(fixture_adopt(&f, h, &import), 4);
	fixture_close(&f);
	cr_assert_eq(wireguard_session(w, 0)->current->receiver, receiver);
	for (size_t i = 0; i < 3; i++)
		cr_assert(wireguard_ping(w, i, TO_GATEWAY) && wireguard_ping(w, i, TO_CLIENT), "client %zu", i);
	/* An initiation from before is old here too. */
	wireguard_send_initiation(w, 0);
	wireguard_pump(w);
	cr_assert_eq(gateway_drops(h, DROP_STALE), 1);
	cr_assert(pings(h));
	check(h);
	wireguard_free(w);
	harness_free(h);
}

/* --- each field --------------------------------------------------------------------------------------------------- */

/* The records of a gateway's sessions, in the order of the table. */
static size_t records_of(const struct handover_memory *memory, const struct handover_session **records)
{
	const struct handover_head *head = (const void *)memory->bytes;
	size_t count = 0;
	for (size_t at = sizeof *head; at < head->used;) {
		const struct handover_record *record = (const void *)(memory->bytes + at);
		if (record->kind == HANDOVER_SESSION)
			records[count++] = (const void *)record;
		at += record->size;
	}
	return count;
}

/* Written, read and written again it is the same, but for the gap in its counters. */
Test(handover, every_field_of_a_session_comes_through)
{
	struct harness *h = START_UP(.clients = 1, .limits[0] = {.up = 80000, .down = 80000, .quota = 1 << 30});
	struct handover_fixture f[2] = {0};
	const struct handover_session *record[2];
	struct handover_import import;
	struct session *session = harness_gateway_session(h, 0);
	for (unsigned second = 0; session->previous == NULL; second++) {
		cr_assert(second < 2 * HARNESS_REKEY_INTERVAL && pings(h));
		harness_advance(h, NS_PER_S);
	}
	/* What the harness leaves at 0. */
	uint8_t *fields = (uint8_t *)&session->path_nonce;
	memset(fields, 0x5a, sizeof session->path_nonce + sizeof session->path_key);
	session->path_credit = 77;
	session->path_deadline = h->clock.monotonic + NS_PER_S;
	session->proven = session->endpoint;
	session->proven.remote.sin6_port ^= 1;
	session->proven.remote.sin6_scope_id = 3;
	session->next_mtu = 1300;
	session->keepalive = 25;
	session->keepalive_owed_since = session->awaiting_reply_since = h->clock.monotonic - 1;
	session->view.roams = 5;
	session->limits->up.ready = 123;
	session->limits->down.ready = 456;

	cr_assert_eq(fixture_export(&f[0], h), 0);
	cr_assert_eq(records_of(&f[0].memory, &record[0]), 1);
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
	fixture_aim(&f[0], h);
	cr_assert_eq(handover_read(&import, &f[0].memory, &f[0].target, &f[0].error), 0, "%s", f[0].error.text);
	cr_assert_eq(fixture_adopt(&f[0], h, &import), 1);
	cr_assert_eq(fixture_export(&f[1], h), 0);
	cr_assert_eq(records_of(&f[1].memory, &record[1]), 1);

	cr_assert_eq(record[0]->record.size, record[1]->record.size);
	cr_assert_eq(record[0]->moving.keys, HANDOVER_CURRENT | HANDOVER_PREVIOUS);
	const struct handover_key *key = (const void *)(record[0] + 1);
	struct handover_key *again = (void *)(uintptr_t)(record[1] + 1);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t counter = key->counters.send_counter;
		cr_assert(counter > 0 && again->counters.send_counter == counter + HANDOVER_GAP);
		again->counters.send_counter -= HANDOVER_GAP;
		size_t size = sizeof *key + (key->awake ? 2 * sizeof(struct handover_window) : 0);
		key = (const void *)((const uint8_t *)key + size);
		again = (void *)((uint8_t *)again + size);
	}
	for (size_t at = 0; at < record[0]->record.size; at++)
		cr_assert_eq(((const uint8_t *)record[0])[at], ((const uint8_t *)record[1])[at], "byte %zu", at);
	fixture_close(&f[0]);
	fixture_close(&f[1]);
	harness_free(h);
}

Test(handover, the_gateway_goes_on_where_it_was)
{
	struct harness *h = START_UP(.clients = 4, .max_sessions = 8);
	struct handover_fixture f = {0};
	struct handover_import import;
	uint32_t ids[16], again[16];
	/* Addresses that rest, in an order of their own. */
	harness_stop_client(h, 2, true);
	harness_stop_client(h, 0, true);
	check(h);
	struct registry *registry = &h->gateway.registry;
	uint32_t indexes[2], resting[2];
	cr_assert_eq(pool_resting(&registry->pool, indexes), 2);
	uint32_t free_ids = session_table_list_free(&registry->table, 0, ids), orders = registry->orders;
	struct freshness freshness = harness_peer(h, 1)->freshness;
	uint64_t cookies = registry->cookies, packets = gateway_count(h, STATS_rx_hello);
	uint64_t tat = harness_peer(h, 1)->proven_tat, newer = harness_peer(h, 1)->newer_tat;
	struct cookie_jar jar = h->gateway.jar;

	cr_assert_eq(fixture_export(&f, h), 0);
	harness_stop_gateway(h, false);
	cookie_jar_init(&h->gateway.jar);
	harness_start_gateway(h);
	fixture_aim(&f, h);
	cr_assert_eq(handover_read(&import, &f.memory, &f.target, &f.error), 0, "%s", f.error.text);
	cr_assert_neq(memcmp(&jar, &h->gateway.jar, sizeof jar), 0, "reading changes nothing");
	cr_assert_eq(registry->pool.used, 0);
	cr_assert_eq(fixture_adopt(&f, h, &import), 2);
	cr_assert_eq(memcmp(&jar, &h->gateway.jar, sizeof jar), 0);
	cr_assert(registry->orders == orders && registry->cookies == cookies);
	const struct freshness *now = &harness_peer(h, 1)->freshness;
	cr_assert(now->cookie == freshness.cookie && now->mark == freshness.mark && now->at == freshness.at);
	cr_assert(now->proven && freshness.proven);
	cr_assert_eq(memcmp(now->last, freshness.last, sizeof now->last), 0);
	cr_assert_eq(memcmp(now->highest, freshness.highest, sizeof now->highest), 0);
	cr_assert(harness_peer(h, 1)->proven_tat == tat && harness_peer(h, 1)->newer_tat == newer);
	cr_assert_eq(pool_resting(&registry->pool, resting), 2);
	cr_assert_eq(memcmp(indexes, resting, sizeof resting), 0);
	cr_assert_eq(session_table_list_free(&registry->table, 0, again), free_ids);
	cr_assert_eq(memcmp(ids, again, free_ids * sizeof *ids), 0);
	cr_assert_eq(f.totals->counters[STATS_rx_hello], packets);
	fixture_close(&f);
	check(h);
	finish(h);
}

Test(handover, quotas_go_on)
{
	struct harness *h = START_UP(.clients = 1, .limits[0] = {.quota = 1 << 30, .period = CALENDAR_DAY});
	usages_set_clock(&h->gateway.registry.usages, h->clock.wall);
	cr_assert(pings(h));
	uint64_t used = peer_usage(harness_peer(h, 0))->used;
	cr_assert_gt(used, 0);
	struct handover_fixture f = {0};
	struct handover_import import;
	cr_assert_eq(fixture_export(&f, h), 0);
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
	usages_set_clock(&h->gateway.registry.usages, h->clock.wall);
	fixture_aim(&f, h);
	cr_assert_eq(handover_read(&import, &f.memory, &f.target, NULL), 0);
	cr_assert_eq(fixture_adopt(&f, h, &import), 1);
	fixture_close(&f);
	cr_assert_eq(peer_usage(harness_peer(h, 0))->used, used);
	cr_assert(pings(h));
	cr_assert_gt(peer_usage(harness_peer(h, 0))->used, used);
	finish(h);
}

/* --- what is not there any more ----------------------------------------------------------------------------------- */

Test(handover, a_peer_that_the_next_one_does_not_have_loses_its_session)
{
	struct harness *h = START_UP(.clients = 3);
	struct handover_fixture f = {0};
	struct handover_import import;
	cr_assert_eq(fixture_export(&f, h), 0);
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
	cr_assert(harness_remove_peer(h, 1));
	fixture_aim(&f, h);
	cr_assert_eq(handover_read(&import, &f.memory, &f.target, NULL), 0);
	cr_assert_eq(import.dropped, 1);
	cr_assert_eq(fixture_adopt(&f, h, &import), 2);
	fixture_close(&f);
	cr_assert_eq(h->gateway.registry.pool.used, 2);
	cr_assert(harness_ping(h, 0, TO_CLIENT) && harness_ping(h, 2, TO_CLIENT));
	/* Its ID is free again: as many sessions as ever find one. */
	uint32_t taken = h->gateway.registry.table.workers[0].taken;
	cr_assert_eq(taken, 2);
	harness_free(h);
}

Test(handover, what_differs_is_refused_with_its_name)
{
	const struct harness_options other[] = {
		{.clients = 1, .workers = 2},
		{.clients = 1, .max_sessions = 4096},
		{.clients = 1, .address4 = "10.9.0.1/24"},
		{.clients = 1, .address6 = "fd00:9::1/64"},
	};
	const char *const named[] = {"Workers", "MaxSessions", "Address", "Address"};
	struct harness *h = START_UP(.clients = 1);
	struct handover_fixture f = {0};
	struct handover_import import;
	cr_assert_eq(fixture_export(&f, h), 0);
	harness_free(h);
	for (size_t i = 0; i < ARRAY_SIZE(other); i++) {
		struct harness *next = harness_new(&other[i]);
		fixture_aim(&f, next);
		cr_assert_eq(handover_read(&import, &f.memory, &f.target, &f.error), -ENOTUNIQ);
		cr_assert(strstr(f.error.text, named[i]) != NULL, "%s", f.error.text);
		free(f.totals);
		harness_free(next);
	}
	f.totals = NULL;
	fixture_close(&f);
}

/* --- the word ----------------------------------------------------------------------------------------------------- */

Test(handover, one_of_two_has_the_sessions)
{
	struct handover_memory memory;
	cr_assert_eq(keys_init(NULL), 0);
	cr_assert_eq(handover_memory_new(&memory, 4096, NULL), 0);
	cr_assert_not(handover_claim(&memory), "nothing is offered");
	cr_assert_not(handover_retract(&memory));
	handover_offer(&memory);
	cr_assert_eq(handover_word(&memory), HANDOVER_OFFERED);
	cr_assert(handover_retract(&memory));
	cr_assert_not(handover_claim(&memory), "too late");
	handover_offer(&memory);
	cr_assert(handover_claim(&memory));
	cr_assert_not(handover_retract(&memory), "too late");
	cr_assert_not(handover_claim(&memory));
	handover_memory_wipe(&memory);
	cr_assert_eq(handover_word(&memory), HANDOVER_NEW, "the old one may look later");
	handover_memory_close(&memory);
}
