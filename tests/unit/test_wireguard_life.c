// SPDX-License-Identifier: Apache-2.0
/* Sessions of WireGuard clients from the first key to the last, on a clock that the tests move. */
#include "tests/unit/wireguard_unit.h"

TestSuite(wireguard_life, .timeout = 60);

static void relist(struct wireguard *w, size_t client, const struct registry_peer *also)
{
	uint32_t ids[2];
	cr_assert(registry_remove_peer(&w->h->gateway.registry, w->clients[client].identity.keys.public_key, ids));
	cr_assert_eq(wireguard_list(w, client, also), 0);
}

static uint32_t id_of(struct wireguard *w)
{
	const struct session *session = wireguard_session(w, 0);
	return session != NULL ? session->id : 0;
}

static void put_to_client(struct wireguard *w)
{
	uint8_t packet[256];
	struct packet_spec spec = wireguard_spec(w, 0, TO_CLIENT, 4, IPPROTO_UDP);
	node_put_packet(&w->h->gateway.node, packet, packet_build(&spec, (const uint8_t *)"text", 4, packet));
	wireguard_pump(w);
}

/* --- keys and the session ----------------------------------------------------------------------------------------- */

Test(wireguard_life, keys_die_after_180_s_and_the_session_540_s_after_its_last_packet)
{
	struct wireguard *w = WG_UP(1, .reset = true);
	uint32_t id = id_of(w);
	wireguard_advance(w, WG_REJECT_AFTER_S * NS_PER_S - WORKER_TICK_NS);
	cr_assert(wg_pings(w, 0), "to the end");
	wireguard_advance(w, 2 * WORKER_TICK_NS);
	put_to_client(w);
	cr_assert_eq(w->clients[0].initiations, 1, "it waits for a key");
	wireguard_send(w, 0, NULL, 0);
	wireguard_pump(w);
	cr_assert_eq(wg_drops(w, DROP_EPOCH), 1);
	cr_assert_str_eq(wg_event(w), "connect wireguard");

	wireguard_advance(w, WG_WIPE_AFTER_S * NS_PER_S - NS_PER_S);
	cr_assert_eq(id_of(w), id);
	cr_assert_eq(wg_drops(w, DROP_OUT_UNANSWERED), 1);
	cr_assert_str_eq(wg_event(w), "", "a client may sleep");
	wireguard_advance(w, NS_PER_S);
	cr_assert_eq(id_of(w), 0);
	cr_assert_str_eq(wg_event(w), "disconnect wireguard timed out");
	cr_assert_eq(w->h->gateway.registry.pool.used, 0);
	put_to_client(w);
	cr_assert_eq(wg_drops(w, DROP_OUT_NO_SESSION), 1);
	uint64_t sent = wg_count(w, STATS_udp_tx_packets);
	wireguard_send(w, 0, NULL, 0);
	wireguard_pump(w);
	cr_assert_eq(wg_drops(w, DROP_SESSION), 1);
	cr_assert_eq(wg_count(w, STATS_udp_tx_packets), sent, "and there is no RESET");
	wg_unit_finish(w);
}

Test(wireguard_life, a_client_that_slept_goes_on_with_its_session)
{
	struct wireguard *w = WG_UP(1, .session_timeout = 60);
	uint32_t id = id_of(w);
	for (unsigned i = 0; i < 3; i++) {
		wireguard_advance(w, 200 * NS_PER_S);
		cr_assert_null(wireguard_session(w, 0)->current);
		cr_assert(wireguard_initiate(w, 0));
		cr_assert_eq(id_of(w), id, "SessionTimeout is the own protocol's");
		cr_assert(wg_pings(w, 0));
	}
	cr_assert_eq(wg_count(w, STATS_sessions_started), 1);
	cr_assert_eq(wg_count(w, STATS_rekeys), 3);
	wg_unit_finish(w);
}

Test(wireguard_life, the_next_session_has_the_same_address)
{
	struct wireguard *w = WG_UP(2);
	uint32_t id = id_of(w);
	struct ip_address address = wireguard_session(w, 0)->inner4.address;
	wireguard_advance(w, 600 * NS_PER_S);
	cr_assert_eq(id_of(w), 0);
	cr_assert(wireguard_initiate(w, 0));
	cr_assert(id_of(w) != 0 && id_of(w) != id);
	cr_assert(ip_address_equal(&wireguard_session(w, 0)->inner4.address, &address));
	cr_assert(wg_pings(w, 0));
	cr_assert_eq(wg_count(w, STATS_sessions_started), 3);
	wg_unit_finish(w);
}

