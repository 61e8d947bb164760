// SPDX-License-Identifier: Apache-2.0
/* Which of a worker's two sockets the kernel puts a datagram into, and in which order the worker handles them. */
#include "core/protocol/wire.h"
#include "tests/harness/unit.h"
#include "tests/unit/steering_group.h"
#include "workers/intake.h"
#include "workers/sparse_sessions.h"

/* --- the kernel --------------------------------------------------------------------------------------------------- */

enum { WORKERS = 3, HANDSHAKERS = 2, SECOND = WORKERS + HANDSHAKERS, SIZE = 1200, WAIT_MS = 240000 };

static const struct steering steering = {.workers = WORKERS, .handshakers = HANDSHAKERS, .slot_mask = 127};
static struct sparse_sessions sparse;
static struct group group;
static int source;

static void open_group(void)
{
	int result = sparse_sessions_load(&sparse, &steering);
	if (result == -EPERM || result == -ENOSYS)
		cr_skip_test("this kernel or user cannot load the program");
	cr_assert_eq(result, 0, "%s", strerror(-result));
	group_open_sockets(&group, SECOND + WORKERS, true, "127.0.0.1", "::1");
	cr_assert_eq(sparse_sessions_attach(&sparse, group.sockets[0]->fd), 0);
	sparse_sessions_close_program(&sparse);
	source = source_open("127.0.0.1");
}

static void close_group(void)
{
	cr_expect_eq(group_receive(&group, 0), NO_SOCKET);
	close(source);
	group_close(&group);
	sparse_sessions_unload(&sparse);
}

TestSuite(sparse_sessions, .init = open_group, .fini = close_group);

/* Where it arrives. */
static int send_one(uint32_t id, size_t length)
{
	fill(0x14);
	store_be32(datagram + WIRE_SESSION_ID, id);
	source_send(source, &group, length, 0);
	int got = group_receive(&group, WAIT_MS);
	cr_assert_neq(got, NO_SOCKET);
	return got;
}

static void drained(uint32_t worker, uint64_t later)
{
	sparse_queue_drained(&sparse.queues[worker], clock_monotonic(&clock_system) + later);
}

static uint32_t worker_of(uint32_t id)
{
	return (id & steering.slot_mask) % WORKERS;
}

static int first_of(uint32_t id)
{
	return (int)worker_of(id);
}

static int second_of(uint32_t id)
{
	return SECOND + first_of(id);
}

/* Until it sends much. Returns how many datagrams that took. */
static unsigned make_dense(uint32_t id)
{
	unsigned count = 1;
	while (send_one(id, SIZE) != first_of(id))
		cr_assert_lt(count++, 100000u);
	return count;
}

Test(sparse_sessions, sessions_are_found_and_all_else_goes_as_before)
{
	sparse_sessions_add(&sparse, 0x7703);
	sparse_sessions_add(&sparse, 0x9944);
	cr_expect_eq(send_one(0x7703, 100), second_of(0x7703));
	cr_expect_eq(send_one(0x9944, 100), second_of(0x9944));
	cr_expect_eq(send_one(0x6603, 100), first_of(0x7703), "another generation");
	fill(WG_DATA);
	store_be32(datagram + WG_DATA_RECEIVER, 0xa0007703);
	source_send(source, &group, 100, 0);
	cr_expect_eq(group_receive(&group, WAIT_MS), second_of(0x7703), "WireGuard's data, of epoch 10");
	cr_expect_eq(send_one(0x7704, 100), first_of(0x7704));
	cr_expect_eq(send_one(0, 100), 0);
	sparse_sessions_remove(&sparse, 0x6603);
	cr_expect_eq(send_one(0x7703, 100), second_of(0x7703), "that was another");
	sparse_sessions_remove(&sparse, 0x7703);
	cr_expect_eq(send_one(0x7703, 100), first_of(0x7703), "it ended");
	for (unsigned i = 0; i < 2000; i++) {
		fill((uint8_t)i);
		size_t length = i % 40 < WIRE_SMALLEST ? WIRE_SMALLEST : i % 40;
		uint32_t expected = steering_thread(&steering, datagram, (uint32_t)length);
		source_send(source, &group, length, 0);
		cr_assert_eq(group_receive(&group, WAIT_MS), (int)expected, "first byte %#x", (uint8_t)i);
	}
	fill(0x14);
	source_send(source, &group, WIRE_SMALLEST - 1, 0);
	cr_expect_neq(group_receive(&group, WAIT_MS), NO_SOCKET, "a runt goes anywhere");
}

