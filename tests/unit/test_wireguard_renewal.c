// SPDX-License-Identifier: Apache-2.0
/* When the gateway initiates to a WireGuard peer that has a session: age, silence, keepalives, and both sides at once.
 */
#include "tests/unit/wireguard_unit.h"

TestSuite(wireguard_renewal, .timeout = 60);

static void reach(struct wireguard *w, size_t client, uint16_t keepalive)
{
	uint32_t ids[2];
	struct registry_peer also = {.contact = {.endpoint = w->clients[client].address, .keepalive = keepalive}};
	cr_assert(registry_remove_peer(&w->h->gateway.registry, w->clients[client].identity.keys.public_key, ids));
	cr_assert_eq(wireguard_list(w, client, &also), 0);
	w->clients[client].responds = true;
	wireguard_pump(w);
}

/* The gateway has initiated to its only client. */
static struct wireguard *initiated(void)
{
	struct wireguard *w = WG_START(1);
	reach(w, 0, 0);
	cr_assert(wireguard_ping(w, 0, TO_CLIENT));
	cr_assert(wireguard_ping(w, 0, TO_GATEWAY));
	return w;
}

static const struct session *session_of(struct wireguard *w)
{
	return wireguard_session(w, 0);
}

static void put(struct wireguard *w)
{
	wireguard_put(w, 0, 'p');
	wireguard_pump(w);
}

static void drop_taken(struct wireguard *w)
{
	struct wireguard_packet *packet;
	while ((packet = wireguard_take(w, 0)) != NULL)
		free(packet);
}

/* --- age ---------------------------------------------------------------------------------------------------------- */

Test(wireguard_renewal, who_initiated_renews_after_120_s_when_it_sends)
{
	struct wireguard *w = initiated();
	struct wireguard_client *c = &w->clients[0];
	for (unsigned i = 0; i < 23; i++) {
		wireguard_advance(w, 5 * NS_PER_S);
		cr_assert(wg_pings(w, 0));
	}
	cr_assert_eq(c->initiations, 1, "115 s");
	wireguard_advance(w, 4 * NS_PER_S);
	cr_assert_eq(c->initiations, 1);
	wireguard_advance(w, 2 * NS_PER_S);
	cr_assert(wg_pings(w, 0));
	wireguard_advance(w, 2 * NS_PER_S);
	cr_assert_eq(c->initiations, 2);
	cr_assert(wg_pings(w, 0));
	cr_assert_eq(session_of(w)->current->epoch, 4);
	cr_assert_eq(wg_count(w, STATS_rekeys), 1);
	cr_assert_eq(wg_count(w, STATS_sessions_started), 1);
	wg_unit_finish(w);
}

Test(wireguard_renewal, a_key_that_nothing_is_sent_under_is_not_renewed)
{
	struct wireguard *w = initiated();
	wireguard_advance(w, 170 * NS_PER_S);
	cr_assert_eq(w->clients[0].initiations, 1);
	wireguard_advance(w, 12 * NS_PER_S);
	cr_assert_null(session_of(w)->current);
	cr_assert_eq(w->clients[0].initiations, 1);
	put(w);
	cr_assert_eq(w->clients[0].initiations, 2, "but the next packet makes one");
	cr_assert_eq(w->clients[0].packets, 2);
	drop_taken(w);
	wg_unit_finish(w);
}

Test(wireguard_renewal, what_comes_after_165_s_renews_it)
{
	struct wireguard *w = initiated();
	wireguard_advance(w, 163 * NS_PER_S);
	wireguard_send(w, 0, NULL, 0);
	wireguard_advance(w, NS_PER_S);
	cr_assert_eq(w->clients[0].initiations, 1, "a keepalive of 163 s");
	wireguard_advance(w, 2 * NS_PER_S);
	wireguard_send(w, 0, NULL, 0);
	wireguard_advance(w, 2 * NS_PER_S);
	cr_assert_eq(w->clients[0].initiations, 2, "and one of 166 s");
	cr_assert(wg_pings(w, 0));
	wg_unit_finish(w);
}

Test(wireguard_renewal, a_responder_leaves_it_to_the_client)
{
	struct wireguard *w = WG_UP(1);
	w->clients[0].responds = true;
	for (unsigned i = 0; i < 17; i++) {
		wireguard_advance(w, 10 * NS_PER_S);
		cr_assert(wg_pings(w, 0));
	}
	cr_assert_eq(w->clients[0].initiations, 0);
	wireguard_advance(w, 11 * NS_PER_S);
	cr_assert_null(session_of(w)->current);
	put(w);
	cr_assert_eq(w->clients[0].initiations, 1, "until its key is dead");
	cr_assert(wireguard_waiting(w) == 1);
	drop_taken(w);
	cr_assert(wg_pings(w, 0));
	wg_unit_finish(w);
}

