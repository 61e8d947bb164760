// SPDX-License-Identifier: Apache-2.0
/* Properties of segmentation and coalescing together, over random super-packets: coalescing what segmentation gave and
 * segmenting again gives the same packets in each flow's order, whatever happened to them between: byte for byte, but
 * for IPv4 IDs under DF that were the same (a packet that came twice).
 * SHARDTUN_TEST_SEED repeats a run: a failure names its seed. */
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "tests/harness/frames.h"
#include "tests/harness/packets.h"
#include "tun/coalesce.h"

enum {
	ROUNDS = 1500,
	FLOWS = 4,
	PACKETS_MAX = FLOWS * 300,
	ARENA = FLOWS * (TUN_PACKET_MAX + 300 * PACKET_HEADERS_MAX),
	DEFAULT_SEED = 20260101,
};

struct packet {
	uint8_t *data; /* what the coalescer gets, and writes into */
	const uint8_t *pristine;
	uint32_t length;
	uint8_t flow;
	bool corrupted;
};

/* Everything of one round. */
static struct {
	uint64_t seed;
	struct random random;
	uint8_t arena[ARENA], pristine[ARENA], payload[TUN_PACKET_MAX], frame[TUN_FRAME_MAX + 100];
	size_t used;
	struct packet packets[2 * PACKETS_MAX]; /* as they arrive; duplicates share their pristine bytes */
	size_t count;
	bool whole[FLOWS];   /* nothing but ACK and PSH: the flow should come back as few frames */
	size_t given[FLOWS]; /* packets of the flow */
} t;

static uint32_t below(uint32_t limit)
{
	return random_below(&t.random, limit);
}

static bool chance(uint32_t percent)
{
	return random_chance(&t.random, percent);
}

static void keep(const uint8_t *packet, uint32_t length, uint8_t flow)
{
	cr_assert_leq(t.used + length, sizeof t.arena);
	cr_assert_lt(t.count, PACKETS_MAX);
	memcpy(t.arena + t.used, packet, length);
	memcpy(t.pristine + t.used, packet, length);
	t.packets[t.count++] = (struct packet){
		.data = t.arena + t.used, .pristine = t.pristine + t.used, .length = length, .flow = flow};
	t.used += length;
}

static struct packet_spec random_spec(uint8_t flow)
{
	struct packet_spec spec = packet_spec_plain(chance(50) ? 4 : 6, chance(60) ? IPPROTO_TCP : IPPROTO_UDP, flow);

	spec.tos = (uint8_t)random_next(&t.random);
	spec.ttl = (uint8_t)(1 + below(255));
	spec.flow_label = below(1 << 20);
	spec.id = (uint16_t)random_next(&t.random);
	spec.dont_fragment = chance(50);
	spec.sequence = (uint32_t)random_next(&t.random);
	spec.acknowledgement = (uint32_t)random_next(&t.random);
	spec.window = (uint16_t)random_next(&t.random);
	spec.urgent = chance(5) ? (uint16_t)random_next(&t.random) : 0;
	spec.ip_options_length = chance(20) && spec.version == 4 ? (uint8_t)(4 * below(11)) : 0;
	spec.tcp_options_length = (uint8_t)(4 * below(11));
	random_fill(&t.random, spec.ip_options, sizeof spec.ip_options);
	random_fill(&t.random, spec.tcp_options, sizeof spec.tcp_options);
	if (chance(50))
		spec.tcp_flags = (uint8_t)random_next(&t.random);
	else
		spec.tcp_flags = chance(50) ? TEST_TCP_ACK : TEST_TCP_ACK | TEST_TCP_PSH;
	return spec;
}

/* Segments one random super-packet of a flow into t.packets, each checked by the naive builder's rules. */
static void make_flow(uint8_t flow)
{
	struct packet_spec spec = random_spec(flow);
	struct segmenter segmenter;
	size_t header = packet_header_length(&spec);
	uint16_t size = (uint16_t)(1 + below(chance(50) ? 1460 : 40));
	uint32_t count = 1 + below(chance(50) ? 8 : 100), max = (uint32_t)header + size, length, bytes = 0;
	size_t payload = (count - 1) * size + 1 + below(size);
	uint8_t *packet;

	if (payload > TUN_PACKET_MAX - header)
		payload = TUN_PACKET_MAX - header;
	if (spec.protocol == IPPROTO_TCP && chance(20)) /* a session that takes less, but not absurdly many */
		max -= below(size / 2 + 1);
	else
		max += below(100);
	random_fill(&t.random, t.payload, payload);
	size_t frame = packet_build_frame(&spec, t.payload, payload, size, t.frame);

	cr_assert_eq(frame_segment(&segmenter, t.frame, frame, max), SEGMENT_OK, "seed %lu", t.seed);
	for (count = 0; segment_next(&segmenter, &packet, &length); count++) {
		cr_assert_leq(length, max, "seed %lu", t.seed);
		cr_assert(packet_is_right(packet, length), "seed %lu: packet %u of %u", t.seed, count, segmenter.count);
		bytes += length;
		keep(packet, length, flow);
	}
	cr_assert_eq(count, segmenter.count, "seed %lu", t.seed);
	cr_assert_eq(bytes, segmenter.total_bytes, "seed %lu", t.seed);
	cr_assert_eq(bytes, payload + count * header, "seed %lu", t.seed);
	t.given[flow] = count;
	t.whole[flow] = spec.protocol == IPPROTO_UDP || (spec.tcp_flags & ~TEST_TCP_PSH) == TEST_TCP_ACK;
}

