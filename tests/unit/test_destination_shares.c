// SPDX-License-Identifier: Apache-2.0
/* What the kernel lets into a queue of the interface that many destinations fill: each test has a network namespace of
 * its own, and reads the queue by hand. */
#include <stdio.h>

#include "tests/harness/steered_device.h"

enum { WORKERS = 3, DESTINATIONS = 600, SMALL = 20, LARGE = 1300, SLOTS = DESTINATION_SHARES_SLOTS };

static struct tun_device device;
static struct queue_shares_tally tally;
static int fd;

static void open_device(void)
{
	steered_namespace();
	steered_open(&device, (struct tun_params){.readers = 1, .writers = WORKERS - 1, .destinations = DESTINATIONS},
		     WORKERS);
	if (device.sharing == -EPERM || device.sharing == -ENOSYS)
		cr_skip_test("this kernel or user cannot load the program");
	cr_assert_eq(device.sharing, 0, "%s", strerror(-device.sharing));
	tally = destination_shares_tally(device.shares, 1);
	fd = steered_socket(AF_INET);
}

static void close_device(void)
{
	close(fd);
	tun_device_close(&device);
}

TestSuite(destination_shares, .init = open_device, .fini = close_device);

static void fill(const char *to, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		steered_send(fd, AF_INET, to, 7, SMALL);
}

/* All that is in queue 1, or so many, by the last byte of the IPv4 destination; as a reader of it does. */
static unsigned found[256];
static void read_queue(unsigned most)
{
	uint8_t *frame;
	uint32_t length;
	memset(found, 0, sizeof found);
	uint64_t began = clock_monotonic(&clock_system);
	unsigned count = 0;
	for (; count < most && steered_read(&device.queues[1], &frame, &length); count++) {
		found[frame[VNET_HEADER_SIZE + IPV4_AT_DESTINATION + 3]]++;
		destination_shares_took(device.shares, &tally, frame, length);
	}
	tally.published = 0;
	tally.window = began; /* shares in time stay as they are */
	queue_shares_publish(&tally, began, count < most);
}

static void read_all(void)
{
	read_queue(UINT32_MAX);
}

Test(destination_shares, one_alone_gets_half_of_the_queue)
{
	fill("10.8.0.4", 2 * SLOTS);
	read_all();
	cr_assert_eq(found[4], SLOTS / 2);
}

Test(destination_shares, who_is_sent_too_much_leaves_room_for_others)
{
	fill("10.8.0.4", 2 * SLOTS);
	fill("10.8.0.7", 100);
	read_all();
	cr_assert_eq(found[4], SLOTS / 2);
	cr_assert_eq(found[7], 100, "%u", found[7]);
}

/* Three times as much comes in as goes out, seven ninths of it for one. */
Test(destination_shares, those_who_are_sent_too_much_get_equal_parts)
{
	unsigned sum[256] = {0};
	for (unsigned round = 0; round < 6 * SLOTS; round++) {
		fill("10.8.0.4", 7);
		fill("10.8.0.7", 1);
		fill("10.8.0.10", 1);
		read_queue(3);
		for (unsigned last = 4; round >= 2 * SLOTS && last <= 10; last += 3)
			sum[last] += found[last];
	}
	for (unsigned last = 4; last <= 10; last += 3)
		cr_assert(sum[last] > 4 * SLOTS * 0.99 && sum[last] < 4 * SLOTS * 1.01, "%u: %u", last, sum[last]);
}

Test(destination_shares, what_is_taken_out_makes_room)
{
	fill("10.8.0.4", SLOTS / 2);
	read_queue(50);
	fill("10.8.0.4", SLOTS);
	read_all();
	cr_assert_eq(found[4], SLOTS / 2);
	fill("10.8.0.4", SLOTS);
	read_all();
	cr_assert_eq(found[4], SLOTS / 2);
}

/* A reader that takes all that comes, for many times the queue. */
Test(destination_shares, nothing_is_lost_where_there_is_room)
{
	for (unsigned round = 0; round < 100; round++) {
		fill("10.8.0.4", SLOTS / 4);
		fill("10.8.0.7", SLOTS / 8);
		read_all();
		cr_assert_eq(found[4], SLOTS / 4, "round %u: %u", round, found[4]);
		cr_assert_eq(found[7], SLOTS / 8, "round %u: %u", round, found[7]);
	}
}

Test(destination_shares, bytes_are_shared_as_well)
{
	queue_shares_resize(tally.queue, SLOTS, 100 * (LARGE + 28 + DESTINATION_SHARES_PACKET));
	for (unsigned i = 0; i < 200; i++)
		steered_send(fd, AF_INET, "10.8.0.4", 7, LARGE);
	fill("10.8.0.7", 100);
	read_all();
	cr_assert_eq(found[4], 50);
	cr_assert_eq(found[7], 100);
}

