// SPDX-License-Identifier: Apache-2.0
/* A gateway in a cluster, whole: at the deadline of a block its clients get BYE, and from then on nothing at all. */
#include <criterion/criterion.h>

#include "tests/harness/harness.h"
#include "workers/gateway_fence.h"

enum { FIRST, SECOND /* clients: of blocks 1 and 3 */ };

static struct harness *start(unsigned workers)
{
	struct harness_options options = {.clients = 2,
					  .workers = workers,
					  .reset = true,
					  .block_peers = 16,
					  .fixed = {[FIRST] = "10.8.0.5", [SECOND] = "10.8.0.40"}};
	return harness_new(&options);
}

/* Until then; 0: no block. */
static void own(struct harness *h, unsigned one, unsigned other, uint64_t for_ns)
{
	struct block_set set = {0};
	if (one != 0)
		block_set_add(&set, one);
	if (other != 0)
		block_set_add(&set, other);
	cr_assert(fence_own(&h->gateway.fence, &set, h->clock.monotonic + for_ns, h->clock.monotonic) >= 0);
}

static struct harness *start_up(unsigned workers)
{
	struct harness *h = start(workers);
	own(h, 1, 3, 60 * NS_PER_S);
	cr_assert(harness_up(h));
	cr_assert(harness_ping(h, FIRST, TO_CLIENT) && harness_ping(h, SECOND, TO_GATEWAY));
	return h;
}

static void finish(struct harness *h)
{
	cr_assert_null(harness_problem(h), "%s", h->problem);
	harness_free(h);
}

static uint64_t counted(struct harness *h, enum stats_counter counter)
{
	return node_counter(&h->gateway.node, counter);
}

static uint64_t dropped(struct harness *h, enum drop_reason reason)
{
	return node_drops(&h->gateway.node, reason);
}

/* One small packet, which may get lost. */
static void put(struct harness *h, size_t client, enum direction direction)
{
	uint8_t packet[2048];
	size_t length = harness_echo(h, client, direction, 4, 1, 100, packet);
	node_put_packet(direction == TO_CLIENT ? &h->gateway.node : &h->clients[client].node, packet, length);
	harness_pump(h);
}

static void at_the_deadline(unsigned workers)
{
	struct harness *h = start_up(workers);
	own(h, 1, 3, NS_PER_S);
	harness_pump(h);
	own(h, 3, 1, 60 * NS_PER_S);
	harness_advance(h, 2 * NS_PER_S);
	cr_assert_eq(counted(h, STATS_sessions_ended), 0, "put off in time");
	own(h, 3, 0, 60 * NS_PER_S);
	harness_pump(h);
	cr_assert_null(harness_gateway_session(h, FIRST));
	cr_assert_not_null(harness_gateway_session(h, SECOND));
	cr_assert_eq(counted(h, STATS_sessions_ended), 1);
	cr_assert_eq(counted(h, STATS_tx_bye), 1);
	cr_assert_null(harness_client_session(h, FIRST), "it took BYE");
	cr_assert(harness_ping(h, SECOND, TO_GATEWAY) && harness_ping(h, SECOND, TO_CLIENT));

	own(h, 3, 0, NS_PER_S);
	harness_advance(h, NS_PER_S + WORKER_TICK_NS);
	cr_assert_null(harness_gateway_session(h, SECOND), "without a word to the workers");
	cr_assert_eq(counted(h, STATS_sessions_ended), 2);
	finish(h);
}

Test(gateway_fence, sessions_end_with_their_block)
{
	at_the_deadline(1);
	at_the_deadline(3);
}

/* Packets that came before the worker looks at the time are not moved any more. */
Test(gateway_fence, nothing_is_moved_after_the_deadline)
{
	struct harness *h = start_up(1);
	uint64_t up = counted(h, STATS_tun_tx_packets), down = counted(h, STATS_udp_tx_data);
	uint8_t packet[2048];
	struct worker *worker = harness_gateway_worker(h, 0);
	own(h, 1, 3, NS_PER_S);
	(void)worker_turn(worker);
	h->clock.monotonic += NS_PER_S;
	size_t length = harness_echo(h, FIRST, TO_CLIENT, 4, 1, 100, packet);
	node_put_packet(&h->gateway.node, packet, length);
	length = harness_echo(h, FIRST, TO_GATEWAY, 4, 1, 100, packet);
	node_put_packet(&h->clients[FIRST].node, packet, length);
	(void)worker_turn(h->clients[FIRST].node.worker);
	(void)worker_turn(worker);
	cr_assert_eq(counted(h, STATS_tun_tx_packets), up);
	cr_assert_eq(counted(h, STATS_udp_tx_data), down);
	cr_assert_eq(dropped(h, DROP_BLOCK), 1);
	cr_assert_eq(dropped(h, DROP_OUT_NO_SESSION), 1);
	harness_pump(h);
	finish(h);
}

