// SPDX-License-Identifier: Apache-2.0
/* RESET: a client whose gateway restarted connects again at once, and a forged RESET changes nothing.
 * core/protocol/PROTOCOL.md, 4.
 */
#include <stdio.h>

#include "tests/harness/unit.h"

TestSuite(reset, .timeout = 60);

/* The gateway crashes and is back before the client notices. */
static struct harness *forgetful_gateway(void)
{
	struct harness *h = START_UP(.reset = true);
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
	return h;
}

static uint32_t reset_message(const struct harness *h, uint32_t session_id, uint8_t message[WIRE_RESET_SIZE])
{
	wire_header(message, WIRE_VERSION, WIRE_RESET, session_id);
	memcpy(message + WIRE_HEADER_SIZE, h->clients[0].role.lease.reset_token, WIRE_RESET_TOKEN_SIZE);
	return WIRE_RESET_SIZE;
}

Test(reset, brings_the_client_back_at_its_next_packet)
{
	struct harness *h = forgetful_gateway();
	uint32_t id = harness_client_session(h, 0)->id;
	struct ip_address address = harness_client_session(h, 0)->inner4.address;
	cr_assert_not(harness_ping(h, 0, TO_GATEWAY), "this one is lost");
	cr_assert_eq(node_drops(&h->gateway.node, DROP_SESSION), 1);
	cr_assert_eq(gateway_count(h, STATS_tx_reset), 1);
	cr_assert_eq(client_count(h, STATS_rx_reset), 1);
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP, "without the clock having moved");
	cr_assert(h->clients[0].seen.forgotten, "who sees only the end still learns why");
	cr_assert_neq(harness_client_session(h, 0)->id, id);
	cr_assert(ip_address_equal(&harness_client_session(h, 0)->inner4.address, &address),
		  "it wished for its address");
	cr_assert(pings(h));
	finish(h);
}

/* Of a gateway from before IDs had 28 bits. */
Test(reset, brings_back_a_client_whose_id_has_32_bits)
{
	struct harness *h = START_UP(.reset = true);
	struct session *session = harness_client_session(h, 0);
	session->id |= 0x50000000;
	reset_token(&h->gateway.reset_secret, session->id, h->clients[0].role.lease.reset_token);
	cr_assert_not(harness_ping(h, 0, TO_GATEWAY), "this one is lost");
	cr_assert_eq(node_drops(&h->gateway.node, DROP_SESSION), 1);
	cr_assert_eq(gateway_count(h, STATS_tx_reset), 1);
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	cr_assert_eq(harness_client_session(h, 0)->id >> 28, 0);
	cr_assert(pings(h));
	finish(h);
}

Test(reset, is_off_when_the_operator_says_so)
{
	struct harness *h = START_UP(.reset = false);
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
	cr_assert_not(harness_ping(h, 0, TO_GATEWAY));
	cr_assert_eq(node_drops(&h->gateway.node, DROP_SESSION), 1);
	cr_assert_eq(gateway_count(h, STATS_tx_reset), 0);
	finish(h);
}

Test(reset, answers_data_and_keepalive_of_right_length_only)
{
	struct harness *h = START_UP(.reset = true);
	uint32_t unknown = harness_gateway_session(h, 0)->id + 2 * (h->gateway.registry.table.sharding.slot_mask + 1);
	uint64_t sent = 0;
	for (unsigned type = 0; type < 16; type++) {
		for (uint32_t length = WIRE_SMALLEST; length < 40; length++) {
			uint8_t message[40] = {0};
			wire_header(message, 1, (enum wire_type)type, unknown + type + length);
			impairment_forge(&h->gateway.node, &h->clients[0].node, message, length);
			harness_pump(h);
			sent += (wire_is_data(type) && length > WIRE_OVERHEAD) ||
				(type == WIRE_KEEPALIVE &&
				 (length == WIRE_OVERHEAD || length == WIRE_OVERHEAD + WIRE_PROBE_SIZE));
			cr_assert_eq(gateway_count(h, STATS_tx_reset), sent, "type %u, %u bytes", type, length);
		}
	}
	cr_assert_eq(node_drops(&h->clients[0].node, DROP_UNEXPECTED), sent, "none was about the client's session");
	cr_assert_eq(client_count(h, STATS_tx_hello), 1);
	cr_assert(pings(h));
	finish(h);
}

Test(reset, is_not_sent_for_a_session_in_any_state)
{
	struct harness *h = START(.reset = true);
	struct impairment *impairment = lose(h, 1 << WIRE_WELCOME);
	harness_connect(h, 0);
	harness_pump(h);
	uint8_t message[40] = {0};
	wire_header(message, 1, WIRE_DATA, harness_peer(h, 0)->pending->id);
	impairment_forge(&h->gateway.node, &h->clients[0].node, message, sizeof message);
	harness_pump(h);
	cr_assert_eq(node_drops(&h->gateway.node, DROP_FORGED), 1);
	cr_assert_eq(gateway_count(h, STATS_tx_reset), 0);
	impairment_free(impairment);
	finish(h);
}