Test(destination_shares, other_queues_have_room_of_their_own)
{
	fill("10.8.0.4", 2 * SLOTS);
	uint8_t *frame;
	uint32_t length;
	unsigned count = 0;
	for (unsigned i = 0; i < 10; i++)
		steered_send(fd, AF_INET, "10.8.0.5", 7, SMALL);
	while (steered_read(&device.queues[2], &frame, &length))
		count++;
	cr_assert_eq(count, 10);
}

Test(destination_shares, both_families_count_by_the_index_in_the_pool)
{
	int v6 = steered_socket(AF_INET6);
	fill("10.8.0.4", 2 * SLOTS);
	for (unsigned i = 0; i < 10; i++) {
		steered_send(v6, AF_INET6, "fd00:8::4", 7, SMALL);
		steered_send(v6, AF_INET6, "fd00:8::7", 7, SMALL);
	}
	close(v6);
	unsigned count = 0;
	uint8_t *frame;
	for (uint32_t length; steered_read(&device.queues[1], &frame, &length);)
		count += frame[VNET_HEADER_SIZE] >> 4 == 6;
	cr_assert_eq(count, 10, "those for the address that is full are dropped");
}

/* As after packets that were let in, and that the kernel dropped all the same. */
Test(destination_shares, what_never_comes_out_is_forgotten)
{
	uint8_t *frame;
	uint32_t length;
	fill("10.8.0.4", SLOTS / 2);
	while (steered_read(&device.queues[1], &frame, &length))
		;
	fill("10.8.0.4", 10);
	read_all();
	cr_assert_eq(found[4], 0);
	usleep(2000);
	queue_shares_publish(&tally, clock_monotonic(&clock_system), true);
	fill("10.8.0.4", 10);
	read_all();
	cr_assert_eq(found[4], 10, "the queue was empty since");

	fill("10.8.0.4", SLOTS / 2);
	while (steered_read(&device.queues[1], &frame, &length))
		;
	usleep(1100000);
	fill("10.8.0.4", 10);
	read_all();
	cr_assert_eq(found[4], 10, "long ago");
}

/* Bytes that were forgotten are taken out later: then they are below 0, and packets are not. */
Test(destination_shares, what_was_forgotten_may_still_come_out)
{
	for (unsigned i = 0; i < 5; i++)
		steered_send(fd, AF_INET, "10.8.0.4", 7, LARGE);
	usleep(1100000);
	fill("10.8.0.4", 10);
	read_queue(5);
	fill("10.8.0.4", 100);
	read_all();
	cr_assert_eq(found[4], 110);
}

/* In each window, whatever is read. Those of several destinations begin when they do. */
Test(destination_shares, a_share_in_time_limits_each_destination)
{
	enum { PACKETS = 10 };
	atomic_store(&tally.queue->share, PACKETS * (SMALL + 28 + DESTINATION_SHARES_PACKET));
	unsigned in = 0;
	for (unsigned round = 1; round <= 3; round++) {
		uint64_t began = clock_monotonic(&clock_system);
		fill("10.8.0.4", 100);
		uint64_t windows = 1 + (clock_monotonic(&clock_system) - began) / QUEUE_SHARES_WINDOW_NS;
		fill("10.8.0.7", PACKETS / 2);
		read_all();
		in += found[4];
		cr_assert(found[4] >= PACKETS && found[4] <= PACKETS * windows, "%u in %lu windows", found[4], windows);
		cr_assert_eq(found[7], PACKETS / 2);
		cr_assert_eq(tally.queue->limited, round * 100 - in);
		cr_assert_eq(tally.queue->refused, 0);
		usleep(QUEUE_SHARES_WINDOW_NS / 1000 + 1000);
	}
}

Test(destination_shares, the_reader_finds_the_same_member_as_the_program)
{
	/* Every destination by itself: if reader and program disagreed, one would stay full. */
	char text[64];
	for (unsigned index = 1; index < 256; index += WORKERS) {
		snprintf(text, sizeof text, "10.8.0.%u", index);
		if (index == 1)
			continue;
		fill(text, 2 * SLOTS);
		read_all();
		cr_assert_eq(found[index], SLOTS / 2, "%s: %u", text, found[index]);
		fill(text, 2 * SLOTS);
		read_all();
		cr_assert_eq(found[index], SLOTS / 2, "%s again: %u", text, found[index]);
	}
}

static bool one_comes_out(void)
{
	unsigned came = 0;
	uint8_t *frame;
	for (unsigned queue = 0; queue < WORKERS; queue++) {
		for (uint32_t got; steered_read(&device.queues[queue], &frame, &got);)
			came++;
	}
	return came == 1;
}

/* Whatever is no whole IP packet is for the reader to drop and to count. */
Test(destination_shares, what_has_no_destination_is_let_in)
{
	steered_send_broken(one_comes_out);
}
