// SPDX-License-Identifier: Apache-2.0
/* COOKIE and the limits for each source at the gateway: which HELLO needs a proof of address, and on which limit it
 * counts. */
#include "tests/unit/hello_by_hand.h"

TestSuite(gateway_cookie, .timeout = 60);

static const char here[] = "198.51.100.1", elsewhere[] = "198.51.100.200";

/* The same bytes as so many datagrams of one train, from any address. */
static void arrive(struct harness *h, const char *address, uint16_t port, const uint8_t *hello, unsigned count)
{
	static uint8_t bytes[50 * WIRE_HELLO_SIZE];
	cr_assert_leq(count, 50);
	for (unsigned i = 0; i < count; i++)
		memcpy(bytes + i * WIRE_HELLO_SIZE, hello, WIRE_HELLO_SIZE);
	struct udp_message message = {
		.data = bytes,
		.length = count * WIRE_HELLO_SIZE,
		.segment_size = WIRE_HELLO_SIZE,
		.endpoint = {.remote = network_address(address, port), .local = h->gateway_address.sin6_addr},
	};
	cr_assert(link_inject(&h->gateway.node.link, &message));
	harness_pump(h);
}

/* The cookie that the gateway would give to an address now. */
static const uint8_t *cookie_of(const struct harness *h, const char *address, uint16_t port)
{
	static uint8_t cookie[COOKIE_SIZE];
	struct sockaddr_in6 source = network_address(address, port);
	cookie_make(&h->gateway.jar, source.sin6_addr.s6_addr, source.sin6_port, h->clock.monotonic, cookie);
	return cookie;
}

static uint64_t drops(const struct harness *h, enum drop_reason reason)
{
	return node_drops(&h->gateway.node, reason);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

Test(gateway_cookie, costs_a_client_one_message_more)
{
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct harness *h = START(.always_cookie = true, .ipv6_outside = v6 != 0);
		uint64_t start = h->clock.monotonic;
		harness_connect(h, 0);
		harness_pump(h);
		cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
		cr_assert_eq(h->clock.monotonic, start, "no timer was needed");
		cr_assert_eq(client_count(h, STATS_tx_hello), 2);
		cr_assert_eq(client_count(h, STATS_rx_cookie), 1);
		cr_assert_eq(gateway_count(h, STATS_tx_cookie), 1);
		cr_assert_eq(gateway_count(h, STATS_rx_hello), 1);
		cr_assert_eq(drops(h, DROP_COOKIE), 1);
		cr_assert(pings(h));
		finish(h);
	}
}

Test(gateway_cookie, rekeys_go_on_under_it)
{
	struct harness *h = START_UP(.always_cookie = true);
	for (unsigned second = 0; second < 800; second++) {
		cr_assert(pings(h), "%u s", second);
		harness_advance(h, NS_PER_S);
	}
	uint64_t rekeys = gateway_count(h, STATS_rekeys);
	cr_assert_geq(rekeys, 4);
	cr_assert_leq(gateway_count(h, STATS_tx_cookie), rekeys + 1, "at most one for each handshake");
	finish(h);
}

Test(gateway_cookie, of_no_use_is_answered_by_another)
{
	struct harness *h = START(.clients = 2, .always_cookie = true);
	struct cookie_jar other;
	struct sockaddr_in6 source = network_address(here, 7);
	uint8_t cookie[COOKIE_SIZE] = {1};
	struct by_hand by;
	cookie_jar_init(&other);

	write_hello(h, &by, 0, 0, cookie);
	arrive(h, here, 7, by.hello, 1);
	cr_assert_eq(drops(h, DROP_COOKIE), 1, "made up");
	cookie_make(&other, source.sin6_addr.s6_addr, source.sin6_port, h->clock.monotonic, cookie);
	write_hello(h, &by, 0, 0, cookie);
	arrive(h, here, 7, by.hello, 1);
	cr_assert_eq(drops(h, DROP_COOKIE), 2, "another gateway's");
	cookie_make(&h->gateway.jar, source.sin6_addr.s6_addr, source.sin6_port,
		    h->clock.monotonic - 2 * COOKIE_ROTATION_NS, cookie);
	write_hello(h, &by, 0, 0, cookie);
	arrive(h, here, 7, by.hello, 1);
	cr_assert_eq(drops(h, DROP_COOKIE), 3, "of two periods ago");
	write_hello(h, &by, 0, 0, cookie_of(h, here, 7));
	by.hello[WIRE_HELLO_MAC2] ^= 1;
	arrive(h, here, 7, by.hello, 1);
	cr_assert_eq(drops(h, DROP_COOKIE), 4, "mac2 is wrong");
	by.hello[WIRE_HELLO_MAC2] ^= 1;
	arrive(h, elsewhere, 7, by.hello, 1);
	cr_assert_eq(drops(h, DROP_COOKIE), 5, "of another address");
	arrive(h, here, 8, by.hello, 1);
	cr_assert_eq(drops(h, DROP_COOKIE), 6, "of another port");
	cr_assert_eq(gateway_count(h, STATS_tx_cookie), 6);
	cr_assert_eq(gateway_count(h, STATS_rx_hello), 0);
	cr_assert_eq(h->gateway.registry.orders, 0);

	arrive(h, here, 7, by.hello, 1);
	cr_assert_eq(gateway_count(h, STATS_rx_hello), 1);
	cookie_make(&h->gateway.jar, source.sin6_addr.s6_addr, source.sin6_port,
		    h->clock.monotonic - COOKIE_ROTATION_NS, cookie);
	write_hello(h, &by, 0, 0, cookie);
	arrive(h, here, 7, by.hello, 1);
	cr_assert_eq(gateway_count(h, STATS_rx_hello), 2, "of the period before");
	finish(h);
}

