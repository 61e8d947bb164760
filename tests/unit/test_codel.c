// SPDX-License-Identifier: Apache-2.0
#include "workers/codel.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "core/base/bytes.h"

enum { PACKET = 1500, MANY = 1 << 20 };

static struct codel codel;
static uint64_t now;

static void set_up(void)
{
	codel_init(&codel, CODEL_TARGET_NS, CODEL_INTERVAL_NS, PACKET);
	now = NS_PER_S;
}
TestSuite(codel, .init = set_up);

static bool waited(uint64_t sojourn)
{
	return codel_drop(&codel, sojourn, now, MANY);
}

/* Packets that waited too long leave every 10 us from now on; when the next one is dropped. */
static uint64_t next_drop(uint64_t limit)
{
	for (uint64_t end = now + limit; now < end; now += 10 * NS_PER_US)
		if (waited(CODEL_TARGET_NS))
			return now;
	return 0;
}

Test(codel, below_target_nothing_is_dropped)
{
	for (unsigned i = 0; i < 100000; i++, now += NS_PER_MS)
		cr_assert_not(waited(CODEL_TARGET_NS - 1));
}

Test(codel, the_first_drop_is_an_interval_after_the_wait_went_above)
{
	cr_assert_not(waited(CODEL_TARGET_NS), "the target itself is above");
	now += CODEL_INTERVAL_NS - 1;
	cr_assert_not(waited(CODEL_TARGET_NS));
	now += 1;
	cr_assert(waited(CODEL_TARGET_NS));
	cr_assert_not(waited(CODEL_TARGET_NS), "one");
}

Test(codel, a_single_packet_below_starts_the_interval_anew)
{
	cr_assert_not(waited(CODEL_TARGET_NS));
	now += CODEL_INTERVAL_NS - 1;
	cr_assert_not(waited(0));
	now += 1;
	cr_assert_not(waited(10 * CODEL_TARGET_NS));
	now += CODEL_INTERVAL_NS - 1;
	cr_assert_not(waited(10 * CODEL_TARGET_NS));
	now += 1;
	cr_assert(waited(10 * CODEL_TARGET_NS));
}

Test(codel, a_packet_with_hardly_any_behind_it_counts_as_below)
{
	for (unsigned i = 0; i < 1000; i++, now += 10 * NS_PER_MS)
		cr_assert_not(codel_drop(&codel, NS_PER_S, now, PACKET));
	for (unsigned i = 0; i < 10; i++, now += 10 * NS_PER_MS)
		cr_assert_not(codel_drop(&codel, NS_PER_S, now, PACKET + 1));
	cr_assert(codel_drop(&codel, NS_PER_S, now, PACKET + 1));
	cr_assert(codel.dropping);
	now += NS_PER_S;
	cr_assert_not(codel_drop(&codel, NS_PER_S, now, PACKET));
	cr_assert_not(codel.dropping);
}

Test(codel, drops_follow_the_square_root)
{
	uint64_t first = next_drop(NS_PER_S);
	cr_assert_eq(first, NS_PER_S + CODEL_INTERVAL_NS);
	double expected = (double)first;
	for (unsigned count = 1; count < 2000; count++) {
		expected += (double)CODEL_INTERVAL_NS / sqrt(count);
		double late = (double)next_drop(CODEL_INTERVAL_NS * 2) - expected;
		/* Packets come every 10 us, and each step was rounded down to the nanosecond. */
		cr_assert(late > -(double)count - 1 && late < 10 * NS_PER_US, "drop %u: %g ns late", count + 1, late);
		now += 10 * NS_PER_US;
	}
}

Test(codel, the_control_law_is_exact)
{
	static const uint32_t intervals[] = {1, 2, 3, 1000, 99999999, 100000000, 1000000000, UINT32_MAX};
	static const uint32_t counts[] = {2,	    3,		4,	    5,		9,	   99,	    100,
					  101,	    9999,	10000,	    65535,	65536,	   1000000, 0x7fffffff,
					  1u << 31, 0xfffe0001, 0xfffffffe, UINT32_MAX, UINT32_MAX};
	for (size_t i = 0; i < ARRAY_SIZE(intervals); i++) {
		for (size_t c = 0; c < ARRAY_SIZE(counts); c++) {
			codel_init(&codel, 0, intervals[i], 0);
			codel.dropping = true;
			codel.first_above = codel.drop_next = now;
			codel.count = counts[c] - 1;
			cr_assert(waited(1));
			cr_assert_eq(codel.count, counts[c]);
			unsigned __int128 step = codel.drop_next - now, square = intervals[i];
			square *= square;
			cr_assert(step * step * counts[c] <= square && (step + 1) * (step + 1) * counts[c] > square,
				  "%u / sqrt(%u) is not %lu", intervals[i], counts[c], (uint64_t)step);
		}
	}
}

