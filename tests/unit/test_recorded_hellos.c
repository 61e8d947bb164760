// SPDX-License-Identifier: Apache-2.0
/* An attacker replays recorded HELLOs of a client, when the gateway restarted, its peers changed, or the
 * client's clock was put back: no address moves, no handshake that waits is replaced, no budget is used up. */
#include <sodium.h>

#include "tests/unit/hello_by_hand.h"

TestSuite(recorded_hellos, .timeout = 60);

enum { RECORDED = 64 };

/* The client's address, and the attacker's. */
static struct sockaddr_in6 home(const struct harness *h)
{
	return h->clients[0].node.link.address;
}

static struct sockaddr_in6 elsewhere(void)
{
	return network_address("203.0.113.9", 1234);
}

static void arrive(struct harness *h, struct sockaddr_in6 from, const struct by_hand *by)
{
	struct udp_message message = {
		.data = (uint8_t *)(uintptr_t)by->hello,
		.length = WIRE_HELLO_SIZE,
		.endpoint = {.remote = from, .local = h->gateway_address.sin6_addr},
	};
	cr_assert(link_inject(&h->gateway.node.link, &message));
	harness_pump(h);
}

static void pass(struct harness *h, uint64_t ns)
{
	h->clock.monotonic += ns;
	h->clock.wall += ns;
}

/* One HELLO a second, none of which arrived. */
static void record(struct harness *h, struct by_hand *recorded, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		write_hello(h, &recorded[i], 0, 0, NULL);
		pass(h, NS_PER_S);
	}
}

/* A new process: it has another secret, too. */
static void restart(struct harness *h)
{
	harness_stop_gateway(h, false);
	cookie_jar_init(&h->gateway.jar);
	harness_start_gateway(h);
}

static uint64_t accepted(const struct harness *h)
{
	return gateway_count(h, STATS_rx_hello);
}

static uint64_t stale(const struct harness *h)
{
	return node_drops(&h->gateway.node, DROP_STALE);
}

/* --- after a restart ---------------------------------------------------------------------------------------------- */

Test(recorded_hellos, after_a_restart_change_nothing)
{
	static struct by_hand recorded[RECORDED];
	struct harness *h = START_UP(.reset = true);
	record(h, recorded, RECORDED);
	restart(h);
	const struct registry *registry = &h->gateway.registry;
	for (size_t i = 0; i < RECORDED; i++) {
		arrive(h, i % 2 == 0 ? elsewhere() : home(h), &recorded[i]);
		pass(h, 10 * NS_PER_MS);
	}
	cr_assert_eq(stale(h), RECORDED);
	cr_assert_eq(gateway_count(h, STATS_tx_cookie), RECORDED, "each is asked whether it is there");
	cr_assert(accepted(h) == 0 && registry->orders == 0);
	cr_assert(registry->pool.used == 0 && registry->pool.fresh == 1);
	const struct peer *peer = harness_peer(h, 0);
	cr_assert(peer->proven_tat == 0 && peer->newer_tat == 0 && peer->last_index == POOL_NONE);
	cr_assert_not(harness_ping(h, 0, TO_GATEWAY), "this one is answered by RESET");
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP, "the client is back without the clock having moved");
	for (size_t i = 0; i < RECORDED; i++)
		arrive(h, home(h), &recorded[i]);
	cr_assert(accepted(h) == 1 && stale(h) == 2 * RECORDED + 1);
	cr_assert_eq(h->gateway.role.pending, 0);
	cr_assert(pings(h));
	finish(h);
}

Test(recorded_hellos, of_one_client_do_not_take_the_address_of_another)
{
	struct harness *h = START_UP(.clients = 2, .reset = true);
	struct ip_address had = harness_client_session(h, 0)->inner4.address;
	struct by_hand old;
	struct wire_hello wishing = {.mtu = 1420, .wish4 = had};
	uint8_t random[HANDSHAKE_HELLO_RANDOM];
	randombytes_buf(random, sizeof random);
	wire_timestamp(wishing.timestamp, h->clock.wall - 86400 * NS_PER_S);
	memcpy(wishing.suites, h->clients[1].role.suites, sizeof wishing.suites);
	cr_assert(handshake_write_hello(&old.initiator, &h->clients[1].identity, &h->clients[1].remote, 0, &wishing,
					random, old.hello));
	restart(h);
	arrive(h, elsewhere(), &old);
	cr_assert_not(harness_ping(h, 0, TO_GATEWAY));
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	cr_assert(ip_address_equal(&harness_client_session(h, 0)->inner4.address, &had));
	finish(h);
}

