// SPDX-License-Identifier: Apache-2.0
/* Handshakes of WireGuard clients with the gateway: the responder's side of core/protocol/WIREGUARD.md. What is refused
 * is in test_wireguard_refused.c. */
#include "tests/unit/wireguard_unit.h"

TestSuite(wireguard_handshake, .timeout = 60);

static struct session *session_of(struct wireguard *w, size_t client)
{
	struct session *session = wireguard_session(w, client);
	cr_assert_not_null(session);
	return session;
}

Test(wireguard_handshake, takes_one_round_trip)
{
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct wireguard *w = WG_START(1, .ipv6_outside = v6 != 0);
		cr_assert(wireguard_initiate(w, 0));
		const struct session *session = session_of(w, 0);
		cr_assert(session_is_active(session));
		cr_assert_eq(session->current->epoch, 1);
		cr_assert_eq(session->current->dialect, &dialect_wireguard);
		cr_assert_eq(w->clients[0].current.key->receiver, wg_index(session->id, 1));
		cr_assert_eq(wg_count(w, STATS_rx_wg_initiation), 1);
		cr_assert_eq(wg_count(w, STATS_tx_wg_response), 1);
		cr_assert_eq(wg_count(w, STATS_udp_tx_packets), 1, "the client's empty packet is not answered");
		cr_assert_eq(wg_count(w, STATS_sessions_started), 1);
		cr_assert_str_eq(wg_event(w), "connect wireguard");
		cr_assert(wg_pings(w, 0));
		cr_assert_eq(w->clients[0].refused, 0);
		wg_unit_finish(w);
	}
}

Test(wireguard_handshake, works_without_a_preshared_key)
{
	static const uint8_t none[KEY_SIZE];
	struct wireguard *w = WG_START(1);
	uint32_t ids[2];
	cr_assert(registry_remove_peer(&w->h->gateway.registry, w->clients[0].identity.keys.public_key, ids));
	memcpy(w->clients[0].remote.preshared_key, none, KEY_SIZE);
	cr_assert_eq(wireguard_list(w, 0, NULL), 0);
	cr_assert(wireguard_up(w) && wg_pings(w, 0));
	wg_unit_finish(w);
}

Test(wireguard_handshake, nothing_is_sent_under_a_key_that_the_client_did_not_use)
{
	struct wireguard *w = WG_START(1);
	w->clients[0].mute = true;
	cr_assert(wireguard_initiate(w, 0));
	cr_assert_not(session_is_active(session_of(w, 0)));
	cr_assert_not(wireguard_ping(w, 0, TO_CLIENT));
	cr_assert_eq(wg_drops(w, DROP_OUT_NO_SESSION), 1);
	wireguard_advance(w, 60 * NS_PER_S);
	cr_assert_eq(wg_count(w, STATS_udp_tx_packets), wg_count(w, STATS_tx_wg_response));
	cr_assert(wireguard_ping(w, 0, TO_GATEWAY), "data confirms it, however late");
	cr_assert(session_is_active(session_of(w, 0)));
	cr_assert(wireguard_ping(w, 0, TO_CLIENT));
	wg_unit_finish(w);
}

Test(wireguard_handshake, renews_the_keys_of_the_session)
{
	struct wireguard *w = WG_UP(1);
	uint32_t id = session_of(w, 0)->id;
	wireguard_advance(w, 120 * NS_PER_S);
	cr_assert(wireguard_initiate(w, 0));
	const struct session *session = session_of(w, 0);
	cr_assert_eq(session->id, id);
	cr_assert_eq(session->current->epoch, 3);
	cr_assert_eq(session->previous->epoch, 1);
	cr_assert_eq(wg_count(w, STATS_rekeys), 1);
	cr_assert_eq(wg_count(w, STATS_sessions_started), 1);
	cr_assert(wg_pings(w, 0));
	wg_unit_finish(w);
}