Test(gateway_cookie, is_for_those_who_know_the_gateway)
{
	struct harness *h = START(.always_cookie = true);
	struct by_hand by;
	write_hello(h, &by, 0, 0, NULL);
	by.hello[WIRE_HELLO_MAC1] ^= 1;
	arrive(h, here, 7, by.hello, 1);
	cr_assert_eq(drops(h, DROP_MAC1), 1);
	cr_assert_eq(gateway_count(h, STATS_tx_cookie), 0);
	finish(h);
}

/* COOKIE is smaller than HELLO and cheap: every HELLO gets one, so that no source uses up another's share. */
Test(gateway_cookie, goes_to_all_who_ask)
{
	struct harness *h = START(.always_cookie = true);
	struct by_hand by;
	write_hello(h, &by, 0, 0, NULL);
	for (unsigned i = 0; i < 20000; i += 50)
		arrive(h, here, 7, by.hello, 50);
	cr_assert_eq(gateway_count(h, STATS_tx_cookie), 20000);
	cr_assert_eq(drops(h, DROP_COOKIE), 20000);
	finish(h);
}

/* --- the rate of a source ----------------------------------------------------------------------------------------- */

/* HELLOs of an unknown peer: they pass the source's rate and go no further. */
static void strangers(struct harness *h, const char *address, const uint8_t *cookie, unsigned count)
{
	struct by_hand by;
	write_hello(h, &by, 1, 0, cookie);
	for (; count > 0; count -= count < 10 ? count : 10) /* more at once would be load */
		arrive(h, address, 7, by.hello, count < 10 ? count : 10);
}

Test(gateway_cookie, only_who_is_proven_is_charged)
{
	struct harness *h = START(.clients = 2, .listed = 1, .always_cookie = true);
	strangers(h, here, NULL, 300);
	strangers(h, here, cookie_of(h, elsewhere, 7), 300);
	cr_assert_eq(drops(h, DROP_COOKIE), 600, "whoever only claims an address takes nothing from its owner");
	strangers(h, here, cookie_of(h, here, 7), HANDSHAKER_SOURCE_BURST);
	cr_assert_eq(drops(h, DROP_UNKNOWN_PEER), HANDSHAKER_SOURCE_BURST);
	cr_assert_eq(drops(h, DROP_HELLO_RATE), 0);
	strangers(h, here, cookie_of(h, here, 7), 10);
	cr_assert_eq(drops(h, DROP_HELLO_RATE), 10);
	strangers(h, elsewhere, cookie_of(h, elsewhere, 7), 10);
	cr_assert_eq(drops(h, DROP_HELLO_RATE), 10, "the neighbour has a bucket of its own");
	h->clock.monotonic += NS_PER_S;
	strangers(h, here, cookie_of(h, here, 7), HANDSHAKER_SOURCE_RATE + 10);
	cr_assert_eq(drops(h, DROP_HELLO_RATE), 20, "it is filled again");
	finish(h);
}

/* A source that left mac2 out would not be. */
Test(gateway_cookie, without_load_nobody_is_charged)
{
	struct harness *h = START(.clients = 2, .listed = 1);
	strangers(h, here, cookie_of(h, here, 7), 2 * HANDSHAKER_SOURCE_BURST);
	strangers(h, here, NULL, 2 * HANDSHAKER_SOURCE_BURST);
	cr_assert_eq(drops(h, DROP_UNKNOWN_PEER), 4 * HANDSHAKER_SOURCE_BURST);
	cr_assert_eq(drops(h, DROP_HELLO_RATE), 0);
	finish(h);
}

