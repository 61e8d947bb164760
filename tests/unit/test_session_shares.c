// SPDX-License-Identifier: Apache-2.0
/* What the kernel lets into the queue of a worker's socket that many sessions fill. The queue is read by hand. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/protocol/head.h"
#include "workers/session_shares.h"

enum { WORKERS = 2, SLOT_MASK = 127, LENGTH = 200, ROOM = 400 /* datagrams */, MOST = 16 };

static struct udp_socket *sockets[WORKERS];
static struct session_shares shares;
static struct queue_shares_tally tally; /* of worker 1 */
static int sender = -1;

static void open_sockets(void)
{
	static struct error error;
	const struct udp_params params = {.address = {.family = 4, .bytes = {127, 0, 0, 1}}, .buffer = 1 << 20};
	for (unsigned i = 0; i < WORKERS; i++) {
		sockets[i] = udp_open(&params, &error);
		cr_assert_not_null(sockets[i], "%s", error.text);
	}
	const struct session_sharding sharding = {.slot_mask = SLOT_MASK, .workers = WORKERS};
	int result = session_shares_open(&shares, &sharding);
	for (unsigned i = 0; i < WORKERS && result == 0; i++)
		result = session_shares_load(&shares, i, sockets[i]);
	for (unsigned i = 0; i < WORKERS && result == 0; i++)
		result = session_shares_attach(&shares, i, sockets[i]);
	session_shares_close_programs(&shares);
	if (result == -EPERM || result == -ENOSYS)
		cr_skip_test("this kernel or user cannot load the program");
	cr_assert_eq(result, 0, "%s", strerror(-result));
	queue_shares_resize(&shares.shares.queues[1], 1, ROOM * session_shares_cost(LENGTH));
	tally = session_shares_tally(&shares, 1);
	sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 bound;
	udp_address(sockets[1], &bound);
	const struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = bound.sin6_port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	cr_assert_eq(connect(sender, (const struct sockaddr *)&to, sizeof to), 0);
}

static void close_sockets(void)
{
	session_shares_close(&shares);
	for (unsigned i = 0; i < WORKERS; i++)
		udp_close(sockets[i]);
	close(sender);
}

TestSuite(session_shares, .init = open_sockets, .fini = close_sockets);

static void fill(uint32_t id, size_t length, unsigned count)
{
	uint8_t message[LENGTH] = {0x14};
	store_be32(message + WIRE_SESSION_ID, id);
	for (unsigned i = 0; i < count; i++)
		cr_assert_eq(send(sender, message, length, 0), (ssize_t)length);
}

/* The same as WireGuard's data, in all epochs in turn. */
static void fill_wireguard(uint32_t id, size_t length, unsigned count)
{
	uint8_t message[LENGTH] = {0};
	for (unsigned i = 0; i < count; i++) {
		wg_data_header(message, wg_index(id, 1 + i % WIRE_EPOCH_MAX), i);
		cr_assert_eq(send(sender, message, length, 0), (ssize_t)length);
	}
}

/* How many of each ID modulo 256 come out, of at most so many; runts count as 0. As a worker does it. */
static unsigned found[256];
static void read_queue(unsigned most)
{
	static uint8_t buffers[MOST][UDP_MESSAGE_MAX];
	memset(found, 0, sizeof found);
	uint64_t began = clock_monotonic(&clock_system);
	for (unsigned count = 0; count < most;) {
		struct udp_message messages[MOST];
		for (unsigned i = 0; i < MOST; i++)
			messages[i].data = buffers[i];
		unsigned want = most - count < MOST ? most - count : MOST;
		int got = sockets[1]->ops->receive(sockets[1], messages, want);
		cr_assert_geq(got, 0);
		for (int i = 0; i < got; i++) {
			session_shares_took(&shares, &tally, &messages[i]);
			found[messages[i].length < WIRE_SMALLEST ? 0 : message_session_id(messages[i].data) & 255]++;
		}
		count += (unsigned)got;
		tally.published = 0;
		tally.window = began; /* shares in time stay as they are */
		queue_shares_publish(&tally, began, (unsigned)got < want);
		if ((unsigned)got < want)
			break;
	}
}

static void read_all(void)
{
	read_queue(UINT32_MAX);
}

static void add(uint32_t id)
{
	session_shares_add(&shares, &tally, id);
}

Test(session_shares, one_alone_gets_half_of_the_queue)
{
	add(0x7701);
	fill(0x7701, LENGTH, 2 * ROOM);
	read_all();
	cr_assert_eq(found[1], ROOM / 2, "%u", found[1]);
}

Test(session_shares, who_sends_too_much_leaves_room_for_others)
{
	add(0x7701);
	add(0x7703);
	fill(0x7701, LENGTH, 2 * ROOM);
	fill(0x7703, LENGTH, ROOM / 5);
	read_all();
	cr_assert_eq(found[1], ROOM / 2);
	cr_assert_eq(found[3], ROOM / 5);
}

