// SPDX-License-Identifier: Apache-2.0
/* GRO batches are steered by their first datagram alone: what they hold of others reaches its owner, once, or is
 * counted. */
#include "tests/harness/unit.h"

TestSuite(handoff, .timeout = 60);

enum { CLIENTS = 8, RING = 64 /* of a worker or handshake thread, in the harness */ };

/* What arrives at once. */
struct train {
	struct harness *h;
	uint32_t step, length;
	uint8_t bytes[UDP_MESSAGE_MAX];
};

static struct train train;

static struct harness *start(unsigned workers, unsigned handshakers)
{
	/* Without offloads each inner packet comes out by itself. */
	struct harness *h = START_UP(.clients = CLIENTS, .workers = workers, .handshakers = handshakers, .reader = true,
				     .no_offloads = true);
	train.h = h;
	return h;
}

static void begin_train(uint32_t step)
{
	train.step = step;
	train.length = 0;
}

static uint8_t *place(void)
{
	cr_assert_leq(train.length + train.step, sizeof train.bytes);
	uint8_t *at = train.bytes + train.length;
	train.length += train.step;
	return at;
}

/* An echo request from a client's inner address, sealed. */
static void add_data(size_t client, uint16_t sequence)
{
	uint8_t packet[2048];
	size_t length = harness_echo(train.h, client, TO_GATEWAY, 4, sequence, train.step - WIRE_OVERHEAD - 28, packet);
	struct session *session = harness_client_session(train.h, client);
	cr_assert_eq(node_seal(&train.h->clients[client].node, session, session->current, WIRE_DATA, packet,
			       (uint32_t)length, place()),
		     train.step);
}

/* A HELLO that asks for a new session, of which nothing more is heard. */
static void write_hello(size_t client, uint8_t message[WIRE_HELLO_SIZE])
{
	static uint64_t later;
	struct client_node *c = &train.h->clients[client];
	struct wire_hello hello = {.mtu = 1420};
	uint8_t random[HANDSHAKE_HELLO_RANDOM];
	struct handshake_initiator initiator;
	wire_timestamp(hello.timestamp, train.h->clock.wall + NS_PER_S + ++later);
	memcpy(hello.suites, c->role.suites, sizeof hello.suites);
	key_derive(random, sizeof random, NULL, 0, "hello", &later, sizeof later);
	cr_assert(handshake_write_hello(&initiator, &c->identity, &c->remote, 0, &hello, random, message));
}

static void add_hello(size_t client)
{
	cr_assert_eq(train.step, WIRE_HELLO_SIZE);
	write_hello(client, place());
}

/* Something that is no good: a first byte and a session ID with zeros behind. */
static void add_junk(uint8_t first, uint32_t session_id)
{
	uint8_t *at = place();
	memset(at, 0, train.step);
	at[0] = first;
	store_be32(at + 1, session_id);
}

static uint32_t id_of(size_t client)
{
	return harness_client_session(train.h, client)->id;
}

static uint32_t worker_of(size_t client)
{
	return session_shard(&train.h->gateway.registry.table.sharding, id_of(client));
}

/* A client of another worker than this one's; nor of the first, in whose turn frames are taken off the TUN. */
static size_t neighbour(size_t client)
{
	size_t other = 0;
	while (worker_of(other) == worker_of(client) || worker_of(other) == 0)
		cr_assert_lt(++other, CLIENTS, "all are on one worker");
	return other;
}

/* An unused ID of a client's worker. */
static uint32_t unknown_id(size_t client)
{
	return id_of(client) ^ 0x08000000;
}

static void inject(void)
{
	struct harness *h = train.h;
	struct udp_message message = {
		.data = train.bytes,
		.length = train.length,
		.segment_size = (uint16_t)train.step,
		.endpoint = {.remote = h->clients[0].node.link.address, .local = h->gateway_address.sin6_addr},
	};
	cr_assert(link_inject(&h->gateway.node.link, &message));
	harness_pump(h);
}

