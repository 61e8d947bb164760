// SPDX-License-Identifier: Apache-2.0
/* A TUN reader in front of seven workers: order, full rings, CoDel; and timers of sessions among others. */
#include "tests/unit/hello_by_hand.h"
#include "tests/unit/pool_frames.h"
#include "workers/downlink.h"

TestSuite(pool_of_workers, .timeout = 60);

enum {
	WORKERS = 7,
	CLIENTS = 14,
	RING = 1024, /* frames that a worker can be behind ... */
	SHARE = 820, /* ... and that one session can have of them, with FRAME_RING_SHARE */
};

static struct harness *start_with(bool reader)
{
	return START_UP(.clients = CLIENTS, .workers = WORKERS, .reader = reader, .no_offloads = true,
			.rekey_interval = 10000, .session_timeout = 7200);
}

static struct harness *start(void)
{
	return start_with(true);
}

static uint64_t drops(const struct harness *h, enum drop_reason reason)
{
	return node_drops(&h->gateway.node, reason);
}

static void expect_order(struct harness *h)
{
	struct random random = {.state = 1};
	unsigned sent[CLIENTS] = {0}, got[CLIENTS] = {0};
	uint64_t of_worker[WORKERS];
	for (unsigned i = 0; i < WORKERS; i++)
		of_worker[i] = harness_gateway_worker(h, i)->loop.stats.counters[STATS_udp_tx_data];
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < 30; i++) {
			size_t client = random_below(&random, CLIENTS);
			put(h, client, (uint16_t)sent[client]++);
			of_worker[owner(h, client)->index]++;
		}
		harness_pump(h);
		for (size_t client = 0; client < CLIENTS; client++)
			got[client] += take(h, client, got[client]);
	}
	for (size_t client = 0; client < CLIENTS; client++)
		cr_assert_eq(got[client], sent[client]);
	for (unsigned i = 0; i < WORKERS; i++)
		cr_assert_eq(harness_gateway_worker(h, i)->loop.stats.counters[STATS_udp_tx_data], of_worker[i]);
	finish(h);
}

Test(pool_of_workers, frames_arrive_in_order_at_the_right_worker)
{
	expect_order(start());
}

/* The harness does not steer: the first worker reads all of them. */
Test(pool_of_workers, workers_pass_frames_to_each_other)
{
	expect_order(start_with(false));
}

/* Though the TUN alone fills each batch. */
Test(pool_of_workers, what_another_worker_read_has_its_turn)
{
	enum { TWO = 2 };
	struct harness *h = START_UP(.clients = TWO, .workers = TWO, .no_offloads = true);
	size_t client = owner(h, 0)->index != 0 ? 0 : 1;
	struct worker *reads = harness_gateway_worker(h, 0), *worker = owner(h, client);
	put(h, client, 0);
	(void)downlink_batch(reads);
	cr_assert_not(frame_ring_empty(worker_ring(reads, worker->index)));
	for (unsigned batch = 0; batch < TWO; batch++) {
		for (unsigned i = 0; i < 50; i++)
			put(h, client, (uint16_t)(1 + batch * 50 + i));
		cr_assert_geq(downlink_batch(worker), 45, "full");
	}
	cr_assert(frame_ring_empty(worker_ring(reads, worker->index)));
	harness_pump(h);
	finish(h);
}

Test(pool_of_workers, a_worker_that_is_behind_loses_what_others_read_for_it)
{
	struct harness *h = start_with(false);
	size_t slow = owner(h, 0)->index != 0 ? 0 : 1;
	h->gateway.held = 1u << owner(h, slow)->index;
	for (unsigned i = 0; i < RING + 300; i++) {
		put(h, slow, (uint16_t)i);
		if (i % 20 == 0)
			harness_pump(h);
	}
	harness_pump(h);
	cr_assert_eq(drops(h, DROP_OUT_RING), RING + 300 - SHARE);
	h->gateway.held = 0;
	harness_pump(h);
	cr_assert_eq(take(h, slow, 0), SHARE, "the oldest, in order");
	finish(h);
}

