// SPDX-License-Identifier: Apache-2.0
#include "workers/send_queue.h"

#include <criterion/criterion.h>
#include <stdlib.h>

/* A socket that follows a script: how many messages it takes at each call, or an error; afterwards everything. */
struct scripted {
	struct udp_socket base;
	const int *script;
	size_t steps, step;
	uint8_t bytes[SEND_QUEUE_BYTES]; /* what it took, end to end */
	size_t length;
	size_t count;
	struct udp_message taken[1024];
};

static int scripted_send(struct udp_socket *socket, const struct udp_message *messages, size_t count)
{
	struct scripted *s = (struct scripted *)socket;
	int result = s->step < s->steps ? s->script[s->step++] : (int)count;
	cr_assert_leq(count, UDP_BATCH);
	if (result > (int)count)
		result = (int)count;
	for (int i = 0; i < result; i++) {
		s->taken[s->count++] = messages[i];
		memcpy(s->bytes + s->length, messages[i].data, messages[i].length);
		s->length += messages[i].length;
	}
	return result;
}

static const struct udp_ops scripted_ops = {.send = scripted_send};

static struct send_queue queue;
static struct scripted udp;
static struct stats stats;
static struct endpoint to;

static void set_up(void)
{
	cr_assert_eq(send_queue_init(&queue), 0);
	udp = (struct scripted){.base = {.ops = &scripted_ops, .gso = true}};
	stats = (struct stats){0};
	to = (struct endpoint){.remote = {.sin6_family = AF_INET6, .sin6_port = 7}};
}

static void tear_down(void)
{
	send_queue_deinit(&queue);
}
TestSuite(send_queue, .init = set_up, .fini = tear_down);

static uint8_t next_byte;

/* Reserves a datagram of one session and fills it with a byte of its own. */
static bool add_as(uint32_t session, bool sparse, uint8_t ecn, uint32_t length)
{
	uint8_t *room = send_queue_reserve(&queue, session, sparse, &to, ecn, length);
	if (room != NULL)
		memset(room, ++next_byte, length);
	return room != NULL;
}

static bool add(uint32_t session, uint8_t ecn, uint32_t length)
{
	return add_as(session, false, ecn, length);
}

static void add_many(uint32_t count, uint32_t length)
{
	send_queue_plan(&queue, udp.base.gso, count, length);
	for (uint32_t i = 0; i < count; i++)
		cr_assert(add(1, 0, length));
}

static uint64_t counter(enum stats_counter which)
{
	return stats.counters[which];
}

#define SCRIPT(...)                                        \
	do {                                               \
		static const int script[] = {__VA_ARGS__}; \
		udp.script = script;                       \
		udp.steps = ARRAY_SIZE(script);            \
		udp.step = 0;                              \
	} while (0)

static void flush(void)
{
	send_queue_flush(&queue, &udp.base, &stats);
}

Test(send_queue, equal_datagrams_of_one_session_are_one_train)
{
	add_many(10, 500);
	cr_assert_eq(queue.count, 1);
	flush();
	cr_assert_eq(udp.count, 1);
	cr_assert_eq(udp.taken[0].length, 5000);
	cr_assert_eq(udp.taken[0].segment_size, 500);
	cr_assert_eq(counter(STATS_udp_tx_packets), 10);
	cr_assert_eq(counter(STATS_udp_tx_data), 10);
	cr_assert_eq(counter(STATS_udp_tx_bytes), 5000);
	cr_assert_eq(queue.used, 0);
}

Test(send_queue, only_the_last_datagram_of_a_train_is_shorter)
{
	send_queue_plan(&queue, true, 1, 500);
	cr_assert(add(1, 0, 500) && add(1, 0, 500) && add(1, 0, 300));
	cr_assert_eq(queue.count, 1);
	cr_assert(add(1, 0, 300));
	cr_assert_eq(queue.count, 2, "nothing comes behind the shorter one");
	cr_assert(add(1, 0, 301));
	cr_assert_eq(queue.count, 3, "nothing longer joins");
}

/* A train is sorted by its first datagram. */
Test(send_queue, sparse_flows_have_trains_of_their_own)
{
	send_queue_plan(&queue, true, 1, 100);
	cr_assert(add(1, 0, 100) && add_as(1, true, 0, 100) && add_as(1, true, 0, 100));
	cr_assert_eq(queue.count, 2);
	cr_assert(add(1, 0, 100));
	cr_assert_eq(queue.count, 3);
}

