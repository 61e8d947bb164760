// SPDX-License-Identifier: Apache-2.0
/* What moves between the two parts of a hand-over, while the old gateway serves on. */
#include "core/handover/moving.h"
#include "core/handover/session_record.h"
#include "tests/harness/wireguard.h"
#include "tests/unit/handover_fixture.h"

TestSuite(handover_moved, .timeout = 60);

enum { BEFORE = 100, BETWEEN = 50 };

static bool all_ping(struct harness *h)
{
	for (size_t i = 0; i < h->options.clients; i++) {
		if (!harness_ping(h, i, TO_GATEWAY) || !harness_ping(h, i, TO_CLIENT))
			return false;
	}
	return true;
}

/* The first part is written; the next gateway gets both. Returns how many sessions it has. */
static size_t hand_over_rest(struct handover_fixture *f, struct harness *h, struct handover_import *import)
{
	cr_assert_eq(fixture_end(f, h), 0, "%s", f->error.text);
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
	fixture_aim(f, h);
	cr_assert_eq(handover_read(import, &f->memory, &f->target, &f->error), 0, "%s", f->error.text);
	size_t count = fixture_adopt(f, h, import);
	fixture_close(f);
	return count;
}

Test(handover_moved, what_did_not_move_is_not_written_twice)
{
	struct harness *h = START_UP(.clients = 3, .workers = 2);
	struct handover_fixture f = {0};
	struct handover_import import;
	cr_assert(all_ping(h));
	cr_assert_eq(fixture_begin(&f, h), 0);
	cr_assert(harness_ping(h, 1, TO_GATEWAY));
	uint64_t counter = harness_gateway_session(h, 1)->current->send_counter;
	uint64_t other = harness_gateway_session(h, 0)->current->send_counter;
	cr_assert_eq(hand_over_rest(&f, h, &import), 3);
	cr_assert_eq(f.moved, 1);
	cr_assert_eq(f.gone, 0);
	cr_assert_eq(harness_gateway_session(h, 1)->current->send_counter, counter + HANDOVER_GAP);
	cr_assert_eq(harness_gateway_session(h, 0)->current->send_counter, other + HANDOVER_GAP);
	cr_assert(all_ping(h));
	finish(h);
}

/* No counter is sealed twice (the harness's engine watches that), and no packet opened twice. */
Test(handover_moved, counters_and_windows_follow)
{
	struct harness *h = START_UP(.clients = 1);
	struct handover_fixture f = {0};
	struct handover_import import;
	for (unsigned i = 0; i < BEFORE; i++)
		cr_assert(pings(h));
	cr_assert_eq(fixture_begin(&f, h), 0);
	struct impairment *impairment = impairment_new(h, 1);
	impairment->types = UINT32_MAX;
	impairment->from = &h->clients[0].node.link;
	impairment->keep = true;
	for (unsigned i = 0; i < BETWEEN; i++)
		cr_assert(pings(h));
	impairment->keep = false;
	size_t count = impairment->kept_count;
	cr_assert_geq(count, BETWEEN);
	const struct transport_key *key = harness_gateway_session(h, 0)->current;
	uint64_t counter = key->send_counter, opened = key->opened;
	struct replay_window window = key->live->replay;
	cr_assert_eq(hand_over_rest(&f, h, &import), 1);
	key = harness_gateway_session(h, 0)->current;
	cr_assert(key->send_counter == counter + HANDOVER_GAP && key->opened == opened);
	cr_assert_eq(key->live->replay.next, window.next);
	cr_assert_eq(memcmp(key->live->replay.bitmap, window.bitmap, sizeof window.bitmap), 0);
	for (size_t i = 0; i < count; i++)
		impairment_replay(impairment, i);
	harness_pump(h);
	cr_assert_eq(gateway_drops(h, DROP_REPLAY), count);
	cr_assert(pings(h));
	impairment_free(impairment);
	finish(h);
}

