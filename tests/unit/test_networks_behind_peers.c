// SPDX-License-Identifier: Apache-2.0
/* Networks behind peers: where their packets go, which peer may send from them, and what becomes of them when sessions
 * end. */
#include "tests/unit/hello_by_hand.h"

TestSuite(networks_behind_peers, .timeout = 60);

static const char host7[] = "192.168.7.9", host8[] = "192.168.8.9", host6[] = "2001:db8:7::9", inside[] = "10.8.0.200";

/* Client 0 has one of each family; client 1 the larger network that client 0's lies in; client 2 none. */
static struct harness *start_with(bool reader, bool client_to_client)
{
	return START_UP(.clients = 3, .workers = 3, .reader = reader, .client_to_client = client_to_client,
			.networks = {{"192.168.7.0/24", "2001:db8:7::/64"}, {"192.168.0.0/16"}});
}

static struct harness *start(bool client_to_client)
{
	return start_with(true, client_to_client);
}

static size_t build(struct harness *h, size_t client, enum direction direction, const char *text, uint8_t *packet)
{
	static const uint8_t payload[100];
	struct ip_address address;
	cr_assert(ip_address_parse(text, &address));
	uint8_t version = address.family;
	struct packet_spec spec = harness_spec(h, client, direction, version, IPPROTO_UDP);
	memcpy(direction == TO_GATEWAY ? spec.source : spec.destination, address.bytes, version == 4 ? 4 : 16);
	return packet_build(&spec, payload, sizeof payload, packet);
}

/* The client that the gateway sends a packet for this address to; -1: none. */
static int receiver(struct harness *h, const char *text)
{
	uint8_t packet[256];
	uint64_t before[3], sent = 0;
	int found = -1;
	for (size_t i = 0; i < 3; i++) {
		const struct session *session = harness_gateway_session(h, i);
		before[i] = session != NULL ? session->view.tx_packets : 0;
	}
	node_put_packet(&h->gateway.node, packet, build(h, 2, TO_CLIENT, text, packet));
	harness_pump(h);
	for (size_t i = 0; i < 3; i++) {
		const struct session *session = harness_gateway_session(h, i);
		if (session == NULL || session->view.tx_packets == before[i])
			continue;
		found = (int)i;
		sent += session->view.tx_packets - before[i];
	}
	cr_assert_eq(sent, found >= 0);
	return found;
}

/* Whether a packet that client sends from this address comes out at the gateway. */
static bool sends_from(struct harness *h, size_t client, const char *text)
{
	uint8_t packet[256];
	uint64_t before = node_drops(&h->gateway.node, DROP_INNER_SOURCE);
	node_put_packet(&h->clients[client].node, packet, build(h, client, TO_GATEWAY, text, packet));
	harness_pump(h);
	bool came = node_take(&h->gateway.node) != NULL;
	cr_assert_eq(node_drops(&h->gateway.node, DROP_INNER_SOURCE) - before, !came);
	return came;
}

static void expect_routes(struct harness *h)
{
	cr_assert_eq(receiver(h, host7), 0, "the longest prefix");
	cr_assert_eq(receiver(h, host6), 0);
	cr_assert_eq(receiver(h, host8), 1);
	cr_assert_eq(receiver(h, "2001:db8:8::9"), -1);
	cr_assert_eq(receiver(h, inside), -1);
	cr_assert_eq(node_drops(&h->gateway.node, DROP_OUT_NO_SESSION), 2);
	finish(h);
}

Test(networks_behind_peers, lead_to_their_peer)
{
	expect_routes(start(false));
}

Test(networks_behind_peers, lead_to_their_peer_from_whichever_worker_reads)
{
	expect_routes(start_with(false, false));
}

Test(networks_behind_peers, are_their_owners_sources_alone)
{
	struct harness *h = start(false);
	cr_assert(sends_from(h, 0, host7) && sends_from(h, 0, host6));
	cr_assert(sends_from(h, 1, host8));
	cr_assert_not(sends_from(h, 0, host8));
	cr_assert_not(sends_from(h, 1, host7), "the longer one is another's");
	cr_assert_not(sends_from(h, 1, host6));
	cr_assert_not(sends_from(h, 2, host7));
	cr_assert_not(sends_from(h, 0, "203.0.113.77"));
	finish(h);
}

Test(networks_behind_peers, are_reached_from_clients_only_when_that_is_configured)
{
	for (unsigned allowed = 0; allowed < 2; allowed++) {
		struct harness *h = start(allowed);
		static const char *const to[] = {"192.168.7.9", "192.168.8.9", "2001:db8:7::9"};
		uint8_t packet[256], payload[100] = {0};
		for (size_t i = 0; i < ARRAY_SIZE(to); i++) {
			struct ip_address address;
			cr_assert(ip_address_parse(to[i], &address));
			uint8_t version = address.family;
			struct packet_spec spec = harness_spec(h, 2, TO_GATEWAY, version, IPPROTO_UDP);
			memcpy(spec.destination, address.bytes, version == 4 ? 4 : 16);
			node_put_packet(&h->clients[2].node, packet,
					packet_build(&spec, payload, sizeof payload, packet));
			harness_pump(h);
			cr_assert_eq(node_take(&h->gateway.node) != NULL, allowed, "%s", to[i]);
		}
		cr_assert_eq(node_drops(&h->gateway.node, DROP_INNER_DESTINATION), allowed ? 0 : ARRAY_SIZE(to));
		finish(h);
	}
}