Test(gateway_cookie, an_ipv6_network_of_64_bits_is_one_source)
{
	static const char *const same[] = {"2001:db8:5::1", "2001:db8:5::ffff:1:2", "2001:db8:5:0:8000::"};
	struct harness *h = START(.clients = 2, .listed = 1, .ipv6_outside = true, .always_cookie = true);
	for (size_t i = 0; i < 150; i++)
		strangers(h, same[i % 3], cookie_of(h, same[i % 3], 7), 2);
	cr_assert_eq(drops(h, DROP_HELLO_RATE), 300 - HANDSHAKER_SOURCE_BURST);
	strangers(h, "2001:db8:5:1::1", cookie_of(h, "2001:db8:5:1::1", 7), 20);
	cr_assert_eq(drops(h, DROP_HELLO_RATE), 300 - HANDSHAKER_SOURCE_BURST);
	finish(h);
}

/* --- load --------------------------------------------------------------------------------------------------------- */

/* A socket that brings one HELLO so many times at once. */
struct flood {
	struct udp_socket base;
	const uint8_t *hello;
	struct endpoint from;
	size_t left;
	unsigned sent;
	unsigned unreachable, tried; /* every so many calls fails; 0: none */
};

static int flood_receive(struct udp_socket *socket, struct udp_message *messages, size_t count)
{
	struct flood *flood = (struct flood *)socket;
	size_t n = 0;
	for (; n < count && flood->left > 0; n++, flood->left--) {
		memcpy(messages[n].data, flood->hello, WIRE_HELLO_SIZE);
		messages[n].length = WIRE_HELLO_SIZE;
		messages[n].segment_size = 0;
		messages[n].truncated = false;
		messages[n].endpoint = flood->from;
	}
	return (int)n;
}

/* Some, or none to where there is no route. */
static int flood_send(struct udp_socket *socket, const struct udp_message *messages, size_t count)
{
	struct flood *flood = (struct flood *)socket;
	(void)messages;
	if (flood->unreachable != 0 && flood->tried++ % flood->unreachable == 0)
		return -ENETUNREACH;
	int taken = flood->unreachable != 0 && count > 3 ? 3 : (int)count;
	flood->sent += (unsigned)taken;
	return taken;
}

static const struct udp_ops flood_ops = {.receive = flood_receive, .send = flood_send};

/* So many at once as a turn takes, or one less. */
static void overwhelm(struct harness *h, size_t count)
{
	struct by_hand by;
	struct flood flood = {.base.ops = &flood_ops, .hello = by.hello, .left = count};
	struct handshaker *handshaker = h->gateway.handshakes[0].handshaker;
	struct udp_socket *real = handshaker->params.udp;
	flood.from = (struct endpoint){.remote = network_address(elsewhere, 9), .local = h->gateway_address.sin6_addr};
	write_hello(h, &by, 1, 0, NULL);
	handshaker->params.udp = &flood.base;
	cr_assert_geq(handshaker_turn(handshaker), count);
	handshaker->params.udp = real;
}

Test(gateway_cookie, is_demanded_after_a_full_batch_for_a_second)
{
	struct harness *h = START(.clients = 2, .listed = 1);
	overwhelm(h, 15);
	struct by_hand by;
	write_hello(h, &by, 0, 0, NULL);
	arrive(h, here, 7, by.hello, 1);
	cr_assert_eq(gateway_count(h, STATS_rx_hello), 1, "15 are no load");

	overwhelm(h, 16);
	h->clock.wall += NS_PER_S;
	h->clock.monotonic += NS_PER_S - 1;
	write_hello(h, &by, 0, 0, NULL);
	arrive(h, here, 7, by.hello, 1);
	cr_assert_eq(drops(h, DROP_COOKIE), 1);
	cr_assert_eq(gateway_count(h, STATS_rx_hello), 1);
	h->clock.monotonic += 1;
	arrive(h, here, 7, by.hello, 1);
	cr_assert_eq(gateway_count(h, STATS_rx_hello), 2);
	finish(h);
}

/* After a start the first HELLO of each client is answered by COOKIE in any case, and many together are load: what the
 * first of them got has to serve under it. */
Test(gateway_cookie, from_before_the_load_is_good_under_it)
{
	struct harness *h = START(.clients = 2, .listed = 1, .unproven = true);
	struct impairment *impairment = lose(h, 1 << WIRE_HELLO);
	impairment->keep = true;
	harness_connect(h, 0);
	harness_pump(h);
	cr_assert_eq(impairment->kept_count, 1);
	impairment_replay(impairment, 0);
	harness_pump(h);
	cr_assert_eq(drops(h, DROP_STALE), 1);
	cr_assert_eq(impairment->kept_count, 2, "COOKIE was answered");
	overwhelm(h, 16);
	uint64_t cookies = gateway_count(h, STATS_tx_cookie);
	impairment_replay(impairment, 1);
	harness_pump(h);
	cr_assert_eq(gateway_count(h, STATS_tx_cookie), cookies);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	impairment_free(impairment);
	finish(h);
}