Test(sparse_sessions, who_sends_much_uses_the_first_socket)
{
	sparse_sessions_add(&sparse, 5);
	sparse_sessions_add(&sparse, 8); /* of the same worker */
	(void)make_dense(5);
	cr_expect_eq(send_one(8, 100), second_of(8));
	usleep(30000);
	cr_expect_eq(send_one(5, 100), first_of(5), "what it sent may still be in the first socket");
	drained(2, SPARSE_ENQUEUE_NS);
	cr_expect_eq(send_one(5, 100), second_of(5));
}

Test(sparse_sessions, that_the_queue_was_empty_before_is_not_enough)
{
	sparse_sessions_add(&sparse, 5);
	(void)make_dense(5);
	drained(2, 0); /* it may have been on its way */
	usleep(30000);
	cr_expect_eq(send_one(5, 100), first_of(5));
	drained(1, NS_PER_S); /* another worker's */
	usleep(30000);
	cr_expect_eq(send_one(5, 100), first_of(5));
}

Test(sparse_sessions, a_train_counts_by_its_length)
{
	sparse_sessions_add(&sparse, 5);
	usleep(20000);
	enum { SEGMENTS = 16 };
	for (size_t i = 0; i < SEGMENTS; i++) {
		datagram[i * SIZE] = 0x14;
		store_be32(datagram + i * SIZE + WIRE_SESSION_ID, 5);
	}
	source_send(source, &group, (size_t)SEGMENTS * SIZE, SIZE);
	for (unsigned bytes = 0; bytes < SEGMENTS * SIZE; bytes += group.last.length)
		cr_assert_neq(group_receive(&group, WAIT_MS), NO_SOCKET);
	cr_expect_eq(send_one(5, 100), first_of(5));
}

/* --- clients that mark ------------------------------------------------------------------------------------------- */

/* Of session 5. Where it arrives. */
static int send_marked(bool marked, size_t length)
{
	fill((uint8_t)(0x10 | (marked ? WIRE_DATA_SPARSE : WIRE_DATA)));
	store_be32(datagram + WIRE_SESSION_ID, 5);
	source_send(source, &group, length, 0);
	int got = group_receive(&group, WAIT_MS);
	cr_assert_neq(got, NO_SOCKET);
	return got;
}

static void mark(void)
{
	sparse_sessions_add(&sparse, 5);
	sparse_sessions_mark(&sparse, 5, true);
}

Test(sparse_sessions, what_is_marked_uses_the_second_socket_whatever_else_is_sent)
{
	mark();
	for (unsigned i = 0; i < 20; i++) {
		cr_assert_eq(send_marked(false, SIZE), first_of(5));
		cr_assert_eq(send_marked(true, 100), second_of(5));
	}
	for (unsigned i = 0; i < 200; i++)
		cr_assert_eq(send_marked(false, SIZE), first_of(5));
	drained(worker_of(5), 0);
	cr_assert_eq(send_marked(true, 100), second_of(5));
	sparse_sessions_mark(&sparse, 6, false);
	cr_assert_eq(send_marked(false, 100), first_of(5), "that was another");
	sparse_sessions_mark(&sparse, 5, false);
	usleep(30000);
	cr_assert_eq(send_marked(false, 100), second_of(5), "all of who does not mark, while it is little");
}

Test(sparse_sessions, what_is_marked_has_a_limit)
{
	unsigned count = 0;
	mark();
	uint64_t began = clock_monotonic(&clock_system);
	while (send_marked(true, SIZE) == second_of(5))
		cr_assert_lt(count++, 100000u);
	uint64_t windows = (clock_monotonic(&clock_system) - began) / SPARSE_WINDOW_NS + 2;
	cr_assert(count > 0 && count <= SPARSE_SESSIONS_MARKED / SIZE * windows, "%u in %lu", count,
		  (unsigned long)windows);
	usleep(30000);
	cr_assert_eq(send_marked(true, 100), first_of(5), "it must not overtake what is marked as well");
	drained(worker_of(5), SPARSE_ENQUEUE_NS);
	cr_assert_eq(send_marked(true, 100), second_of(5));
}

