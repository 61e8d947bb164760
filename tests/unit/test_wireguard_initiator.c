// SPDX-License-Identifier: Apache-2.0
/* WireGuard handshakes that the gateway initiates: when, to where, how often, and what becomes of what waits for them.
 */
#include "crypto/wg_mac.h"
#include "tests/unit/wireguard_unit.h"

TestSuite(wireguard_initiator, .timeout = 60);

/* Lists a client anew, with its address as Endpoint. */
static void reach(struct wireguard *w, size_t client, struct registry_peer also)
{
	uint32_t ids[2];
	also.contact.endpoint = w->clients[client].address;
	cr_assert(registry_remove_peer(&w->h->gateway.registry, w->clients[client].identity.keys.public_key, ids));
	cr_assert_eq(wireguard_list(w, client, &also), 0);
	wireguard_pump(w);
}

/* A gateway with an Endpoint for each of its clients, which answer. */
static struct wireguard *start(size_t count, struct harness_options options)
{
	struct wireguard *w = wg_unit_start(count, options);
	for (size_t i = 0; i < count; i++) {
		reach(w, i, (struct registry_peer){0});
		w->clients[i].responds = true;
	}
	return w;
}
#define START_REACHABLE(count, ...) start(count, (struct harness_options){__VA_ARGS__})

static bool takes(struct wireguard *w, size_t client, uint8_t text)
{
	struct wireguard_packet *packet = wireguard_take(w, client);
	bool right = packet != NULL && packet->data[packet->length - 1] == text;
	free(packet);
	return right;
}

static void put(struct wireguard *w, size_t client, uint8_t text)
{
	wireguard_put(w, client, text);
	wireguard_pump(w);
}

/* --- the first handshake ------------------------------------------------------------------------------------------ */

Test(wireguard_initiator, a_packet_for_a_peer_that_never_connected_arrives)
{
	for (unsigned form = 0; form < 3; form++) {
		struct wireguard *w = START_REACHABLE(3, .workers = 3, .handshakers = form == 2 ? 3 : 1,
						      .reader = form == 1);
		cr_assert_eq(wg_count(w, STATS_tx_wg_initiation), 0, "nothing without need");
		for (size_t i = 0; i < 3; i++)
			put(w, i, (uint8_t)(i + 1));
		for (size_t i = 0; i < 3; i++) {
			struct wireguard_client *c = &w->clients[i];
			cr_assert(takes(w, i, (uint8_t)(i + 1)), "client %zu, %u", i, form);
			cr_assert_eq(c->initiations, 1);
			cr_assert_eq(c->keepalives, 0, "the packet confirms the keys");
			cr_assert_eq(c->refused, 0);
		}
		for (size_t i = 0; i < 3; i++)
			cr_assert(wg_pings(w, i));
		cr_assert_eq(wg_count(w, STATS_rx_wg_response), 3);
		cr_assert_eq(wg_count(w, STATS_sessions_started), 3);
		cr_assert_str_eq(wg_event(w), "connect wireguard");
		wg_unit_finish(w);
	}
}

Test(wireguard_initiator, what_waits_leaves_in_its_order)
{
	struct wireguard *w = START_REACHABLE(1);
	w->clients[0].responds = false;
	for (uint8_t i = 0; i < 100; i++)
		put(w, 0, i);
	cr_assert_eq(w->clients[0].initiations, 1);
	wireguard_respond(w, 0);
	wireguard_send_raw(w, 0, w->clients[0].response, WG_RESPONSE_SIZE);
	wireguard_pump(w);
	for (uint8_t i = 0; i < 100; i++)
		cr_assert(takes(w, 0, i), "%u", i);
	cr_assert_eq(wg_count(w, STATS_staged_frames), 100);
	wg_unit_finish(w);
}

Test(wireguard_initiator, the_oldest_gives_way)
{
	struct wireguard *w = START_REACHABLE(1);
	w->clients[0].responds = false;
	for (unsigned i = 0; i < STAGING_FRAMES + 10; i++)
		put(w, 0, (uint8_t)i);
	cr_assert_eq(wg_drops(w, DROP_OUT_STAGED), 10);
	wireguard_respond(w, 0);
	wireguard_send_raw(w, 0, w->clients[0].response, WG_RESPONSE_SIZE);
	wireguard_pump(w);
	for (unsigned i = 10; i < STAGING_FRAMES + 10; i++)
		cr_assert(takes(w, 0, (uint8_t)i), "%u", i);
	cr_assert_eq(harness_gateway_worker(w->h, 0)->staging.bytes, 0);
	wg_unit_finish(w);
}

