// SPDX-License-Identifier: Apache-2.0
/* Quotas from end to end: real workers, sockets and TUNs of the harness. The test plays the control plane: it looks at
 * what is used, and sets it to 0. */
#include <criterion/criterion.h>

#include "tests/harness/harness.h"
#include "tests/harness/unit.h"

enum { KBITS = 8000 /* a byte each µs */, SIZE = 1000, QUOTA = 64 * SIZE };

static struct harness *h;
static uint16_t numbers[2]; /* of the packets to come, each way */

static struct usage *usage(void)
{
	return peer_usage(harness_peer(h, 0));
}

static uint64_t used(void)
{
	return atomic_load(&usage()->used);
}

static void begin(struct peer_limits limits)
{
	struct harness_options options = {.clients = 2};
	options.limits[0] = limits;
	h = harness_new(&options);
	cr_assert(harness_up(h));
	harness_advance(h, NS_PER_S);
	cr_assert_not_null(usage());
	atomic_store(&usage()->used, 0);
}

static void end(void)
{
	cr_expect_null(harness_problem(h), "%s", harness_problem(h));
	harness_free(h);
}

static struct node *from(enum direction direction)
{
	return direction == TO_GATEWAY ? &h->clients[0].node : &h->gateway.node;
}

static void put(enum direction direction, unsigned count, uint32_t size)
{
	uint8_t packet[2 * SIZE];
	for (unsigned i = 0; i < count; i++) {
		size_t length = harness_echo(h, 0, direction, 4, numbers[direction]++, (uint16_t)(size - 28), packet);
		cr_assert_eq(length, size);
		node_put_packet(from(direction), packet, length);
	}
}

/* Bytes that came out. */
static uint64_t take(enum direction direction)
{
	struct node *node = from(direction == TO_GATEWAY ? TO_CLIENT : TO_GATEWAY);
	uint64_t bytes = 0;
	size_t length;
	while (node_take_packet(node, &length) != NULL)
		bytes += length;
	return bytes;
}

static uint64_t move(enum direction direction, unsigned count, uint32_t size)
{
	put(direction, count, size);
	harness_pump(h);
	return take(direction);
}

/* To the packet, however many come in a batch: the last one may be longer than what was left. */
static void check_exact(enum direction direction, unsigned batch, uint32_t size)
{
	uint64_t passed = 0, offered = 0;
	enum drop_reason reason = direction == TO_GATEWAY ? DROP_QUOTA_UP : DROP_QUOTA_DOWN;
	begin((struct peer_limits){.quota = QUOTA + 1});
	while (offered < 2 * QUOTA) {
		passed += move(direction, batch, size);
		offered += (uint64_t)batch * size;
	}
	cr_expect_geq(passed, (uint64_t)QUOTA + 1);
	cr_expect_lt(passed, (uint64_t)QUOTA + 1 + size);
	cr_expect_eq(used(), passed);
	cr_expect_eq(gateway_drops(h, reason) * size, offered - passed);
	cr_expect_eq(move(direction == TO_GATEWAY ? TO_CLIENT : TO_GATEWAY, 3, SIZE), 0u, "nor the other way");
	end();
}

Test(quota_limits, exact_up)
{
	check_exact(TO_GATEWAY, 1, SIZE);
	check_exact(TO_GATEWAY, 48, SIZE);
	check_exact(TO_GATEWAY, 37, 77);
}

Test(quota_limits, exact_down)
{
	check_exact(TO_CLIENT, 1, SIZE);
	check_exact(TO_CLIENT, 48, SIZE);
	check_exact(TO_CLIENT, 37, 77);
}

Test(quota_limits, both_ways_count_together_as_the_session_counts)
{
	uint64_t up = 0, down = 0;
	begin((struct peer_limits){.quota = QUOTA});
	const struct session *session = harness_gateway_session(h, 0);
	uint64_t before = atomic_load(&session->view.rx_bytes) + atomic_load(&session->view.tx_bytes);
	for (unsigned i = 0; i < 100; i++) {
		up += move(TO_GATEWAY, 1, SIZE);
		down += move(TO_CLIENT, 2, SIZE);
	}
	cr_expect_eq(up + down, (uint64_t)QUOTA);
	cr_expect_geq(up, (uint64_t)QUOTA / 3 - SIZE);
	cr_expect_eq(atomic_load(&session->view.rx_bytes) + atomic_load(&session->view.tx_bytes) - before, up + down);
	/* The other client has none. */
	uint8_t packet[2 * SIZE];
	size_t length = harness_echo(h, 1, TO_CLIENT, 4, 1, SIZE - 28, packet);
	node_put_packet(&h->gateway.node, packet, length);
	harness_pump(h);
	cr_expect_not_null(node_take_packet(&h->clients[1].node, &length));
	end();
}