/* Turns of a thread whose socket never gets empty, for so long; each HELLO comes from another port, or all from one. */
static void backlog(struct harness *h, struct flood *flood, uint64_t ns, bool one_source)
{
	struct handshaker *handshaker = h->gateway.handshakes[0].handshaker;
	struct udp_socket *real = handshaker->params.udp;
	handshaker->params.udp = &flood->base;
	for (uint64_t spent = 0; spent < ns; spent += NS_PER_MS) {
		flood->left = 16;
		flood->from.remote.sin6_port = one_source ? 9 : (uint16_t)(spent / NS_PER_MS + 10);
		(void)handshaker_turn(handshaker);
		h->clock.monotonic += NS_PER_MS;
		h->clock.wall += NS_PER_MS;
	}
	handshaker->params.udp = real;
}

Test(gateway_cookie, while_it_is_behind_goes_to_those_who_ask_again)
{
	struct harness *h = START(.clients = 2, .listed = 1);
	struct by_hand by;
	struct flood flood = {.base.ops = &flood_ops, .hello = by.hello};
	flood.from = (struct endpoint){.remote = network_address(elsewhere, 9), .local = h->gateway_address.sin6_addr};
	write_hello(h, &by, 1, 0, NULL);
	backlog(h, &flood, NS_PER_S / 20, false);
	uint64_t before = gateway_count(h, STATS_tx_cookie);
	cr_assert_gt(before, 600, "a burst is worked off");
	backlog(h, &flood, 30 * NS_PER_MS, false);
	cr_assert_eq(gateway_count(h, STATS_tx_cookie), before + 30 * 15, "the first of each port is noted");
	backlog(h, &flood, 30 * NS_PER_MS, false);
	cr_assert_eq(gateway_count(h, STATS_tx_cookie), before + 30 * 31, "they are known by now");
	finish(h);
}

Test(gateway_cookie, while_it_is_behind_is_limited_by_source)
{
	struct harness *h = START(.clients = 2, .listed = 1);
	struct by_hand by;
	struct flood flood = {.base.ops = &flood_ops, .hello = by.hello};
	flood.from = (struct endpoint){.remote = network_address(elsewhere, 9), .local = h->gateway_address.sin6_addr};
	write_hello(h, &by, 1, 0, NULL);
	backlog(h, &flood, NS_PER_S / 20, true);
	uint64_t before = gateway_count(h, STATS_tx_cookie);
	backlog(h, &flood, NS_PER_S, true);
	uint64_t sent = gateway_count(h, STATS_tx_cookie) - before;
	cr_assert(sent >= HANDSHAKER_COOKIE_BURST && sent <= HANDSHAKER_COOKIE_BURST + HANDSHAKER_COOKIE_RATE, "%lu",
		  sent);
	cr_assert_eq(drops(h, DROP_HANDSHAKE_FORGED) + drops(h, DROP_COOKIE) + drops(h, DROP_UNKNOWN_PEER), 1050 * 16,
		     "each HELLO is counted, answered or not");
	finish(h);
}

Test(gateway_cookie, one_that_has_no_route_takes_none_from_the_others)
{
	struct harness *h = START(.clients = 2, .listed = 1, .always_cookie = true);
	struct by_hand by;
	struct flood flood = {.base.ops = &flood_ops, .hello = by.hello, .left = 16, .unreachable = 2};
	struct handshaker *handshaker = h->gateway.handshakes[0].handshaker;
	struct udp_socket *real = handshaker->params.udp;
	flood.from = (struct endpoint){.remote = network_address(elsewhere, 9), .local = h->gateway_address.sin6_addr};
	write_hello(h, &by, 1, 0, NULL);
	handshaker->params.udp = &flood.base;
	(void)handshaker_turn(handshaker);
	handshaker->params.udp = real;
	cr_assert_eq(flood.sent, 12, "every fourth has none");
	cr_assert_eq(gateway_count(h, STATS_tx_cookie), 12);
	finish(h);
}

Test(gateway_cookie, under_load_clients_are_asked_to_rekey_later)
{
	struct harness *h = START(.clients = 2, .listed = 1);
	overwhelm(h, 16);
	harness_connect(h, 0);
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	cr_assert_eq(gateway_count(h, STATS_tx_cookie), 1);
	cr_assert_gt(h->clients[0].role.lease.back_off, 0);
	finish(h);
}