Test(pool_of_workers, a_full_ring_costs_the_others_nothing)
{
	struct harness *h = start();
	size_t other = owner(h, 0) == owner(h, 1) ? 2 : 1;
	h->gateway.held = 1u << owner(h, 0)->index;
	for (unsigned i = 0; i < RING + 300; i++) {
		put(h, 0, (uint16_t)i);
		if (i % 20 == 0)
			harness_pump(h);
	}
	harness_pump(h);
	cr_assert_eq(drops(h, DROP_OUT_RING), RING + 300 - SHARE);
	for (unsigned i = 0; i < 50; i++)
		put(h, other, (uint16_t)i), harness_pump(h);
	cr_assert_eq(take(h, other, 0), 50);
	h->gateway.held = 0;
	harness_pump(h);
	cr_assert_eq(take(h, 0, 0), SHARE, "the oldest, in order");
	cr_assert_eq(drops(h, DROP_OUT_RING), RING + 300 - SHARE);
	finish(h);
}

/* A client of the same worker, whose ring another one has filled. */
Test(pool_of_workers, a_session_that_fills_the_ring_leaves_room_for_others)
{
	struct harness *h = start();
	size_t other = 1;
	while (owner(h, other) != owner(h, 0))
		other++;
	h->gateway.held = 1u << owner(h, 0)->index;
	for (unsigned i = 0; i < RING + 300; i++) {
		put(h, 0, (uint16_t)i);
		if (i % 20 == 0)
			harness_pump(h);
	}
	for (unsigned i = 0; i < 100; i++)
		put(h, other, (uint16_t)i), harness_pump(h);
	h->gateway.held = 0;
	harness_pump(h);
	cr_assert_eq(take(h, other, 0), 100);
	cr_assert_eq(take(h, 0, 0), SHARE);
	finish(h);
}

/* --- sparse flows ------------------------------------------------------------------------------------------------- */

Test(pool_of_workers, what_was_sparse_before_is_not_overtaken)
{
	struct harness *h = START_UP(.clients = 2, .workers = 2, .reader = true, .sparse = true, .no_offloads = true);
	for (unsigned round = 0; round < 50; round++) {
		put(h, 0, (uint16_t)(3 * round + 2));
		put_sparse(h, 0, (uint16_t)(3 * round));
		put_sparse(h, 0, (uint16_t)(3 * round + 1));
		harness_pump(h);
		cr_assert_eq(take(h, 0, 3 * round), 3);
	}
	finish(h);
}

/* The order that holds for what epoll found: the second queue alone, or a batch behind what is in the second. */
static void take_after_sleep(struct harness *h, struct event_loop *loop, size_t (*turn)(struct harness *h))
{
	put(h, 0, 1);
	put_sparse(h, 0, 0);
	woken_by(loop, EVENT_LOOP_TUN_SPARSE);
	cr_expect_eq(turn(h), 1);
	cr_expect_eq(turn(h), 1);
	harness_pump(h);
	cr_expect_eq(take(h, 0, 0), 2);

	put(h, 0, 3);
	put_sparse(h, 0, 2);
	woken_by(loop, EVENT_LOOP_TUN);
	cr_expect_eq(turn(h), 2);
	harness_pump(h);
	cr_expect_eq(take(h, 0, 2), 2);
}

static size_t turn_of_worker(struct harness *h)
{
	return worker_turn(owner(h, 0));
}

static size_t turn_of_reader(struct harness *h)
{
	return tun_reader_turn(h->gateway.reader);
}

Test(pool_of_workers, after_a_sleep_a_worker_takes_what_ended_that_and_nothing_else)
{
	struct harness *h = START_UP(.clients = 1, .workers = 1, .sparse = true, .no_offloads = true);
	take_after_sleep(h, &owner(h, 0)->loop, turn_of_worker);
	finish(h);
}

Test(pool_of_workers, and_so_does_a_reader)
{
	struct harness *h = START_UP(.clients = 1, .workers = 1, .reader = true, .sparse = true, .no_offloads = true);
	take_after_sleep(h, &h->gateway.reader->loop, turn_of_reader);
	finish(h);
}

/* A flow that was in the first queue may be sparse again once that was empty. A thread that the second queue alone
 * wakes would never see that, so it looks. */