Test(wireguard_renewal, before_the_counter_ends)
{
	struct wireguard *w = WG_UP(1);
	w->clients[0].responds = true;
	cr_assert(wg_pings(w, 0));
	session_of(w)->current->send_counter = TRANSPORT_COUNTER_LIMIT / 2;
	put(w);
	wireguard_advance(w, WG_SILENCE_S * NS_PER_S / 2);
	wireguard_send(w, 0, NULL, 0);
	wireguard_advance(w, 60 * NS_PER_S);
	cr_assert_eq(w->clients[0].initiations, 1);
	drop_taken(w);
	cr_assert(wg_pings(w, 0));
	wg_unit_finish(w);
}

/* --- silence ------------------------------------------------------------------------------------------------------ */

Test(wireguard_renewal, silence_of_15_s_after_data)
{
	struct wireguard *w = WG_UP(1);
	struct wireguard_client *c = &w->clients[0];
	cr_assert(wireguard_ping(w, 0, TO_CLIENT));
	wireguard_advance(w, (WG_SILENCE_S - 1) * NS_PER_S);
	cr_assert_eq(c->initiations, 0);
	wireguard_advance(w, 2 * NS_PER_S);
	cr_assert_eq(c->initiations, 1);
	wireguard_send(w, 0, NULL, 0);
	wireguard_advance(w, 4 * NS_PER_S);
	put(w);
	cr_assert_eq(wireguard_waiting(w), 1, "the old key serves meanwhile");
	drop_taken(w);
	c->responds = true;
	wireguard_advance(w, 6 * NS_PER_S);
	cr_assert_eq(c->initiations, 2);
	cr_assert(wg_pings(w, 0));
	cr_assert_eq(session_of(w)->current->epoch, 2);
	wg_unit_finish(w);
}

Test(wireguard_renewal, an_answer_is_no_silence)
{
	struct wireguard *w = WG_UP(1);
	for (unsigned i = 0; i < 10; i++) {
		cr_assert(wireguard_ping(w, 0, TO_CLIENT));
		wireguard_advance(w, 10 * NS_PER_S);
		wireguard_send(w, 0, NULL, 0);
		wireguard_pump(w);
	}
	cr_assert_eq(w->clients[0].initiations, 0);
	wg_unit_finish(w);
}

/* Where the client was last comes first; if it is not there, where it is configured to be. */
Test(wireguard_renewal, a_peer_that_went_back_home_is_found)
{
	struct wireguard *w = initiated();
	struct wireguard_client *c = &w->clients[0];
	struct sockaddr_in6 home = c->address;
	wireguard_move(w, 0, "198.51.100.77", 40001);
	wireguard_send(w, 0, NULL, 0);
	wireguard_pump(w);
	cr_assert(wireguard_ping(w, 0, TO_CLIENT));
	wireguard_send(w, 0, NULL, 0);
	wireguard_pump(w);
	c->address = home;
	wireguard_advance(w, 182 * NS_PER_S);
	unsigned before = c->initiations;
	put(w);
	wireguard_advance(w, (WG_REKEY_ATTEMPT_S + 2 * WG_REKEY_TIMEOUT_S) * NS_PER_S);
	cr_assert_eq(c->initiations, before, "tried where it was");
	put(w);
	cr_assert_eq(c->initiations, before + 1);
	drop_taken(w);
	cr_assert(wg_pings(w, 0));
	wg_unit_finish(w);
}

/* --- persistent keepalives ---------------------------------------------------------------------------------------- */

Test(wireguard_renewal, persistent_keepalives_begin_by_themselves)
{
	struct wireguard *w = WG_START(1);
	reach(w, 0, 25);
	wireguard_advance(w, NS_PER_S);
	struct wireguard_client *c = &w->clients[0];
	cr_assert_eq(c->initiations, 1);
	cr_assert_eq(c->keepalives, 1, "which confirms");
	cr_assert(session_is_active(session_of(w)));
	wireguard_advance(w, 600 * NS_PER_S);
	cr_assert(c->initiations >= 5 && c->initiations <= 6, "%u", c->initiations);
	cr_assert_eq(wg_count(w, STATS_sessions_started), 1);
	cr_assert(wg_pings(w, 0));
	wg_unit_finish(w);
}

