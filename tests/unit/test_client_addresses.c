// SPDX-License-Identifier: Apache-2.0
/* A gateway with several addresses, some of which lead nowhere: HELLO in rounds. core/protocol/PROTOCOL.md, 2. */
#include "tests/harness/unit.h"

TestSuite(client_addresses, .timeout = 60);

static const char *const dead = "2001:db8:dead::1", *const second = "192.0.2.66";

static void aim(struct harness *h, const char *const *texts, size_t count)
{
	struct client_target *target = calloc(1, sizeof *target);
	cr_assert_not_null(target);
	for (size_t i = 0; i < count; i++)
		target->candidates[target->count++] = (struct client_candidate){
			texts[i] != NULL ? network_address(texts[i], HARNESS_PORT) : h->gateway_address, HARNESS_MTU};
	free(mailbox_post(&h->clients[0].role.targets, target));
	worker_wake(h->clients[0].node.worker);
	harness_pump(h);
}

#define AIM(h, ...) aim(h, (const char *const[]){__VA_ARGS__}, ARRAY_SIZE(((const char *const[]){__VA_ARGS__})))

static bool is_at(struct harness *h, const char *text)
{
	const struct sockaddr_in6 address = text != NULL ? network_address(text, HARNESS_PORT) : h->gateway_address;
	return memcmp(&h->clients[0].seen.gateway.sin6_addr, &address.sin6_addr, sizeof address.sin6_addr) == 0 &&
	       memcmp(&harness_client_session(h, 0)->endpoint.remote.sin6_addr, &address.sin6_addr,
		      sizeof address.sin6_addr) == 0;
}

/* Every WELCOME is kept and lost. */
static struct impairment *keep_welcomes(struct harness *h)
{
	struct impairment *impairment = lose(h, 1 << WIRE_WELCOME);
	impairment->keep = true;
	return impairment;
}

Test(client_addresses, a_dead_one_costs_a_quarter_of_a_second)
{
	struct harness *h = START(0);
	AIM(h, dead, NULL);
	cr_assert_eq(h->clients[0].role.state, CLIENT_HANDSHAKE);
	harness_advance(h, WORKER_TICK_NS);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	cr_assert_eq(client_count(h, STATS_tx_hello), 2);
	cr_assert(is_at(h, NULL));
	cr_assert_eq(h->clients[0].seen.hellos, 0);
	cr_assert(pings(h));
	harness_advance(h, 30 * NS_PER_S);
	cr_assert_eq(client_count(h, STATS_tx_hello), 2, "the one that works is found: no more are asked");
	finish(h);
}

Test(client_addresses, that_answers_at_once_is_the_only_one_asked)
{
	struct harness *h = START(0);
	AIM(h, NULL, dead);
	harness_advance(h, 5 * NS_PER_S);
	cr_assert_eq(client_count(h, STATS_tx_hello), 1);
	finish(h);
}

/* All of them, at no more than 4 a second, in rounds that grow longer. */
Test(client_addresses, that_are_all_dead_are_asked_in_rounds)
{
	struct harness *h = START(0);
	AIM(h, "2001:db8::1:1", "192.0.2.101", "2001:db8::1:2", "192.0.2.102", "2001:db8::1:3", "192.0.2.103",
	    "2001:db8::1:4", "192.0.2.104");
	harness_advance(h, NS_PER_S - WORKER_TICK_NS);
	cr_assert_eq(client_count(h, STATS_tx_hello), 4);
	harness_advance(h, NS_PER_S);
	cr_assert_eq(client_count(h, STATS_tx_hello), 8);
	cr_assert_leq(h->clients[0].seen.hellos, 1);
	harness_advance(h, 60 * NS_PER_S);
	uint64_t sent = client_count(h, STATS_tx_hello);
	/* Rounds begin after 2, 4, 8, 16 s, then every 16 s ± 25 %. */
	cr_assert_geq(sent, 5 * 8);
	cr_assert_leq(sent, 9 * 8);
	cr_assert_eq(h->clients[0].seen.hellos, (sent + 7) / 8);
	finish(h);
}

/* The gateway took the later HELLO in the place of the first, so what it says to the first is worth nothing. */
Test(client_addresses, an_overtaken_welcome_gives_way_to_the_later_one)
{
	struct harness *h = START(0);
	link_add_address(&h->gateway.node.link, network_address(second, HARNESS_PORT));
	struct impairment *impairment = keep_welcomes(h);
	AIM(h, NULL, second);
	harness_advance(h, WORKER_TICK_NS);
	cr_assert_eq(impairment->kept_count, 2);
	impairment_replay(impairment, 0);
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_CONFIRM);
	cr_assert(is_at(h, NULL));
	impairment_replay(impairment, 1);
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	cr_assert(is_at(h, second));
	cr_assert(pings(h));
	cr_assert_eq(client_count(h, STATS_tx_hello), 2);
	impairment_free(impairment);
	finish(h);
}