static void settle(struct harness *h, struct event_loop *loop, size_t (*turn)(struct harness *h))
{
	_Atomic uint64_t *drained = &h->gateway.node.tun.queue.shared->drained;
	put(h, 0, 0);
	harness_pump(h);
	uint64_t came = h->clock.monotonic;
	for (uint16_t i = 1; i < 4; i++) {
		h->clock.monotonic += 20 * NS_PER_MS;
		put_sparse(h, 0, i);
		woken_by(loop, EVENT_LOOP_TUN_SPARSE);
		(void)turn(h);
	}
	cr_expect_gt(*drained, came);
	harness_pump(h);
	cr_expect_eq(take(h, 0, 0), 4);
}

/* The worker has to handle what came out of the queue. */
static size_t turn_of_reader_and_worker(struct harness *h)
{
	return tun_reader_turn(h->gateway.reader) + worker_turn(owner(h, 0));
}

Test(pool_of_workers, a_worker_that_the_second_queue_wakes_settles_the_first)
{
	struct harness *h = START_UP(.clients = 1, .workers = 1, .sparse = true, .no_offloads = true);
	settle(h, &owner(h, 0)->loop, turn_of_worker);
	finish(h);
}

Test(pool_of_workers, and_so_does_a_reader_that_it_wakes)
{
	struct harness *h = START_UP(.clients = 1, .workers = 1, .reader = true, .sparse = true, .no_offloads = true);
	settle(h, &h->gateway.reader->loop, turn_of_reader_and_worker);
	finish(h);
}

/* What waits in the ring does not delay it. */
Test(pool_of_workers, sparse_flows_come_first)
{
	struct harness *h = START_UP(.clients = 2, .workers = 1, .reader = true, .sparse = true, .no_offloads = true);
	h->gateway.held = 1;
	for (unsigned i = 0; i < 500; i++) {
		put(h, 0, (uint16_t)i);
		if (i % 20 == 0)
			harness_pump(h);
	}
	put_sparse(h, 1, 0);
	harness_pump(h);
	h->gateway.held = 0;
	cr_assert_gt(downlink_batch(owner(h, 0)), 0);
	struct session *bulk = harness_gateway_session(h, 0), *sparse = harness_gateway_session(h, 1);
	cr_assert_eq(sparse->view.tx_packets, 1);
	cr_assert_lt(bulk->view.tx_packets, 500);
	harness_pump(h);
	cr_assert_eq(take(h, 0, 0), 500);
	cr_assert_eq(take(h, 1, 0), 1);
	finish(h);
}

/* How many packets a turn takes of those that wait in the ring. */
static uint64_t taken_by_a_turn(struct harness *h)
{
	const struct session *session = harness_gateway_session(h, 0);
	uint64_t before = session->view.tx_packets;
	h->gateway.held = 1;
	for (unsigned i = 0; i < 300; i++)
		put(h, 0, (uint16_t)i);
	harness_pump(h);
	h->gateway.held = 0;
	(void)worker_turn(owner(h, 0));
	uint64_t taken = session->view.tx_packets - before;
	harness_pump(h);
	cr_assert_eq(take(h, 0, 0), 300);
	return taken;
}

Test(pool_of_workers, and_turns_are_short_then)
{
	struct harness *h = START_UP(.clients = 2, .workers = 1, .reader = true, .sparse = true, .no_offloads = true);
	harness_advance(h, WORKER_TICK_NS);
	uint64_t most = taken_by_a_turn(h);
	put_sparse(h, 1, 0);
	harness_pump(h);
	cr_assert_eq(take(h, 1, 0), 1);
	uint64_t few = taken_by_a_turn(h);
	cr_expect(few > 0 && few <= most / 2, "%lu, %lu", few, most);
	finish(h);
}

/* A flow may be sparse again only when the worker has handled what came out of the first queue. */
Test(pool_of_workers, a_queue_is_empty_once_the_worker_has_handled_it)
{
	struct harness *h = START_UP(.clients = 2, .workers = 2, .reader = true, .sparse = true, .no_offloads = true);
	_Atomic uint64_t *drained = &h->gateway.node.tun.queue.shared->drained;
	harness_pump(h);
	uint64_t before = *drained;
	h->gateway.held = 1u << owner(h, 0)->index;
	harness_advance(h, WORKER_TICK_NS);
	uint64_t emptied = *drained;
	cr_assert_gt(emptied, before);
	put(h, 0, 0);
	harness_advance(h, 4 * WORKER_TICK_NS);
	cr_assert_eq(*drained, emptied, "it waits in the ring");
	h->gateway.held = 0;
	harness_advance(h, WORKER_TICK_NS);
	cr_assert_gt(*drained, emptied);
	cr_assert_eq(take(h, 0, 0), 1);
	finish(h);
}