/* Three times as much comes in as goes out, seven ninths of it from one. */
Test(session_shares, hold_between_the_protocols)
{
	add(0x7701);
	add(0x7703);
	fill_wireguard(0x7701, LENGTH, 2 * ROOM);
	fill(0x7703, LENGTH, ROOM / 5);
	read_all();
	cr_assert_eq(found[1], ROOM / 2, "%u: one share, whatever the epoch", found[1]);
	cr_assert_eq(found[3], ROOM / 5);
	fill(0x7703, LENGTH, 2 * ROOM);
	fill_wireguard(0x7701, LENGTH, ROOM / 5);
	read_all();
	cr_assert_eq(found[3], ROOM / 2);
	cr_assert_eq(found[1], ROOM / 5);
}

Test(session_shares, forged_indexes_have_one_share_together)
{
	add(0x7701);
	for (uint32_t id = 0; id < 10 * ROOM; id++)
		fill_wireguard(id << 8 | 3, LENGTH, 1);
	fill_wireguard(0x7701, LENGTH, ROOM / 10);
	read_all();
	cr_assert_eq(found[1], ROOM / 10);
	cr_assert_leq(found[3], ROOM / 2, "%u", found[3]);
	cr_assert_gt(found[3], ROOM / 4);
}

/* Of ours: the upper bits are no epoch. */
Test(session_shares, an_id_of_more_bits_is_a_stranger_s)
{
	add(0x7701);
	fill(0x10007703, LENGTH, ROOM);
	fill(0x10007701, LENGTH, ROOM);
	read_all();
	cr_assert_eq(found[3], ROOM / 2);
	cr_assert_eq(found[1], 0, "the strangers' share is used up");
}

Test(session_shares, those_who_send_too_much_get_equal_parts)
{
	unsigned sum[256] = {0};
	for (uint32_t id = 0x7701; id <= 0x7705; id += 2)
		add(id);
	for (unsigned round = 0; round < 20 * ROOM; round++) {
		fill(0x7701, LENGTH, 7);
		fill(0x7703, LENGTH, 1);
		fill(0x7705, LENGTH, 1);
		read_queue(3);
		for (unsigned last = 1; round >= 2 * ROOM && last <= 5; last += 2)
			sum[last] += found[last];
	}
	for (unsigned last = 1; last <= 5; last += 2)
		cr_assert(sum[last] > 18 * ROOM * 0.97 && sum[last] < 18 * ROOM * 1.03, "%u: %u", last, sum[last]);
}

Test(session_shares, forged_ids_have_one_share_together)
{
	add(0x7701);
	fill(0x7701, LENGTH, ROOM / 10);
	for (uint32_t id = 0; id < 10 * ROOM; id++)
		fill(id << 8 | 1, LENGTH, 1);
	fill(0x7701, LENGTH, ROOM / 10);
	unsigned own = ROOM / 5;
	read_all();
	cr_assert_geq(found[1], own + 1);
	cr_assert_leq(found[1], own + ROOM / 2, "%u", found[1]);
	fill(0x7701, LENGTH, ROOM);
	read_all();
	cr_assert_eq(found[1], ROOM / 2, "what was forged is out, and counts no more");
}

Test(session_shares, nobody_has_the_id_0)
{
	fill(0, LENGTH, ROOM);
	fill(0x7703, LENGTH, ROOM);
	read_all();
	cr_assert_eq(found[0], ROOM / 2);
	cr_assert_eq(found[3], 0, "strangers as well");
}

Test(session_shares, a_program_can_be_taken_off_again)
{
	session_shares_detach(sockets[1]);
	fill(0x7701, LENGTH, ROOM);
	read_all();
	cr_assert_eq(found[1], ROOM);
}

Test(session_shares, runts_are_strangers)
{
	fill(0x7701, 7, 10);
	fill(0x7701, WIRE_SMALLEST - 1, 10);
	fill(0x7701, 0, 10);
	fill(0x7703, LENGTH, 2 * ROOM);
	read_all();
	cr_assert_eq(found[0], 30);
	cr_assert_lt(found[3], ROOM / 2);
	cr_assert_gt(found[3], ROOM / 4);
}

Test(session_shares, a_session_that_ended_is_a_stranger)
{
	add(0x7701);
	session_shares_remove(&shares, &tally, 0x7701);
	fill(0x7703, LENGTH, ROOM);
	fill(0x7701, LENGTH, ROOM);
	read_all();
	cr_assert_eq(found[1], 0, "the share is used up");
	add(0x7701);
	add(0x7701 + SLOT_MASK + 1);
	session_shares_remove(&shares, &tally, 0x7701);
	fill(0x7703, LENGTH, ROOM);
	fill(0x7701 + SLOT_MASK + 1, LENGTH, 10);
	read_all();
	cr_assert_eq(found[(0x7701 + SLOT_MASK + 1) & 255], 10, "the later one of the slot keeps its share");
}

Test(session_shares, nothing_is_lost_where_there_is_room)
{
	add(0x7701);
	for (unsigned round = 0; round < 100; round++) {
		fill(0x7701, LENGTH, ROOM / 3);
		fill(0x7703, LENGTH, ROOM / 4);
		read_all();
		cr_assert_eq(found[1], ROOM / 3, "round %u: %u", round, found[1]);
		cr_assert_eq(found[3], ROOM / 4, "round %u: %u", round, found[3]);
	}
}