Test(codel, the_count_stays_at_its_largest)
{
	codel.dropping = true;
	codel.first_above = codel.drop_next = now;
	codel.count = UINT32_MAX;
	cr_assert(waited(CODEL_TARGET_NS));
	cr_assert_eq(codel.count, UINT32_MAX);
}

Test(codel, it_ends_with_the_first_packet_below)
{
	next_drop(NS_PER_S);
	cr_assert(codel.dropping);
	now += 10 * NS_PER_S;
	cr_assert_not(waited(CODEL_TARGET_NS - 1), "however overdue a drop is");
	cr_assert_not(codel.dropping);
	cr_assert_not(waited(CODEL_TARGET_NS));
	now += CODEL_INTERVAL_NS - 1;
	cr_assert_not(waited(CODEL_TARGET_NS));
	now += 1;
	cr_assert(waited(CODEL_TARGET_NS));
}

Test(codel, drops_that_are_overdue_are_made_at_once)
{
	next_drop(NS_PER_S);
	now += 150 * NS_PER_MS; /* 100 and 71 ms after the first */
	cr_assert(waited(CODEL_TARGET_NS));
	cr_assert_not(waited(CODEL_TARGET_NS));
	now += 100 * NS_PER_MS; /* 171, 228 and 278 ms after it */
	cr_assert(waited(CODEL_TARGET_NS));
	cr_assert(waited(CODEL_TARGET_NS));
	cr_assert_not(waited(CODEL_TARGET_NS));
}

/* Drops `drops` times, goes below, and comes back after `pause`, with the drop that starts it; the count then. */
static uint32_t count_after(unsigned drops, uint64_t pause)
{
	for (unsigned i = 0; i < drops; i++, now += 10 * NS_PER_US)
		cr_assert_neq(next_drop(NS_PER_S), 0);
	cr_assert_not(waited(0));
	now = codel.drop_next + pause - CODEL_INTERVAL_NS;
	cr_assert_not(waited(CODEL_TARGET_NS));
	now += CODEL_INTERVAL_NS;
	cr_assert(waited(CODEL_TARGET_NS));
	cr_assert_eq(codel.drop_next, now + (uint64_t)((double)CODEL_INTERVAL_NS / sqrt(codel.count)));
	return codel.count;
}

Test(codel, the_rate_is_remembered_for_16_intervals)
{
	cr_assert_eq(count_after(50, 16 * CODEL_INTERVAL_NS - 1), 49, "drops since it began");
	set_up();
	cr_assert_eq(count_after(50, 16 * CODEL_INTERVAL_NS), 1);
	set_up();
	cr_assert_eq(count_after(2, CODEL_INTERVAL_NS), 1, "one more is no rate");
	set_up();
	cr_assert_eq(count_after(3, CODEL_INTERVAL_NS), 2);
	cr_assert_eq(count_after(10, CODEL_INTERVAL_NS), 10, "what it grew by since then, not what it came to");
}

Test(codel, a_stamp_ahead_of_the_clock_did_not_wait)
{
	cr_assert_eq(codel_sojourn(100, 130), 30);
	cr_assert_eq(codel_sojourn(100, 100), 0);
	cr_assert_eq(codel_sojourn(101, 100), 0);
}

/* --- the pseudo code of RFC 8289, section 5, on a queue of its own ------------------------------------------------ */

enum { PACKETS = 400000 };

static struct packet {
	uint64_t arrival;
	uint32_t bytes;
	bool dropped_by_rfc, dropped;
} * packets;

struct queue {
	size_t head, tail; /* packets that are in it */
	uint64_t bytes;
};

static struct packet *pop(struct queue *queue)
{
	if (queue->head == queue->tail)
		return NULL;
	struct packet *packet = &packets[queue->head++];
	queue->bytes -= packet->bytes;
	return packet;
}

struct rfc {
	struct queue queue;
	double first_above_time, drop_next;
	uint32_t count, lastcount;
	bool dropping;
	unsigned starts_with_memory;
};