Test(gateway_fence, no_reset_for_a_block_that_is_not_ours)
{
	struct harness *h = start_up(1);
	harness_stop_gateway(h, false);
	harness_start_gateway(h); /* owns nothing yet */
	put(h, FIRST, TO_GATEWAY);
	cr_assert_eq(dropped(h, DROP_BLOCK), 1);
	cr_assert_eq(counted(h, STATS_tx_reset), 0);
	cr_assert_eq(dropped(h, DROP_SESSION), 0, "one reason for each");
	own(h, 1, 0, 60 * NS_PER_S);
	put(h, FIRST, TO_GATEWAY);
	cr_assert_eq(counted(h, STATS_tx_reset), 1);
	cr_assert_eq(dropped(h, DROP_SESSION), 1);
	put(h, SECOND, TO_GATEWAY);
	cr_assert_eq(dropped(h, DROP_BLOCK), 2);
	cr_assert_eq(counted(h, STATS_tx_reset), 1);
	cr_assert(harness_wait(h, FIRST, CLIENT_UP, 5 * NS_PER_S));
	cr_assert_eq(block_of_session(harness_gateway_session(h, FIRST)->id), 1);
	finish(h);
}

Test(gateway_fence, a_hello_of_a_block_that_is_not_ours_is_not_answered)
{
	struct harness *h = start(1);
	own(h, 3, 0, 60 * NS_PER_S);
	harness_connect(h, FIRST);
	harness_connect(h, SECOND);
	harness_advance(h, 5 * NS_PER_S);
	cr_assert_null(harness_gateway_session(h, FIRST));
	cr_assert_not_null(harness_gateway_session(h, SECOND));
	cr_assert_gt(dropped(h, DROP_BLOCK), 0);
	cr_assert_eq(counted(h, STATS_tx_cookie), 1, "for the second client");
	finish(h);
}

/* The handshake thread was in time, the worker is not: the WELCOME stays here. */
Test(gateway_fence, keys_that_arrive_after_the_deadline_are_not_installed)
{
	struct harness *h = start_up(1);
	harness_stop_client(h, FIRST, false);
	harness_start_client(h, FIRST);
	uint64_t welcomes = counted(h, STATS_tx_welcome);
	h->gateway.held = 1; /* the worker */
	harness_connect(h, FIRST);
	harness_advance(h, NS_PER_S / 2);
	cr_assert_not_null(harness_pending_session(h, FIRST));
	own(h, 3, 0, 60 * NS_PER_S);
	h->gateway.held = 0;
	harness_advance(h, NS_PER_S / 4);
	cr_assert_eq(counted(h, STATS_tx_welcome), welcomes);
	cr_assert_gt(counted(h, STATS_handshakes_late), 0);
	cr_assert_null(harness_pending_session(h, FIRST));
	cr_assert_null(harness_gateway_session(h, FIRST));
	finish(h);
}

Test(gateway_fence, a_released_block_is_out_once_the_workers_had_two_turns)
{
	struct harness *h = start_up(2);
	const struct gateway_role *role = &h->gateway.role, *other = &h->gateway.other_roles[0];
	cr_assert(fence_release(&h->gateway.fence, 1, h->clock.monotonic));
	uint64_t version = fence_version(&h->gateway.fence);
	cr_assert(!gateway_fenced(role, version) && !gateway_fenced(other, version));
	(void)worker_turn(harness_gateway_worker(h, 0));
	cr_assert(!gateway_fenced(role, version), "what it sends now may still be on its way");
	(void)worker_turn(harness_gateway_worker(h, 0));
	cr_assert(gateway_fenced(role, version) && !gateway_fenced(other, version));
	harness_pump(h);
	harness_pump(h);
	cr_assert(gateway_fenced(other, version));
	cr_assert_null(harness_gateway_session(h, FIRST));
	finish(h);
}

Test(gateway_fence, a_gateway_that_is_alone_has_no_blocks)
{
	struct harness *h = harness_new(&(struct harness_options){.clients = 1, .reset = true});
	cr_assert(harness_up(h));
	harness_stop_gateway(h, false);
	harness_start_gateway(h);
	put(h, 0, TO_GATEWAY);
	cr_assert_eq(dropped(h, DROP_BLOCK), 0);
	cr_assert_eq(counted(h, STATS_tx_reset), 1);
	finish(h);
}
