// SPDX-License-Identifier: Apache-2.0
/* Which client gets which inner address, when there is none left, and where the other side is: pool, table and endpoint
 * as the gateway uses them. */
#include "tests/harness/unit.h"

TestSuite(addresses, .timeout = 60);

static uint32_t index_of(struct harness *h, size_t client)
{
	const struct session *session = harness_gateway_session(h, client);
	return session != NULL ? session->pool_index : POOL_NONE;
}

static void connect_and_wait(struct harness *h, size_t client)
{
	h->clock.wall += NS_PER_S;
	harness_connect(h, client);
	cr_assert(harness_wait(h, client, CLIENT_UP, 3 * NS_PER_S), "client %zu", client);
}

static void leave(struct harness *h, size_t client)
{
	harness_stop_client(h, client, true);
	harness_pump(h);
	harness_start_client(h, client);
}

/* --- pool and table ----------------------------------------------------------------------------------------------- */

Test(addresses, a_client_gets_ipv4_and_ipv6_of_one_index)
{
	struct harness *h = START_UP(.address4 = "10.9.0.1/24", .address6 = "fd00:9::1/64");
	const struct session *session = harness_client_session(h, 0);
	char text4[IP_TEXT_MAX], text6[IP_TEXT_MAX];
	cr_assert_str_eq(ip_prefix_format(&session->inner4, text4), "10.9.0.2/24");
	cr_assert_str_eq(ip_prefix_format(&session->inner6, text6), "fd00:9::2/64");
	cr_assert_str_eq(ip_address_format(&h->clients[0].role.lease.gateway4, text4), "10.9.0.1");
	cr_assert_str_eq(ip_address_format(&h->clients[0].role.lease.gateway6, text6), "fd00:9::1");
	finish(h);
}

Test(addresses, a_full_pool_refuses_until_somebody_leaves)
{
	struct harness *h = START(.clients = 6, .address4 = "10.8.0.1/29"); /* .2 … .6 */
	for (size_t i = 0; i < 5; i++)
		connect_and_wait(h, i);
	harness_connect(h, 5);
	harness_advance(h, NS_PER_S);
	cr_assert_geq(node_drops(&h->gateway.node, DROP_NO_ADDRESS), 1);
	cr_assert_eq(h->clients[5].role.state, CLIENT_HANDSHAKE);
	uint32_t freed = index_of(h, 3);
	leave(h, 3);
	cr_assert(harness_wait(h, 5, CLIENT_UP, 20 * NS_PER_S));
	cr_assert_eq(index_of(h, 5), freed);
	finish(h);
}

Test(addresses, a_full_session_table_refuses_and_leaks_no_address)
{
	struct harness *h = START(.clients = 3, .max_sessions = 2);
	connect_and_wait(h, 0);
	connect_and_wait(h, 1);
	harness_connect(h, 2);
	harness_advance(h, 5 * NS_PER_S);
	cr_assert_geq(node_drops(&h->gateway.node, DROP_NO_ADDRESS), 2);
	cr_assert_eq(h->gateway.registry.pool.used, 2);
	leave(h, 0);
	cr_assert(harness_wait(h, 2, CLIENT_UP, 20 * NS_PER_S));
	finish(h);
}

Test(addresses, a_static_address_is_its_peers_alone)
{
	struct harness *h = START(.clients = 3, .address4 = "10.8.0.1/29");
	harness_peer(h, 2)->fixed_index = 2; /* the one that would be given out first */
	pool_hold(&h->gateway.registry.pool, 2);
	connect_and_wait(h, 0);
	connect_and_wait(h, 1);
	cr_assert_neq(index_of(h, 0), 2);
	cr_assert_neq(index_of(h, 1), 2);
	connect_and_wait(h, 2);
	cr_assert_eq(index_of(h, 2), 2);
	finish(h);
}

Test(addresses, a_wish_is_granted_when_it_is_free)
{
	struct harness *h = START(.clients = 3);
	struct ip_address wish;
	cr_assert(ip_address_parse("10.8.0.77", &wish));
	h->clients[0].role.lease.address4.address = wish;
	connect_and_wait(h, 0);
	cr_assert_eq(index_of(h, 0), 77);
	h->clients[1].role.lease.address4.address = wish;
	connect_and_wait(h, 1);
	cr_assert_neq(index_of(h, 1), 77, "it is taken");
	pool_hold(&h->gateway.registry.pool, 99);
	cr_assert(ip_address_parse("10.8.0.99", &h->clients[2].role.lease.address4.address));
	cr_assert(ip_address_parse("fd00:8::1", &h->clients[2].role.lease.address6.address));
	connect_and_wait(h, 2);
	cr_assert_neq(index_of(h, 2), 99, "it is another peer's");
	cr_assert_neq(index_of(h, 2), 1, "it is the gateway's own");
	finish(h);
}

