// SPDX-License-Identifier: Apache-2.0
/* RateUp and RateDown from end to end: real workers, sockets and TUNs of the harness, and a clock that the test moves.
 */
#include <criterion/criterion.h>

#include "tests/harness/harness.h"
#include "tests/harness/unit.h"
#include "tun/ecn.h"

enum { KBITS = 8000 /* a byte each µs */, SIZE = 1000, BURST = 4 * SIZE };

static struct harness *h;

static void end(void)
{
	cr_expect_null(harness_problem(h), "%s", harness_problem(h));
	harness_free(h);
}

static void begin(uint32_t up, uint32_t down)
{
	struct harness_options options = {.clients = 2};
	options.limits[0] = (struct peer_limits){.up = up, .down = down, .burst = BURST};
	h = harness_new(&options);
	cr_assert(harness_up(h));
	/* What the handshake took of the burst is there again. */
	harness_advance(h, NS_PER_S);
}

static void put(size_t client, enum direction direction, uint16_t number)
{
	uint8_t packet[SIZE + 100];
	size_t length = harness_echo(h, client, direction, 4, number, SIZE - 28, packet);
	cr_assert_eq(length, SIZE);
	node_put_packet(direction == TO_GATEWAY ? &h->clients[client].node : &h->gateway.node, packet, length);
}

/* How many came out, which have to be whole and in order from `*first` on. */
static unsigned take(size_t client, enum direction direction, uint16_t *first)
{
	struct node *node = direction == TO_GATEWAY ? &h->gateway.node : &h->clients[client].node;
	uint8_t expected[SIZE + 100];
	unsigned count = 0;
	size_t length;
	for (const uint8_t *packet; (packet = node_take_packet(node, &length)) != NULL; count++) {
		cr_assert_eq(length, harness_echo(h, client, direction, 4, (*first)++, SIZE - 28, expected));
		cr_assert_eq(memcmp(packet + 20, expected + 20, length - 20), 0);
	}
	return count;
}

/* A burst at once, the rest at the rate, all in order; the other client's packets in the meantime at once. */
static void check_direction(enum direction direction, enum drop_reason reason)
{
	uint16_t first = 0, other = 0;
	begin(direction == TO_GATEWAY ? KBITS : 0, direction == TO_GATEWAY ? 0 : KBITS);
	for (uint16_t i = 0; i < 50; i++)
		put(0, direction, i);
	harness_pump(h);
	cr_assert_eq(take(0, direction, &first), BURST / SIZE + 1);
	for (uint16_t i = 0; i < 50; i++) {
		put(1, direction, i);
		harness_pump(h);
		cr_assert_eq(take(1, direction, &other), 1, "no limit, no wait");
	}
	unsigned got = 0;
	for (unsigned ms = 1; ms <= 20; ms++) {
		pass_ms(h, 1);
		got += take(0, direction, &first);
		cr_assert_geq(got + 2, ms, "after %u ms", ms);
		cr_assert_leq(got, ms + 1, "after %u ms", ms);
	}
	pass_ms(h, 40);
	got += take(0, direction, &first);
	cr_assert_eq(got, 50 - (BURST / SIZE + 1));
	cr_assert_eq(gateway_drops(h, reason), 0);
	end();
}

Test(limits, down)
{
	check_direction(TO_CLIENT, DROP_LIMIT_DOWN);
}

Test(limits, up)
{
	check_direction(TO_GATEWAY, DROP_LIMIT_UP);
}

/* What is offered above the rate for a second is dropped and counted, and the rate is what passes. */
static void check_rate(enum direction direction, enum drop_reason reason)
{
	uint16_t sequence = 0;
	unsigned passed = 0;
	begin(direction == TO_GATEWAY ? KBITS : 0, direction == TO_GATEWAY ? 0 : KBITS);
	struct node *node = direction == TO_GATEWAY ? &h->gateway.node : &h->clients[0].node;
	for (unsigned i = 0; i < 2000; i++) {
		put(0, direction, sequence++);
		put(0, direction, sequence++);
		pass_ms(h, 1);
		for (size_t length; node_take_packet(node, &length) != NULL;)
			passed++;
	}
	cr_expect_geq(passed, 2000 - 5);
	cr_expect_leq(passed, 2000 + BURST / SIZE + 5);
	cr_expect_gt(gateway_drops(h, reason), 1000);
	pass_ms(h, 200);
	for (size_t length; node_take_packet(node, &length) != NULL;)
		passed++;
	cr_expect_eq(passed + gateway_drops(h, reason), 4000, "%u and %lu", passed, gateway_drops(h, reason));
	end();
}

Test(limits, rate_down)
{
	check_rate(TO_CLIENT, DROP_LIMIT_DOWN);
}

Test(limits, rate_up)
{
	check_rate(TO_GATEWAY, DROP_LIMIT_UP);
}

static uint64_t shown(enum stats_gauge gauge)
{
	return atomic_load(&h->gateway.node.worker->loop.stats.gauges[gauge]);
}