/* While the client did not use the new keys, both directions go on under the old ones. */
Test(wireguard_handshake, an_unused_key_changes_nothing)
{
	struct wireguard *w = WG_UP(1);
	struct wireguard_client *c = &w->clients[0];
	wireguard_advance(w, 120 * NS_PER_S);
	c->mute = true;
	cr_assert(wireguard_initiate(w, 0));
	cr_assert_eq(session_of(w, 0)->current->epoch, 1);
	cr_assert_eq(session_of(w, 0)->next->epoch, 3);
	cr_assert(wireguard_ping(w, 0, TO_CLIENT), "it opens what comes under the previous one");
	struct wireguard_key newer = c->current;
	c->current = c->previous;
	cr_assert(wireguard_ping(w, 0, TO_GATEWAY));
	cr_assert_eq(session_of(w, 0)->current->epoch, 1);
	c->current = newer;
	wireguard_advance(w, 50 * NS_PER_S);
	cr_assert(wireguard_ping(w, 0, TO_GATEWAY), "it is used later");
	cr_assert_eq(session_of(w, 0)->current->epoch, 3);
	cr_assert(wireguard_ping(w, 0, TO_CLIENT));
	wg_unit_finish(w);
}

Test(wireguard_handshake, the_previous_key_opens_for_10_s)
{
	struct wireguard *w = WG_UP(1);
	uint8_t first[WG_DATA_MIN], second[WG_DATA_MIN];
	wireguard_advance(w, 60 * NS_PER_S);
	wireguard_seal(w, 0, NULL, 0, first);
	wireguard_seal(w, 0, NULL, 0, second);
	cr_assert(wireguard_initiate(w, 0));
	uint64_t before = wg_count(w, STATS_rx_keepalive);
	wireguard_advance(w, SESSION_PREVIOUS_KEY_NS - NS_PER_S);
	wireguard_send_raw(w, 0, first, sizeof first);
	wireguard_pump(w);
	cr_assert_eq(wg_count(w, STATS_rx_keepalive), before + 1);
	wireguard_advance(w, 2 * NS_PER_S);
	wireguard_send_raw(w, 0, second, sizeof second);
	wireguard_pump(w);
	cr_assert_eq(wg_drops(w, DROP_EPOCH), 1);
	wg_unit_finish(w);
}

Test(wireguard_handshake, epochs_wrap)
{
	struct wireguard *w = WG_UP(1);
	for (unsigned epoch = 2; epoch < 40; epoch++) {
		wireguard_advance(w, NS_PER_S);
		cr_assert(wireguard_initiate(w, 0));
		const struct session *session = session_of(w, 0);
		cr_assert_eq(session->current->epoch, (epoch - 1) % 8 * 2 + 1);
		cr_assert_eq(w->clients[0].current.key->receiver, wg_index(session->id, session->current->epoch));
		cr_assert(wg_pings(w, 0));
	}
	cr_assert_eq(wg_count(w, STATS_sessions_started), 1);
	wg_unit_finish(w);
}

/* A second response is for the second initiation: its client believes no other. */
Test(wireguard_handshake, the_latest_initiation_counts)
{
	struct wireguard *w = WG_START(1);
	struct wireguard_client *c = &w->clients[0];
	w->h->gateway.held = 1; /* the worker */
	wireguard_prepare(w, 0);
	wireguard_send_initiation(w, 0);
	wireguard_pump(w);
	wireguard_advance(w, NS_PER_S);
	wireguard_prepare(w, 0);
	wireguard_send_initiation(w, 0);
	wireguard_pump(w);
	w->h->gateway.held = 0;
	wireguard_pump(w);
	cr_assert_eq(wg_count(w, STATS_tx_wg_response), 2);
	cr_assert(c->responses == 1 && c->refused == 1);
	cr_assert(wg_pings(w, 0));
	cr_assert_eq(wg_count(w, STATS_handshakes_late), 0);
	wg_unit_finish(w);
}

