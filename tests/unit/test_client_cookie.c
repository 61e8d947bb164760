// SPDX-License-Identifier: Apache-2.0
/* COOKIE at the client, from a gateway that is played by hand, and the timestamps of HELLO.
 * core/protocol/PROTOCOL.md, 2. */
#include "tests/harness/unit.h"

TestSuite(client_cookie, .timeout = 60);

static const uint8_t first_cookie[COOKIE_SIZE] = "the first cookie", second_cookie[COOKIE_SIZE] = "the second one..";

/* A client without a gateway; what it sends is kept. */
static struct impairment *unheard(struct harness *h)
{
	struct impairment *impairment = lose(h, 1 << WIRE_HELLO);
	impairment->keep = true;
	harness_connect(h, 0);
	harness_advance(h, WORKER_TICK_NS);
	cr_assert_eq(impairment->kept_count, 1);
	return impairment;
}

static const uint8_t *last_hello(const struct impairment *impairment)
{
	return impairment->kept[impairment->kept_count - 1].message.data;
}

static void write_cookie(const struct harness *h, const uint8_t *hello, const uint8_t cookie[COOKIE_SIZE],
			 uint8_t message[WIRE_COOKIE_SIZE])
{
	static uint8_t nonce[COOKIE_NONCE_SIZE];
	nonce[0]++;
	handshake_write_cookie(&h->gateway.identity, hello, cookie, nonce, message);
}

static void deliver(struct harness *h, const uint8_t *message, uint32_t length)
{
	impairment_forge(&h->clients[0].node, &h->gateway.node, message, length);
	harness_pump(h);
}

/* The last HELLO is answered with COOKIE. */
static void answer(struct harness *h, const struct impairment *impairment, const uint8_t cookie[COOKIE_SIZE])
{
	uint8_t message[WIRE_COOKIE_SIZE];
	write_cookie(h, last_hello(impairment), cookie, message);
	deliver(h, message, sizeof message);
}

static struct wire_hello open_hello(const struct harness *h, const uint8_t *message)
{
	const struct handshake_identity *gateway = &h->gateway.identity;
	struct handshake_responder responder;
	struct wire_hello hello;
	uint8_t client_key[KEY_SIZE], static_static[KEY_SIZE];
	cr_assert(handshake_check_mac1(gateway, message));
	cr_assert(handshake_read_static(&responder, gateway, message, client_key));
	cr_assert(noise_dh(gateway->keys.private_key, client_key, static_static));
	cr_assert(handshake_read_payload(&responder, static_static, message, &hello));
	return hello;
}

/* Whether a HELLO has a mac2 made with `proof`, and carries `challenge`; NULL: none. */
static bool carries_both(const struct harness *h, const uint8_t *message, const uint8_t proof[COOKIE_SIZE],
			 const uint8_t challenge[COOKIE_SIZE])
{
	struct wire_hello hello = open_hello(h, message);
	uint8_t mac2[MAC_SIZE] = {0}, none[COOKIE_SIZE] = {0};
	if (proof != NULL)
		cookie_mac(mac2, proof, message, WIRE_HELLO_MAC2);
	return memcmp(message + WIRE_HELLO_MAC2, mac2, sizeof mac2) == 0 &&
	       memcmp(hello.challenge, challenge != NULL ? challenge : none, COOKIE_SIZE) == 0;
}

static bool carries(const struct harness *h, const uint8_t *message, const uint8_t cookie[COOKIE_SIZE])
{
	return carries_both(h, message, cookie, cookie);
}

/* Advances until the client says HELLO again; returns after how long. */
static uint64_t next_hello(struct harness *h, const struct impairment *impairment)
{
	uint64_t start = h->clock.monotonic;
	size_t before = impairment->kept_count;
	while (impairment->kept_count == before) {
		cr_assert_lt(h->clock.monotonic - start, 30 * NS_PER_S, "it is silent");
		harness_advance(h, WORKER_TICK_NS);
	}
	return h->clock.monotonic - start;
}

