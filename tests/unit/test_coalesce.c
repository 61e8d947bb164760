// SPDX-License-Identifier: Apache-2.0
#include "tun/coalesce.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <string.h>

#include "core/base/bytes.h"
#include "tests/harness/frames.h"
#include "tests/harness/packets.h"

enum { BATCH = 2048, ARENA = 1 << 20, SIZE = 100 };

static const struct tun_offloads ALL = {.checksum = true, .tso = true, .uso = true};

/* Packets as they were opened, and a copy from before the coalescer wrote into them. */
static uint8_t arena[ARENA], pristine[ARENA], flat[TUN_FRAME_MAX];
static size_t arena_used;
static struct coalescer *coalescer;
static const struct tun_frame *frames;
static size_t frame_count;

static void setup(struct tun_offloads offloads)
{
	coalescer = coalescer_new(BATCH, offloads);
	cr_assert_not_null(coalescer);
	arena_used = 0;
}

/* Adds `length` bytes that stand at the arena's end. */
static uint8_t *add_raw(size_t length)
{
	uint8_t *packet = arena + arena_used;
	struct inner inner;

	memcpy(pristine + arena_used, packet, length);
	arena_used += length;
	cr_assert(inner_parse(&inner, packet, length));
	cr_assert(coalescer_add(coalescer, &inner));
	return packet;
}

static uint8_t *add(const struct packet_spec *spec, size_t payload)
{
	uint8_t *packet = arena + arena_used;
	size_t header = packet_header_length(spec);

	cr_assert_leq(arena_used + header + payload, sizeof arena);
	for (size_t i = 0; i < payload; i++)
		packet[header + i] = (uint8_t)(arena_used * 7 + i);
	return add_raw(packet_build(spec, packet + header, payload, packet));
}

/* The spec of the packet that would follow one with `payload` bytes. */
static void advance(struct packet_spec *spec, size_t payload)
{
	spec->sequence += (uint32_t)payload;
	spec->id++;
}

static void add_next(struct packet_spec *spec, size_t payload)
{
	add(spec, payload);
	advance(spec, payload);
}

static void finish(void)
{
	frames = coalescer_frames(coalescer, &frame_count);
}

static struct virtio_net_hdr header_of(const struct tun_frame *frame)
{
	struct virtio_net_hdr header;

	cr_assert_eq(frame->iov[0].iov_len, VNET_HEADER_SIZE);
	memcpy(&header, frame->iov[0].iov_base, sizeof header);
	return header;
}

static size_t flatten(const struct tun_frame *frame)
{
	cr_assert_leq(frame->iov_count, IOV_MAX);
	return packet_flatten(frame->iov, frame->iov_count, flat, sizeof flat);
}

/* The frames stand for the packets of the arena, in their order and byte for byte. */
static void check_arena_comes_back(void)
{
	struct segmenter segmenter;
	size_t at = 0;
	uint8_t *packet;
	uint32_t length;

	for (size_t i = 0; i < frame_count; i++) {
		cr_assert_eq(frame_segment(&segmenter, flat, flatten(&frames[i]), TUN_PACKET_MAX), SEGMENT_OK);
		cr_assert_eq(segmenter.count, frames[i].packets);
		while (segment_next(&segmenter, &packet, &length)) {
			cr_assert_leq(at + length, arena_used);
			cr_assert(!memcmp(packet, pristine + at, length), "a packet of frame %zu differs", i);
			at += length;
		}
	}
	cr_assert_eq(at, arena_used);
}

static void expect_packets(size_t count, const uint32_t *packets)
{
	finish();
	cr_assert_eq(frame_count, count, "%zu frames, not %zu", frame_count, count);
	for (size_t i = 0; i < count; i++)
		cr_assert_eq(frames[i].packets, packets[i], "frame %zu stands for %u packets, not %u", i,
			     frames[i].packets, packets[i]);
}
#define EXPECT_PACKETS(...) \
	expect_packets(sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), (const uint32_t[]){__VA_ARGS__})

static void restart(void)
{
	coalescer_reset(coalescer);
	arena_used = 0;
}

static void teardown(void)
{
	coalescer_free(coalescer);
	coalescer = NULL;
}

TestSuite(coalesce, .fini = teardown);