static void make_round(uint64_t seed, uint8_t flows)
{
	t.seed = seed;
	t.random.state = seed;
	t.used = t.count = 0;
	for (uint8_t flow = 0; flow < flows; flow++)
		make_flow(flow);
}

static void swap(size_t a, size_t b)
{
	struct packet packet = t.packets[a];
	t.packets[a] = t.packets[b];
	t.packets[b] = packet;
}

/* Interleaves the flows: takes the next packet of a random flow, in bursts. */
static void interleave(void)
{
	static struct packet mixed[PACKETS_MAX];
	size_t next[FLOWS + 1] = {0}, end[FLOWS], done = 0;

	for (size_t flow = 0, at = 0; flow < FLOWS; flow++) {
		next[flow] = at;
		while (at < t.count && t.packets[at].flow == flow)
			at++;
		end[flow] = at;
	}
	while (done < t.count) {
		uint32_t flow = below(FLOWS), burst = 1 + below(10);
		while (burst-- && next[flow] < end[flow])
			mixed[done++] = t.packets[next[flow]++];
	}
	memcpy(t.packets, mixed, t.count * sizeof *mixed);
}

/* What a network does: packets late, twice, or lost. */
static void disturb(void)
{
	for (uint32_t n = below(20); n && t.count > 1; n--) {
		size_t at = below((uint32_t)t.count - 1);
		swap(at, at + 1);
	}
	for (uint32_t n = below(4); n; n--) {
		struct packet twin = t.packets[below((uint32_t)t.count)];
		if (t.used + twin.length > sizeof t.arena)
			break;
		twin.data = memcpy(t.arena + t.used, twin.pristine, twin.length);
		t.used += twin.length;
		t.packets[t.count++] = twin;
		swap(t.count - 1, below((uint32_t)t.count));
	}
	for (uint32_t n = below(4); n && t.count > 1; n--) {
		size_t at = below((uint32_t)t.count);
		memmove(&t.packets[at], &t.packets[at + 1], (--t.count - at) * sizeof *t.packets);
	}
}

/* Flips a bit of some packets behind the fields that decide how they parse. */
static void corrupt(void)
{
	for (uint32_t n = 1 + below(5); n; n--) {
		struct packet *packet = &t.packets[below((uint32_t)t.count)];
		struct inner inner;

		if (packet->corrupted)
			continue;
		cr_assert(inner_parse(&inner, packet->data, packet->length));
		size_t from = inner.ip_length + (inner.protocol == IPPROTO_TCP ? 14u : 6u);
		size_t at = from + below((uint32_t)(packet->length - from));
		packet->data[at] ^= (uint8_t)(1 << below(8));
		/* A twin keeps the right bytes. */
		cr_assert_leq(t.used + packet->length, sizeof t.pristine);
		packet->pristine = memcpy(t.pristine + t.used, packet->data, packet->length);
		t.used += packet->length;
		packet->corrupted = true;
	}
}

/* The next packet of `flow` from `at` on within a batch that ends at `end`. */
static size_t next_of_flow(size_t at, size_t end, uint8_t flow)
{
	while (at < end && t.packets[at].flow != flow)
		at++;
	return at;
}

/* Takes the frames of a batch, packets [start, end), and looks for each packet of each flow in its order. Returns how
 * many frames there were of each flow in `frames_of`. */