/* A flow that sent much 100 ms ago may have packets there. */
Test(sparse_sessions, nothing_overtakes_when_the_first_socket_is_far_behind)
{
	mark();
	cr_assert_eq(send_marked(false, 100), first_of(5));
	usleep(SPARSE_BEHIND_NS / 1000 + 2000);
	cr_assert_eq(send_marked(true, 100), first_of(5));
	drained(worker_of(5), SPARSE_ENQUEUE_NS);
	cr_assert_eq(send_marked(true, 100), second_of(5));
	usleep(2 * SPARSE_BEHIND_NS / 1000);
	cr_assert_eq(send_marked(true, 100), second_of(5), "nothing is there");
}

Test(sparse_sessions, a_probe_is_noted_until_it_is_found_or_lost)
{
	struct sparse_queue *queue = &sparse.queues[worker_of(5)];
	mark();
	uint64_t before = clock_monotonic(&clock_system);
	cr_assert_eq(send_marked(false, 100), first_of(5));
	uint64_t first = queue->probed;
	cr_assert(first >= before && first <= clock_monotonic(&clock_system));
	cr_assert_eq(queue->probe, load_be64(datagram + SPARSE_SESSIONS_PROBE));
	datagram[SPARSE_SESSIONS_PROBE] ^= 1;
	source_send(source, &group, 100, 0);
	cr_assert_eq(group_receive(&group, WAIT_MS), first_of(5));
	if (clock_monotonic(&clock_system) - first < SPARSE_LOST_NS)
		cr_expect_eq(queue->probed, first, "it is on its way");
	usleep(SPARSE_LOST_NS / 1000 + 2000);
	cr_assert_eq(send_marked(false, 100), first_of(5));
	uint64_t second = queue->probed;
	cr_assert_gt(second, first, "it was lost");
	queue->found = second;
	usleep(SPARSE_PROBE_NS / 1000 + 100);
	cr_assert_eq(send_marked(false, 100), first_of(5));
	cr_assert_gt(queue->probed, second);
}

/* Each sends little, and all together more than the second socket is to have. */
Test(sparse_sessions, many_do_not_fill_the_second_socket)
{
	enum { SESSIONS = 40, MOST = SPARSE_QUEUE_COST / (SIZE + SPARSE_PACKET_COST) };
	unsigned second = 0, sent = 0;
	for (uint32_t id = 0; id < SESSIONS; id++)
		sparse_sessions_add(&sparse, 3 * (id + 1));
	uint64_t began = clock_monotonic(&clock_system);
	for (; sent < 3000; sent++)
		second += send_one(3 * (sent % SESSIONS + 1), SIZE) == SECOND;
	uint64_t windows = (clock_monotonic(&clock_system) - began) / SPARSE_WINDOW_NS + 2;
	cr_expect(second > 0 && second <= MOST * windows, "%u of %u in %lu", second, sent, (unsigned long)windows);
	cr_expect_eq(sparse.queues[0].entered, second);
}

/* --- the worker --------------------------------------------------------------------------------------------------- */

TestSuite(sparse_worker);

static struct harness *h;
static bool divert; /* what clients send goes to the second socket */

static unsigned carry(void *context, struct link *from, struct udp_message *message)
{
	(void)context;
	if (!divert || from == &h->gateway.node.link)
		return 1;
	struct udp_message copy = *message;
	copy.endpoint.local = message->endpoint.remote.sin6_addr;
	copy.endpoint.remote = from->address;
	harness_inject_sparse(h, &copy);
	return 0;
}

static void start(size_t clients)
{
	h = START_UP(.clients = clients, .sparse_udp = true, .no_offloads = true);
	h->network.hooks = (struct link_hooks){.carry = carry};
}

static void stop(void)
{
	h->network.hooks = (struct link_hooks){0};
	finish(h);
}

/* The worker does not run meanwhile. */
static void put(size_t client, bool second, uint16_t sequence)
{
	uint8_t packet[1500];
	node_put_packet(&h->clients[client].node, packet,
			harness_echo(h, client, TO_GATEWAY, 4, sequence, 1000, packet));
	divert = second;
	h->gateway.held = 1;
	harness_pump(h);
	h->gateway.held = 0;
	divert = false;
}

static void expect(unsigned sequence)
{
	size_t length;
	const uint8_t *packet = node_take_packet(&h->gateway.node, &length);
	cr_assert_not_null(packet);
	cr_assert_eq(load_be16(packet + 26), sequence);
}