/* More than the ring has; and far fewer, which a word holds. */
Test(handover_moved, windows_that_move_by_any_distance)
{
	static const unsigned distances[] = {
		1, 63, 64, 65, 1000, REPLAY_WINDOW - 1, REPLAY_WINDOW, REPLAY_WINDOW + 65, 3 * REPLAY_WINDOW};
	struct harness *h = START_UP(.clients = 1, .fast_aead = true);
	for (size_t d = 0; d < ARRAY_SIZE(distances); d++) {
		struct handover_fixture f = {0};
		struct handover_import import;
		cr_assert(pings(h));
		cr_assert_eq(fixture_begin(&f, h), 0);
		struct transport_key *key = harness_gateway_session(h, 0)->current;
		/* As if the client had sent so many, and every third had been lost. */
		for (unsigned i = 0; i < distances[d]; i++) {
			if (i % 3 == 1 && i + 1 != distances[d])
				continue;
			cr_assert_eq(replay_accept(&key->live->replay, key->live->replay.next + (i % 3 == 2)),
				     REPLAY_FRESH);
			key->opened++;
		}
		harness_client_session(h, 0)->current->send_counter = key->live->replay.next;
		struct replay_window window = key->live->replay;
		cr_assert_eq(hand_over_rest(&f, h, &import), 1);
		key = harness_gateway_session(h, 0)->current;
		cr_assert_eq(key->live->replay.next, window.next);
		cr_assert_eq(memcmp(key->live->replay.bitmap, window.bitmap, sizeof window.bitmap), 0, "%u",
			     distances[d]);
		cr_assert(pings(h));
	}
	finish(h);
}

/* A client connects anew, and its old session is written before its new one is confirmed. */
Test(handover_moved, a_session_that_replaced_a_written_one_has_the_export_begin_anew)
{
	struct harness *h = START_UP(.clients = 1);
	struct session *session = harness_gateway_session(h, 0);
	struct registry *registry = &h->gateway.registry;
	struct handover_export export;
	cr_assert_eq(handover_export_begin(&export, registry, &h->gateway.jar), 0);
	uint32_t old = session->replaces = (session->id + 1) & registry->table.sharding.slot_mask;
	export.written[old / 8] |= (uint8_t)(1u << old % 8);
	cr_assert_eq(handover_export_sessions(&export, 0), HANDOVER_NO_SLOT);
	cr_assert_eq(export.writer.result, -EAGAIN);
	handover_export_end(&export, true);
	cr_assert_eq(export_first(&export, registry, &h->gateway.jar, h->clock.monotonic), 0, "%s", export.error.text);
	handover_export_end(&export, true);
	cr_assert(pings(h));
	finish(h);
}

/* Sent before the first part, one half arrives before the second and the other half at the next gateway. */
Test(handover_moved, late_packets_are_accepted_once)
{
	struct harness *h = START_UP(.clients = 1);
	struct handover_fixture f = {0};
	struct handover_import import;
	cr_assert(pings(h));
	struct impairment *impairment = impairment_new(h, 1);
	impairment->types = 1 << WIRE_DATA;
	impairment->from = &h->clients[0].node.link;
	impairment->keep = true;
	impairment->lose = 100;
	for (unsigned i = 0; i < 8; i++)
		(void)harness_ping(h, 0, TO_GATEWAY);
	impairment->keep = false;
	impairment->lose = 0;
	cr_assert_eq(impairment->kept_count, 8);
	for (unsigned i = 0; i < BEFORE; i++)
		cr_assert(pings(h));
	cr_assert_eq(fixture_begin(&f, h), 0);
	for (size_t i = 0; i < 4; i++)
		impairment_replay(impairment, i);
	harness_pump(h);
	cr_assert_eq(gateway_drops(h, DROP_REPLAY), 0);
	cr_assert_eq(hand_over_rest(&f, h, &import), 1);
	uint64_t before = gateway_count(h, STATS_tun_tx_packets);
	for (size_t i = 4; i < 8; i++)
		impairment_replay(impairment, i);
	harness_pump(h);
	cr_assert_eq(gateway_count(h, STATS_tun_tx_packets), before + 4);
	cr_assert_eq(gateway_drops(h, DROP_REPLAY), 0);
	for (size_t i = 0; i < 8; i++)
		impairment_replay(impairment, i);
	harness_pump(h);
	cr_assert_eq(gateway_drops(h, DROP_REPLAY), 8, "also those that came between the parts");
	while (node_take(&h->gateway.node) != NULL)
		;
	impairment_free(impairment);
	finish(h);
}