/* A new period, or a reset: what is used is 0, and that is all that the worker sees. */
Test(quota_limits, a_new_period_frees_the_same_session)
{
	begin((struct peer_limits){.quota = QUOTA});
	uint32_t id = harness_gateway_session(h, 0)->id;
	for (unsigned period = 0; period < 3; period++) {
		cr_expect_eq(move(TO_GATEWAY, 100, SIZE), (uint64_t)QUOTA);
		cr_expect_eq(move(TO_CLIENT, 1, SIZE), 0u);
		atomic_store(&usage()->used, 0);
		cr_expect_eq(move(TO_CLIENT, 1, SIZE), (uint64_t)SIZE);
		atomic_store(&usage()->used, 0);
	}
	cr_expect_eq(harness_gateway_session(h, 0)->id, id);
	end();
}

Test(quota_limits, a_change_holds_at_once)
{
	begin((struct peer_limits){.quota = QUOTA});
	cr_expect_eq(move(TO_GATEWAY, 100, SIZE), (uint64_t)QUOTA);
	harness_limit_peer(h, 0, &(struct peer_limits){.quota = 2 * QUOTA});
	harness_pump(h);
	cr_expect_eq(move(TO_GATEWAY, 10, SIZE), 10u * SIZE);
	harness_limit_peer(h, 0, &(struct peer_limits){.quota = QUOTA / 2});
	harness_pump(h);
	cr_expect_eq(move(TO_GATEWAY, 10, SIZE), 0u);
	harness_limit_peer(h, 0, &(struct peer_limits){0});
	harness_pump(h);
	cr_expect_eq(move(TO_GATEWAY, 10, SIZE), 10u * SIZE);
	cr_expect_eq(used(), (uint64_t)QUOTA + 10 * SIZE, "without a quota nothing is counted");
	end();
}

/* A session gets a quota that had none, so that there was no record yet. */
Test(quota_limits, a_session_that_had_none)
{
	struct harness_options options = {.clients = 1};
	h = harness_new(&options);
	cr_assert(harness_up(h));
	cr_assert_null(usage());
	harness_limit_peer(h, 0, &(struct peer_limits){.quota = QUOTA});
	harness_pump(h);
	cr_assert_not_null(usage());
	cr_expect_eq(move(TO_CLIENT, 100, SIZE), (uint64_t)QUOTA);
	end();
}

Test(quota_limits, sessions_of_a_peer_share_it)
{
	begin((struct peer_limits){.quota = QUOTA});
	cr_expect_eq(move(TO_GATEWAY, 40, SIZE), 40u * SIZE);
	harness_stop_client(h, 0, true);
	harness_pump(h);
	harness_start_client(h, 0);
	harness_connect(h, 0);
	cr_assert(harness_wait(h, 0, CLIENT_UP, 10 * NS_PER_S));
	cr_expect_eq(used(), 40u * SIZE);
	cr_expect_eq(move(TO_CLIENT, 100, SIZE), (uint64_t)QUOTA - 40 * SIZE);
	/* Over it, the next one is cut off from its first packet on; and lives, as far as it goes. */
	harness_stop_client(h, 0, false);
	harness_start_client(h, 0);
	harness_connect(h, 0);
	cr_assert(harness_wait(h, 0, CLIENT_UP, 10 * NS_PER_S));
	cr_expect_eq(move(TO_GATEWAY, 1, SIZE), 0u);
	cr_expect_eq(move(TO_CLIENT, 1, SIZE), 0u);
	end();
}

Test(quota_limits, a_peer_that_is_removed_and_added_again_shares_it_too)
{
	begin((struct peer_limits){.quota = QUOTA});
	cr_expect_eq(move(TO_GATEWAY, 40, SIZE), 40u * SIZE);
	cr_assert(harness_remove_peer(h, 0));
	harness_pump(h);
	cr_assert_eq(harness_add_peer(h, 0), 0);
	harness_stop_client(h, 0, false);
	harness_start_client(h, 0);
	harness_connect(h, 0);
	cr_assert(harness_wait(h, 0, CLIENT_UP, 30 * NS_PER_S));
	cr_expect_eq(move(TO_GATEWAY, 100, SIZE), (uint64_t)QUOTA - 40 * SIZE);
	end();
}