Test(client_cookie, is_followed_at_once)
{
	struct harness *h = START(0);
	struct impairment *impairment = unheard(h);
	cr_assert(carries(h, last_hello(impairment), NULL));
	uint32_t magic = wire_magic(last_hello(impairment));
	answer(h, impairment, first_cookie);
	cr_assert_eq(impairment->kept_count, 2, "without the clock having moved");
	cr_assert(carries(h, last_hello(impairment), first_cookie));
	cr_assert_neq(wire_magic(last_hello(impairment)), magic);
	cr_assert_eq(client_count(h, STATS_rx_cookie), 1);
	cr_assert_eq(client_count(h, STATS_rx_control), 1);
	impairment->lose = 0;
	cr_assert(harness_wait(h, 0, CLIENT_UP, 2 * NS_PER_S));
	cr_assert(carries(h, last_hello(impairment), first_cookie));
	impairment_free(impairment);
	finish(h);
}

Test(client_cookie, that_answers_a_cookie_is_followed_at_once_two_times)
{
	struct harness *h = START(0);
	struct impairment *impairment = unheard(h);
	answer(h, impairment, first_cookie);
	answer(h, impairment, second_cookie);
	cr_assert_eq(impairment->kept_count, 3, "without the clock having moved");
	cr_assert(carries_both(h, last_hello(impairment), first_cookie, second_cookie), "it was about the challenge");
	answer(h, impairment, first_cookie);
	cr_assert_eq(impairment->kept_count, 4);
	cr_assert(carries(h, last_hello(impairment), first_cookie), "or it was about mac2");
	answer(h, impairment, second_cookie);
	cr_assert_eq(impairment->kept_count, 4, "and then it waits");
	cr_assert_eq(client_count(h, STATS_rx_cookie), 4);
	uint64_t waited = next_hello(h, impairment);
	cr_assert_geq(waited, 3 * NS_PER_S / 4);
	cr_assert_leq(waited, 5 * NS_PER_S / 4 + WORKER_TICK_NS, "for the end of the first interval");
	cr_assert(carries_both(h, last_hello(impairment), first_cookie, second_cookie));
	for (size_t i = 0; i < 3; i++)
		answer(h, impairment, first_cookie);
	cr_assert_eq(impairment->kept_count, 7, "two again");
	waited = next_hello(h, impairment);
	cr_assert_geq(waited, 3 * NS_PER_S / 2, "the interval is twice the last one");
	cr_assert_leq(waited, 5 * NS_PER_S / 2 + WORKER_TICK_NS);
	impairment_free(impairment);
	finish(h);
}

/* The gateway is another process, with another secret for its cookies. */
static void restart(struct harness *h)
{
	harness_stop_gateway(h, false);
	cookie_jar_init(&h->gateway.jar);
	harness_start_gateway(h);
}

/* Cookies do not outlive their gateway. */
Test(client_cookie, from_before_a_restart_is_forgotten_at_a_reset)
{
	struct harness *h = START(.always_cookie = true, .reset = true);
	cr_assert(harness_up(h));
	uint64_t hellos = client_count(h, STATS_tx_hello), cookies = client_count(h, STATS_rx_cookie);
	restart(h);
	cr_assert_not(harness_ping(h, 0, TO_GATEWAY), "this one is lost");
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP, "without the clock having moved");
	cr_assert_eq(client_count(h, STATS_tx_hello), hellos + 2, "one without, and one with a new cookie");
	cr_assert_eq(client_count(h, STATS_rx_cookie), cookies + 1);
	finish(h);
}

/* Where it hears of the restart by silence it shows the old one, and needs two. */
Test(client_cookie, from_before_a_restart_costs_one_round_trip_more)
{
	struct harness *h = START(.always_cookie = true);
	cr_assert(harness_up(h));
	restart(h);
	uint64_t hellos = client_count(h, STATS_tx_hello);
	for (unsigned tick = 0; client_count(h, STATS_tx_hello) == hellos; tick++) {
		cr_assert_lt(tick, 200);
		(void)harness_ping(h, 0, TO_GATEWAY);
		harness_advance(h, WORKER_TICK_NS);
	}
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP, "at once");
	cr_assert_eq(client_count(h, STATS_tx_hello), hellos + 3);
	finish(h);
}