Test(handover_moved, one_that_ends_is_gone)
{
	struct harness *h = START_UP(.clients = 3, .max_sessions = 3, .networks[1] = {"10.99.0.0/24"});
	struct handover_fixture f = {0};
	struct handover_import import;
	cr_assert(all_ping(h));
	uint32_t index = harness_gateway_session(h, 1)->pool_index;
	cr_assert_eq(fixture_begin(&f, h), 0);
	harness_stop_client(h, 1, true);
	harness_pump(h);
	cr_assert_eq(registry_collect(&h->gateway.registry), 0, "its ID and address stay reserved");
	cr_assert_eq(hand_over_rest(&f, h, &import), 2);
	cr_assert_eq(f.gone, 1);
	harness_pump(h);
	(void)registry_collect(&h->gateway.registry); /* as any other that ended */
	cr_assert_null(harness_gateway_session(h, 1));
	check(h);
	const struct registry *registry = &h->gateway.registry;
	uint32_t resting[4];
	cr_assert_eq(registry->pool.used, 2);
	cr_assert_eq(pool_resting(&registry->pool, resting), 1);
	cr_assert_eq(resting[0], index);
	cr_assert_eq(harness_peer(h, 1)->last_index, index, "it comes back to its address");
	cr_assert_eq(registry->table.workers[0].taken, 2);
	harness_start_client(h, 1);
	cr_assert(harness_up(h));
	cr_assert_eq(harness_gateway_session(h, 1)->pool_index, index);
	cr_assert(all_ping(h));
	finish(h);
}

/* The next gateway does not have its peer, and its client says BYE meanwhile. */
Test(handover_moved, one_that_is_dropped_and_ends_counts_once)
{
	struct harness *h = START_UP(.clients = 3);
	struct handover_fixture f = {0};
	struct handover_import import;
	cr_assert_eq(fixture_begin(&f, h), 0);
	harness_stop_client(h, 1, true);
	harness_pump(h);
	cr_assert_eq(fixture_end(&f, h), 0);
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
	cr_assert(harness_remove_peer(h, 1));
	fixture_aim(&f, h);
	cr_assert_eq(handover_read(&import, &f.memory, &f.target, NULL), 0);
	cr_assert_eq(import.dropped, 1);
	cr_assert_eq(fixture_adopt(&f, h, &import), 2);
	cr_assert_eq(f.gone, 0);
	fixture_close(&f);
	cr_assert(harness_ping(h, 0, TO_CLIENT) && harness_ping(h, 2, TO_CLIENT));
	finish(h);
}

/* Written at first, and collected before the list of free IDs is. */
Test(handover_moved, one_that_ends_while_the_first_part_is_written)
{
	struct harness *h = START_UP(.clients = 2, .max_sessions = 2);
	struct handover_fixture f = {0};
	struct handover_import import;
	cr_assert_eq(handover_export_begin(&f.export, &h->gateway.registry, &h->gateway.jar), 0);
	cr_assert_eq(handover_export_sessions(&f.export, 0), HANDOVER_NO_SLOT);
	harness_stop_client(h, 1, true);
	harness_pump(h);
	cr_assert_eq(handover_export_finish(&f.export, h->clock.monotonic), 0);
	cr_assert_eq(hand_over_rest(&f, h, &import), 1);
	cr_assert_eq(f.gone, 1);
	check(h);
	cr_assert_eq(h->gateway.registry.table.workers[0].taken, 1);
	harness_start_client(h, 1);
	cr_assert(harness_up(h));
	cr_assert(all_ping(h));
	finish(h);
}