/* Many peers that do not answer use up no more memory than the worker's bound. */
Test(wireguard_initiator, memory_is_bounded)
{
	enum { CLIENTS = 60, SIZE = 1400 };
	struct wireguard *w = START_REACHABLE(CLIENTS);
	uint8_t packet[2000];
	static const uint8_t payload[SIZE];
	const struct staging_area *area = &harness_gateway_worker(w->h, 0)->staging;
	for (unsigned n = 0; n < STAGING_FRAMES; n++) {
		for (size_t i = 0; i < CLIENTS; i++) {
			struct packet_spec spec = wireguard_spec(w, i, TO_CLIENT, 4, IPPROTO_UDP);
			w->clients[i].responds = false;
			node_put_packet(&w->h->gateway.node, packet, packet_build(&spec, payload, SIZE, packet));
		}
		wireguard_pump(w);
		cr_assert_leq(area->bytes, STAGING_BYTES);
	}
	cr_assert_gt(area->bytes, STAGING_BYTES / 2);
	cr_assert_gt(wg_drops(w, DROP_OUT_STAGED), 0);
	wireguard_advance(w, 100 * NS_PER_S);
	cr_assert_eq(area->bytes, 0);
	cr_assert_eq(wg_drops(w, DROP_OUT_STAGED) + wg_drops(w, DROP_OUT_UNANSWERED), CLIENTS * STAGING_FRAMES);
	wg_unit_finish(w);
}

/* Without Endpoint the gateway knows no place to initiate to. */
Test(wireguard_initiator, without_an_endpoint_there_is_no_session)
{
	struct wireguard *w = WG_START(1);
	put(w, 0, 1);
	cr_assert_eq(wg_drops(w, DROP_OUT_NO_SESSION), 1);
	cr_assert_eq(wg_count(w, STATS_tx_wg_initiation), 0);
	cr_assert_eq(w->h->gateway.registry.pool.used, 0);
	wg_unit_finish(w);
}

/* The operator takes the Endpoint away: nothing holds the address of one that is not connected. */
Test(wireguard_initiator, without_its_endpoint_the_session_ends)
{
	struct wireguard *w = START_REACHABLE(1);
	struct inbox_message *message = calloc(1, sizeof *message);
	cr_assert_not_null(message);
	cr_assert_eq(w->h->gateway.registry.pool.used, 1);
	*message = (struct inbox_message){.kind = INBOX_LIMITS, .session_id = wireguard_session(w, 0)->id};
	cr_assert_eq(registry_reach_peer(&w->h->gateway.registry, wireguard_peer(w, 0), &(struct contact){0}), 0);
	inbox_post(&harness_owner(w->h, message->session_id)->inbox, message);
	wireguard_pump(w);
	cr_assert_null(wireguard_session(w, 0));
	cr_assert_eq(w->h->gateway.registry.pool.used, 0);
	put(w, 0, 1);
	cr_assert_eq(wg_drops(w, DROP_OUT_NO_SESSION), 1);
	reach(w, 0, (struct registry_peer){0});
	put(w, 0, 2);
	cr_assert(takes(w, 0, 2), "and with one it is there again");
	wg_unit_finish(w);
}

Test(wireguard_initiator, a_removed_peer_takes_what_waits_along)
{
	struct wireguard *w = START_REACHABLE(1);
	uint32_t ids[2];
	w->clients[0].responds = false;
	put(w, 0, 1);
	cr_assert(registry_remove_peer(&w->h->gateway.registry, w->clients[0].identity.keys.public_key, ids));
	struct inbox_message *message = calloc(1, sizeof *message);
	cr_assert_not_null(message);
	*message = (struct inbox_message){
		.kind = INBOX_END, .session_id = ids[0] | ids[1], .end.reason = WIRE_BYE_REMOVED};
	inbox_post(&harness_owner(w->h, message->session_id)->inbox, message);
	wireguard_respond(w, 0);
	wireguard_send_raw(w, 0, w->clients[0].response, WG_RESPONSE_SIZE);
	wireguard_pump(w);
	cr_assert_eq(wg_drops(w, DROP_UNKNOWN_PEER), 1);
	cr_assert_eq(wg_drops(w, DROP_OUT_NO_SESSION), 1);
	cr_assert_eq(w->h->gateway.registry.pool.used, 0);
	cr_assert_eq(wireguard_list(w, 0, NULL), 0);
	wg_unit_finish(w);
}