Test(quota_limits, the_session_lives_on)
{
	begin((struct peer_limits){.quota = QUOTA});
	uint32_t id = harness_gateway_session(h, 0)->id;
	cr_expect_eq(move(TO_GATEWAY, 100, SIZE), (uint64_t)QUOTA);
	for (unsigned i = 0; i < 2 * HARNESS_SESSION_TIMEOUT; i++) {
		put(TO_GATEWAY, 1, SIZE);
		harness_advance(h, NS_PER_S);
	}
	cr_assert_not_null(harness_gateway_session(h, 0));
	cr_expect_eq(harness_gateway_session(h, 0)->id, id);
	cr_expect_gt(atomic_load(&harness_gateway_session(h, 0)->view.rekeys), 0u);
	cr_expect_eq(take(TO_GATEWAY), 0u);
	atomic_store(&usage()->used, 0);
	cr_expect_eq(move(TO_GATEWAY, 1, SIZE), (uint64_t)SIZE);
	end();
}

/* --- rates -------------------------------------------------------------------------------------------------------- */

static void check_rate_after(enum direction direction)
{
	begin((struct peer_limits){.quota = QUOTA, .after = KBITS, .burst = SIZE});
	cr_expect_eq(move(direction, 64, SIZE), (uint64_t)QUOTA, "no rate before");
	uint64_t got = move(direction, 64, SIZE);
	cr_expect_leq(got, 3u * SIZE);
	for (unsigned ms = 1; ms <= 20; ms++) {
		pass_ms(h, 1);
		got += take(direction);
		cr_assert_geq(got + 2 * SIZE, ms * SIZE, "after %u ms", ms);
		cr_assert_leq(got, (ms + 3) * SIZE, "after %u ms", ms);
	}
	/* What waits goes at once when there is something left again: told, or with the next packet. */
	atomic_store(&usage()->used, 0);
	harness_limit_peer(h, 0, &(struct peer_limits){.quota = QUOTA, .after = KBITS, .burst = SIZE});
	pass_ms(h, 1);
	got += take(direction);
	cr_expect_eq(got, 64u * SIZE);
	cr_expect(gateway_drops(h, DROP_QUOTA_UP) == 0 && gateway_drops(h, DROP_QUOTA_DOWN) == 0);
	end();
}

Test(quota_limits, a_rate_after_it_up)
{
	check_rate_after(TO_GATEWAY);
}

Test(quota_limits, a_rate_after_it_down)
{
	check_rate_after(TO_CLIENT);
}

Test(quota_limits, the_lower_rate_counts)
{
	begin((struct peer_limits){.quota = QUOTA, .after = 10 * KBITS, .down = KBITS, .burst = SIZE});
	atomic_store(&usage()->used, QUOTA);
	put(TO_CLIENT, 30, SIZE);
	pass_ms(h, 20);
	uint64_t got = take(TO_CLIENT);
	cr_expect(got >= 19u * SIZE && got <= 23u * SIZE, "%lu", got);
	pass_ms(h, 20);
	cr_expect_eq(got + take(TO_CLIENT), 30u * SIZE);
	end();
}

/* What waits for its rate when the quota is used up is dropped, and counted as that. */
static void check_waiting(enum direction direction, enum drop_reason reason)
{
	bool up = direction == TO_GATEWAY;
	begin((struct peer_limits){.quota = QUOTA, .up = up ? KBITS : 0, .down = up ? 0 : KBITS, .burst = 10 * SIZE});
	atomic_store(&usage()->used, QUOTA - 20 * SIZE);
	put(direction, 50, SIZE);
	harness_pump(h);
	cr_expect_gt(h->gateway.node.worker->limits.waiting, 0u);
	pass_ms(h, 60);
	cr_expect_eq(take(direction), 20u * SIZE);
	cr_expect_eq(used(), (uint64_t)QUOTA);
	cr_expect_eq(gateway_drops(h, reason), 30u);
	cr_expect_eq(h->gateway.node.worker->limits.waiting, 0u);
	/* By a packet of the other way, too. */
	atomic_store(&usage()->used, QUOTA - 30 * SIZE);
	put(direction, 50, SIZE);
	harness_pump(h);
	cr_expect_gt(h->gateway.node.worker->limits.waiting, 0u);
	uint64_t got = take(direction);
	atomic_store(&usage()->used, QUOTA);
	cr_expect_eq(move(up ? TO_CLIENT : TO_GATEWAY, 1, SIZE), 0u);
	cr_expect_eq(h->gateway.node.worker->limits.waiting, 0u);
	cr_expect_eq(gateway_drops(h, reason), 30u + 50 - got / SIZE);
	pass_ms(h, 60);
	cr_expect_eq(take(direction), 0u);
	end();
}

Test(quota_limits, what_waits_up_is_dropped)
{
	check_waiting(TO_GATEWAY, DROP_QUOTA_UP);
}

Test(quota_limits, what_waits_down_is_dropped)
{
	check_waiting(TO_CLIENT, DROP_QUOTA_DOWN);
}