/* A handshake thread that is late undoes nothing. */
Test(wireguard_handshake, of_two_threads_the_later_handshake_stays)
{
	struct wireguard *w = WG_START(1, .handshakers = 2);
	wireguard_prepare(w, 0);
	w->h->gateway.held = 2u << wg_index_session_id(wg_sender(w->clients[0].initiation)) % 2;
	wireguard_send_initiation(w, 0);
	wireguard_pump(w);
	wireguard_advance(w, NS_PER_S);
	do
		wireguard_prepare(w, 0);
	while ((w->h->gateway.held & 2u << wg_index_session_id(wg_sender(w->clients[0].initiation)) % 2) != 0);
	wireguard_send_initiation(w, 0);
	wireguard_pump(w);
	cr_assert_eq(w->clients[0].responses, 1);
	w->h->gateway.held = 0;
	wireguard_pump(w);
	cr_assert_eq(wg_drops(w, DROP_STALE), 1, "the earlier one comes to its turn");
	cr_assert_eq(wg_count(w, STATS_tx_wg_response), 1);
	cr_assert(wg_pings(w, 0));
	wg_unit_finish(w);
}

Test(wireguard_handshake, threads_share_initiations_by_the_client_s_index)
{
	enum { CLIENTS = 30 };
	struct wireguard *w = WG_UP(CLIENTS, .handshakers = 3, .workers = 3);
	unsigned busy = 0;
	for (unsigned i = 0; i < 3; i++) {
		const struct stats *stats = &w->h->gateway.handshakes[i].handshaker->loop.stats;
		busy += atomic_load(&stats->counters[STATS_rx_wg_initiation]) > 0;
	}
	cr_assert_eq(busy, 3);
	for (size_t i = 0; i < CLIENTS; i++)
		cr_assert(wg_pings(w, i));
	wg_unit_finish(w);
}

/* Behind data of another session, in one GRO batch. */
Test(wireguard_handshake, an_initiation_in_a_train_reaches_its_thread)
{
	struct wireguard *w = WG_UP(1, .handshakers = 2);
	uint8_t train[2 * WG_INITIATION_SIZE], packet[WG_INITIATION_SIZE] = {0};
	struct packet_spec spec = wireguard_spec(w, 0, TO_GATEWAY, 4, IPPROTO_UDP);
	(void)packet_build(&spec, (const uint8_t *)"text", 4, packet);
	cr_assert_eq(wireguard_seal(w, 0, packet, WG_INITIATION_SIZE - WG_OVERHEAD, train), WG_INITIATION_SIZE);
	wireguard_advance(w, NS_PER_S);
	wireguard_prepare(w, 0);
	memcpy(train + WG_INITIATION_SIZE, w->clients[0].initiation, WG_INITIATION_SIZE);
	struct udp_message message = {
		.data = train,
		.length = sizeof train,
		.segment_size = WG_INITIATION_SIZE,
		.endpoint = {.remote = w->clients[0].address, .local = w->h->gateway_address.sin6_addr},
	};
	cr_assert(link_inject(&w->h->gateway.node.link, &message));
	wireguard_pump(w);
	cr_assert_eq(w->clients[0].responses, 2);
	cr_assert_eq(wg_count(w, STATS_handed_over), 1);
	cr_assert_not_null(node_take(&w->h->gateway.node));
	cr_assert(wg_pings(w, 0));
	wg_unit_finish(w);
}

/* --- under load --------------------------------------------------------------------------------------------------- */

Test(wireguard_handshake, under_load_takes_a_cookie)
{
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct wireguard *w = WG_START(1, .always_cookie = true, .ipv6_outside = v6 != 0);
		struct wireguard_client *c = &w->clients[0];
		cr_assert_not(wireguard_initiate(w, 0));
		cr_assert(c->cookies == 1 && c->has_cookie && c->refused == 0);
		cr_assert_eq(wg_count(w, STATS_tx_wg_cookie), 1);
		cr_assert_eq(wg_count(w, STATS_tx_cookie), 0);
		cr_assert_eq(wg_count(w, STATS_udp_tx_bytes), WG_COOKIE_REPLY_SIZE);
		cr_assert_eq(wg_drops(w, DROP_COOKIE), 1);
		cr_assert_null(wireguard_session(w, 0));
		wireguard_advance(w, 5 * NS_PER_S);
		cr_assert(wireguard_initiate(w, 0));
		cr_assert(wg_pings(w, 0));
		cr_assert_eq(wg_count(w, STATS_tx_wg_cookie), 1);
		wg_unit_finish(w);
	}
}