/* --- networks behind peers ---------------------------------------------------------------------------------------- */

Test(wireguard_initiator, a_packet_to_a_network_behind_a_peer)
{
	struct ip_prefix network;
	cr_assert(ip_prefix_parse("192.168.7.0/24", &network));
	for (unsigned reader = 0; reader < 2; reader++) {
		struct wireguard *w = WG_START(3, .workers = 3, .reader = reader != 0);
		uint8_t packet[256], payload[] = "text";
		for (size_t i = 0; i < 3; i++) {
			bool behind = i == 1;
			reach(w, i, (struct registry_peer){.networks = &network, .network_count = behind});
			w->clients[i].responds = true;
		}
		struct packet_spec spec = wireguard_spec(w, 1, TO_CLIENT, 4, IPPROTO_UDP);
		memcpy(spec.destination, (const uint8_t[]){192, 168, 7, 9}, 4);
		node_put_packet(&w->h->gateway.node, packet, packet_build(&spec, payload, sizeof payload, packet));
		wireguard_pump(w);
		cr_assert_eq(w->clients[1].packets, 1);
		cr_assert_eq(wg_count(w, STATS_tx_wg_initiation), 1);
		free(wireguard_take(w, 1));
		wg_unit_finish(w);
	}
}

/* --- retries ------------------------------------------------------------------------------------------------------ */

Test(wireguard_initiator, tries_every_5_s_for_90_s)
{
	struct wireguard *w = START_REACHABLE(1);
	struct wireguard_client *c = &w->clients[0];
	c->responds = false;
	put(w, 0, 1);
	cr_assert_eq(c->initiations, 1);
	wireguard_advance(w, WG_REKEY_TIMEOUT_S * NS_PER_S - WORKER_TICK_NS);
	put(w, 0, 2);
	cr_assert_eq(c->initiations, 1, "not sooner, whatever comes");
	wireguard_advance(w, WORKER_TICK_NS + WG_REKEY_JITTER_MS * NS_PER_MS + WORKER_TICK_NS);
	cr_assert_eq(c->initiations, 2);
	wireguard_advance(w, 80 * NS_PER_S);
	cr_assert(c->initiations >= 16 && c->initiations <= 18, "%u", c->initiations);
	cr_assert_eq(wg_drops(w, DROP_OUT_UNANSWERED), 0);
	wireguard_advance(w, 11 * NS_PER_S);
	unsigned tried = c->initiations;
	cr_assert_eq(wg_drops(w, DROP_OUT_UNANSWERED), 2);
	cr_assert_eq(wg_count(w, STATS_wg_unanswered), 1);
	cr_assert_str_eq(wg_event(w), "refused wireguard unanswered");
	wireguard_advance(w, 60 * NS_PER_S);
	cr_assert_eq(c->initiations, tried, "it has given up");
	c->responds = true;
	put(w, 0, 3);
	cr_assert(takes(w, 0, 3), "the next packet begins again");
	cr_assert_eq(wireguard_waiting(w), 0);
	wg_unit_finish(w);
}

Test(wireguard_initiator, a_lost_response_is_got_by_the_next_initiation)
{
	struct wireguard *w = START_REACHABLE(1);
	struct wireguard_client *c = &w->clients[0];
	uint8_t lost[WG_RESPONSE_SIZE];
	c->responds = false;
	put(w, 0, 1);
	wireguard_respond(w, 0);
	memcpy(lost, c->response, sizeof lost);
	c->responds = true;
	wireguard_advance(w, 6 * NS_PER_S);
	cr_assert_eq(c->initiations, 2);
	cr_assert(takes(w, 0, 1));
	wireguard_send_raw(w, 0, lost, sizeof lost);
	wireguard_pump(w);
	cr_assert_eq(wg_drops(w, DROP_UNEXPECTED), 1, "it comes late");
	cr_assert(wg_pings(w, 0));
	wg_unit_finish(w);
}