Test(send_queue, session_endpoint_and_ecn_are_not_mixed)
{
	send_queue_plan(&queue, true, 1, 100);
	cr_assert(add(1, 0, 100));
	cr_assert(add(2, 0, 100));
	cr_assert_eq(queue.count, 2, "another session");
	cr_assert(add(2, 3, 100));
	cr_assert_eq(queue.count, 3, "another ECN value");
	to.remote.sin6_port++;
	cr_assert(add(2, 3, 100));
	cr_assert_eq(queue.count, 4, "another endpoint");
	to.local.s6_addr[0]++;
	cr_assert(add(2, 3, 100));
	cr_assert_eq(queue.count, 5, "another address of ours");
	cr_assert(add(2, 3, 100));
	cr_assert_eq(queue.count, 5);
	for (unsigned i = 0; i < 3; i++)
		cr_assert(add(0, 0, 100));
	cr_assert_eq(queue.count, 8, "control messages go alone");
	flush();
	cr_assert_eq(counter(STATS_udp_tx_control), 3);
	cr_assert_eq(counter(STATS_udp_tx_data), 6);
}

Test(send_queue, no_train_exceeds_64_datagrams_or_65000_bytes)
{
	static const uint32_t sizes[] = {26, 100, 536, 1000, 1015, 1016, 1445, 8000, 40000, 65000};
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (uint32_t count = 1; count <= 150 && count * sizes[i] <= SEND_QUEUE_BYTES; count++) {
			add_many(count, sizes[i]);
			uint32_t most = UDP_TRAIN_BYTES / sizes[i];
			most = most > UDP_TRAIN_SEGMENTS ? UDP_TRAIN_SEGMENTS : most;
			cr_assert_eq(queue.count, (count + most - 1) / most, "%u of %u", count, sizes[i]);
			for (uint32_t t = 0; t < queue.count; t++) {
				cr_assert_leq(queue.datagrams[t], UDP_TRAIN_SEGMENTS);
				cr_assert_leq(queue.trains[t].length, UDP_TRAIN_BYTES);
				if (t + 1 < queue.count)
					cr_assert_leq(queue.datagrams[0] - queue.datagrams[t + 1], queue.count,
						      "near-equal");
			}
			udp.count = udp.length = 0;
			flush();
		}
	}
}

Test(send_queue, without_gso_each_datagram_goes_alone)
{
	udp.base.gso = false;
	add_many(5, 500);
	cr_assert_eq(queue.count, 5);
	flush();
	cr_assert_eq(udp.count, 5);
	cr_assert_eq(counter(STATS_udp_tx_packets), 5);
}

Test(send_queue, is_full_when_bytes_or_trains_are)
{
	send_queue_plan(&queue, true, 1, 60000);
	for (unsigned i = 0; i < SEND_QUEUE_BYTES / 60000; i++)
		cr_assert(add(1, 0, 60000));
	cr_assert_not(add(1, 0, 60000));
	cr_assert(add(1, 0, SEND_QUEUE_BYTES % 60000), "what fits exactly");
	cr_assert_not(add(1, 0, 1));
	flush();
	udp.count = udp.length = 0;
	for (unsigned i = 0; i < SEND_QUEUE_TRAINS; i++)
		cr_assert(add(0, 0, 26));
	cr_assert_not(add(0, 0, 26));
	flush();
	cr_assert(add(0, 0, 26));
}

Test(send_queue, a_partial_send_goes_on_where_it_stopped)
{
	static uint8_t before[SEND_QUEUE_BYTES];
	udp.base.gso = false;
	add_many(200, 100);
	memcpy(before, queue.buffer, 200 * 100);
	SCRIPT(1, 7, 64, 3);
	flush();
	cr_assert_eq(udp.length, 200 * 100);
	cr_assert_eq(memcmp(udp.bytes, before, udp.length), 0);
	cr_assert_eq(counter(STATS_udp_tx_packets), 200);
	cr_assert_eq(queue.count, 0);
}

Test(send_queue, what_would_block_stays_and_is_not_changed)
{
	static uint8_t before[SEND_QUEUE_BYTES];
	add_many(100, 100);
	memcpy(before, queue.buffer, 100 * 100);
	SCRIPT(1, -EAGAIN, -EAGAIN);
	flush();
	cr_assert(queue.blocked);
	cr_assert_eq(counter(STATS_udp_tx_packets), 50);
	uint32_t trains = queue.count;
	flush();
	cr_assert(queue.blocked);
	cr_assert(add(1, 0, 100), "more may wait behind");
	cr_assert_eq(queue.count, trains + 1, "but not in a train that the kernel has seen");
	flush();
	cr_assert_not(queue.blocked);
	cr_assert_eq(udp.length, 101 * 100);
	cr_assert_eq(memcmp(udp.bytes, before, 100 * 100), 0);
	cr_assert_eq(counter(STATS_udp_tx_packets), 101);
	cr_assert_eq(stats.drops[DROP_OUT_SEND], 0);
}

