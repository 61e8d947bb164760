// SPDX-License-Identifier: Apache-2.0
/* Endpoints that are reached through the gateway's own tunnels: none may lead into its own session. */
#include "tests/harness/unit.h"

static struct harness *h;

static uint64_t refused(void)
{
	return gateway_count(h, STATS_endpoint_loops);
}

/* The client sends from there: where the gateway sends to then. */
static const struct endpoint *sends_from(size_t client, const char *address)
{
	link_move(&h->clients[client].node.link, network_address(address, 7));
	(void)harness_ping(h, client, TO_GATEWAY);
	return &harness_gateway_session(h, client)->endpoint;
}

static const char *inner(size_t client)
{
	static char text[HARNESS_CLIENTS][IP_TEXT_MAX];
	ip_address_format(&harness_gateway_session(h, client)->inner4.address, text[client]);
	return text[client];
}

Test(endpoint_loop, no_session_is_sent_into_itself)
{
	h = START_UP(.clients = 1, .networks = {{"192.168.7.0/24"}});
	struct endpoint before = harness_gateway_session(h, 0)->endpoint;
	const char *const inside[] = {inner(0), "192.168.7.9"};
	for (size_t i = 0; i < ARRAY_SIZE(inside); i++) {
		const struct endpoint *now = sends_from(0, inside[i]);
		cr_expect(endpoint_equal(now, &before), "%s", inside[i]);
		cr_expect_eq(refused(), i + 1);
	}
	cr_expect_eq(gateway_count(h, STATS_roams), 0);
	(void)sends_from(0, "198.51.100.99");
	cr_expect_eq(gateway_count(h, STATS_roams), 1);
	finish(h);
}

Test(endpoint_loop, one_inside_another_is_taken_and_no_circle)
{
	h = START_UP(.clients = 3);
	cr_expect_not(endpoint_equal(sends_from(0, inner(1)), sends_from(1, "198.51.100.98")));
	cr_expect_eq(refused(), 0);
	struct endpoint before = harness_gateway_session(h, 1)->endpoint;
	cr_expect(endpoint_equal(sends_from(1, inner(0)), &before), "0 is inside 1");
	cr_expect_eq(refused(), 1);
	before = *sends_from(2, inner(0));
	cr_expect_eq(before.remote.sin6_port, htons(7));
	cr_expect_eq(refused(), 1);
	before = harness_gateway_session(h, 1)->endpoint;
	cr_expect(endpoint_equal(sends_from(1, inner(2)), &before), "2 is inside 0, which is inside 1");
	cr_expect_eq(refused(), 2);
	finish(h);
}

/* Neither by the message that confirms, nor by the HELLO before. */
Test(endpoint_loop, no_handshake_is_confirmed_from_inside)
{
	static const char *const inside[] = {"10.8.0.77", "192.168.7.9"};
	for (size_t i = 0; i < ARRAY_SIZE(inside); i++) {
		h = START(.clients = 1, .fixed = {"10.8.0.77"}, .networks = {{"192.168.7.0/24"}});
		link_move(&h->clients[0].node.link, network_address(inside[i], 7));
		harness_connect(h, 0);
		harness_pump(h);
		cr_expect_null(harness_gateway_session(h, 0), "%s", inside[i]);
		cr_expect_geq(refused(), 1, "%s", inside[i]);
		link_move(&h->clients[0].node.link, network_address("198.51.100.99", 7));
		cr_expect(harness_wait(h, 0, CLIENT_UP, 60 * NS_PER_S));
		cr_expect_not_null(harness_gateway_session(h, 0));
		finish(h);
	}
}