/* A client confirms by one packet and no other, if it has nothing to send. */
Test(wireguard_life, a_key_whose_first_packet_was_lost_waits_for_the_next)
{
	struct wireguard *w = WG_START(1);
	struct wireguard_client *c = &w->clients[0];
	c->mute = true;
	cr_assert(wireguard_initiate(w, 0));
	wireguard_advance(w, 170 * NS_PER_S);
	cr_assert(wireguard_ping(w, 0, TO_GATEWAY));
	cr_assert(wireguard_ping(w, 0, TO_CLIENT));
	wireguard_advance(w, NS_PER_S);
	cr_assert(wireguard_initiate(w, 0));
	wireguard_advance(w, 170 * NS_PER_S);
	cr_assert(wireguard_ping(w, 0, TO_GATEWAY), "by a rekey as well");
	wireguard_advance(w, 12 * NS_PER_S);
	cr_assert_null(wireguard_session(w, 0)->current, "its age counts from the handshake");
	wg_unit_finish(w);
}

Test(wireguard_life, a_handshake_that_is_never_confirmed_ends)
{
	struct wireguard *w = WG_START(1);
	w->clients[0].mute = true;
	cr_assert(wireguard_initiate(w, 0));
	cr_assert_eq(w->h->gateway.role.pending, 1);
	wireguard_advance(w, WG_REJECT_AFTER_S * NS_PER_S + WORKER_TICK_NS);
	cr_assert_eq(w->h->gateway.role.pending, 0);
	cr_assert_eq(w->h->gateway.registry.pool.used, 0);
	cr_assert_str_eq(wg_event(w), "refused wireguard not_confirmed");
	wg_unit_finish(w);
}

Test(wireguard_life, idle_keys_sleep)
{
	struct wireguard *w = WG_UP(1);
	cr_assert(wg_pings(w, 0));
	cr_assert(transport_key_is_live(wireguard_session(w, 0)->current));
	wireguard_advance(w, SESSION_HIBERNATE_NS + 2 * WORKER_TICK_NS);
	cr_assert_not(transport_key_is_live(wireguard_session(w, 0)->current));
	cr_assert(wg_pings(w, 0));
	wg_unit_finish(w);
}

/* --- keepalives --------------------------------------------------------------------------------------------------- */

Test(wireguard_life, an_idle_gateway_is_silent)
{
	struct wireguard *w = WG_UP(1, .persistent_keepalive = 5);
	wireguard_advance(w, 170 * NS_PER_S);
	cr_assert_eq(w->clients[0].keepalives, 0);
	cr_assert_eq(wg_count(w, STATS_udp_tx_packets), 1, "the response");
	wg_unit_finish(w);
}

Test(wireguard_life, data_without_answer_is_followed_by_a_keepalive)
{
	struct wireguard *w = WG_UP(1);
	cr_assert(wireguard_ping(w, 0, TO_GATEWAY));
	wireguard_advance(w, WG_KEEPALIVE_S * NS_PER_S - WORKER_TICK_NS);
	cr_assert_eq(w->clients[0].keepalives, 0);
	wireguard_advance(w, 2 * WORKER_TICK_NS);
	cr_assert_eq(w->clients[0].keepalives, 1);
	wireguard_advance(w, 60 * NS_PER_S);
	cr_assert_eq(w->clients[0].keepalives, 1, "once");
	cr_assert(wg_pings(w, 0));
	wireguard_advance(w, 20 * NS_PER_S);
	cr_assert_eq(w->clients[0].keepalives, 1, "it was answered");
	wg_unit_finish(w);
}

Test(wireguard_life, persistent_keepalives_as_configured)
{
	struct wireguard *w = WG_START(1);
	struct wireguard_client *c = &w->clients[0];
	relist(w, 0, &(struct registry_peer){.contact = {.keepalive = 25}});
	cr_assert(wireguard_up(w));
	wireguard_advance(w, 24 * NS_PER_S);
	cr_assert_eq(c->keepalives, 0);
	wireguard_advance(w, 78 * NS_PER_S);
	cr_assert_eq(c->keepalives, 4);
	for (unsigned i = 0; i < 10; i++) {
		cr_assert(wg_pings(w, 0));
		wireguard_advance(w, 7 * NS_PER_S);
	}
	cr_assert_eq(c->keepalives, 4, "none is needed");
	wireguard_advance(w, 300 * NS_PER_S);
	cr_assert_leq(c->keepalives, 5, "none without a key");
	cr_assert(wireguard_initiate(w, 0));
	wireguard_advance(w, 26 * NS_PER_S);
	cr_assert_geq(c->keepalives, 5);
	wg_unit_finish(w);
}

Test(wireguard_life, a_new_interval_reaches_the_session)
{
	struct wireguard *w = WG_UP(1);
	struct registry *registry = &w->h->gateway.registry;
	struct inbox_message *message = calloc(1, sizeof *message);
	cr_assert_not_null(message);
	*message = (struct inbox_message){.kind = INBOX_LIMITS, .session_id = id_of(w)};
	cr_assert_eq(registry_reach_peer(registry, wireguard_peer(w, 0), &(struct contact){.keepalive = 10}), 0);
	inbox_post(&harness_owner(w->h, id_of(w))->inbox, message);
	wireguard_advance(w, 31 * NS_PER_S);
	cr_assert_eq(w->clients[0].keepalives, 3);
	wg_unit_finish(w);
}