static struct stats_snapshot snapshot(void)
{
	struct stats_snapshot sum = {0};
	for (size_t i = 0; i < train.h->gateway.node.stats_count; i++)
		stats_read(train.h->gateway.node.stats[i], &sum);
	return sum;
}

static struct stats_snapshot before;

static uint64_t counted(enum stats_counter counter)
{
	return snapshot().counters[counter] - before.counters[counter];
}

static uint64_t dropped(enum drop_reason reason)
{
	return snapshot().drops[reason] - before.drops[reason];
}

static uint64_t dropped_at_all(void)
{
	struct stats_snapshot after = snapshot();
	return stats_drop_sum(&after, UPLINK) - stats_drop_sum(&before, UPLINK);
}

/* Takes what came out of the gateway's TUN: sequence numbers of each client in order, without a gap from `first`. */
static size_t take(unsigned first[CLIENTS])
{
	size_t count = 0, length;
	for (const uint8_t *packet; (packet = node_take_packet(&train.h->gateway.node, &length)) != NULL; count++) {
		size_t client = 0;
		while (memcmp(packet + 12, harness_client_session(train.h, client)->inner4.address.bytes, 4) != 0)
			cr_assert_lt(++client, CLIENTS);
		cr_assert_eq(load_be16(packet + 26), first[client], "client %zu", client);
		first[client]++;
	}
	cr_assert_eq(node_waiting(&train.h->gateway.node), 0);
	return count;
}

/* --- what arrives ------------------------------------------------------------------------------------------------- */

Test(handoff, mixed_trains_arrive_whole_and_in_order)
{
	static const unsigned workers[] = {1, 3, 6, 7};
	for (size_t round = 0; round < ARRAY_SIZE(workers); round++) {
		struct harness *h = start(workers[round], 1);
		struct random random = {.state = round};
		unsigned sent[CLIENTS] = {0}, next[CLIENTS] = {0};
		for (unsigned trains = 0; trains < 50; trains++) {
			unsigned foreign = 0, count = 1 + random_below(&random, RING);
			size_t first = random_below(&random, CLIENTS);
			before = snapshot();
			begin_train(100);
			for (unsigned i = 0; i < count; i++) {
				size_t client = i == 0 ? first : random_below(&random, CLIENTS);
				add_data(client, (uint16_t)sent[client]++);
				foreign += worker_of(client) != worker_of(first);
			}
			inject();
			cr_assert_eq(take(next), count, "%u workers", workers[round]);
			cr_assert_eq(counted(STATS_handed_over), foreign, "each once, and no other");
			cr_assert_eq(counted(STATS_udp_rx_packets), count);
			cr_assert_eq(dropped_at_all(), 0);
		}
		finish(h);
	}
}

Test(handoff, a_copy_keeps_its_source_and_its_ecn)
{
	struct harness *h = start(3, 1);
	size_t other = neighbour(0);
	struct session *session = harness_gateway_session(h, other);
	begin_train(100);
	add_data(0, 0);
	add_data(other, 0);
	inject(); /* from where client 0 is: so client `other` moved there */
	cr_assert_eq(session->view.roams, 1);
	cr_assert(memcmp(&session->endpoint.remote.sin6_addr, &h->clients[0].node.link.address.sin6_addr, 16) == 0);
	(void)node_take(&h->gateway.node), (void)node_take(&h->gateway.node);

	before = snapshot();
	begin_train(100);
	add_data(0, 1);
	add_data(other, 1);
	struct udp_message message = {
		.data = train.bytes,
		.length = train.length,
		.segment_size = 100,
		.ecn = 3,
		.endpoint = {.remote = h->clients[0].node.link.address, .local = h->gateway_address.sin6_addr},
	};
	cr_assert(link_inject(&h->gateway.node.link, &message));
	harness_pump(h);
	cr_assert_eq(dropped(DROP_ECN), 2, "congestion outside, and inner packets that do not understand it");
	finish(h);
}