/* The cookie of another process is none. */
Test(recorded_hellos, with_a_cookie_from_before_the_restart_have_none)
{
	struct harness *h = START_UP(0);
	uint8_t cookie[COOKIE_SIZE];
	struct sockaddr_in6 source = home(h);
	struct by_hand period, numbered;
	cookie_make(&h->gateway.jar, source.sin6_addr.s6_addr, source.sin6_port, h->clock.monotonic, cookie);
	write_hello(h, &period, 0, 0, cookie);
	cookie_make_numbered(&h->gateway.jar, source.sin6_addr.s6_addr, source.sin6_port, h->clock.monotonic, cookie);
	write_hello(h, &numbered, 0, 0, cookie);
	restart(h);
	arrive(h, home(h), &period);
	arrive(h, home(h), &numbered);
	cr_assert(stale(h) == 2 && accepted(h) == 0 && h->gateway.registry.orders == 0);
	finish(h);
}

/* --- while the gateway runs --------------------------------------------------------------------------------------- */

Test(recorded_hellos, that_alternate_are_fresh_once_each)
{
	struct harness *h = START_UP(0);
	uint8_t cookie[COOKIE_SIZE];
	struct sockaddr_in6 source = home(h);
	struct by_hand with, without;
	cookie_make(&h->gateway.jar, source.sin6_addr.s6_addr, source.sin6_port, h->clock.monotonic, cookie);
	write_hello(h, &with, 0, 0, cookie);
	pass(h, 100 * NS_PER_S);
	write_hello(h, &without, 0, 0, NULL);
	uint64_t before = accepted(h);
	harness_stop_client(h, 0, false);
	harness_start_client(h, 0);
	for (unsigned i = 0; i < 50; i++) {
		arrive(h, home(h), i % 2 == 0 ? &with : &without);
		pass(h, 100 * NS_PER_MS);
	}
	cr_assert_eq(accepted(h), before + 2);
	harness_connect(h, 0);
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	for (unsigned i = 0; i < 50; i++)
		arrive(h, home(h), i % 2 == 0 ? &with : &without);
	cr_assert_eq(accepted(h), before + 3);
	cr_assert(pings(h));
	finish(h);
}

/* From elsewhere its cookie is none, so its timestamp counts; then it comes from where the cookie is for. */
Test(recorded_hellos, that_come_from_elsewhere_first_are_fresh_once)
{
	struct harness *h = START_UP(0);
	struct sockaddr_in6 source = home(h);
	struct by_hand by;
	uint8_t cookie[COOKIE_SIZE];
	pass(h, NS_PER_S);
	cookie_make_numbered(&h->gateway.jar, source.sin6_addr.s6_addr, source.sin6_port, h->clock.monotonic, cookie);
	write_hello(h, &by, 0, 0, cookie);
	uint64_t before = accepted(h);
	arrive(h, elsewhere(), &by);
	cr_assert_eq(accepted(h), before + 1);
	arrive(h, home(h), &by);
	cr_assert_eq(accepted(h), before + 1);
	/* Nor is that cookie proof for the peer when it was removed and comes back. */
	cr_assert(harness_remove_peer(h, 0));
	harness_pump(h);
	cr_assert_eq(harness_add_peer(h, 0), 0);
	arrive(h, home(h), &by);
	cr_assert_eq(accepted(h), before + 1);
	finish(h);
}

/* The client asked for hours, and nothing reached the gateway: what was recorded then is new to it. */
Test(recorded_hellos, that_never_arrived_use_up_a_budget_that_is_not_the_clients)
{
	static struct by_hand recorded[RECORDED];
	struct harness *h = START_UP(0);
	record(h, recorded, RECORDED);
	harness_stop_client(h, 0, false);
	harness_start_client(h, 0);
	for (size_t i = 0; i + 1 < RECORDED; i++) {
		arrive(h, elsewhere(), &recorded[i]);
		pass(h, NS_PER_MS);
	}
	cr_assert_gt(node_drops(&h->gateway.node, DROP_HELLO_RATE), 0);
	harness_connect(h, 0);
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP, "it was asked for a cookie, and has its own budget then");
	cr_assert_eq(client_count(h, STATS_rx_cookie), 1);
	uint64_t before = accepted(h);
	arrive(h, elsewhere(), &recorded[RECORDED - 1]);
	cr_assert_eq(accepted(h), before, "and what is older than its own HELLO is stale");
	cr_assert(pings(h));
	finish(h);
}