/* --- where the client is ------------------------------------------------------------------------------------------ */

Test(wireguard_life, the_newest_packet_says_where_the_client_is)
{
	struct wireguard *w = WG_UP(1);
	struct wireguard_client *c = &w->clients[0];
	uint8_t late[WG_DATA_MIN];
	cr_assert(wg_pings(w, 0));
	struct sockaddr_in6 home = c->address;
	wireguard_seal(w, 0, NULL, 0, late);
	uint64_t sent = wg_count(w, STATS_udp_tx_packets);
	wireguard_move(w, 0, "198.51.100.77", 40001);
	wireguard_send(w, 0, NULL, 0);
	wireguard_pump(w);
	cr_assert_eq(wg_count(w, STATS_roams), 1);
	cr_assert_eq(wg_count(w, STATS_udp_tx_packets), sent, "no path is tried");
	cr_assert(wireguard_ping(w, 0, TO_CLIENT));
	c->address = home;
	wireguard_send_raw(w, 0, late, sizeof late);
	wireguard_pump(w);
	wireguard_move(w, 0, "198.51.100.77", 40001);
	cr_assert(wireguard_ping(w, 0, TO_CLIENT), "an older one says nothing");
	wireguard_move(w, 0, "2001:db8:7::1", 40001);
	cr_assert(wg_pings(w, 0), "to IPv6");
	wg_unit_finish(w);
}

/* An initiation that was intercepted may come from anywhere. */
Test(wireguard_life, an_initiation_alone_moves_nothing)
{
	struct wireguard *w = WG_UP(1);
	struct wireguard_client *c = &w->clients[0];
	struct sockaddr_in6 home = c->address;
	wireguard_advance(w, NS_PER_S);
	c->mute = true;
	wireguard_move(w, 0, "198.51.100.77", 40001);
	cr_assert(wireguard_initiate(w, 0), "the response goes where it came from");
	struct sockaddr_in6 away = c->address;
	c->address = home;
	cr_assert(wireguard_ping(w, 0, TO_CLIENT));
	cr_assert_eq(wg_count(w, STATS_roams), 0);
	c->address = away;
	cr_assert(wg_pings(w, 0), "but the first packet under its keys does");
	wg_unit_finish(w);
}

/* --- the gateway's end -------------------------------------------------------------------------------------------- */

Test(wireguard_life, a_restarted_gateway_is_found_by_an_initiation)
{
	for (unsigned orderly = 0; orderly < 2; orderly++) {
		struct wireguard *w = WG_UP(2, .reset = true);
		struct wireguard_client *c = &w->clients[0];
		uint8_t replayed[WG_INITIATION_SIZE];
		memcpy(replayed, c->initiation, sizeof replayed);
		harness_stop_gateway(w->h, orderly != 0);
		wireguard_pump(w);
		cr_assert(c->keepalives + c->refused + c->packets == 0, "it goes without a word");
		harness_start_gateway(w->h);
		for (size_t i = 0; i < w->count; i++)
			cr_assert_eq(wireguard_list(w, i, NULL), 0);
		wireguard_send(w, 0, NULL, 0);
		wireguard_pump(w);
		cr_assert_eq(wg_drops(w, DROP_SESSION), 1);
		cr_assert_eq(wg_count(w, STATS_udp_tx_packets), 0);
		wireguard_send_raw(w, 0, replayed, sizeof replayed);
		wireguard_pump(w);
		cr_assert_not(session_is_active(wireguard_session(w, 0)), "a recording makes no session");
		wireguard_advance(w, NS_PER_S);
		cr_assert(wireguard_up(w));
		cr_assert(wg_pings(w, 0) && wg_pings(w, 1));
		wg_unit_finish(w);
	}
}

Test(wireguard_life, a_removed_peer_is_gone_without_a_word)
{
	struct wireguard *w = WG_UP(1);
	struct inbox_message *message = calloc(1, sizeof *message);
	uint32_t ids[2];
	cr_assert_not_null(message);
	*message = (struct inbox_message){.kind = INBOX_END, .session_id = id_of(w), .end.reason = WIRE_BYE_REMOVED};
	uint64_t sent = wg_count(w, STATS_udp_tx_packets);
	cr_assert(registry_remove_peer(&w->h->gateway.registry, w->clients[0].identity.keys.public_key, ids));
	cr_assert_eq(ids[0] | ids[1], message->session_id);
	inbox_post(&harness_owner(w->h, message->session_id)->inbox, message);
	wireguard_pump(w);
	cr_assert_eq(wg_count(w, STATS_udp_tx_packets), sent);
	cr_assert_eq(w->h->gateway.registry.pool.used, 0);
	cr_assert_eq(wireguard_list(w, 0, NULL), 0);
	wireguard_advance(w, NS_PER_S);
	cr_assert(wireguard_up(w) && wg_pings(w, 0));
	wg_unit_finish(w);
}