/* A worker that reads the TUN itself looks once more before it sleeps for long: only then is the queue known to be
 * empty after the last packet, and the packet's flow may be sparse again. */
Test(pool_of_workers, a_worker_settles_its_queue_before_it_rests)
{
	struct harness *h = START_UP(.clients = 1, .workers = 1, .sparse = true, .no_offloads = true);
	harness_advance(h, WORKER_TICK_NS);
	cr_assert_not(downlink_unsettled(owner(h, 0)));
	put(h, 0, 0);
	harness_pump(h);
	cr_assert(downlink_unsettled(owner(h, 0)));
	harness_advance(h, SPARSE_ENQUEUE_NS / 2);
	cr_assert(downlink_unsettled(owner(h, 0)));
	harness_advance(h, SPARSE_ENQUEUE_NS);
	cr_assert_not(downlink_unsettled(owner(h, 0)));
	cr_assert_eq(take(h, 0, 0), 1);
	finish(h);
}

Test(pool_of_workers, a_super_packet_to_nobody_counts_its_packets_once)
{
	static uint8_t payload[20000], frame[TUN_FRAME_MAX];
	struct harness *h = START_UP(.clients = 2, .workers = 2, .reader = true);
	struct packet_spec spec = harness_spec(h, 0, TO_CLIENT, 4, IPPROTO_TCP);
	spec.destination[3] = 222;
	uint64_t before = gateway_count(h, STATS_tun_rx_packets);
	node_put_frame(&h->gateway.node, frame, packet_build_frame(&spec, payload, sizeof payload, 1000, frame));
	harness_pump(h);
	cr_assert_eq(drops(h, DROP_OUT_NO_SESSION), 20);
	cr_assert_eq(gateway_count(h, STATS_tun_rx_packets), before + 20);
	finish(h);
}

Test(pool_of_workers, frames_of_a_session_that_ended_are_dropped_by_the_worker)
{
	struct harness *h = start();
	struct worker *worker = owner(h, 0);
	h->gateway.held = 1u << worker->index;
	for (unsigned i = 0; i < 10; i++)
		put(h, 0, (uint16_t)i);
	harness_pump(h);
	cr_assert(harness_remove_peer(h, 0));
	h->gateway.held = 0;
	harness_pump(h);
	cr_assert_eq(worker->loop.stats.drops[DROP_OUT_NO_SESSION], 10);
	finish(h);
}

Test(pool_of_workers, codel_drops_when_frames_waited_for_too_long)
{
	struct harness *h = start();
	struct worker *worker = owner(h, 0);
	h->gateway.held = 1u << worker->index;
	for (unsigned i = 0; i < 1000; i++) {
		put(h, 0, (uint16_t)i);
		if (i % 20 == 0)
			harness_pump(h);
	}
	harness_pump(h);
	h->clock.monotonic += CODEL_RING_TARGET_NS - 1;
	(void)downlink_batch(worker);
	worker->now = h->clock.monotonic;
	(void)downlink_batch(worker);
	cr_assert_eq(drops(h, DROP_OUT_QUEUE), 0, "less than 5 ms");
	for (unsigned i = 0; i < 2; i++) {
		worker->now = h->clock.monotonic += CODEL_RING_INTERVAL_NS - 1;
		(void)downlink_batch(worker);
		cr_assert_eq(drops(h, DROP_OUT_QUEUE), i, "for less than 100 ms");
		worker->now = h->clock.monotonic += 2;
	}
	worker->now = h->clock.monotonic += CODEL_RING_INTERVAL_NS;
	(void)downlink_batch(worker);
	cr_assert_geq(drops(h, DROP_OUT_QUEUE), 2);
	h->gateway.held = 0;
	harness_pump(h);
	cr_assert_lt(drops(h, DROP_OUT_QUEUE), 10, "a little, for senders to notice");
	while (node_take(&h->clients[0].node) != NULL)
		continue;
	finish(h);
}

/* --- timers ------------------------------------------------------------------------------------------------------- */