/* Under load the gateway gives a cookie of the first kind, which does not count for a peer that had a newer one since;
 * the second kind is no key of mac2. */
Test(client_cookie, two_kinds_get_a_client_with_a_slow_clock_through_under_load)
{
	struct harness *h = START(.always_cookie = true);
	cr_assert(harness_up(h));
	uint64_t step = 300 * NS_PER_S;
	for (unsigned i = 0; i < 3; i++) {
		harness_stop_client(h, 0, true);
		harness_start_client(h, 0);
		h->clock.wall -= step;
		harness_connect(h, 0);
		cr_assert(harness_wait(h, 0, CLIENT_UP, 5 * NS_PER_S), "the clock was put back %u times", i + 1);
	}
	finish(h);
}

/* `anew`: those without mac2. */
static size_t hellos_in_ten_minutes(bool answered, size_t *anew)
{
	static const uint8_t none[MAC_SIZE];
	struct harness *h = START(0);
	struct impairment *impairment = unheard(h);
	size_t seen = 0;
	for (uint64_t time = 0; time < 600 * NS_PER_S; time += WORKER_TICK_NS) {
		while (seen < impairment->kept_count) {
			seen = impairment->kept_count;
			*anew += memcmp(last_hello(impairment) + WIRE_HELLO_MAC2, none, sizeof none) == 0;
			if (answered)
				answer(h, impairment, first_cookie);
		}
		harness_advance(h, WORKER_TICK_NS);
	}
	impairment_free(impairment);
	finish(h);
	return seen;
}

/* An attacker on the path answers everything: each HELLO that is due is followed by two, and when the cookie is too old
 * the intervals begin anew, which makes for four more that are due. */
Test(client_cookie, does_not_make_a_client_send_without_end)
{
	/* 1, 2, 4, 8, then every 16 s less up to 25 %. */
	size_t anew = 0, answered_anew = 0;
	size_t silence = hellos_in_ten_minutes(false, &anew), answers = hellos_in_ten_minutes(true, &answered_anew);
	cr_assert(silence >= 30 && silence <= 60, "%zu into silence", silence);
	cr_assert_eq(anew, silence);
	cr_assert_leq(answered_anew, 6, "one in 115 s");
	cr_assert(answers >= 2 * silence && answers <= 3 * (silence + 5 * answered_anew), "%zu, and %zu into silence",
		  answers, silence);
}

Test(client_cookie, lets_the_intervals_start_anew)
{
	struct harness *h = START(0);
	struct impairment *impairment = unheard(h);
	while (next_hello(h, impairment) < 12 * NS_PER_S) {
	}
	size_t before = impairment->kept_count;
	answer(h, impairment, first_cookie);
	cr_assert_eq(impairment->kept_count, before + 1);
	cr_assert_leq(next_hello(h, impairment), 5 * NS_PER_S / 4 + WORKER_TICK_NS);
	cr_assert_geq(next_hello(h, impairment), 3 * NS_PER_S / 2);
	impairment_free(impairment);
	finish(h);
}

Test(client_cookie, is_kept_for_115_seconds)
{
	struct harness *h = START(0);
	struct impairment *impairment = unheard(h);
	answer(h, impairment, first_cookie);
	uint64_t made = h->clock.monotonic, age = 0, last = 0;
	for (; age < COOKIE_KEEP_NS; last = age) {
		(void)next_hello(h, impairment);
		age = h->clock.monotonic - made;
		cr_assert(carries(h, last_hello(impairment), age < COOKIE_KEEP_NS ? first_cookie : NULL),
			  "after %llu s", age / NS_PER_S);
	}
	cr_assert_gt(last, COOKIE_KEEP_NS / 2, "it was seen with and without");
	size_t before = impairment->kept_count;
	answer(h, impairment, second_cookie);
	cr_assert_eq(impairment->kept_count, before + 1, "a new one is followed at once again");
	cr_assert(carries(h, last_hello(impairment), second_cookie));
	impairment_free(impairment);
	finish(h);
}