Test(limits, what_waits_is_shown)
{
	uint16_t first = 0;
	begin(0, KBITS);
	cr_expect_eq(shown(STATS_waiting_sessions), 0);
	for (uint16_t i = 0; i < 20; i++)
		put(0, TO_CLIENT, i);
	harness_pump(h);
	unsigned waiting = 20 - take(0, TO_CLIENT, &first);
	cr_expect_eq(shown(STATS_waiting_sessions), 1);
	cr_expect_eq(shown(STATS_waiting_bytes), waiting * SIZE);
	pass_ms(h, 5);
	waiting -= take(0, TO_CLIENT, &first);
	cr_expect_eq(shown(STATS_waiting_sessions), 1);
	cr_expect_eq(shown(STATS_waiting_bytes), waiting * SIZE);
	pass_ms(h, 30);
	cr_expect_eq(take(0, TO_CLIENT, &first), waiting);
	cr_expect_eq(shown(STATS_waiting_sessions), 0);
	cr_expect_eq(shown(STATS_waiting_bytes), 0);
	end();
}

Test(limits, a_session_that_ends_takes_what_waits_with_it)
{
	begin(KBITS, KBITS);
	for (uint16_t i = 0; i < 20; i++) {
		put(0, TO_GATEWAY, i);
		put(0, TO_CLIENT, i);
	}
	harness_pump(h);
	cr_assert_neq(h->gateway.node.worker->limits.waiting, 0);
	cr_assert(harness_remove_peer(h, 0));
	harness_pump(h);
	cr_assert_eq(h->gateway.node.worker->limits.waiting, 0);
	cr_expect_eq(shown(STATS_waiting_sessions) + shown(STATS_waiting_bytes), 0);
	cr_expect_eq(gateway_drops(h, DROP_LIMIT_UP), 20 - (BURST / SIZE + 1));
	cr_expect_eq(gateway_drops(h, DROP_LIMIT_DOWN), 20 - (BURST / SIZE + 1));
	end();
}

Test(limits, a_change_holds_at_once)
{
	uint16_t first = 0;
	begin(0, KBITS);
	for (uint16_t i = 0; i < 30; i++)
		put(0, TO_CLIENT, i);
	harness_pump(h);
	cr_assert_eq(take(0, TO_CLIENT, &first), BURST / SIZE + 1);
	harness_limit_peer(h, 0, &(struct peer_limits){0});
	pass_ms(h, 1);
	cr_assert_eq(take(0, TO_CLIENT, &first), 30 - (BURST / SIZE + 1), "no limit: what waited goes");

	/* And one that had none. */
	first = 0;
	harness_limit_peer(h, 1, &(struct peer_limits){.down = KBITS, .burst = BURST});
	harness_pump(h);
	for (uint16_t i = 0; i < 30; i++)
		put(1, TO_CLIENT, i);
	harness_pump(h);
	cr_assert_eq(take(1, TO_CLIENT, &first), BURST / SIZE + 1);
	pass_ms(h, 40);
	cr_assert_eq(take(1, TO_CLIENT, &first), 30 - (BURST / SIZE + 1));
	end();
}

Test(limits, they_outlive_a_rekey)
{
	uint16_t first = 0;
	begin(0, KBITS);
	harness_advance(h, (HARNESS_REKEY_INTERVAL + 1) * NS_PER_S);
	cr_assert(harness_ping(h, 0, TO_CLIENT));
	harness_advance(h, 5 * NS_PER_S);
	cr_assert_gt(atomic_load(&harness_gateway_session(h, 0)->view.rekeys), 0);
	for (uint16_t i = 0; i < 30; i++)
		put(0, TO_CLIENT, i);
	harness_pump(h);
	cr_assert_eq(take(0, TO_CLIENT, &first), BURST / SIZE + 1);
	pass_ms(h, 40);
	cr_assert_eq(take(0, TO_CLIENT, &first), 30 - (BURST / SIZE + 1));
	end();
}

/* A standing queue: senders that understand ECN are told by marks, and lose nothing by that. */
Test(limits, marks_before_drops)
{
	unsigned marked = 0, count = 0, got = 0;
	begin(0, KBITS);
	for (unsigned ms = 0; ms < 500; ms++) {
		/* Two packets each ms until 30 wait, then as many as leave. */
		for (unsigned i = 0; i < (ms < 30 ? 2 : 1); i++) {
			uint8_t packet[SIZE + 100];
			size_t length = harness_echo(h, 0, TO_CLIENT, 6, (uint16_t)count++, SIZE - 48, packet);
			packet[1] |= ECN_ECT0 << 4; /* the traffic class, which no checksum covers */
			node_put_packet(&h->gateway.node, packet, length);
		}
		pass_ms(h, ms < 499 ? 1 : 100);
		size_t length;
		for (const uint8_t *out; (out = node_take_packet(&h->clients[0].node, &length)) != NULL; got++)
			marked += (out[1] >> 4 & 3) == ECN_CE;
	}
	cr_expect_gt(marked, 2);
	cr_expect_eq(got, count);
	cr_expect_eq(gateway_drops(h, DROP_LIMIT_DOWN), 0);
	end();
}