static void check_batch(struct coalescer *coalescer, size_t start, size_t end, size_t frames_of[FLOWS])
{
	size_t count, cursor[FLOWS], found = 0;
	const struct tun_frame *frames = coalescer_frames(coalescer, &count);
	struct segmenter segmenter;
	uint8_t *packet;
	uint32_t length;

	for (size_t flow = 0; flow < FLOWS; flow++)
		cursor[flow] = start;
	for (size_t i = 0; i < count; i++) {
		/* The head still lies where it was opened, which identifies the flow. */
		size_t head = start;
		while (head < end && t.packets[head].data != frames[i].iov[1].iov_base)
			head++;
		cr_assert_lt(head, end, "seed %lu: frame %zu is nobody's", t.seed, i);
		uint8_t flow = t.packets[head].flow;
		frames_of[flow]++;

		struct virtio_net_hdr header;
		memcpy(&header, frames[i].iov[0].iov_base, sizeof header);
		size_t frame = packet_flatten(frames[i].iov, frames[i].iov_count, t.frame, TUN_FRAME_MAX);
		cr_assert_eq(frame_segment(&segmenter, t.frame, frame, TUN_PACKET_MAX), SEGMENT_OK, "seed %lu", t.seed);
		cr_assert_eq(segmenter.count, frames[i].packets, "seed %lu", t.seed);
		for (size_t index = 0; segment_next(&segmenter, &packet, &length); index++) {
			size_t at = cursor[flow] = next_of_flow(cursor[flow], end, flow);
			cr_assert_lt(at, end, "seed %lu: flow %u has a packet too many", t.seed, flow);
			cr_assert_eq(length, t.packets[at].length, "seed %lu: flow %u", t.seed, flow);
			cr_assert(packet_came_back(packet, t.packets[at].pristine, length, index),
				  "seed %lu: flow %u, packet %zu differs", t.seed, flow, at);
			if (t.packets[at].corrupted)
				cr_assert(frames[i].packets == 1 && !header.flags,
					  "seed %lu: a corrupted packet was merged or marked", t.seed);
			else
				cr_assert_neq(header.flags, 0, "seed %lu: a right packet was not marked", t.seed);
			cursor[flow]++;
			found++;
		}
	}
	cr_assert_eq(found, end - start, "seed %lu: %zu of %zu packets", t.seed, found, end - start);
}

/* All packets through a coalescer that holds `batch` at once. */
static void check_round(struct coalescer *coalescer, size_t batch, size_t frames_of[FLOWS])
{
	memset(frames_of, 0, FLOWS * sizeof *frames_of);
	for (size_t start = 0, end; start < t.count; start = end) {
		end = t.count - start > batch ? start + batch : t.count;
		for (size_t i = start; i < end; i++) {
			struct inner inner;
			cr_assert(inner_parse(&inner, t.packets[i].data, t.packets[i].length), "seed %lu", t.seed);
			cr_assert(coalescer_add(coalescer, &inner), "seed %lu", t.seed);
		}
		check_batch(coalescer, start, end, frames_of);
		coalescer_reset(coalescer);
	}
}

static uint64_t first_seed(void)
{
	const char *text = getenv("SHARDTUN_TEST_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 10) : DEFAULT_SEED;

	cr_log_info("seeds from %lu", seed);
	return seed;
}

static struct coalescer *new_coalescer(void)
{
	struct coalescer *coalescer = coalescer_new(2 * PACKETS_MAX,
						    (struct tun_offloads){.checksum = true, .tso = true, .uso = true});

	cr_assert_not_null(coalescer);
	return coalescer;
}

/* Undisturbed, coalescing is the inverse: what can be one frame is one. */
Test(segment_inverse, undisturbed_flow_comes_back_as_it_was)
{
	struct coalescer *coalescer = new_coalescer();
	uint64_t seed = first_seed();
	size_t frames_of[FLOWS], merged = 0;

	for (int round = 0; round < ROUNDS; round++) {
		make_round(seed + (uint64_t)round, 1);
		bool udp = t.packets[0].data[t.packets[0].data[0] >> 4 == 4 ? 9 : 6] == IPPROTO_UDP;
		check_round(coalescer, 2 * PACKETS_MAX, frames_of);
		if (!t.whole[0])
			continue;
		cr_assert_eq(frames_of[0], udp ? (t.given[0] + 63) / 64 : 1, "seed %lu: %zu packets in %zu frames",
			     t.seed, t.given[0], frames_of[0]);
		merged++;
	}
	cr_assert_gt(merged, ROUNDS / 4);
	coalescer_free(coalescer);
}

Test(segment_inverse, interleaved_flows_keep_their_order)
{
	struct coalescer *coalescer = new_coalescer();
	uint64_t seed = first_seed() + 1000000;
	size_t frames_of[FLOWS];

	for (int round = 0; round < ROUNDS / 2; round++) {
		make_round(seed + (uint64_t)round, FLOWS);
		interleave();
		check_round(coalescer, chance(50) ? 2 * PACKETS_MAX : 1 + below(60), frames_of);
	}
	coalescer_free(coalescer);
}

Test(segment_inverse, shuffled_doubled_lost_and_corrupted_packets_come_through)
{
	struct coalescer *coalescer = new_coalescer();
	uint64_t seed = first_seed() + 2000000;
	size_t frames_of[FLOWS];

	for (int round = 0; round < ROUNDS / 2; round++) {
		make_round(seed + (uint64_t)round, (uint8_t)(1 + random_below(&(struct random){.state = seed}, FLOWS)));
		interleave();
		disturb();
		if (chance(50))
			corrupt();
		check_round(coalescer, chance(50) ? 2 * PACKETS_MAX : 1 + below(60), frames_of);
	}
	coalescer_free(coalescer);
}