Test(coalesce, run_of_packets_becomes_one_frame_without_a_copy)
{
	setup(ALL);
	for (int kind = 0; kind < 4; kind++) {
		bool v4 = kind & 1, tcp = kind & 2;
		struct packet_spec spec = packet_spec_plain(v4 ? 4 : 6, tcp ? IPPROTO_TCP : IPPROTO_UDP, 1);
		size_t header = packet_header_length(&spec), ip = v4 ? 20 : 40;

		for (int i = 0; i < 5; i++)
			add_next(&spec, i == 4 ? SIZE / 2 : SIZE);
		EXPECT_PACKETS(5);
		cr_assert_eq(frames->iov_count, 6);
		cr_assert_eq(frames->iov[1].iov_base, arena);
		cr_assert_eq(frames->iov[1].iov_len, header + SIZE);
		for (size_t i = 2; i < 6; i++) {
			cr_assert_eq(frames->iov[i].iov_base, arena + (i - 1) * (header + SIZE) + header);
			cr_assert_eq(frames->iov[i].iov_len, i == 5 ? SIZE / 2 : SIZE);
		}

		struct virtio_net_hdr vnet = header_of(frames);
		cr_assert_eq(vnet.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
		cr_assert_eq(vnet.gso_type, !tcp ? VIRTIO_NET_HDR_GSO_UDP_L4
					    : v4 ? VIRTIO_NET_HDR_GSO_TCPV4
						 : VIRTIO_NET_HDR_GSO_TCPV6);
		cr_assert_eq(vnet.gso_size, SIZE);
		cr_assert_eq(vnet.hdr_len, header);
		cr_assert_eq(vnet.csum_start, ip);
		cr_assert_eq(vnet.csum_offset, tcp ? 16 : 6);
		check_arena_comes_back();
		restart();
	}
}

/* The kernel believes our partial checksum: the naive builder says what it must be. */
Test(coalesce, headers_of_the_whole_are_what_a_kernel_would_write)
{
	static uint8_t expected[2000], payload[450];

	setup(ALL);
	for (int kind = 0; kind < 4; kind++) {
		struct packet_spec spec = packet_spec_plain(kind & 1 ? 4 : 6, kind & 2 ? IPPROTO_TCP : IPPROTO_UDP, 1),
				   whole = spec;
		size_t header = packet_header_length(&spec);
		whole.tcp_flags |= TEST_TCP_PSH;

		for (int i = 0; i < 5; i++) {
			size_t size = i == 4 ? SIZE / 2 : SIZE;
			spec.tcp_flags = i == 4 ? whole.tcp_flags : TEST_TCP_ACK;
			memcpy(payload + i * SIZE, add(&spec, size) + header, size);
			advance(&spec, size);
		}
		EXPECT_PACKETS(5);
		size_t length = packet_build_frame(&whole, payload, sizeof payload, SIZE, expected);
		cr_assert_eq(flatten(frames), length);
		cr_assert(!memcmp(flat, expected, length), "kind %d", kind);
		restart();
	}
}

struct change {
	const char *what;
	void (*apply)(struct packet_spec *);
	uint8_t version;  /* 0: both */
	uint8_t protocol; /* 0: both */
};

#define CHANGE(name, version, protocol, ...)                \
	static void change_##name(struct packet_spec *spec) \
	{                                                   \
		__VA_ARGS__;                                \
	}
#define CHANGES(X)                                                        \
	X(source, 0, 0, spec->source[3] ^= 1)                             \
	X(source_end, 6, 0, spec->source[15] ^= 1)                        \
	X(destination, 0, 0, spec->destination[0] ^= 1)                   \
	X(destination_end, 6, 0, spec->destination[15] ^= 1)              \
	X(source_port, 0, 0, spec->source_port++)                         \
	X(destination_port, 0, 0, spec->destination_port++)               \
	X(ttl, 0, 0, spec->ttl--)                                         \
	X(dscp, 0, 0, spec->tos ^= 0x20)                                  \
	X(ecn, 0, 0, spec->tos ^= 1)                                      \
	X(flow_label, 6, 0, spec->flow_label++)                           \
	X(dont_fragment, 4, 0, spec->dont_fragment = false)               \
	X(id_skipped, 4, 0, spec->id += 5)                                \
	X(ip_options, 4, 0, spec->ip_options[3] ^= 1)                     \
	X(ip_options_gone, 4, 0, spec->ip_options_length = 0)             \
	X(sequence_gap, 0, IPPROTO_TCP, spec->sequence++)                 \
	X(sequence_repeated, 0, IPPROTO_TCP, spec->sequence -= SIZE)      \
	X(acknowledgement, 0, IPPROTO_TCP, spec->acknowledgement++)       \
	X(window, 0, IPPROTO_TCP, spec->window++)                         \
	X(urgent, 0, IPPROTO_TCP, spec->urgent++)                         \
	X(timestamp, 0, IPPROTO_TCP, spec->tcp_options[11] ^= 1)          \
	X(tcp_options_gone, 0, IPPROTO_TCP, spec->tcp_options_length = 0) \
	X(flag_fin, 0, IPPROTO_TCP, spec->tcp_flags |= TEST_TCP_FIN)      \
	X(flag_syn, 0, IPPROTO_TCP, spec->tcp_flags |= TEST_TCP_SYN)      \
	X(flag_rst, 0, IPPROTO_TCP, spec->tcp_flags |= TEST_TCP_RST)      \
	X(flag_urg, 0, IPPROTO_TCP, spec->tcp_flags |= TEST_TCP_URG)      \
	X(flag_ece, 0, IPPROTO_TCP, spec->tcp_flags |= TEST_TCP_ECE)      \
	X(flag_cwr, 0, IPPROTO_TCP, spec->tcp_flags |= TEST_TCP_CWR)      \
	X(no_ack, 0, IPPROTO_TCP, spec->tcp_flags = 0)
#define CHANGE_ROW(name, version, protocol, ...) {#name, change_##name, version, protocol},

CHANGES(CHANGE)
static const struct change changes[] = {CHANGES(CHANGE_ROW)};

/* Two packets that would merge, but for one field of the second (or, turned round, of the first). */
Test(coalesce, one_differing_field_keeps_packets_apart)
{
	static const struct virtio_net_hdr single = {.flags = VIRTIO_NET_HDR_F_DATA_VALID};

	setup(ALL);
	for (int kind = 0; kind < 4; kind++) {
		struct packet_spec base = packet_spec_plain(kind & 1 ? 4 : 6, kind & 2 ? IPPROTO_TCP : IPPROTO_UDP, 1);
		base.ip_options_length = kind & 1 ? 4 : 0;
		base.tcp_options_length = 12;
		for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
			const struct change *change = &changes[i];
			if ((change->version && change->version != base.version) ||
			    (change->protocol && change->protocol != base.protocol))
				continue;
			for (int turned = 0; turned < 2; turned++) {
				struct packet_spec first = base, second = base;
				advance(&second, SIZE);
				change->apply(turned ? &first : &second);
				add(&first, SIZE);
				add(&second, SIZE);
				finish();
				cr_assert_eq(frame_count, 2, "%s, kind %d, turned %d", change->what, kind, turned);
				for (size_t f = 0; f < 2; f++) {
					struct virtio_net_hdr header = header_of(&frames[f]);
					cr_assert(!memcmp(&header, &single, sizeof header));
				}
				check_arena_comes_back();
				restart();
			}
		}
		struct packet_spec second = base; /* and without a change they do merge */
		advance(&second, SIZE);
		add(&base, SIZE);
		add(&second, SIZE);
		EXPECT_PACKETS(2);
		restart();
	}
}

