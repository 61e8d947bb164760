// SPDX-License-Identifier: Apache-2.0
/* Path validation: where a session moves to must answer before it gets more than it sent. core/protocol/PROTOCOL.md,
 * Endpoint.
 */
#include "tests/harness/unit.h"

TestSuite(path, .timeout = 60);

static bool endpoint_is(struct harness *h, const char *text, uint16_t port)
{
	struct sockaddr_in6 expected = network_address(text, port);
	const struct sockaddr_in6 *is = &harness_gateway_session(h, 0)->endpoint.remote;
	return is->sin6_port == expected.sin6_port &&
	       memcmp(&is->sin6_addr, &expected.sin6_addr, sizeof is->sin6_addr) == 0;
}

/* An attacker catches the client's next message and sends it from an address of its own. */
static uint32_t hijack(struct harness *h, enum wire_type type, const uint8_t *payload, uint32_t size)
{
	struct session *session = harness_client_session(h, 0);
	uint8_t message[64];
	uint32_t length = node_seal(&h->clients[0].node, session, session->current, type, payload, size, message);
	struct udp_message datagram = {
		.data = message,
		.length = length,
		.endpoint = {.remote = network_address("198.51.100.200", 1234), .local = h->gateway_address.sin6_addr},
	};
	cr_assert(link_inject(&h->gateway.node.link, &datagram));
	harness_pump(h);
	return length;
}

Test(path, a_client_that_moved_answers_the_ping)
{
	struct harness *h = START_UP(0);
	cr_assert(pings(h));
	link_move(&h->clients[0].node.link, network_address("2001:db8::77", 99));
	cr_assert(harness_ping(h, 0, TO_GATEWAY));
	cr_assert_eq(gateway_count(h, STATS_roams), 1);
	cr_assert_eq(gateway_count(h, STATS_paths_proven), 1);
	cr_assert_eq(harness_gateway_session(h, 0)->path_deadline, 0);
	for (unsigned i = 0; i < 100; i++)
		cr_assert(harness_ping(h, 0, TO_CLIENT));
	harness_advance(h, 5 * NS_PER_S);
	cr_assert(endpoint_is(h, "2001:db8::77", 99));
	cr_assert_eq(node_drops(&h->gateway.node, DROP_OUT_PATH), 0);
	finish(h);
}

Test(path, a_stolen_packet_buys_three_times_its_bytes_for_three_seconds)
{
	struct harness *h = START_UP(0);
	cr_assert(pings(h));
	uint64_t before = gateway_count(h, STATS_udp_tx_bytes);
	uint32_t length = hijack(h, WIRE_KEEPALIVE, NULL, 0);
	cr_assert(endpoint_is(h, "198.51.100.200", 1234));
	for (unsigned i = 0; i < 20; i++)
		cr_assert_not(harness_ping(h, 0, TO_CLIENT));
	harness_advance(h, SESSION_PATH_NS - WORKER_TICK_NS);
	cr_assert_leq(gateway_count(h, STATS_udp_tx_bytes) - before, 3 * length);
	cr_assert_gt(gateway_count(h, STATS_udp_tx_bytes) - before, 0, "it was asked");
	cr_assert_geq(node_drops(&h->gateway.node, DROP_OUT_PATH), 19);
	cr_assert(endpoint_is(h, "198.51.100.200", 1234));

	harness_advance(h, 2 * WORKER_TICK_NS);
	cr_assert(endpoint_is(h, "198.51.100.1", 40000), "back to where it was proven");
	cr_assert_eq(gateway_count(h, STATS_paths_refused), 1);
	cr_assert(harness_ping(h, 0, TO_CLIENT));
	finish(h);
}

Test(path, the_real_client_takes_its_session_back_with_its_next_packet)
{
	struct harness *h = START_UP(0);
	cr_assert(pings(h));
	(void)hijack(h, WIRE_KEEPALIVE, NULL, 0);
	cr_assert(harness_ping(h, 0, TO_GATEWAY));
	cr_assert(endpoint_is(h, "198.51.100.1", 40000));
	cr_assert_eq(harness_gateway_session(h, 0)->path_deadline, 0, "it was proven before");
	for (unsigned i = 0; i < 20; i++)
		cr_assert(harness_ping(h, 0, TO_CLIENT));
	finish(h);
}

Test(path, only_the_right_nonce_from_the_right_place_proves)
{
	struct harness *h = START_UP(0);
	cr_assert(pings(h));
	(void)hijack(h, WIRE_KEEPALIVE, NULL, 0);
	struct session *session = harness_gateway_session(h, 0);
	uint8_t pong[WIRE_PROBE_SIZE] = {WIRE_PONG};
	store_be64(pong + 1, session->path_nonce ^ 1);
	(void)hijack(h, WIRE_KEEPALIVE, pong, sizeof pong);
	cr_assert_neq(session->path_deadline, 0, "wrong nonce");
	store_be64(pong + 1, session->path_nonce);
	pong[0] = WIRE_PING;
	(void)hijack(h, WIRE_KEEPALIVE, pong, sizeof pong);
	cr_assert_neq(session->path_deadline, 0, "a ping is no pong");
	pong[0] = WIRE_PONG;
	(void)hijack(h, WIRE_KEEPALIVE, pong, sizeof pong);
	cr_assert_eq(session->path_deadline, 0, "who has the client's keys is the client");
	cr_assert_eq(gateway_count(h, STATS_paths_proven), 1);
	finish(h);
}

Test(path, the_client_answers_pings_and_nothing_else)
{
	struct harness *h = START_UP(0);
	struct session *session = harness_gateway_session(h, 0);
	uint64_t answers = client_count(h, STATS_tx_keepalive);
	for (unsigned kind = 0; kind < 256; kind++) {
		uint8_t payload[WIRE_PROBE_SIZE] = {(uint8_t)kind, 1, 2, 3, 4, 5, 6, 7, 8}, message[64];
		uint32_t length = node_seal(&h->gateway.node, session, session->current, WIRE_KEEPALIVE, payload,
					    sizeof payload, message);
		impairment_forge(&h->clients[0].node, &h->gateway.node, message, length);
		harness_pump(h);
		answers += kind == WIRE_PING;
		cr_assert_eq(client_count(h, STATS_tx_keepalive), answers, "kind %u", kind);
	}
	finish(h);
}

Test(path, a_session_confirmed_from_elsewhere_than_its_hello_is_asked)
{
	struct harness *h = START(0);
	struct impairment *impairment = lose(h, 1 << WIRE_CLIENT_ACK);
	harness_connect(h, 0);
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_CONFIRM);
	uint64_t before = gateway_count(h, STATS_udp_tx_bytes);
	uint32_t length = hijack(h, WIRE_CLIENT_ACK, NULL, 0);
	struct session *session = harness_gateway_session(h, 0);
	cr_assert_not_null(session);
	cr_assert_neq(session->path_deadline, 0);
	harness_advance(h, SESSION_PATH_NS - WORKER_TICK_NS);
	cr_assert_leq(gateway_count(h, STATS_udp_tx_bytes) - before, 3 * length);
	harness_advance(h, 2 * WORKER_TICK_NS);
	cr_assert(endpoint_is(h, "198.51.100.1", 40000), "where the HELLO came from");
	impairment->lose = 0;
	cr_assert(pings(h));
	impairment_free(impairment);
	finish(h);
}
