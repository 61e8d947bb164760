// SPDX-License-Identifier: Apache-2.0
/* Which packets the kernel puts into the queue of sparse flows: each test runs in a network namespace of its own. */
#include <stdio.h>

#include "tests/harness/steered_device.h"

enum { WORKERS = 3, SMALL = 20, LARGE = 1300 };

static struct tun_device device;

static void open_device(void)
{
	steered_namespace();
	steered_open(&device, (struct tun_params){.readers = 1, .writers = WORKERS - 1, .sparse = true}, WORKERS);
	if (device.sparse == 0)
		cr_skip_test("this kernel or user cannot load the program");
}

static void close_device(void)
{
	tun_device_close(&device);
}

TestSuite(sparse_flows, .init = open_device, .fini = close_device);

static bool read_one(struct tun_queue *queue)
{
	uint8_t *frame;
	uint32_t length;
	return steered_read(queue, &frame, &length);
}

/* Sends a datagram, and says whether it came out of the second queue of `worker`; it has to come out of one of both. A
 * long one is fragmented: all fragments come out of the first. */
static bool is_sparse(unsigned worker, int family, const char *to, uint16_t port, size_t length)
{
	int fd = steered_socket(family);
	steered_send(fd, family, to, port, length);
	close(fd);
	unsigned first = 0, second = 0;
	for (struct tun_queue *queue = &device.queues[worker]; read_one(queue); first++)
		;
	for (struct tun_queue *queue = device.queues[worker].sparse; read_one(queue); second++)
		;
	cr_assert_eq(first + second, length > 1400 ? 3 : 1, "%s: %u and %u", to, first, second);
	return second != 0;
}

static bool small_is_sparse(uint16_t port)
{
	return is_sparse(1, AF_INET, "10.8.0.4", port, SMALL);
}

static void drained(void)
{
	sparse_queue_drained(device.queues[1].shared, clock_monotonic(&clock_system) + SPARSE_ENQUEUE_NS);
}

static void hold_over(void)
{
	usleep(SPARSE_HOLD_NS / 1000 + 2000);
}

static void next_window(void)
{
	usleep(SPARSE_WINDOW_NS / 1000 + 2000);
}

/* How many packets of this length are sparse before one is not, at most 1000. */
static unsigned sparse_ones(uint16_t port, size_t length)
{
	unsigned count = 0;
	while (count < 1000 && is_sparse(1, AF_INET, "10.8.0.4", port, length))
		count++;
	return count;
}

Test(sparse_flows, single_packets_are_sparse_and_keep_their_worker)
{
	char text[64];
	for (unsigned index = 2; index < 30; index++) {
		snprintf(text, sizeof text, "10.8.0.%u", index);
		cr_assert(is_sparse(index % WORKERS, AF_INET, text, 7, SMALL), "%s", text);
		snprintf(text, sizeof text, "fd00:8::%x", index);
		cr_assert(is_sparse(index % WORKERS, AF_INET6, text, 7, SMALL), "%s", text);
	}
}

Test(sparse_flows, a_flow_that_sends_much_is_not_and_others_are)
{
	uint64_t began = clock_monotonic(&clock_system);
	unsigned count = sparse_ones(7, LARGE);
	uint64_t windows = 2 + (clock_monotonic(&clock_system) - began) / SPARSE_WINDOW_NS;
	cr_assert(count > 0 && count <= SPARSE_COST_MOST / LARGE * windows, "%u in %lu", count, windows);
	cr_assert_not(small_is_sparse(7));
	cr_assert(small_is_sparse(8));
	cr_assert(is_sparse(1, AF_INET6, "fd00:8::4", 7, SMALL));
}

Test(sparse_flows, it_comes_back_only_when_the_first_queue_was_empty_since)
{
	cr_assert_lt(sparse_ones(7, LARGE), 1000);
	hold_over();
	cr_assert_not(small_is_sparse(7), "its packets may still be there");
	hold_over();
	drained();
	cr_assert(small_is_sparse(7));
	cr_assert_lt(sparse_ones(7, LARGE), 1000);
	sparse_queue_drained(device.queues[1].shared, clock_monotonic(&clock_system));
	hold_over();
	cr_assert_not(small_is_sparse(7), "a packet may be on its way into the queue for a while");
	hold_over();
	drained();
	cr_assert(small_is_sparse(7));
}

/* What this side marks as sparse may overtake what it sent less than that before. */
Test(sparse_flows, it_comes_back_only_after_a_while)
{
	uint64_t before = clock_monotonic(&clock_system);
	cr_assert_lt(sparse_ones(7, LARGE), 1000);
	next_window();
	drained();
	bool sparse = small_is_sparse(7);
	cr_assert(!sparse || clock_monotonic(&clock_system) - before >= SPARSE_HOLD_NS);
	hold_over();
	drained();
	cr_assert(small_is_sparse(7));
}

/* As many as fit in the windows that the machine takes for them. */
Test(sparse_flows, many_flows_to_one_destination_have_a_limit)
{
	bool dense = false;
	for (unsigned try = 0; try < 20 && !dense; try++) {
		for (uint16_t port = 1000; port < 2000 && !dense; port++)
			dense = !is_sparse(1, AF_INET, "10.8.0.4", port, LARGE);
	}
	cr_assert(dense);
	cr_assert(is_sparse(1, AF_INET, "10.8.0.7", 7, SMALL), "another destination of the same worker");
}

Test(sparse_flows, fragments_are_not_and_datagrams_between_the_same_hosts_wait_for_them)
{
	cr_assert(small_is_sparse(7));
	cr_assert_not(is_sparse(1, AF_INET, "10.8.0.4", 7, 4000));
	cr_assert_not(small_is_sparse(7));
	hold_over();
	drained();
	cr_assert(small_is_sparse(7));
	cr_assert_not(is_sparse(1, AF_INET6, "fd00:8::4", 7, 4000));
	cr_assert_not(is_sparse(1, AF_INET6, "fd00:8::4", 7, SMALL));
}

static bool one_comes_out(void)
{
	unsigned found = 0;
	for (unsigned queue = 0; queue < WORKERS; queue++)
		found += read_one(&device.queues[queue]) + read_one(device.queues[queue].sparse);
	return found == 1;
}

Test(sparse_flows, whatever_is_sent_comes_out_somewhere)
{
	steered_send_broken(one_comes_out);
}