Test(client_addresses, an_earlier_welcome_changes_nothing_after_the_later_one)
{
	struct harness *h = START(0);
	link_add_address(&h->gateway.node.link, network_address(second, HARNESS_PORT));
	struct impairment *impairment = keep_welcomes(h);
	AIM(h, NULL, second);
	harness_advance(h, WORKER_TICK_NS);
	impairment_replay(impairment, 1);
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	impairment_replay(impairment, 0);
	harness_pump(h);
	cr_assert_eq(node_drops(&h->clients[0].node, DROP_UNEXPECTED), 1);
	cr_assert(is_at(h, second));
	cr_assert(pings(h));
	impairment_free(impairment);
	finish(h);
}

/* The second way carries HELLO, but nothing back. */
Test(client_addresses, an_overtaken_welcome_alone_is_doubted_soon)
{
	struct harness *h = START(0);
	link_add_address(&h->gateway.node.link, network_address(second, HARNESS_PORT));
	struct impairment *impairment = keep_welcomes(h);
	AIM(h, NULL, second);
	harness_advance(h, WORKER_TICK_NS);
	impairment_replay(impairment, 0);
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_CONFIRM);
	impairment->lose = 0;
	cr_assert(harness_wait(h, 0, CLIENT_UP, 2 * NS_PER_S));
	cr_assert(is_at(h, NULL));
	cr_assert(pings(h));
	impairment_free(impairment);
	finish(h);
}

Test(client_addresses, each_has_a_cookie_of_its_own)
{
	struct harness *h = START(.always_cookie = true);
	link_add_address(&h->gateway.node.link, network_address(second, HARNESS_PORT));
	struct impairment *impairment = keep_welcomes(h);
	AIM(h, dead, NULL, second);
	harness_advance(h, WORKER_TICK_NS);
	cr_assert_eq(client_count(h, STATS_tx_hello), 3, "dead, ours, and ours again with its cookie");
	cr_assert_eq(impairment->kept_count, 1);
	harness_advance(h, WORKER_TICK_NS);
	cr_assert_eq(client_count(h, STATS_rx_cookie), 2);
	impairment->lose = 0;
	cr_assert(harness_wait(h, 0, CLIENT_UP, 2 * NS_PER_S));
	cr_assert(pings(h));
	impairment_free(impairment);
	finish(h);
}

Test(client_addresses, a_rekey_asks_the_sessions_own_alone)
{
	struct harness *h = START(0);
	link_add_address(&h->gateway.node.link, network_address(second, HARNESS_PORT));
	AIM(h, NULL, second);
	cr_assert(pings(h));
	struct impairment *impairment = keep_welcomes(h);
	harness_advance(h, HARNESS_REKEY_INTERVAL * NS_PER_S);
	cr_assert(pings(h));
	harness_advance(h, 3 * NS_PER_S);
	cr_assert_geq(client_count(h, STATS_tx_hello), 3, "it is repeated");
	for (size_t i = 0; i < impairment->kept_count; i++)
		cr_assert(memcmp(&impairment->kept[i].message.endpoint.remote.sin6_addr, &h->gateway_address.sin6_addr,
				 sizeof(struct in6_addr)) == 0);
	impairment->lose = 0;
	harness_advance(h, 16 * NS_PER_S);
	cr_assert_eq(client_count(h, STATS_rekeys), 1);
	cr_assert(is_at(h, NULL));
	impairment_free(impairment);
	finish(h);
}

/* Its address is gone for good: the others are asked as soon as the silence is one. */
Test(client_addresses, a_session_that_is_lost_is_looked_for_at_all_of_them)
{
	struct harness *h = START(0);
	struct impairment *impairment = lose(h, 0);
	AIM(h, NULL, dead, second);
	cr_assert(pings(h));
	impairment->types = UINT32_MAX;
	cr_assert_not(harness_ping(h, 0, TO_GATEWAY));
	harness_advance(h, SESSION_SILENCE_NS - NS_PER_S);
	link_add_address(&h->gateway.node.link, network_address(second, HARNESS_PORT));
	uint64_t before = client_count(h, STATS_tx_hello);
	harness_advance(h, NS_PER_S);
	impairment->types = 0;
	cr_assert_leq(client_count(h, STATS_tx_hello), before + 1);
	h->network.entries[0].address = network_address("192.0.2.250", 1); /* as if assigned to another peer */
	cr_assert(harness_wait(h, 0, CLIENT_UP, 2 * NS_PER_S));
	cr_assert(pings(h));
	impairment_free(impairment);
	finish(h);
}

Test(client_addresses, a_new_one_is_asked_without_waiting_for_the_next_round)
{
	struct harness *h = START(0);
	AIM(h, dead);
	harness_advance(h, 60 * NS_PER_S);
	AIM(h, dead, NULL);
	harness_advance(h, 2 * WORKER_TICK_NS);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	finish(h);
}