Test(client_cookie, goes_into_the_next_handshake_too)
{
	struct harness *h = START(0);
	struct impairment *impairment = unheard(h);
	answer(h, impairment, first_cookie);
	impairment->lose = 0;
	cr_assert(harness_wait(h, 0, CLIENT_UP, 2 * NS_PER_S));
	size_t before = impairment->kept_count;
	uint8_t bye = WIRE_BYE_RESTARTING, message[64];
	struct session *session = harness_gateway_session(h, 0);
	uint32_t length = node_seal(&h->gateway.node, session, session->current, WIRE_BYE, &bye, 1, message);
	deliver(h, message, length);
	cr_assert(harness_wait(h, 0, CLIENT_UP, 5 * NS_PER_S));
	cr_assert_gt(impairment->kept_count, before);
	cr_assert(carries(h, impairment->kept[before].message.data, first_cookie));
	impairment_free(impairment);
	finish(h);
}

Test(client_cookie, of_one_gateway_is_not_shown_to_another)
{
	struct harness *h = START(0);
	struct impairment *impairment = unheard(h);
	answer(h, impairment, first_cookie);
	harness_connect(h, 0); /* resolved again, to the same address */
	(void)next_hello(h, impairment);
	cr_assert(carries(h, last_hello(impairment), first_cookie));

	struct client_target *target = malloc(sizeof *target);
	cr_assert_not_null(target);
	*target = (struct client_target){.candidates = {{network_address("192.0.2.99", HARNESS_PORT), HARNESS_MTU}},
					 .count = 1};
	free(mailbox_post(&h->clients[0].role.targets, target));
	(void)next_hello(h, impairment);
	cr_assert(carries(h, last_hello(impairment), NULL));
	impairment_free(impairment);
	finish(h);
}

/* The HELLO that was answered with COOKIE is still the latest, so its WELCOME counts. */
Test(client_cookie, does_not_undo_a_hello)
{
	struct harness *h = START(0);
	struct impairment *impairment = unheard(h);
	answer(h, impairment, first_cookie);
	answer(h, impairment, second_cookie);
	impairment_replay(impairment, impairment->kept_count - 1);
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	cr_assert(pings(h));
	impairment_free(impairment);
	finish(h);
}