Test(addresses, a_peer_gets_back_what_it_had)
{
	struct harness *h = START(.clients = 3);
	for (size_t i = 0; i < 3; i++)
		connect_and_wait(h, i);
	uint32_t had = index_of(h, 1);
	leave(h, 0);
	leave(h, 1);
	connect_and_wait(h, 1);
	cr_assert_eq(index_of(h, 1), had);
	finish(h);
}

/* Clients come, vanish, leave, come again, lose messages; the gateway expires, replaces, refuses. harness_problem()
 * counts addresses, table and gauges anew after each step. */
Test(addresses, nothing_leaks_over_thousands_of_random_lives)
{
	enum { CLIENTS = 8, STEPS = 2500 };
	struct harness *h = START(.clients = CLIENTS, .address4 = "10.8.0.1/29", .session_timeout = 40,
				  .max_sessions = 8, .rekey_interval = 10);
	struct impairment *impairment = impairment_new(h, 42);
	impairment->types = ~0u;
	struct random random = {.state = 7};
	uint64_t started = 0, full = 0;
	for (unsigned step = 0; step < STEPS; step++) {
		size_t client = random_below(&random, CLIENTS);
		switch (random_below(&random, 8)) {
		case 0:
			leave(h, client);
			break;
		case 1:
			harness_stop_client(h, client, false);
			harness_start_client(h, client);
			break;
		case 2:
			impairment->lose = random_chance(&random, 50) ? 0 : random_below(&random, 60);
			impairment->repeat = random_below(&random, 30);
			impairment->delay = random_below(&random, 20);
			break;
		case 3:
			impairment_release(impairment);
			break;
		case 4:
			harness_advance(h, random_below(&random, 50) * NS_PER_S);
			break;
		case 5:
			if (harness_client_session(h, client) != NULL)
				(void)harness_ping(h, client, TO_GATEWAY);
			while (node_take(&h->gateway.node) != NULL)
				continue;
			break;
		default:
			harness_connect(h, client);
		}
		harness_advance(h, random_below(&random, 1000) * NS_PER_MS);
		const char *problem = harness_problem(h);
		cr_assert(problem == NULL, "step %u: %s", step, problem);
	}
	started = gateway_count(h, STATS_sessions_started);
	full = node_drops(&h->gateway.node, DROP_NO_ADDRESS);
	cr_assert_gt(started, 300, "%lu sessions", started);
	cr_assert_gt(full, 50, "%lu refused", full);
	cr_assert_gt(gateway_count(h, STATS_rekeys), 50, "%lu rekeys", gateway_count(h, STATS_rekeys));

	impairment_free(impairment);
	for (size_t i = 0; i < CLIENTS; i++)
		harness_stop_client(h, i, false);
	harness_advance(h, 60 * NS_PER_S);
	cr_assert_eq(h->gateway.registry.pool.used, 0);
	cr_assert_eq(h->gateway.node.worker->session_count, 0);
	cr_assert_eq(gateway_count(h, STATS_sessions_started), gateway_count(h, STATS_sessions_ended));
	finish(h);
}

/* --- endpoint ----------------------------------------------------------------------------------------------------- */

/* A client that was confirmed, moved data, and whose keys are known; a message of it as it would come from elsewhere.
 */
static uint32_t elsewhere(struct harness *h, uint32_t counter, uint8_t *message, struct udp_message *datagram)
{
	struct session *session = harness_client_session(h, 0);
	struct transport_key key = *session->current;
	key.send_counter = counter;
	uint32_t length = node_seal(&h->clients[0].node, session, &key, WIRE_KEEPALIVE, NULL, 0, message);
	*datagram = (struct udp_message){
		.data = message,
		.length = length,
		.endpoint = {.remote = network_address("198.51.100.200", 1234), .local = h->gateway_address.sin6_addr},
	};
	return length;
}

static bool endpoint_is(struct harness *h, const char *text, uint16_t port)
{
	struct sockaddr_in6 expected = network_address(text, port);
	const struct sockaddr_in6 *is = &harness_gateway_session(h, 0)->endpoint.remote;
	return is->sin6_port == expected.sin6_port &&
	       memcmp(&is->sin6_addr, &expected.sin6_addr, sizeof is->sin6_addr) == 0;
}

Test(addresses, a_client_that_moves_is_followed)
{
	struct harness *h = START_UP(0);
	cr_assert(pings(h));
	cr_assert(endpoint_is(h, "198.51.100.1", 40000));
	link_move(&h->clients[0].node.link, network_address("198.51.100.200", 1234));
	cr_assert(pings(h));
	cr_assert(endpoint_is(h, "198.51.100.200", 1234));
	cr_assert_eq(gateway_count(h, STATS_roams), 1);
	link_move(&h->clients[0].node.link, network_address("2001:db8::77", 99));
	cr_assert(pings(h), "IPv6 as well");
	cr_assert_eq(gateway_count(h, STATS_roams), 2);
	finish(h);
}