Test(coalesce, push_closes_and_comes_back_on_the_last)
{
	struct packet_spec spec = packet_spec_plain(6, IPPROTO_TCP, 1);

	setup(ALL);
	for (int i = 0; i < 6; i++) {
		spec.tcp_flags = i == 2 || i == 3 ? TEST_TCP_ACK | TEST_TCP_PSH : TEST_TCP_ACK;
		add_next(&spec, SIZE);
	}
	EXPECT_PACKETS(3, 1, 2);
	check_arena_comes_back();
}

Test(coalesce, shorter_payload_closes_and_longer_starts_anew)
{
	setup(ALL);
	for (int tcp = 0; tcp < 2; tcp++) {
		struct packet_spec spec = packet_spec_plain(4, tcp ? IPPROTO_TCP : IPPROTO_UDP, 1);
		static const size_t sizes[] = {SIZE, SIZE, SIZE - 1, SIZE, SIZE + 1, SIZE + 1, 1, 1, 1};

		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
			add_next(&spec, sizes[i]);
		EXPECT_PACKETS(3, 1, 3, 2);
		check_arena_comes_back();
		restart();
	}
}

Test(coalesce, pure_ack_and_empty_datagram_stay_alone_and_in_order)
{
	setup(ALL);
	for (int tcp = 0; tcp < 2; tcp++) {
		struct packet_spec spec = packet_spec_plain(4, tcp ? IPPROTO_TCP : IPPROTO_UDP, 1);
		static const size_t sizes[] = {SIZE, SIZE, 0, 0, SIZE, SIZE};

		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
			add_next(&spec, sizes[i]);
		EXPECT_PACKETS(2, 1, 1, 2);
		cr_assert_eq(header_of(&frames[1]).flags, VIRTIO_NET_HDR_F_DATA_VALID);
		check_arena_comes_back();
		restart();
	}
}