static double rfc_control_law(double t, uint32_t count)
{
	return t + floor((double)CODEL_INTERVAL_NS / sqrt(count)); /* a clock of nanoseconds */
}

static struct packet *rfc_dodequeue(struct rfc *rfc, double time, bool *ok_to_drop)
{
	struct packet *packet = pop(&rfc->queue);
	*ok_to_drop = false;
	if (packet == NULL) {
		rfc->first_above_time = 0;
		return NULL;
	}
	double sojourn = time - (double)packet->arrival;
	if (sojourn < (double)CODEL_TARGET_NS || rfc->queue.bytes <= PACKET)
		rfc->first_above_time = 0;
	else if (rfc->first_above_time == 0)
		rfc->first_above_time = time + (double)CODEL_INTERVAL_NS;
	else if (time >= rfc->first_above_time)
		*ok_to_drop = true;
	return packet;
}

static void rfc_dequeue(struct rfc *rfc, double time)
{
	bool ok_to_drop;
	struct packet *packet = rfc_dodequeue(rfc, time, &ok_to_drop);
	if (rfc->dropping) {
		if (!ok_to_drop)
			rfc->dropping = false;
		while (time >= rfc->drop_next && rfc->dropping) {
			packet->dropped_by_rfc = true;
			rfc->count++;
			packet = rfc_dodequeue(rfc, time, &ok_to_drop);
			if (!ok_to_drop)
				rfc->dropping = false;
			else
				rfc->drop_next = rfc_control_law(rfc->drop_next, rfc->count);
		}
	} else if (ok_to_drop) {
		packet->dropped_by_rfc = true;
		(void)rfc_dodequeue(rfc, time, &ok_to_drop);
		rfc->dropping = true;
		uint32_t delta = rfc->count - rfc->lastcount;
		rfc->count = 1;
		if (delta > 1 && time - rfc->drop_next < 16 * (double)CODEL_INTERVAL_NS)
			rfc->count = delta;
		rfc->starts_with_memory += rfc->count > 1;
		rfc->drop_next = rfc_control_law(time, rfc->count);
		rfc->lastcount = rfc->count;
	}
}

/* The same by codel_drop(): the next packet that is not dropped leaves. */
static void dequeue(struct queue *queue)
{
	for (struct packet *packet; (packet = pop(queue)) != NULL;) {
		packet->dropped = codel_drop(&codel, now - packet->arrival, now, queue->bytes);
		if (!packet->dropped)
			return;
	}
}

static uint64_t random_state = 7;

static uint64_t random_below(uint64_t limit)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (random_state >> 33) % limit;
}

static void arrive(struct queue *queue)
{
	queue->bytes += packets[queue->tail++].bytes;
}

Test(codel, drops_what_the_rfc_drops)
{
	/* A link that takes a packet each millisecond; senders that overload it for a while and then do not. */
	struct rfc rfc = {0};
	struct queue queue = {0};
	uint64_t arrival = now, gap = 0, link = now;
	packets = calloc(PACKETS, sizeof *packets);
	cr_assert_not_null(packets);
	for (size_t i = 0; i < PACKETS; i++) {
		if (random_below(2000) == 0 || i == 0)
			gap = NS_PER_MS * (60 + random_below(100)) / 100;
		arrival += random_below(2 * gap);
		packets[i] = (struct packet){.arrival = arrival, .bytes = (uint32_t)(40 + random_below(PACKET - 39))};
	}
	while (queue.tail < PACKETS) {
		now = link += NS_PER_MS / 2 + random_below(NS_PER_MS);
		for (; queue.tail < PACKETS && packets[queue.tail].arrival <= now; arrive(&queue))
			arrive(&rfc.queue);
		dequeue(&queue);
		rfc_dequeue(&rfc, (double)now);
		cr_assert_eq(queue.bytes, rfc.queue.bytes);
	}
	unsigned drops = 0;
	for (size_t i = 0; i < PACKETS; i++) {
		cr_assert_eq(packets[i].dropped, packets[i].dropped_by_rfc, "packet %zu", i);
		drops += packets[i].dropped;
	}
	cr_log_info("%u drops, %u starts with memory", drops, rfc.starts_with_memory);
	cr_assert_gt(drops, 2000);
	cr_assert_gt(rfc.starts_with_memory, 30);
	free(packets);
}