Test(recorded_hellos, from_before_a_clock_was_put_back_are_stale)
{
	static struct by_hand recorded[8];
	struct harness *h = START_UP(0);
	h->clock.wall += 3600 * NS_PER_S;
	for (size_t i = 0; i < ARRAY_SIZE(recorded); i++)
		write_hello(h, &recorded[i], 0, 0, NULL);
	struct by_hand last;
	uint8_t cookie[COOKIE_SIZE];
	struct sockaddr_in6 source = home(h);
	cookie_make(&h->gateway.jar, source.sin6_addr.s6_addr, source.sin6_port, h->clock.monotonic, cookie);
	write_hello(h, &last, 0, 0, cookie);
	arrive(h, home(h), &last);
	harness_stop_client(h, 0, false);
	h->clock.wall -= 2 * 3600 * NS_PER_S;
	for (unsigned process = 0; process < 4;
	     process++) { /* it reboots again and again, and its clock has no battery */
		harness_start_client(h, 0);
		harness_connect(h, 0);
		harness_pump(h);
		cr_assert_eq(h->clients[0].role.state, CLIENT_UP, "%u", process);
		uint64_t before = accepted(h);
		for (size_t i = 0; i < ARRAY_SIZE(recorded); i++)
			arrive(h, elsewhere(), &recorded[i]);
		arrive(h, home(h), &last);
		cr_assert_eq(accepted(h), before, "%u", process);
		cr_assert(pings(h));
		harness_stop_client(h, 0, false);
		h->clock.wall -= NS_PER_S;
	}
	harness_start_client(h, 0);
	finish(h);
}

/* --- while its peers change --------------------------------------------------------------------------------------- */

Test(recorded_hellos, are_stale_for_a_peer_that_was_deleted_and_comes_back)
{
	struct harness *h = START_UP(0);
	struct by_hand old, proven;
	uint8_t cookie[COOKIE_SIZE];
	struct sockaddr_in6 source = home(h);
	write_hello(h, &old, 0, 0, NULL);
	arrive(h, elsewhere(), &old);
	cookie_make(&h->gateway.jar, source.sin6_addr.s6_addr, source.sin6_port, h->clock.monotonic, cookie);
	write_hello(h, &proven, 0, 0, cookie);
	arrive(h, home(h), &proven);
	uint64_t before = accepted(h);
	for (unsigned round = 0; round < 3; round++) {
		cr_assert(harness_remove_peer(h, 0));
		harness_pump(h);
		cr_assert_eq(harness_add_peer(h, 0), 0);
		arrive(h, elsewhere(), &old);
		arrive(h, home(h), &old);
		arrive(h, home(h), &proven);
	}
	cr_assert_eq(accepted(h), before);
	cr_assert_eq(h->gateway.role.pending, 0);
	harness_stop_client(h, 0, false);
	harness_start_client(h, 0);
	harness_connect(h, 0);
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	finish(h);
}

/* As a reload does it. */
Test(recorded_hellos, are_stale_for_a_peer_that_changed_and_its_client_needs_no_cookie)
{
	struct harness *h = START_UP(0);
	struct by_hand old;
	struct freshness freshness;
	uint8_t psk[KEY_SIZE];
	peer_preshared_key(harness_peer(h, 0), psk);
	write_hello(h, &old, 0, 0, NULL);
	arrive(h, elsewhere(), &old);
	struct registry_peer changed = {
		.public_key = h->clients[0].identity.keys.public_key, .preshared_key = psk, .freshness = &freshness};
	cr_assert(registry_peer_freshness(&h->gateway.registry, changed.public_key, &freshness));
	cr_assert(harness_remove_peer(h, 0));
	cr_assert_not(registry_peer_freshness(&h->gateway.registry, changed.public_key, &freshness));
	harness_pump(h);
	cr_assert_eq(registry_add_peer(&h->gateway.registry, &changed, NULL), 0);
	uint64_t before = accepted(h);
	arrive(h, elsewhere(), &old);
	cr_assert(accepted(h) == before && stale(h) == 1);
	harness_stop_client(h, 0, false);
	harness_start_client(h, 0);
	pass(h, NS_PER_S);
	harness_connect(h, 0);
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	cr_assert_eq(client_count(h, STATS_rx_cookie), 0);
	finish(h);
}

/* --- under a flood ------------------------------------------------------------------------------------------------ */

/* What can be made with the gateway's public key alone, from any address. */
Test(recorded_hellos, nor_forged_ones_keep_a_client_from_its_cookie)
{
	enum { FLOOD = 50, ROUNDS = 400 };
	struct harness *h = START(.always_cookie = true, .unproven = true);
	struct by_hand forged = {0};
	randombytes_buf(forged.hello, sizeof forged.hello);
	wire_header(forged.hello, WIRE_VERSION, WIRE_HELLO, 0);
	mac_compute(forged.hello + WIRE_HELLO_MAC1, h->clients[0].remote.mac1_key, forged.hello, WIRE_HELLO_MAC1);
	memset(forged.hello + WIRE_HELLO_MAC2, 0, MAC_SIZE);
	for (unsigned i = 0; i < ROUNDS * FLOOD; i++) {
		struct sockaddr_in6 from = network_address("198.18.0.0", (uint16_t)(1024 + i % 50000));
		store_be16(&from.sin6_addr.s6_addr[14], (uint16_t)(i * 40503u));
		arrive(h, from, &forged);
	}
	cr_assert_eq(gateway_count(h, STATS_tx_cookie), ROUNDS * FLOOD);
	harness_connect(h, 0);
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	cr_assert_eq(client_count(h, STATS_tx_hello), 2);
	finish(h);
}