Test(handoff, hellos_among_data_are_answered)
{
	static const unsigned workers[] = {1, 3, 6, 7};
	for (size_t round = 0; round < ARRAY_SIZE(workers); round++) {
		struct harness *h = start(workers[round], 2);
		unsigned next[CLIENTS] = {0};
		before = snapshot();
		begin_train(WIRE_HELLO_SIZE);
		add_data(0, 0);
		for (size_t client = 0; client < 5; client++) {
			add_hello(client);
			add_data(0, (uint16_t)(client + 1));
		}
		inject();
		cr_assert_eq(take(next), 6);
		cr_assert_eq(counted(STATS_rx_hello), 5);
		cr_assert_eq(counted(STATS_tx_welcome), 5);
		cr_assert_eq(counted(STATS_handed_over), 5);
		cr_assert_eq(dropped_at_all(), 0);
		finish(h);
	}
}

Test(handoff, data_behind_a_hello_arrives)
{
	static const unsigned workers[] = {1, 3, 6, 7};
	for (size_t round = 0; round < ARRAY_SIZE(workers); round++) {
		struct harness *h = start(workers[round], 2);
		unsigned next[CLIENTS] = {0};
		before = snapshot();
		begin_train(WIRE_HELLO_SIZE);
		for (size_t client = 0; client < CLIENTS; client++) {
			add_hello(client);
			add_data(client, 0);
			add_data(client, 1);
		}
		inject();
		cr_assert_eq(take(next), 2 * CLIENTS);
		cr_assert_eq(counted(STATS_rx_hello), CLIENTS, "whoever got it answers it");
		cr_assert_eq(counted(STATS_handed_over), 2 * CLIENTS);
		cr_assert_eq(dropped_at_all(), 0);
		finish(h);
	}
}

/* --- what does not ------------------------------------------------------------------------------------------------ */

/* Behind data to a worker (`hello` false), or behind HELLO to a handshake thread. */
static void expect(bool hello, uint32_t step, uint8_t first, uint32_t session_id, enum drop_reason reason)
{
	before = snapshot();
	begin_train(step);
	if (hello)
		add_hello(1);
	else
		add_data(0, 0);
	add_junk(first, session_id);
	add_junk(first, session_id);
	inject();
	while (node_take(&train.h->gateway.node) != NULL)
		continue;
	cr_assert_eq(dropped(reason), 2, "%02x of %u behind %s", first, step, hello ? "HELLO" : "DATA");
	cr_assert_eq(dropped_at_all(), 2);
	cr_assert_eq(counted(STATS_handed_over), 0);
	train.h->clock.monotonic += NS_PER_S; /* HELLO has a rate */
	check(train.h);
}

Test(handoff, what_does_not_look_right_stays_where_it_is)
{
	static const unsigned workers[] = {1, 3, 6, 7};
	for (size_t round = 0; round < ARRAY_SIZE(workers); round++) {
		struct harness *h = start(workers[round], 1);
		size_t other = workers[round] > 1 ? neighbour(0) : 0;
		for (unsigned hello = 0; hello < 2; hello++) {
			for (unsigned type = WIRE_CLIENT_ACK; type <= WIRE_KEEPALIVE; type++) {
				if (hello || type == WIRE_DATA)
					expect(hello, 1200, (uint8_t)(0x10 | type), unknown_id(other),
					       hello || type == WIRE_DATA ? DROP_SESSION : DROP_OVERSIZED);
			}
			expect(hello, 1200, 0x14, unknown_id(0), DROP_SESSION);
			expect(hello, 1200, 0x14, 0, DROP_SESSION);
			expect(hello, 1200, 0x14, id_of(other) | 0x10000000, DROP_SESSION);
			expect(hello, 1200, 0x12, id_of(other), DROP_TYPE); /* WELCOME */
			expect(hello, 1200, 0x17, id_of(other), DROP_TYPE);
			expect(hello, 1200, 0x18, id_of(other), DROP_TYPE);
			expect(hello, 1200, 0x19, unknown_id(other), DROP_SESSION);
			for (uint8_t type = 10; type <= 16; type++)
				expect(hello, 1200, 0x10 | (type & 15), id_of(other), DROP_TYPE);
			expect(hello, 1200, 0x21, 0, DROP_VERSION);
		}
		expect(false, 1201, 0x11, 0, DROP_OVERSIZED);
		expect(false, 1199, 0x11, 0, DROP_RUNT);
		finish(h);
	}
}