Test(wireguard_renewal, persistent_keepalives_find_a_peer_that_was_away)
{
	struct wireguard *w = WG_START(1);
	reach(w, 0, 25);
	struct wireguard_client *c = &w->clients[0];
	wireguard_advance(w, NS_PER_S);
	c->responds = false;
	wireguard_advance(w, 1000 * NS_PER_S);
	cr_assert_geq(wg_count(w, STATS_wg_unanswered), 5);
	cr_assert_eq(wg_count(w, STATS_sessions_ended), 1);
	cr_assert_str_eq(wg_event(w), "connect wireguard");
	cr_assert_str_eq(wg_event(w), "rekey_failed wireguard unanswered", "once");
	c->responds = true;
	wireguard_advance(w, 35 * NS_PER_S);
	cr_assert(session_is_active(session_of(w)));
	cr_assert(wg_pings(w, 0));
	wg_unit_finish(w);
}

/* Its key is dead: a keepalive is an initiation, also by a peer without Endpoint that connected before. */
Test(wireguard_renewal, a_persistent_keepalive_with_a_dead_key)
{
	struct wireguard *w = WG_START(1);
	struct wireguard_client *c = &w->clients[0];
	cr_assert_eq(
		registry_reach_peer(&w->h->gateway.registry, wireguard_peer(w, 0), &(struct contact){.keepalive = 25}),
		0);
	cr_assert(wireguard_up(w));
	c->responds = true;
	wireguard_advance(w, 179 * NS_PER_S);
	cr_assert_eq(c->initiations, 0);
	wireguard_advance(w, 27 * NS_PER_S);
	cr_assert_eq(c->initiations, 1);
	cr_assert(session_of(w)->current != NULL && session_of(w)->current->initiated);
	cr_assert(wg_pings(w, 0));
	wg_unit_finish(w);
}

/* --- both at once ------------------------------------------------------------------------------------------------- */

/* Each has an initiation on its way before the other's arrives. */
Test(wireguard_renewal, both_initiate_at_once)
{
	for (unsigned order = 0; order < 2; order++) {
		struct wireguard *w = WG_START(1);
		struct wireguard_client *c = &w->clients[0];
		reach(w, 0, 0);
		c->responds = false;
		put(w);
		cr_assert_eq(c->initiations, 1);
		wireguard_prepare(w, 0);
		if (order == 0)
			wireguard_send_initiation(w, 0);
		else
			wireguard_respond(w, 0);
		if (order == 0)
			wireguard_pump(w); /* the client has its own key, and confirms it */
		if (order == 0)
			wireguard_respond(w, 0);
		wireguard_send_raw(w, 0, c->response, WG_RESPONSE_SIZE);
		wireguard_pump(w);
		if (order != 0) {
			wireguard_send_initiation(w, 0);
			wireguard_pump(w);
		}
		cr_assert_eq(wireguard_waiting(w), 1);
		drop_taken(w);
		for (unsigned i = 0; i < 10; i++) {
			cr_assert(wg_pings(w, 0), "order %u, %u", order, i);
			wireguard_advance(w, 5 * NS_PER_S);
		}
		cr_assert_eq(c->initiations, 1, "nothing is left to be done");
		cr_assert_eq(wg_count(w, STATS_sessions_started), 1);
		cr_assert_eq(wg_drops(w, DROP_EPOCH), 0);
		wg_unit_finish(w);
	}
}

/* The client goes on sending under the key of its own handshake, which is the previous one here. */
Test(wireguard_renewal, the_others_key_of_both_opens_to_its_end)
{
	struct wireguard *w = WG_START(1);
	struct wireguard_client *c = &w->clients[0];
	reach(w, 0, 0);
	c->responds = false;
	put(w);
	c->mute = true;
	cr_assert(wireguard_initiate(w, 0));
	cr_assert_not_null(session_of(w)->next);
	wireguard_respond(w, 0);
	wireguard_send_raw(w, 0, c->response, WG_RESPONSE_SIZE);
	struct wireguard_key theirs = c->current;
	wireguard_pump(w);
	cr_assert(session_of(w)->current->initiated && session_of(w)->previous != NULL);
	cr_assert_eq(wireguard_waiting(w), 1);
	drop_taken(w);
	for (unsigned i = 0; i < 5; i++) {
		struct wireguard_key ours = c->current;
		cr_assert_eq(c->previous.key, theirs.key);
		c->current = theirs;
		c->previous = ours;
		cr_assert(wg_pings(w, 0), "%u", i);
		c->current = ours;
		c->previous = theirs;
		wireguard_send(w, 0, NULL, 0);
		wireguard_advance(w, 20 * NS_PER_S);
	}
	wg_unit_finish(w);
}