Test(addresses, nothing_but_a_fresh_authentic_packet_moves_the_endpoint)
{
	struct harness *h = START_UP(0);
	for (unsigned i = 0; i < 10; i++)
		cr_assert(pings(h));
	uint8_t message[64];
	struct udp_message datagram;
	uint32_t next = (uint32_t)harness_client_session(h, 0)->current->send_counter;

	elsewhere(h, next, message, &datagram); /* forged */
	message[datagram.length - 1] ^= 1;
	cr_assert(link_inject(&h->gateway.node.link, &datagram));
	elsewhere(h, next - 1, message, &datagram); /* seen before */
	cr_assert(link_inject(&h->gateway.node.link, &datagram));
	harness_pump(h);
	cr_assert_eq(node_drops(&h->gateway.node, DROP_FORGED), 1);
	cr_assert_eq(node_drops(&h->gateway.node, DROP_REPLAY), 1);
	cr_assert(endpoint_is(h, "198.51.100.1", 40000));

	harness_client_session(h, 0)->current->send_counter += 2; /* two are late */
	cr_assert(pings(h));
	elsewhere(h, next, message, &datagram);
	cr_assert(link_inject(&h->gateway.node.link, &datagram));
	harness_pump(h);
	cr_assert_eq(gateway_count(h, STATS_rx_keepalive), 1, "new and authentic, but out of order");
	cr_assert(endpoint_is(h, "198.51.100.1", 40000));
	cr_assert_eq(gateway_count(h, STATS_roams), 0);

	next = (uint32_t)harness_client_session(h, 0)->current->send_counter++;
	elsewhere(h, next, message, &datagram);
	cr_assert(link_inject(&h->gateway.node.link, &datagram));
	harness_pump(h);
	cr_assert(endpoint_is(h, "198.51.100.200", 1234));
	cr_assert_eq(gateway_count(h, STATS_roams), 1);
	finish(h);
}

Test(addresses, a_packet_under_the_previous_key_does_not_move_the_endpoint)
{
	struct harness *h = START_UP(0);
	struct session *session = harness_client_session(h, 0);
	while (gateway_count(h, STATS_rekeys) == 0) {
		cr_assert(pings(h));
		harness_advance(h, NS_PER_S);
	}
	uint8_t message[64];
	struct transport_key *current = session->current;
	struct udp_message datagram;
	session->current = session->previous;
	elsewhere(h, (uint32_t)session->previous->send_counter + 5, message, &datagram);
	session->current = current;
	uint64_t before = gateway_count(h, STATS_rx_keepalive);
	cr_assert(link_inject(&h->gateway.node.link, &datagram));
	harness_pump(h);
	cr_assert_eq(gateway_count(h, STATS_rx_keepalive), before + 1);
	cr_assert(endpoint_is(h, "198.51.100.1", 40000));
	finish(h);
}

Test(addresses, the_client_does_not_follow_the_gateway)
{
	struct harness *h = START_UP(0);
	link_add_address(&h->gateway.node.link, network_address("192.0.2.66", HARNESS_PORT));
	harness_gateway_session(h, 0)->endpoint.local = network_address("192.0.2.66", HARNESS_PORT).sin6_addr;
	cr_assert(harness_ping(h, 0, TO_CLIENT), "what is authentic is taken from anywhere");
	struct sockaddr_in6 remote = harness_client_session(h, 0)->endpoint.remote;
	cr_assert_eq(memcmp(&remote.sin6_addr, &h->gateway_address.sin6_addr, sizeof remote.sin6_addr), 0);
	cr_assert_eq(client_count(h, STATS_roams), 0);
	finish(h);
}

Test(addresses, the_gateway_answers_from_the_address_that_was_asked)
{
	struct harness *h = START(0);
	struct sockaddr_in6 second = network_address("192.0.2.66", HARNESS_PORT);
	link_add_address(&h->gateway.node.link, second);
	h->gateway_address = second;
	struct impairment *impairment = impairment_new(h, 1);
	impairment->types = ~0u;
	impairment->from = &h->gateway.node.link;
	impairment->keep = true;
	cr_assert(harness_up(h));
	cr_assert(pings(h));
	cr_assert_geq(impairment->kept_count, 3); /* WELCOME, KEEPALIVE, DATA */
	for (size_t i = 0; i < impairment->kept_count; i++) {
		const struct sockaddr_in6 *from = &impairment->kept[i].message.endpoint.remote;
		cr_assert_eq(memcmp(&from->sin6_addr, &second.sin6_addr, sizeof from->sin6_addr), 0);
	}
	impairment_free(impairment);
	finish(h);
}

Test(addresses, a_new_endpoint_at_the_client_counts_at_once)
{
	struct harness *h = START_UP(.ipv6_outside = true);
	struct sockaddr_in6 second = network_address("2001:db8::2", HARNESS_PORT);
	link_add_address(&h->gateway.node.link, second);
	h->gateway_address = second;
	harness_connect(h, 0);
	harness_advance(h, NS_PER_S);
	cr_assert(pings(h));
	cr_assert_eq(memcmp(&harness_gateway_session(h, 0)->endpoint.local, &second.sin6_addr, 16), 0);
	cr_assert_eq(gateway_count(h, STATS_sessions_started), 1);
	finish(h);
}