Test(handover_moved, one_that_roams_is_found_where_it_is)
{
	struct harness *h = START_UP(.clients = 1);
	struct handover_fixture f = {0};
	struct handover_import import;
	cr_assert(pings(h));
	cr_assert_eq(fixture_begin(&f, h), 0);
	link_move(&h->clients[0].node.link, network_address("2001:db8::77", 99));
	cr_assert(pings(h));
	struct endpoint endpoint = harness_gateway_session(h, 0)->endpoint;
	cr_assert_eq(hand_over_rest(&f, h, &import), 1);
	const struct session *session = harness_gateway_session(h, 0);
	cr_assert(endpoint_equal(&session->endpoint, &endpoint));
	cr_assert_eq(session->view.roams, 1);
	cr_assert_eq(session->view.remote[2], endpoint.remote.sin6_port, "and is shown there");
	cr_assert(harness_ping(h, 0, TO_CLIENT));
	finish(h);
}

/* The answer to the rekey was sent before, and its first packet comes between. */
Test(handover_moved, keys_that_are_confirmed_are_current)
{
	struct harness *h = START_UP(.clients = 1);
	struct handover_fixture f = {0};
	struct handover_import import;
	struct impairment *impairment = impairment_new(h, 1);
	impairment->from = &h->clients[0].node.link;
	struct session *session = harness_gateway_session(h, 0);
	for (unsigned second = 0; session->next == NULL; second++) {
		cr_assert(second < 2 * HARNESS_REKEY_INTERVAL);
		impairment->types = (uint32_t) ~(1u << WIRE_HELLO);
		impairment->delay = second >= HARNESS_REKEY_INTERVAL - 2 ? 100 : 0;
		(void)pings(h);
		harness_advance(h, NS_PER_S);
	}
	unsigned epoch = session->next->epoch;
	cr_assert_eq(fixture_begin(&f, h), 0);
	impairment->delay = 0;
	impairment_release(impairment);
	harness_pump(h);
	while (node_take(&h->gateway.node) != NULL || node_take(&h->clients[0].node) != NULL)
		;
	cr_assert(pings(h));
	cr_assert_eq(session->current->epoch, epoch);
	cr_assert_eq(hand_over_rest(&f, h, &import), 1);
	session = harness_gateway_session(h, 0);
	cr_assert(session->current->epoch == epoch && session->next == NULL && session->previous != NULL);
	cr_assert_eq(session->view.epoch, epoch);
	cr_assert(pings(h));
	impairment_free(impairment);
	finish(h);
}

Test(handover_moved, a_session_that_is_confirmed_is_active)
{
	struct harness *h = START(.clients = 1);
	struct handover_fixture f = {0};
	struct handover_import import;
	struct impairment *impairment = impairment_new(h, 1);
	impairment->types = 1 << WIRE_CLIENT_ACK;
	impairment->delay = 100;
	harness_connect(h, 0);
	harness_pump(h);
	cr_assert_not_null(harness_pending_session(h, 0));
	cr_assert_eq(fixture_begin(&f, h), 0);
	impairment->delay = 0;
	impairment_release(impairment);
	harness_pump(h);
	cr_assert_eq(hand_over_rest(&f, h, &import), 1);
	cr_assert_null(harness_pending_session(h, 0));
	cr_assert_not_null(harness_gateway_session(h, 0));
	check(h);
	cr_assert(pings(h));
	impairment_free(impairment);
	finish(h);
}