Test(sparse_worker, the_second_socket_comes_first)
{
	start(1);
	for (unsigned round = 0; round < 20; round++) {
		put(0, false, (uint16_t)(3 * round + 2));
		put(0, true, (uint16_t)(3 * round));
		put(0, true, (uint16_t)(3 * round + 1));
		harness_pump(h);
		for (unsigned i = 0; i < 3; i++)
			expect(3 * round + i);
	}
	cr_expect_eq(node_counter(&h->gateway.node, STATS_sparse_datagrams), 40);
	stop();
}

Test(sparse_worker, what_was_read_before_does_not_delay_it)
{
	start(2);
	for (unsigned i = 0; i < 60; i++)
		put(0, false, (uint16_t)i);
	put(1, true, 0);
	(void)intake_batch(h->gateway.node.worker);
	cr_expect_eq(harness_gateway_session(h, 1)->view.rx_packets, 1);
	cr_expect_lt(harness_gateway_session(h, 0)->view.rx_packets, 60);
	harness_pump(h);
	expect(0);
	for (unsigned i = 0; i < 60; i++)
		expect(i);
	stop();
}

enum { TRAINS = 3, TRAIN = 55 /* of 1,000 bytes each: almost 64 KiB */ };

static uint64_t handled(size_t client)
{
	return harness_gateway_session(h, client)->view.rx_packets;
}

/* In the first socket, from the first client. The worker does not run meanwhile. */
static void put_trains(void)
{
	uint8_t packet[1500];
	h->gateway.held = 1;
	for (unsigned i = 0; i < TRAINS * TRAIN; i++) {
		node_put_packet(&h->clients[0].node, packet,
				harness_echo(h, 0, TO_GATEWAY, 4, (uint16_t)i, 1000, packet));
		if (i % TRAIN == TRAIN - 1)
			harness_pump(h);
	}
	h->gateway.held = 0;
}

Test(sparse_worker, a_turn_handles_all_trains_while_nothing_goes_ahead)
{
	start(2);
	harness_advance(h, WORKER_TICK_NS);
	put_trains();
	(void)worker_turn(h->gateway.node.worker);
	cr_expect_eq(handled(0), TRAINS * TRAIN);
	cr_expect_not(h->gateway.node.worker->more);
	harness_pump(h);
	for (unsigned i = 0; i < TRAINS * TRAIN; i++)
		expect(i);
	stop();
}

Test(sparse_worker, turns_are_short_while_something_goes_ahead)
{
	start(2);
	struct worker *worker = h->gateway.node.worker;
	harness_advance(h, WORKER_TICK_NS);
	put(1, true, 0);
	harness_pump(h);
	expect(0);
	put_trains();
	(void)worker_turn(worker);
	cr_expect(handled(0) > 0 && handled(0) < TRAINS * TRAIN, "%lu", (unsigned long)handled(0));
	cr_expect(worker->more && intake_has_more(worker));

	put(1, true, 1);
	(void)worker_turn(worker);
	cr_expect_eq(handled(1), 2, "before the rest of the batch");
	cr_expect_lt(handled(0), TRAINS * TRAIN);
	while (handled(0) < TRAINS * TRAIN)
		cr_assert_neq(worker_turn(worker), 0);
	cr_expect_not(intake_has_more(worker));
	harness_pump(h);
	unsigned next = 0, others = 0;
	size_t length;
	for (const uint8_t *packet; (packet = node_take_packet(&h->gateway.node, &length)) != NULL;) {
		unsigned sequence = load_be16(packet + 26);
		if (sequence == 1 && next > 1)
			others++;
		else
			cr_expect_eq(sequence, next++);
	}
	cr_expect(next == TRAINS * TRAIN && others == 1);
	stop();
}

/* As after a sleep that these ended. */
static void woken_by(uint32_t sources)
{
	h->gateway.node.worker->loop.found = sources;
	h->gateway.node.worker->loop.fresh = true;
}

Test(sparse_worker, after_a_sleep_it_takes_what_ended_that_and_nothing_else)
{
	start(1);
	struct node *gateway = &h->gateway.node;
	harness_advance(h, WORKER_TICK_NS); /* the first queue is known to be empty */
	put(0, false, 1);
	put(0, true, 0);
	uint64_t empty = node_counter(gateway, STATS_empty_calls);
	woken_by(EVENT_LOOP_UDP_SPARSE);
	(void)worker_turn(gateway->worker);
	cr_expect_eq(harness_gateway_session(h, 0)->view.rx_packets, 1);
	cr_expect_eq(node_counter(gateway, STATS_empty_calls), empty, "no call found nothing");
	harness_pump(h);
	expect(0);
	expect(1);
	stop();
}