Test(coalesce, device_without_an_offload_gets_none_of_its_kind)
{
	for (unsigned bits = 0; bits < 8; bits++) {
		struct tun_offloads offloads = {.checksum = bits & 1, .tso = bits & 2, .uso = bits & 4};
		struct packet_spec tcp = packet_spec_plain(4, IPPROTO_TCP, 1),
				   udp = packet_spec_plain(6, IPPROTO_UDP, 2);

		setup(offloads);
		for (int i = 0; i < 3; i++) {
			add_next(&tcp, SIZE);
			add_next(&udp, SIZE);
		}
		finish();
		bool merge_tcp = offloads.checksum && offloads.tso, merge_udp = offloads.checksum && offloads.uso;
		cr_assert_eq(frame_count, (merge_tcp ? 1u : 3u) + (merge_udp ? 1u : 3u), "offloads %u", bits);
		for (size_t i = 0; i < frame_count; i++) {
			uint8_t alone = offloads.checksum ? VIRTIO_NET_HDR_F_DATA_VALID : 0;
			cr_assert_eq(header_of(&frames[i]).flags,
				     frames[i].packets > 1 ? VIRTIO_NET_HDR_F_NEEDS_CSUM : alone);
		}
		teardown();
	}
}

/* A flipped bit anywhere under a checksum, in the first, the middle or the last packet of a run. */
Test(coalesce, corrupted_packet_is_never_merged_and_never_marked)
{
	struct random random = {.state = 1};

	setup(ALL);
	for (int round = 0; round < 4000; round++) {
		struct packet_spec spec = packet_spec_plain(round & 1 ? 4 : 6, round & 2 ? IPPROTO_TCP : IPPROTO_UDP,
							    1);
		size_t bad = random_below(&random, 3), header = packet_header_length(&spec), at = 0;

		for (size_t i = 0; i < 3; i++, advance(&spec, SIZE)) {
			if (i != bad) {
				add(&spec, SIZE);
				continue;
			}
			uint8_t *packet = arena + arena_used;
			at = arena_used;
			packet_build(&spec, arena, SIZE, packet);
			/* Any byte behind those that decide whether and as what it parses. */
			size_t byte = header - 2 + random_below(&random, SIZE + 2);
			if (spec.version == 4 && random_chance(&random, 10))
				byte = 10; /* the header's own checksum */
			packet[byte] ^= (uint8_t)(1 << random_below(&random, 8));
			add_raw(header + SIZE);
		}
		finish();
		for (size_t i = 0; i < frame_count; i++) {
			bool is_bad = frames[i].iov[1].iov_base == arena + at;
			if (is_bad) {
				cr_assert_eq(frames[i].packets, 1);
				cr_assert_eq(header_of(&frames[i]).flags, 0);
			} else {
				cr_assert_neq(header_of(&frames[i]).flags, 0);
			}
		}
		cr_assert_eq(frame_count, bad == 1 ? 3 : 2, "packet %zu of 3 corrupted", bad);
		check_arena_comes_back();
		restart();
	}
}