Test(client_cookie, that_is_forged_changes_nothing)
{
	struct harness *h = START(0);
	struct impairment *impairment = unheard(h);
	const struct node *client = &h->clients[0].node;
	uint8_t message[WIRE_COOKIE_SIZE + 1] = {0};
	write_cookie(h, last_hello(impairment), first_cookie, message);
	for (unsigned bit = 8; bit < 8 * WIRE_COOKIE_SIZE; bit++) {
		message[bit / 8] ^= (uint8_t)(1u << bit % 8);
		deliver(h, message, WIRE_COOKIE_SIZE);
		message[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	uint64_t magic = 32;
	cr_assert_eq(node_drops(client, DROP_UNEXPECTED), magic);
	cr_assert_eq(node_drops(client, DROP_HANDSHAKE_FORGED), 8 * WIRE_COOKIE_SIZE - 8 - magic);
	deliver(h, message, WIRE_COOKIE_SIZE - 1);
	cr_assert_eq(node_drops(client, DROP_RUNT), 1);
	deliver(h, message, WIRE_COOKIE_SIZE + 1);
	cr_assert_eq(node_drops(client, DROP_OVERSIZED), 1);
	message[0] = 0x27;
	deliver(h, message, WIRE_COOKIE_SIZE);
	cr_assert_eq(node_drops(client, DROP_VERSION), 1);
	cr_assert_eq(client_count(h, STATS_rx_cookie), 0);
	cr_assert_eq(impairment->kept_count, 1);
	(void)next_hello(h, impairment);
	cr_assert(carries(h, last_hello(impairment), NULL));

	message[0] = 0x17;
	deliver(h, message, WIRE_COOKIE_SIZE);
	cr_assert_eq(node_drops(client, DROP_UNEXPECTED), magic + 1, "a right one for the HELLO before");
	cr_assert_eq(impairment->kept_count, 2);
	impairment_free(impairment);
	finish(h);
}

Test(client_cookie, is_unexpected_where_no_hello_waits)
{
	struct harness *h = START(0);
	const struct node *client = &h->clients[0].node;
	uint8_t message[WIRE_COOKIE_SIZE] = {0x17};
	deliver(h, message, sizeof message);
	cr_assert_eq(node_drops(client, DROP_UNEXPECTED), 1, "it has said none");

	struct impairment *impairment = unheard(h);
	write_cookie(h, last_hello(impairment), first_cookie, message);
	impairment_replay(impairment, 0);
	harness_pump(h);
	cr_assert_eq(h->clients[0].role.state, CLIENT_UP);
	deliver(h, message, sizeof message);
	cr_assert_eq(node_drops(client, DROP_UNEXPECTED), 2, "WELCOME came");

	/* Between BYE and the next HELLO nothing is remembered of the last one: zeros do not answer it. */
	static const uint8_t nothing[WIRE_HELLO_SIZE];
	uint8_t bye = WIRE_BYE_REMOVED, sealed[64];
	struct session *session = harness_gateway_session(h, 0);
	deliver(h, sealed, node_seal(&h->gateway.node, session, session->current, WIRE_BYE, &bye, 1, sealed));
	cr_assert_eq(h->clients[0].role.state, CLIENT_HANDSHAKE);
	write_cookie(h, nothing, first_cookie, message);
	deliver(h, message, sizeof message);
	cr_assert_eq(node_drops(client, DROP_UNEXPECTED), 3);
	cr_assert_eq(client_count(h, STATS_rx_cookie), 0);
	cr_assert_eq(client_count(h, STATS_tx_hello), 1);
	impairment_free(impairment);
	finish(h);
}

/* --- timestamps --------------------------------------------------------------------------------------------------- */

Test(client_cookie, timestamps_rise_while_the_clock_jumps)
{
	struct harness *h = START(0);
	static const uint64_t years[] = {1970, 2106, 2027, 1970, 2027, 2200};
	uint8_t newest[WIRE_TIMESTAMP_SIZE];
	struct impairment *impairment = unheard(h);
	memcpy(newest, open_hello(h, last_hello(impairment)).timestamp, sizeof newest);
	for (size_t i = 0; i < ARRAY_SIZE(years); i++) {
		h->clock.wall = (years[i] - 1970) * 365 * 86400 * NS_PER_S;
		(void)next_hello(h, impairment);
		struct wire_hello hello = open_hello(h, last_hello(impairment));
		cr_assert_gt(memcmp(hello.timestamp, newest, sizeof newest), 0, "%lu", years[i]);
		memcpy(newest, hello.timestamp, sizeof newest);
	}
	uint8_t now[WIRE_TIMESTAMP_SIZE];
	wire_timestamp(now, h->clock.wall);
	cr_assert_arr_eq(newest, now, sizeof now, "a clock that moves on is believed");
	impairment_free(impairment);
	finish(h);
}

Test(client_cookie, a_clock_that_is_put_back_needs_none)
{
	struct harness *h = START(0);
	uint64_t right = h->clock.wall;
	h->clock.wall = 136ull * 365 * 86400 * NS_PER_S;
	cr_assert(harness_up(h));
	uint64_t cookies = client_count(h, STATS_rx_cookie);
	cr_assert_eq(cookies, 1, "the gateway did not expect a clock to jump so far");
	h->clock.wall = right;
	for (unsigned second = 0; second < 250; second++) {
		cr_assert(pings(h));
		harness_advance(h, NS_PER_S);
	}
	cr_assert_geq(client_count(h, STATS_rekeys), 1);
	cr_assert_eq(client_count(h, STATS_rx_cookie), cookies);
	finish(h);
}