/* The last of a train may be shorter. */
Test(handoff, a_short_end_is_a_runt)
{
	struct harness *h = start(3, 1);
	size_t other = neighbour(0);
	for (unsigned hello = 0; hello < 2; hello++) {
		for (uint32_t end = 1; end < WIRE_OVERHEAD; end++) {
			before = snapshot();
			begin_train(WIRE_HELLO_SIZE);
			if (hello)
				add_hello(1);
			else
				add_data(0, 0);
			add_junk(0x14, id_of(other));
			train.length -= WIRE_HELLO_SIZE - end;
			inject();
			(void)node_take(&h->gateway.node);
			cr_assert_eq(dropped(DROP_RUNT), 1, "%u bytes", end);
			cr_assert_eq(dropped_at_all(), 1);
			cr_assert_eq(counted(STATS_handed_over), 0);
			h->clock.monotonic += NS_PER_S;
		}
	}
	finish(h);
}

/* Handed over and then found to be no good: that is the owner's to count. */
Test(handoff, forgeries_are_counted_by_the_owner)
{
	struct harness *h = start(3, 1);
	size_t other = neighbour(0);
	before = snapshot();
	begin_train(100);
	add_data(0, 0);
	add_junk(0x14, id_of(other));
	add_junk(0x94, id_of(other));
	inject();
	cr_assert_eq(counted(STATS_handed_over), 2);
	cr_assert_eq(atomic_load(&harness_owner(h, id_of(other))->loop.stats.drops[DROP_FORGED]), 1);
	cr_assert_eq(atomic_load(&harness_owner(h, id_of(other))->loop.stats.drops[DROP_EPOCH]), 1);
	cr_assert_eq(dropped_at_all(), 2);
	finish(h);
}

Test(handoff, a_full_ring_drops_and_counts_the_rest)
{
	static const unsigned workers[] = {3, 6, 7};
	for (size_t round = 0; round < ARRAY_SIZE(workers); round++) {
		struct harness *h = start(workers[round], 1);
		unsigned next[CLIENTS] = {0};
		size_t other = neighbour(0);
		h->gateway.held = 1u << worker_of(other);
		before = snapshot();
		begin_train(100);
		add_data(0, 0);
		for (unsigned i = 0; i < 3 * RING; i++)
			add_data(other, (uint16_t)i);
		add_data(0, 1);
		inject();
		cr_assert_eq(take(next), 2, "the others go on");
		cr_assert_eq(counted(STATS_handed_over), RING);
		cr_assert_eq(dropped(DROP_HANDOFF), 2 * RING);
		h->gateway.held = 0;
		harness_pump(h);
		cr_assert_eq(take(next), RING, "the oldest, in order");
		cr_assert_eq(dropped_at_all(), 2 * RING);
		finish(h);
	}
}

Test(handoff, a_full_ring_of_the_handshake_thread_costs_no_data)
{
	struct harness *h = start(3, 1);
	unsigned next[CLIENTS] = {0};
	h->gateway.held = 1u << 3;
	before = snapshot();
	for (unsigned trains = 0; trains < 2; trains++) {
		begin_train(WIRE_HELLO_SIZE);
		add_data(0, (uint16_t)trains);
		for (unsigned i = 0; i < 40; i++)
			add_hello(i % CLIENTS);
		inject();
	}
	cr_assert_eq(take(next), 2);
	cr_assert_eq(counted(STATS_handed_over), RING);
	cr_assert_eq(dropped(DROP_HANDOFF), 80 - RING);
	h->gateway.held = 0;
	harness_pump(h);
	cr_assert_eq(counted(STATS_rx_hello) + dropped(DROP_HELLO_RATE) + dropped(DROP_COOKIE), RING);
	cr_assert_gt(dropped(DROP_COOKIE), 0, "so many at once are load, by whatever way they come");
	for (size_t client = 0; client < CLIENTS; client++)
		cr_assert(harness_ping(h, client, TO_CLIENT));
	finish(h);
}