/* A key that slept has a window now, and one that was in use sleeps. */
Test(handover_moved, keys_that_wake_and_sleep)
{
	struct harness *h = START_UP(.clients = 2);
	struct handover_fixture f = {0};
	struct handover_import import;
	cr_assert(all_ping(h));
	harness_advance(h, SESSION_HIBERNATE_NS + NS_PER_S);
	cr_assert(harness_ping(h, 1, TO_GATEWAY));
	cr_assert_not(transport_key_is_live(harness_gateway_session(h, 0)->current));
	cr_assert_eq(fixture_begin(&f, h), 0);
	cr_assert(harness_ping(h, 0, TO_GATEWAY) && harness_ping(h, 1, TO_GATEWAY));
	session_hibernate(harness_gateway_session(h, 1));
	uint64_t seen = harness_gateway_session(h, 1)->current->seen;
	struct replay_window window = harness_gateway_session(h, 0)->current->live->replay;
	cr_assert_eq(hand_over_rest(&f, h, &import), 2);
	const struct transport_key *woke = harness_gateway_session(h, 0)->current;
	cr_assert(transport_key_is_live(woke));
	cr_assert_eq(woke->live->replay.next, window.next);
	cr_assert_eq(memcmp(woke->live->replay.bitmap, window.bitmap, sizeof window.bitmap), 0);
	cr_assert_not(transport_key_is_live(harness_gateway_session(h, 1)->current));
	cr_assert_eq(harness_gateway_session(h, 1)->current->seen, seen);
	cr_assert(all_ping(h));
	finish(h);
}

/* It woke to seal, and opened nothing: its windows are others all the same. */
Test(handover_moved, a_key_that_slept_and_woke_by_sending)
{
	struct harness *h = START_UP(.clients = 1);
	struct handover_fixture f = {0};
	struct handover_import import;
	cr_assert(pings(h));
	cr_assert_eq(fixture_begin(&f, h), 0);
	struct transport_key *key = harness_gateway_session(h, 0)->current;
	uint64_t opened = key->opened;
	session_hibernate(harness_gateway_session(h, 0));
	cr_assert(harness_ping(h, 0, TO_CLIENT));
	cr_assert(transport_key_is_live(key) && key->opened == opened);
	const struct replay_window windows[] = {key->live->replay, key->live->replay_sparse};
	cr_assert_eq(hand_over_rest(&f, h, &import), 1);
	const struct transport_state *now = harness_gateway_session(h, 0)->current->live;
	cr_assert_eq(now->replay.next, windows[0].next);
	cr_assert_eq(memcmp(now->replay.bitmap, windows[0].bitmap, sizeof windows[0].bitmap), 0);
	cr_assert_eq(now->replay_sparse.next, windows[1].next);
	cr_assert_eq(memcmp(now->replay_sparse.bitmap, windows[1].bitmap, sizeof windows[1].bitmap), 0);
	cr_assert(pings(h));
	finish(h);
}

Test(handover_moved, quotas_and_rates_follow)
{
	struct harness *h = START_UP(.clients = 1,
				     .limits[0] = {
					     .up = 80000, .down = 80000, .quota = 1 << 30, .period = CALENDAR_DAY});
	struct handover_fixture f = {0};
	struct handover_import import;
	usages_set_clock(&h->gateway.registry.usages, h->clock.wall);
	cr_assert(pings(h));
	cr_assert_eq(fixture_begin(&f, h), 0);
	cr_assert(pings(h));
	uint64_t used = peer_usage(harness_peer(h, 0))->used, up = harness_gateway_session(h, 0)->limits->up.ready;
	cr_assert_eq(fixture_end(&f, h), 0);
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
	usages_set_clock(&h->gateway.registry.usages, h->clock.wall);
	fixture_aim(&f, h);
	cr_assert_eq(handover_read(&import, &f.memory, &f.target, NULL), 0);
	cr_assert_eq(fixture_adopt(&f, h, &import), 1);
	fixture_close(&f);
	cr_assert_eq(peer_usage(harness_peer(h, 0))->used, used);
	cr_assert_eq(harness_gateway_session(h, 0)->limits->up.ready, up);
	finish(h);
}