Test(send_queue, a_refused_train_goes_singly_byte_for_byte)
{
	static const int errors[] = {-EIO, -EMSGSIZE, -EINVAL};
	static uint8_t before[SEND_QUEUE_BYTES];
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		udp.count = udp.length = udp.step = 0;
		udp.script = &errors[i];
		udp.steps = 1;
		udp.base.gso = true;
		send_queue_plan(&queue, true, 4, 300);
		cr_assert(add(1, 2, 300) && add(1, 2, 300) && add(1, 2, 300) && add(1, 2, 170));
		cr_assert_eq(queue.count, 1);
		memcpy(before, queue.buffer, 1070);
		flush();
		cr_assert_eq(udp.count, 4);
		cr_assert_eq(udp.taken[3].length, 170);
		for (size_t k = 0; k < 4; k++) {
			cr_assert_eq(udp.taken[k].ecn, 2);
			cr_assert_eq(udp.taken[k].segment_size, 0);
			cr_assert(endpoint_equal(&udp.taken[k].endpoint, &to));
		}
		cr_assert_eq(memcmp(udp.bytes, before, 1070), 0);
		cr_assert_eq(udp.base.gso, errors[i] != -EIO, "EIO: this device never will");
		cr_assert_eq(counter(STATS_udp_tx_fallback), i + 1);
		cr_assert_eq(counter(STATS_udp_tx_data), 4 * (i + 1));
	}
}

Test(send_queue, the_fallback_blocks_and_goes_on_as_well)
{
	static uint8_t before[SEND_QUEUE_BYTES];
	add_many(6, 200);
	send_queue_plan(&queue, true, 1, 100);
	cr_assert(add(2, 0, 100));
	memcpy(before, queue.buffer, 1300);
	SCRIPT(-EIO, 1, 1, -EAGAIN, -EAGAIN, 1, -ENOBUFS);
	flush();
	cr_assert(queue.blocked);
	cr_assert_eq(udp.count, 2);
	flush();
	cr_assert(queue.blocked);
	cr_assert_eq(udp.count, 2);
	flush();
	cr_assert_not(queue.blocked);
	cr_assert_eq(udp.count, 6, "one was dropped for want of buffers");
	cr_assert_eq(stats.drops[DROP_OUT_SEND], 1);
	cr_assert_eq(memcmp(udp.bytes, before, 600), 0);
	cr_assert_eq(memcmp(udp.bytes + 600, before + 800, 500), 0);
	cr_assert_eq(counter(STATS_udp_tx_fallback), 1);
	cr_assert_eq(queue.count, 0);
}

/* At the end of the worker: what was not sent is lost, and counted. */
Test(send_queue, what_is_discarded_is_counted)
{
	add_many(6, 200);
	add_many(90, 100);
	cr_assert(add(0, 0, 26));
	SCRIPT(-EMSGSIZE, 1, 1, -EAGAIN);
	flush();
	cr_assert(queue.blocked);
	send_queue_discard(&queue, &stats);
	cr_assert_eq(stats.drops[DROP_OUT_SEND], 96 - 2, "two were sent, and a control message is no packet");
	cr_assert_eq(counter(STATS_udp_tx_data), 2);
	cr_assert_not(queue.blocked);
	add_many(3, 100);
	flush();
	cr_assert_eq(counter(STATS_udp_tx_data), 5, "it is as good as new");
}

Test(send_queue, other_errors_drop_and_count_data_only)
{
	static const int errors[] = {-ENOBUFS, -EPERM, -ENETUNREACH};
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		udp.script = &errors[i];
		udp.steps = 1;
		udp.step = 0;
		add_many(9, 100);
		flush();
		cr_assert_eq(stats.drops[DROP_OUT_SEND], 9 * (i + 1));
		udp.step = 0;
		cr_assert(add(0, 0, 26));
		flush();
		cr_assert_eq(stats.drops[DROP_OUT_SEND], 9 * (i + 1), "a control message is no packet");
		cr_assert_eq(queue.count, 0);
	}
	cr_assert_eq(counter(STATS_udp_tx_packets), 0);
}

Test(send_queue, a_single_datagram_that_is_too_long_is_dropped)
{
	SCRIPT(-EMSGSIZE);
	add_many(1, 1400);
	flush();
	cr_assert_eq(stats.drops[DROP_OUT_SEND], 1);
	cr_assert_eq(counter(STATS_udp_tx_fallback), 0);
	cr_assert(udp.base.gso);
}