Test(coalesce, udp_without_checksum_is_neither_merged_nor_marked)
{
	setup(ALL);
	for (uint8_t version = 4; version <= 6; version += 2) {
		struct packet_spec spec = packet_spec_plain(version, IPPROTO_UDP, 1);
		size_t header = packet_header_length(&spec);
		for (int i = 0; i < 2; i++, advance(&spec, SIZE)) {
			packet_build(&spec, pristine, SIZE, arena + arena_used);
			memset(arena + arena_used + header - 2, 0, 2);
			add_raw(header + SIZE);
		}
		EXPECT_PACKETS(1, 1);
		cr_assert_eq(header_of(&frames[0]).flags, 0);
		cr_assert_eq(header_of(&frames[1]).flags, 0);
		check_arena_comes_back();
		restart();
	}
}

/* Zero and ffff verify alike, but segmentation writes only one of them. Whatever takes the checksum's value elsewhere
 * in the summed bytes leaves zero for the field: IPv4's goes into an option, TCP's into the payload. */
Test(coalesce, checksum_in_its_other_form_stays_alone)
{
	static const uint8_t zeros[SIZE];

	setup(ALL);
	for (int ipv4s = 0; ipv4s < 2; ipv4s++)
		for (int other_form = 0; other_form < 2; other_form++) {
			struct packet_spec second = packet_spec_plain(4, IPPROTO_TCP, 1), first;
			second.ip_options_length = 4;
			packet_build(&second, zeros, SIZE, arena);
			if (ipv4s)
				memcpy(second.ip_options + 2, arena + 10, 2);
			first = second;
			first.sequence -= SIZE;
			first.id--;
			add(&first, SIZE);

			uint8_t *packet = arena + arena_used, *field = packet + (ipv4s ? 10 : 24 + 16);
			size_t length = packet_build(&second, zeros, SIZE, packet);
			if (!ipv4s)
				memcpy(packet + 44, field, 2);
			packet_finish(packet, length);
			cr_assert_eq(load_be16(field), 0);
			if (other_form)
				memset(field, 0xff, 2);
			add_raw(length);
			finish();
			cr_assert_eq(frame_count, other_form ? 2 : 1);
			cr_assert_eq(header_of(&frames[frame_count - 1]).flags,
				     other_form ? VIRTIO_NET_HDR_F_DATA_VALID : VIRTIO_NET_HDR_F_NEEDS_CSUM);
			check_arena_comes_back();
			restart();
		}
}

Test(coalesce, super_packet_is_filled_to_the_last_byte)
{
	setup(ALL);
	for (int kind = 0; kind < 4; kind++) {
		struct packet_spec spec = packet_spec_plain(kind & 1 ? 4 : 6, IPPROTO_TCP, 1);
		size_t extra = kind & 2 ? 1 : 0, left = TUN_PACKET_MAX - packet_header_length(&spec) - 50 * 1300;

		for (int i = 0; i < 50; i++)
			add_next(&spec, 1300);
		add_next(&spec, left + extra);
		finish();
		cr_assert_eq(frame_count, 1 + extra);
		check_arena_comes_back();
		restart();
	}
}

Test(coalesce, small_packets_end_at_what_one_write_takes)
{
	struct packet_spec tcp = packet_spec_plain(6, IPPROTO_TCP, 1), udp = packet_spec_plain(6, IPPROTO_UDP, 1);

	setup(ALL);
	for (int i = 0; i < IOV_MAX + 9; i++)
		add_next(&tcp, 1);
	EXPECT_PACKETS(IOV_MAX - 1, 10);
	check_arena_comes_back();
	restart();
	for (int i = 0; i < 150; i++)
		add_next(&udp, 20);
	EXPECT_PACKETS(64, 64, 22);
	check_arena_comes_back();
}

Test(coalesce, interleaved_flows_merge_each_in_the_order_of_their_first)
{
	struct packet_spec specs[20];

	setup(ALL);
	for (uint8_t i = 0; i < 20; i++)
		specs[i] = packet_spec_plain(i & 1 ? 4 : 6, i & 2 ? IPPROTO_TCP : IPPROTO_UDP, i);
	for (int round = 0; round < 30; round++)
		for (size_t i = 0; i < 20; i++)
			add_next(&specs[i], 50 + i);
	finish();
	cr_assert_eq(frame_count, 20);
	for (size_t i = 0; i < 20; i++) {
		cr_assert_eq(frames[i].packets, 30);
		cr_assert_eq(header_of(&frames[i]).gso_size, 50 + i);
	}
}