Test(pool_of_workers, a_pending_session_ends_after_10_s_among_others)
{
	struct harness *h = start();
	struct by_hand by[3];
	for (size_t i = 0; i < 3; i++) {
		send_hello(h, &by[i], i, 0);
		harness_advance(h, NS_PER_S);
	}
	harness_advance(h, SESSION_PENDING_NS - 3 * NS_PER_S - WORKER_TICK_NS);
	for (size_t i = 0; i < 3; i++) {
		for (size_t k = 0; k < 3; k++)
			cr_assert_eq(harness_pending_session(h, k) != NULL, k >= i);
		harness_advance(h, i == 0 ? 3 * WORKER_TICK_NS : NS_PER_S);
	}
	for (size_t i = 0; i < CLIENTS; i++)
		cr_assert(harness_ping(h, i, TO_CLIENT));
	finish(h);
}

Test(pool_of_workers, each_key_dies_after_its_own_hour)
{
	struct harness *h = START(.clients = 4, .workers = 2, .reader = true, .session_timeout = 7200);
	for (size_t i = 0; i < 4; i++) {
		harness_connect(h, i);
		harness_advance(h, 10 * NS_PER_S);
	}
	struct impairment *impairment = lose(h, 1 << WIRE_HELLO); /* they would ask for new ones */
	uint64_t first = harness_gateway_session(h, 0)->current->born;
	h->clock.monotonic = first + DIALECT_OWN_KEY_MAX_AGE_NS - 5 * NS_PER_S;
	for (size_t dead = 0; dead <= 4; dead++) {
		harness_pump(h);
		for (size_t i = 0; i < 4; i++)
			cr_assert_eq(harness_gateway_session(h, i)->current == NULL, i < dead, "%zu of %zu", i, dead);
		harness_advance(h, 10 * NS_PER_S);
	}
	impairment_free(impairment);
	finish(h);
}

Test(pool_of_workers, each_session_times_out_by_itself)
{
	struct harness *h = START(.clients = 4, .workers = 2, .reader = true, .session_timeout = 100);
	for (size_t i = 0; i < 4; i++) {
		harness_connect(h, i);
		harness_advance(h, 10 * NS_PER_S);
	}
	harness_advance(h, 55 * NS_PER_S);
	for (size_t gone = 0; gone < 4; gone++) {
		for (size_t i = 0; i < 4; i++)
			cr_assert_eq(harness_gateway_session(h, i) == NULL, i < gone, "%zu of %zu", i, gone);
		if (gone > 0)
			cr_assert_eq(h->clients[gone - 1].seen.bye_reason, WIRE_BYE_TIMED_OUT);
		struct impairment *impairment = lose(h, 1 << WIRE_HELLO); /* they would be back */
		harness_advance(h, 10 * NS_PER_S);
		impairment_free(impairment);
	}
	finish(h);
}

Test(pool_of_workers, keepalive_and_previous_key_have_their_10_s_among_others)
{
	struct harness *h = start();
	h->clients[0].role.rekey_interval = 0;
	harness_advance(h, NS_PER_S);
	cr_assert(harness_ping(h, 0, TO_GATEWAY));
	harness_advance(h, NS_PER_S);
	h->clients[0].role.rekey_interval = 10000 * NS_PER_S;
	struct session *session = harness_gateway_session(h, 0);
	cr_assert_eq(session->current->epoch, 2);
	uint64_t due = session->current->first_opened + SESSION_PREVIOUS_KEY_NS,
		 sent = gateway_count(h, STATS_tx_keepalive);
	cr_assert(harness_ping(h, 1, TO_GATEWAY));
	uint64_t start = h->clock.monotonic;
	for (; h->clock.monotonic < start + 12 * NS_PER_S; harness_advance(h, WORKER_TICK_NS)) {
		uint64_t now = h->clock.monotonic, alive = gateway_count(h, STATS_tx_keepalive) - sent;
		cr_assert(now >= due || session->previous != NULL);
		cr_assert(now < due + WORKER_TICK_NS || session->previous == NULL);
		cr_assert(now >= start + SESSION_KEEPALIVE_NS || alive == 0);
		cr_assert(now < start + SESSION_KEEPALIVE_NS + WORKER_TICK_NS || alive == 1);
	}
	finish(h);
}