Test(handover_moved, of_wireguard_clients)
{
	struct harness *h = harness_new(&(struct harness_options){.clients = 1, .wireguard = true});
	struct wireguard *w = wireguard_new(h, 3);
	struct handover_fixture f = {0};
	struct handover_import import;
	cr_assert(harness_up(h));
	cr_assert(wireguard_up(w));
	for (size_t i = 0; i < 3; i++)
		cr_assert(wireguard_ping(w, i, TO_GATEWAY) && wireguard_ping(w, i, TO_CLIENT));
	cr_assert_eq(fixture_begin(&f, h), 0);
	for (size_t i = 0; i < 2; i++)
		cr_assert(wireguard_ping(w, i, TO_GATEWAY) && wireguard_ping(w, i, TO_CLIENT));
	uint64_t counter = wireguard_session(w, 0)->current->send_counter;
	uint64_t next = wireguard_session(w, 0)->current->live->replay.next;
	cr_assert_eq(fixture_end(&f, h), 0);
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
	for (size_t i = 0; i < 3; i++)
		cr_assert_eq(wireguard_list(w, i, NULL), 0);
	fixture_aim(&f, h);
	cr_assert_eq(handover_read(&import, &f.memory, &f.target, &f.error), 0, "%s", f.error.text);
	cr_assert_eq(fixture_adopt(&f, h, &import), 4);
	fixture_close(&f);
	cr_assert_eq(f.moved, 2);
	cr_assert_eq(wireguard_session(w, 0)->current->send_counter, counter + HANDOVER_GAP);
	cr_assert_eq(wireguard_session(w, 0)->current->live->replay.next, next);
	for (size_t i = 0; i < 3; i++)
		cr_assert(wireguard_ping(w, i, TO_GATEWAY) && wireguard_ping(w, i, TO_CLIENT), "client %zu", i);
	check(h);
	wireguard_free(w);
	harness_free(h);
}

/* --- what must not be --------------------------------------------------------------------------------------------- */

/* As if handshakes went on: the old gateway keeps all, and nothing of it stays reserved. */
Test(handover_moved, a_new_session_is_refused)
{
	struct harness *h = START(.clients = 2);
	struct handover_fixture f = {0};
	harness_connect(h, 0);
	cr_assert(harness_wait(h, 0, CLIENT_UP, NS_PER_S));
	cr_assert_eq(fixture_begin(&f, h), 0);
	harness_connect(h, 1);
	cr_assert(harness_wait(h, 1, CLIENT_UP, NS_PER_S));
	cr_assert_eq(fixture_end(&f, h), -EBUSY);
	cr_assert_str_eq(f.error.text, "hand-over: there are new sessions: try again");
	fixture_close(&f);
	cr_assert(all_ping(h));
	finish(h);
}

Test(handover_moved, new_keys_are_refused)
{
	struct harness *h = START_UP(.clients = 1);
	struct handover_fixture f = {0};
	cr_assert(pings(h));
	cr_assert_eq(fixture_begin(&f, h), 0);
	unsigned epoch = harness_gateway_session(h, 0)->current->epoch;
	for (unsigned second = 0; harness_gateway_session(h, 0)->current->epoch == epoch; second++) {
		cr_assert(second < 2 * HARNESS_REKEY_INTERVAL && pings(h));
		harness_advance(h, NS_PER_S);
	}
	cr_assert_eq(fixture_end(&f, h), -EBUSY);
	cr_assert(strstr(f.error.text, "has new keys: try again") != NULL, "%s", f.error.text);
	fixture_close(&f);
	cr_assert(pings(h));
	finish(h);
}

/* The next one made everything and cannot have it: no client is told. */
Test(handover_moved, one_that_leaves_says_nothing)
{
	struct harness *h = START_UP(.clients = 3, .workers = 2);
	struct handover_fixture f = {0};
	struct handover_import import;
	cr_assert_eq(fixture_export(&f, h), 0);
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
	fixture_aim(&f, h);
	cr_assert_eq(handover_read(&import, &f.memory, &f.target, &f.error), 0);
	handover_take_over(&import, &f.target);
	handover_leave(&import, &f.target);
	handover_discard(&import);
	fixture_close(&f);
	uint64_t packets = gateway_count(h, STATS_udp_tx_packets);
	check(h);
	cr_assert_eq(gateway_count(h, STATS_udp_tx_packets), packets);
	cr_assert_eq(gateway_count(h, STATS_sessions_ended), 0);
	cr_assert_eq(h->gateway.registry.pool.used, 0);
	finish(h);
}