Test(sparse_worker, a_batch_that_ended_a_sleep_does_not_overtake_the_second_socket)
{
	start(1);
	put(0, false, 1);
	put(0, true, 0);
	woken_by(EVENT_LOOP_UDP); /* that of the program's counter comes before the datagram is in the queue */
	(void)worker_turn(h->gateway.node.worker);
	cr_expect_eq(harness_gateway_session(h, 0)->view.rx_packets, 2);
	harness_pump(h);
	expect(0);
	expect(1);
	stop();
}

static uint64_t empty_calls(void)
{
	uint64_t before = node_counter(&h->gateway.node, STATS_empty_calls);
	(void)intake_batch(h->gateway.node.worker);
	return node_counter(&h->gateway.node, STATS_empty_calls) - before;
}

/* The program counts a datagram before it is in the queue, and also one for which there was no room. */
Test(sparse_worker, the_second_socket_is_read_when_something_went_there)
{
	start(1);
	cr_expect_eq(empty_calls(), 1);
	h->gateway.sparse_sessions.queues[0].entered++;
	cr_expect_eq(empty_calls(), 2);
	cr_expect_eq(empty_calls(), 2, "it may be on its way");
	harness_advance(h, 2 * SPARSE_ENQUEUE_NS);
	(void)empty_calls();
	cr_expect_eq(empty_calls(), 1, "it was lost");
	stop();
}

Test(sparse_worker, a_socket_is_empty_once_its_batch_is_handled)
{
	start(1);
	_Atomic uint64_t *empty = &h->gateway.sparse_sessions.queues[0].drained;
	harness_advance(h, WORKER_TICK_NS);
	uint64_t before = *empty;
	cr_expect_not(intake_unsettled(h->gateway.node.worker));
	put(0, false, 0);
	(void)intake_batch(h->gateway.node.worker);
	cr_expect(intake_unsettled(h->gateway.node.worker));
	cr_expect_leq(*empty, before, "a datagram that was on its way at that time may still come");
	harness_advance(h, WORKER_TICK_NS);
	cr_expect_gt(*empty, before);
	cr_expect_not(intake_unsettled(h->gateway.node.worker));
	harness_pump(h);
	expect(0);
	stop();
}

/* The program notes when one datagram came: what is handled with it is all that came before. */
Test(sparse_reader, a_socket_that_is_never_empty_is_handled_up_to_the_probe)
{
	enum { MANY = 5 };
	const uint64_t came = 7 * NS_PER_S, later = 8 * NS_PER_S;
	uint8_t bytes[MANY][WIRE_SMALLEST];
	struct udp_message messages[MANY];
	struct sparse_queue queue = {.drained = NS_PER_S};
	struct sparse_reader reader = {0};
	for (size_t i = 0; i < MANY; i++) {
		memset(bytes[i], (int)i, sizeof bytes[i]);
		messages[i] = (struct udp_message){.data = bytes[i], .length = sizeof bytes[i]};
	}
	sparse_reader_look(&reader, &queue, messages, MANY);
	sparse_reader_handled(&reader, &queue, 0);
	cr_expect(queue.drained == NS_PER_S && queue.found == 0, "there is no probe");

	queue.probe = load_be64(bytes[3] + SPARSE_SESSIONS_PROBE);
	queue.probed = came;
	sparse_reader_look(&reader, &queue, messages, 3);
	sparse_reader_handled(&reader, &queue, 0);
	cr_expect(queue.drained == NS_PER_S && queue.found == 0, "it is not among these");
	messages[3].length = WIRE_SMALLEST - 1;
	sparse_reader_look(&reader, &queue, messages, MANY);
	cr_expect_eq(reader.probed, 0, "what is no message has nothing there");
	messages[3].length = WIRE_SMALLEST;
	sparse_reader_look(&reader, &queue, messages, MANY);
	cr_expect_eq(queue.drained, NS_PER_S, "the batch is not handled yet");
	sparse_reader_handled(&reader, &queue, 0);
	cr_expect(queue.drained == came - SPARSE_ENQUEUE_NS && queue.found == came);
	sparse_reader_look(&reader, &queue, messages, MANY);
	cr_expect_eq(reader.probed, 0, "it was found before");
	sparse_reader_handled(&reader, &queue, later);
	cr_expect_eq(queue.drained, later - SPARSE_ENQUEUE_NS, "the socket was empty");
}