Test(wireguard_handshake, a_cookie_of_elsewhere_or_of_before_is_none)
{
	struct wireguard *w = WG_START(2, .always_cookie = true);
	struct wireguard_client *c = &w->clients[0];
	cr_assert_not(wireguard_initiate(w, 0));
	struct sockaddr_in6 home = c->address;
	wireguard_move(w, 0, "198.51.100.99", 51820);
	cr_assert_not(wireguard_initiate(w, 0));
	cr_assert_eq(wg_drops(w, DROP_COOKIE), 2, "of another address");
	wireguard_move(w, 0, "198.51.100.99", 51821);
	cr_assert_not(wireguard_initiate(w, 0));
	cr_assert_eq(wg_drops(w, DROP_COOKIE), 3, "of another port");
	cr_assert_eq(c->cookies, 3);
	memcpy(w->clients[1].cookie, c->cookie, sizeof c->cookie);
	w->clients[1].has_cookie = true;
	cr_assert_not(wireguard_initiate(w, 1));
	cr_assert_eq(wg_drops(w, DROP_COOKIE), 4, "of another client");
	c->address = home;
	cr_assert_not(wireguard_initiate(w, 0));
	wireguard_advance(w, (2 * WG_COOKIE_S + 1) * NS_PER_S);
	cr_assert_not(wireguard_initiate(w, 0));
	cr_assert_eq(wg_drops(w, DROP_COOKIE), 6, "of two periods ago");
	cr_assert_eq(wg_count(w, STATS_rx_wg_initiation), 0);
	wireguard_advance(w, NS_PER_S);
	cr_assert(wireguard_initiate(w, 0), "the new one");
	wg_unit_finish(w);
}

Test(wireguard_handshake, a_flood_is_load)
{
	enum { FLOOD = 40 };
	struct wireguard *w = WG_START(2);
	uint8_t train[FLOOD * WG_INITIATION_SIZE];
	for (size_t i = 0; i < FLOOD; i++) {
		wireguard_prepare(w, 1);
		memcpy(train + i * WG_INITIATION_SIZE, w->clients[1].initiation, WG_INITIATION_SIZE);
	}
	struct udp_message message = {
		.data = train,
		.length = sizeof train,
		.segment_size = WG_INITIATION_SIZE,
		.endpoint = {.remote = w->clients[1].address, .local = w->h->gateway_address.sin6_addr},
	};
	cr_assert(link_inject(&w->h->gateway.node.link, &message));
	wireguard_pump(w);
	cr_assert_not(wireguard_initiate(w, 0));
	cr_assert(w->clients[0].has_cookie);
	wireguard_advance(w, NS_PER_S / 2);
	cr_assert(wireguard_initiate(w, 0));
	wireguard_advance(w, 3 * NS_PER_S);
	w->clients[1].has_cookie = false;
	cr_assert(wireguard_initiate(w, 1), "it is over");
	wg_unit_finish(w);
}

/* A source that has proven that it is there has a rate; replays count too. */
Test(wireguard_handshake, a_proven_source_has_a_rate)
{
	struct wireguard *w = WG_START(1, .always_cookie = true);
	cr_assert_not(wireguard_initiate(w, 0));
	wireguard_prepare(w, 0);
	for (unsigned i = 0; i < HANDSHAKER_SOURCE_BURST + 20; i++) {
		wireguard_send_initiation(w, 0);
		wireguard_pump(w);
	}
	cr_assert_eq(wg_drops(w, DROP_HELLO_RATE), 20);
	cr_assert_eq(wg_drops(w, DROP_STALE), HANDSHAKER_SOURCE_BURST - 1);
	cr_assert_eq(w->clients[0].responses, 1);
	wg_unit_finish(w);
}