Test(wireguard_initiator, a_new_endpoint_is_tried_at_once)
{
	struct wireguard *w = WG_START(1);
	struct wireguard_client *c = &w->clients[0];
	struct sockaddr_in6 right = c->address;
	c->responds = true;
	c->address = network_address("198.51.100.9", 9);
	reach(w, 0, (struct registry_peer){0});
	c->address = right;
	put(w, 0, 1);
	cr_assert_eq(wg_count(w, STATS_tx_wg_initiation), 1);
	cr_assert_eq(c->initiations, 0);
	cr_assert_eq(registry_reach_peer(&w->h->gateway.registry, wireguard_peer(w, 0),
					 &(struct contact){.endpoint = right}),
		     0);
	struct inbox_message *message = calloc(1, sizeof *message);
	cr_assert_not_null(message);
	*message = (struct inbox_message){.kind = INBOX_LIMITS, .session_id = wireguard_session(w, 0)->id};
	inbox_post(&harness_owner(w->h, message->session_id)->inbox, message);
	wireguard_advance(w, NS_PER_S);
	cr_assert(takes(w, 0, 1));
	wg_unit_finish(w);
}

/* --- what answers ------------------------------------------------------------------------------------------------- */

static void expect(struct wireguard *w, const uint8_t *message, size_t length, enum drop_reason reason)
{
	uint64_t before = wg_drops(w, reason);
	wireguard_send_raw(w, 0, message, (uint32_t)length);
	wireguard_pump(w);
	cr_assert_eq(wg_drops(w, reason), before + 1, "%s", drop_infos[reason].label);
}

static void sign(struct wireguard *w, uint8_t response[WG_RESPONSE_SIZE])
{
	wg_mac(response + WG_RESPONSE_MAC1, w->h->gateway.wireguard.mac1_key, KEY_SIZE, response, WG_RESPONSE_MAC1);
}

/* Each bit of it: nothing of that changes anything, and the right one is taken after all of them. */
Test(wireguard_initiator, forged_responses_change_nothing)
{
	struct wireguard *w = START_REACHABLE(1);
	struct wireguard_client *c = &w->clients[0];
	c->responds = false;
	put(w, 0, 1);
	wireguard_respond(w, 0);
	for (size_t at = WG_SENDER; at < WG_RESPONSE_MAC1; at++) {
		uint8_t forged[WG_RESPONSE_SIZE];
		memcpy(forged, c->response, sizeof forged);
		forged[at] ^= 1;
		bool index = at >= WG_RESPONSE_RECEIVER && at < WG_RESPONSE_NOISE;
		if (at < WG_RESPONSE_RECEIVER)
			continue; /* the sender's index is not authenticated by itself: see below */
		expect(w, forged, sizeof forged, index ? DROP_UNEXPECTED : DROP_MAC1);
		sign(w, forged);
		expect(w, forged, sizeof forged, index ? DROP_UNEXPECTED : DROP_HANDSHAKE_FORGED);
		wireguard_advance(w, 10 * NS_PER_MS); /* below the rate of load */
	}
	cr_assert_null(wireguard_session(w, 0)->current);
	cr_assert_not(session_is_active(wireguard_session(w, 0)));
	wireguard_send_raw(w, 0, c->response, WG_RESPONSE_SIZE);
	wireguard_pump(w);
	cr_assert(takes(w, 0, 1));
	expect(w, c->response, WG_RESPONSE_SIZE, DROP_UNEXPECTED);
	cr_assert_eq(wg_count(w, STATS_rx_wg_response), 1);
	cr_assert(wg_pings(w, 0));
	wg_unit_finish(w);
}

/* All that went to such an endpoint would come back (workers/endpoint_loop.h). */
Test(wireguard_initiator, no_endpoint_leads_into_the_session)
{
	struct wireguard *w = START_REACHABLE(1);
	struct wireguard_client *c = &w->clients[0];
	struct sockaddr_in6 right = c->address;
	char inner[IP_TEXT_MAX];
	c->responds = false;
	put(w, 0, 1);
	wireguard_respond(w, 0);
	ip_address_format(&wireguard_session(w, 0)->inner4.address, inner);
	c->address = network_address(inner, 7);
	wireguard_send_raw(w, 0, c->response, WG_RESPONSE_SIZE);
	wireguard_pump(w);
	cr_expect_eq(wg_count(w, STATS_endpoint_loops), 1, "where a response came from");
	cr_expect_null(wireguard_session(w, 0)->current);
	c->address = right;
	c->responds = true;
	wireguard_advance(w, 6 * NS_PER_S);
	cr_expect(takes(w, 0, 1));
	wg_unit_finish(w);
}