Test(networks_behind_peers, lead_nowhere_while_their_peer_is_away)
{
	struct harness *h = start(false);
	harness_stop_client(h, 0, true);
	harness_pump(h);
	cr_assert_eq(receiver(h, host7), -1, "and not to the owner of the larger one");
	cr_assert_eq(receiver(h, host6), -1);
	cr_assert_eq(receiver(h, host8), 1);
	cr_assert_not(sends_from(h, 1, host7));
	harness_start_client(h, 0);
	h->clock.wall += NS_PER_S;
	harness_connect(h, 0);
	cr_assert(harness_wait(h, 0, CLIENT_UP, 5 * NS_PER_S));
	cr_assert_eq(receiver(h, host7), 0);
	cr_assert(sends_from(h, 0, host7));
	finish(h);
}

Test(networks_behind_peers, go_over_to_the_peers_next_session)
{
	static const uint8_t bytes[4] = {192, 168, 7, 9};
	struct harness *h = start(false);
	const struct registry *registry = &h->gateway.registry;
	const uint32_t old = harness_gateway_session(h, 0)->id;
	for (unsigned round = 0; round < 3; round++) {
		harness_stop_client(h, 0, false); /* without BYE */
		harness_start_client(h, 0);
		cr_assert_neq(registry_route(registry, 4, bytes), 0);
		h->clock.wall += NS_PER_S;
		harness_connect(h, 0);
		cr_assert(harness_wait(h, 0, CLIENT_UP, 5 * NS_PER_S));
		cr_assert_neq(harness_gateway_session(h, 0)->id, old);
		cr_assert_eq(registry_route(registry, 4, bytes), harness_gateway_session(h, 0)->id);
		cr_assert_eq(receiver(h, host7), 0);
		cr_assert(sends_from(h, 0, host7));
	}
	finish(h);
}

Test(networks_behind_peers, end_with_their_peer)
{
	struct harness *h = start(false);
	cr_assert(harness_remove_peer(h, 0));
	cr_assert_eq(receiver(h, host7), 1, "the larger one is left");
	harness_pump(h);
	cr_assert_eq(harness_add_peer(h, 0), 0);
	cr_assert_eq(receiver(h, host7), -1);
	cr_assert(harness_wait(h, 0, CLIENT_UP, 30 * NS_PER_S));
	cr_assert_eq(receiver(h, host7), 0);
	finish(h);
}

static void change(struct harness *h, size_t client, const char *one, const char *other)
{
	struct ip_prefix networks[2];
	size_t count = (size_t)(one != NULL) + (other != NULL);
	cr_assert((one == NULL || ip_prefix_parse(one, &networks[0])) &&
		  (other == NULL || ip_prefix_parse(other, &networks[1])));
	harness_change_networks(h, client, networks, count);
	harness_pump(h);
}

Test(networks_behind_peers, become_others_while_their_peer_is_connected)
{
	struct harness *h = start(false);
	const uint32_t id = harness_gateway_session(h, 0)->id;
	change(h, 0, "192.168.9.0/24", "2001:db8:7::/64");
	cr_assert_eq(receiver(h, "192.168.9.9"), 0);
	cr_assert_eq(receiver(h, host7), 1, "the larger one is left");
	cr_assert_eq(receiver(h, host6), 0);
	cr_assert(sends_from(h, 0, "192.168.9.9") && sends_from(h, 0, host6));
	cr_assert_not(sends_from(h, 0, host7));
	change(h, 0, NULL, NULL);
	cr_assert_eq(receiver(h, host6), -1);
	cr_assert_not(sends_from(h, 0, host6));
	change(h, 2, "192.168.7.0/24", NULL);
	cr_assert_eq(receiver(h, host7), 2, "it had none before");
	cr_assert(sends_from(h, 2, host7));
	cr_assert_eq(harness_gateway_session(h, 0)->id, id);
	cr_assert_eq(gateway_count(h, STATS_sessions_ended), 0);

	change(h, 0, "192.168.9.0/24", NULL);
	harness_stop_client(h, 0, true);
	harness_pump(h);
	cr_assert_eq(receiver(h, "192.168.9.9"), -1, "they end with the session");
	finish(h);
}

/* Packets to the client would go into its own session. */
Test(networks_behind_peers, one_that_its_endpoint_lies_in_ends_the_session)
{
	struct harness *h = start(false);
	const struct session *session = harness_gateway_session(h, 0);
	const struct sockaddr_in6 *remote = &session->endpoint.remote;
	bool mapped = IN6_IS_ADDR_V4MAPPED(&remote->sin6_addr);
	struct ip_prefix network = {.address.family = mapped ? 4 : 6, .length = mapped ? 32 : 128};
	memcpy(network.address.bytes, &remote->sin6_addr.s6_addr[mapped ? 12 : 0], mapped ? 4 : 16);
	harness_change_networks(h, 0, &network, 1);
	harness_pump(h);
	cr_assert_eq(gateway_count(h, STATS_sessions_ended), 1);
	cr_assert_eq(gateway_count(h, STATS_endpoint_loops), 1);
	finish(h);
}