/* A fragment may belong to any flow between its addresses: what comes behind it stays behind it. */
Test(coalesce, packet_without_ports_is_not_overtaken)
{
	setup(ALL);
	for (int kind = 0; kind < 3; kind++) {
		uint8_t version = kind == 2 ? 6 : 4;
		struct packet_spec near = packet_spec_plain(version, IPPROTO_UDP, 1), other = near,
				   far = packet_spec_plain(version, IPPROTO_UDP, 7);
		other.source_port++;

		for (int i = 0; i < 2; i++) {
			add_next(&near, SIZE);
			add_next(&other, SIZE);
			add_next(&far, SIZE);
		}
		size_t length = packet_build(&near, pristine, 30, arena + arena_used);
		if (kind == 0)
			store_be16(arena + arena_used + 6, 0x2000);
		else
			arena[arena_used + (version == 4 ? 9 : 6)] =
				kind == 1 ? IPPROTO_ICMP : IPPROTO_DSTOPTS; /* no ports that one could read */
		add_raw(length);
		for (int i = 0; i < 2; i++) {
			add_next(&near, SIZE);
			add_next(&other, SIZE);
			add_next(&far, SIZE);
		}
		EXPECT_PACKETS(2, 2, 4, 1, 2, 2);
		cr_assert_eq(header_of(&frames[3]).flags, 0);
		restart();

		/* The next batch knows nothing of it, also when it has a fence of its own elsewhere. */
		length = packet_build(&far, pristine, 30, arena);
		arena[version == 4 ? 9 : 6] = IPPROTO_ESP;
		add_raw(length);
		for (int i = 0; i < 4; i++) {
			add_next(&near, SIZE);
			add_next(&other, SIZE);
		}
		EXPECT_PACKETS(1, 4, 4);
		restart();
	}
}

Test(coalesce, full_batch_says_so_and_can_start_again)
{
	struct packet_spec spec = packet_spec_plain(4, IPPROTO_UDP, 1);
	struct inner inner;
	size_t count;

	spec.dont_fragment = false;
	coalescer = coalescer_new(3, ALL);
	size_t length = packet_build(&spec, pristine, SIZE, arena);
	cr_assert(inner_parse(&inner, arena, length));
	for (int batch = 0; batch < 5; batch++) {
		for (int i = 0; i < 3; i++)
			cr_assert(coalescer_add(coalescer, &inner));
		cr_assert_not(coalescer_add(coalescer, &inner));
		coalescer_frames(coalescer, &count);
		cr_assert_eq(count, 3); /* the same ID three times */
		coalescer_reset(coalescer);
	}
	coalescer_frames(coalescer, &count);
	cr_assert_eq(count, 0);
	coalescer_free(NULL);
}

/* Slots are not cleared between batches: what they remember must not matter. */
Test(coalesce, batches_do_not_know_each_other)
{
	setup(ALL);
	for (uint8_t batch = 0; batch < 200; batch++) {
		struct packet_spec specs[3];
		for (uint8_t i = 0; i < 3; i++)
			specs[i] = packet_spec_plain(4, IPPROTO_UDP, (uint8_t)(batch * 2 + i));
		for (int round = 0; round < 4; round++)
			for (size_t i = 0; i < 3; i++)
				add_next(&specs[(i + batch) % 3], SIZE);
		EXPECT_PACKETS(4, 4, 4);
		restart();
	}
}

/* More flows than slots: some lose their merging, none its order or a packet. */
Test(coalesce, thousands_of_flows_in_one_batch)
{
	static struct packet_spec specs[BATCH / 2];
	uint32_t packets = 0;

	setup(ALL);
	for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
		specs[i] = packet_spec_plain(4, IPPROTO_UDP, 1);
		specs[i].source_port = (uint16_t)(1000 + i);
	}
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < ARRAY_SIZE(specs); i++)
			add_next(&specs[i], 10);
	finish();
	for (size_t i = 0; i < frame_count; i++)
		packets += frames[i].packets;
	cr_assert_eq(packets, BATCH);
	cr_assert_lt(frame_count, ARRAY_SIZE(specs) * 5 / 4);
}