Test(wireguard_initiator, another_peer_cannot_answer)
{
	struct wireguard *w = START_REACHABLE(2);
	struct wireguard_client *c = &w->clients[0], *other = &w->clients[1];
	c->responds = other->responds = false;
	put(w, 0, 1);
	put(w, 1, 2);
	wireguard_respond(w, 1);
	memcpy(other->response + WG_RESPONSE_RECEIVER, c->got + WG_SENDER, 4);
	sign(w, other->response);
	expect(w, other->response, WG_RESPONSE_SIZE, DROP_HANDSHAKE_FORGED);
	wireguard_respond(w, 0);
	wireguard_send_raw(w, 0, c->response, WG_RESPONSE_SIZE);
	wireguard_pump(w);
	cr_assert(takes(w, 0, 1));
	wg_unit_finish(w);
}

Test(wireguard_initiator, a_response_after_90_s_answers_nothing)
{
	struct wireguard *w = START_REACHABLE(1);
	struct wireguard_client *c = &w->clients[0];
	c->responds = false;
	put(w, 0, 1);
	wireguard_advance(w, 92 * NS_PER_S);
	cr_assert_eq(wg_count(w, STATS_wg_unanswered), 1);
	wireguard_respond(w, 0);
	wireguard_advance(w, 92 * NS_PER_S);
	expect(w, c->response, WG_RESPONSE_SIZE, DROP_UNEXPECTED);
	cr_assert_null(wireguard_session(w, 0)->current);
	wg_unit_finish(w);
}

Test(wireguard_initiator, a_cookie_is_used_for_the_next_one)
{
	struct wireguard *w = START_REACHABLE(1);
	struct wireguard_client *c = &w->clients[0];
	c->demands_cookie = true;
	put(w, 0, 1);
	cr_assert_eq(c->initiations, 1);
	cr_assert_eq(wg_count(w, STATS_rx_wg_cookie), 1);
	cr_assert_eq(c->proven, 0, "not at once");
	wireguard_advance(w, 6 * NS_PER_S);
	cr_assert(c->initiations == 2 && c->proven == 1);
	cr_assert(takes(w, 0, 1));
	wg_unit_finish(w);
}

Test(wireguard_initiator, forged_cookie_replies_change_nothing)
{
	struct wireguard *w = START_REACHABLE(1);
	struct wireguard_client *c = &w->clients[0];
	uint8_t nonce[COOKIE_NONCE_SIZE] = {7}, reply[WG_COOKIE_REPLY_SIZE];
	c->responds = false;
	put(w, 0, 1);
	wg_write_cookie_reply(&c->identity, c->got, sizeof c->got, c->identity.keys.public_key, nonce, reply);
	for (size_t at = WG_COOKIE_RECEIVER; at < sizeof reply; at++) {
		reply[at] ^= 1;
		expect(w, reply, sizeof reply, at < WG_COOKIE_NONCE ? DROP_UNEXPECTED : DROP_HANDSHAKE_FORGED);
		reply[at] ^= 1;
	}
	wireguard_advance(w, 6 * NS_PER_S);
	cr_assert(c->initiations == 2 && c->proven == 0);
	expect(w, reply, sizeof reply, DROP_HANDSHAKE_FORGED); /* it answers the one before */
	wg_write_cookie_reply(&c->identity, c->got, sizeof c->got, c->identity.keys.public_key, nonce, reply);
	wireguard_send_raw(w, 0, reply, sizeof reply);
	wireguard_pump(w);
	cr_assert_eq(wg_count(w, STATS_rx_wg_cookie), 1);
	expect(w, reply, sizeof reply, DROP_UNEXPECTED); /* once to each */
	wg_unit_finish(w);
}

Test(wireguard_initiator, under_load_a_response_has_to_prove_its_source)
{
	struct wireguard *w = START_REACHABLE(1, .always_cookie = true);
	struct wireguard_client *c = &w->clients[0];
	c->responds = false;
	put(w, 0, 1);
	wireguard_respond(w, 0);
	expect(w, c->response, WG_RESPONSE_SIZE, DROP_COOKIE);
	cr_assert_eq(wg_count(w, STATS_tx_wg_cookie), 1);
	uint8_t cookie[COOKIE_SIZE];
	cookie_make_wg(&w->h->gateway.jar, c->address.sin6_addr.s6_addr, c->address.sin6_port, w->h->clock.monotonic,
		       cookie);
	wg_add_mac2(cookie, c->response, WG_RESPONSE_SIZE);
	wireguard_send_raw(w, 0, c->response, WG_RESPONSE_SIZE);
	wireguard_pump(w);
	cr_assert(takes(w, 0, 1));
	wg_unit_finish(w);
}