/* Junk for sessions that do not exist, from any address: how many RESETs it brings. */
static uint64_t junk(struct harness *h, const char *address, unsigned count)
{
	static uint32_t unknown;
	uint8_t bytes[WIRE_OVERHEAD + 1] = {0};
	uint64_t before = gateway_count(h, STATS_tx_reset);
	if (unknown == 0)
		unknown = harness_gateway_session(h, 0)->id + 2 * (h->gateway.registry.table.sharding.slot_mask + 1);
	struct udp_message message = {
		.data = bytes,
		.length = sizeof bytes,
		.endpoint = {.remote = network_address(address, 7), .local = h->gateway_address.sin6_addr},
	};
	for (unsigned i = 0; i < count; i++) {
		wire_header(bytes, 1, WIRE_DATA, unknown++);
		cr_assert(link_inject(&h->gateway.node.link, &message));
		harness_pump(h);
	}
	return gateway_count(h, STATS_tx_reset) - before;
}

Test(reset, is_limited_by_source)
{
	enum { OTHERS = 40 };
	struct harness *h = START_UP(.reset = true);
	cr_assert_lt(WIRE_RESET_SIZE, WIRE_OVERHEAD, "smaller than the smallest that it answers");
	cr_assert_eq(junk(h, "198.51.100.99", 700), GATEWAY_RESET_RATE);
	unsigned served = 0;
	for (unsigned i = 0; i < OTHERS; i++) {
		char address[32];
		snprintf(address, sizeof address, "198.18.0.%u", i);
		served += junk(h, address, 1) == 1;
	}
	cr_assert_geq(served, OTHERS - 8, "of 128 buckets one is empty: %u", served);
	h->clock.monotonic += NS_PER_S / 4;
	cr_assert_eq(junk(h, "198.51.100.99", 700), GATEWAY_RESET_RATE / 4);
	finish(h);
}

Test(reset, has_a_bound_for_all_sources_together)
{
	enum { BOUND = SHARED_LIMITER_BUCKETS * GATEWAY_RESET_RATE };
	struct harness *h = START_UP(.reset = true);
	uint64_t sent = 0;
	for (unsigned i = 0; i < 3 * BOUND; i++) {
		char address[32];
		snprintf(address, sizeof address, "10.%u.%u.1", i / 256, i % 256);
		sent += junk(h, address, 1);
	}
	cr_assert(sent > BOUND * 9 / 10 && sent <= BOUND, "%lu", sent);
	finish(h);
}

Test(reset, tells_a_session_once_in_a_tick)
{
	struct harness *h = START_UP(.reset = true);
	uint32_t unknown = harness_gateway_session(h, 0)->id + 2 * (h->gateway.registry.table.sharding.slot_mask + 1);
	uint8_t message[40] = {0};
	wire_header(message, 1, WIRE_DATA, unknown);
	for (unsigned i = 0; i < 3; i++) {
		impairment_forge(&h->gateway.node, &h->clients[0].node, message, sizeof message);
		harness_pump(h);
	}
	cr_assert_eq(gateway_count(h, STATS_tx_reset), 1);
	harness_advance(h, WORKER_TICK_NS);
	impairment_forge(&h->gateway.node, &h->clients[0].node, message, sizeof message);
	harness_pump(h);
	cr_assert_eq(gateway_count(h, STATS_tx_reset), 2);
	finish(h);
}

Test(reset, that_is_forged_moves_nothing)
{
	struct harness *h = START_UP(.reset = true);
	uint32_t id = harness_client_session(h, 0)->id;
	uint8_t message[WIRE_RESET_SIZE + 1] = {0};
	for (unsigned bit = 0; bit < 8 * WIRE_RESET_SIZE; bit++) {
		uint32_t length = reset_message(h, id, message);
		message[bit / 8] ^= (uint8_t)(1u << bit % 8);
		impairment_forge(&h->clients[0].node, &h->gateway.node, message, length);
		harness_pump(h);
	}
	uint32_t length = reset_message(h, id, message);
	impairment_forge(&h->clients[0].node, &h->gateway.node, message, length + 1);
	impairment_forge(&h->clients[0].node, &h->gateway.node, message, length - 1);
	harness_pump(h);
	cr_assert_eq(client_count(h, STATS_rx_reset), 0);
	cr_assert_eq(client_count(h, STATS_tx_hello), 1);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	cr_assert(pings(h));
	finish(h);
}

/* An attacker on the path replays a RESET for ever. */
Test(reset, that_is_repeated_is_followed_ever_less_often)
{
	struct harness *h = START_UP(.reset = true);
	uint32_t id = harness_client_session(h, 0)->id;
	uint8_t message[WIRE_RESET_SIZE];
	uint32_t length = reset_message(h, id, message);
	for (unsigned second = 0; second < 150; second++) {
		impairment_forge(&h->clients[0].node, &h->gateway.node, message, length);
		harness_advance(h, NS_PER_S);
		cr_assert(pings(h), "keys and session stay");
	}
	cr_assert_eq(harness_client_session(h, 0)->id, id);
	/* At 0, 10, 30, 70 and 150 s; and a rekey or two that were due in that time. */
	cr_assert_geq(client_count(h, STATS_tx_hello), 1 + 4);
	cr_assert_leq(client_count(h, STATS_tx_hello), 1 + 5 + 2);
	finish(h);
}
