// SPDX-License-Identifier: Apache-2.0
#include "tun/segment.h"

#include <criterion/criterion.h>
#include <string.h>

#include "core/base/bytes.h"
#include "tests/harness/frames.h"
#include "tests/harness/packets.h"

enum { IP = VNET_HEADER_SIZE, MTU = 1420 };

static uint8_t frame[TUN_FRAME_MAX + 500], payload[TUN_PACKET_MAX + 200], expected[TUN_PACKET_MAX + 500];
static struct segmenter segmenter;

static void set_header(const struct virtio_net_hdr *header)
{
	memcpy(frame, header, sizeof *header);
}

static struct virtio_net_hdr get_header(void)
{
	struct virtio_net_hdr header;
	memcpy(&header, frame, sizeof header);
	return header;
}

/* The naive segmenter: builds packet `index` of the super-packet from its spec. */
static size_t naive_segment(const struct packet_spec *super, size_t payload_length, size_t size, size_t index)
{
	struct packet_spec spec = *super;
	size_t start = index * size, left = payload_length - start;

	spec.id = (uint16_t)(spec.id + index);
	spec.sequence += (uint32_t)start;
	if (index)
		spec.tcp_flags &= (uint8_t)~TEST_TCP_CWR;
	if (left > size)
		spec.tcp_flags &= (uint8_t) ~(TEST_TCP_FIN | TEST_TCP_PSH);
	return packet_build(&spec, payload + start, left < size ? left : size, expected);
}

/* Segments what stands in `frame` and compares every packet and every promise with the naive segmenter. */
static void check_super(const struct packet_spec *spec, size_t length, size_t payload_length, size_t size, uint32_t max)
{
	size_t header = packet_header_length(spec), given = 0;
	uint32_t count = 0, packet_length;
	uint8_t *packet;

	cr_assert_eq(frame_segment(&segmenter, frame, length, max), SEGMENT_OK);
	uint32_t total = segmenter.total_bytes;
	while (segment_next(&segmenter, &packet, &packet_length)) {
		size_t right = naive_segment(spec, payload_length, size, count);
		cr_assert_eq(packet_length, right, "packet %u: %u bytes, not %zu", count, packet_length, right);
		cr_assert(!memcmp(packet, expected, right), "packet %u of %u differs", count, segmenter.count);
		cr_assert(packet_is_right(packet, packet_length));
		cr_assert_leq(packet_length, max);
		if (count + 1 < segmenter.count)
			cr_assert_eq(packet_length, segmenter.packet_length);
		cr_assert_leq(packet_length, segmenter.packet_length);
		given += packet_length;
		count++;
	}
	cr_assert_eq(count, payload_length ? (payload_length + size - 1) / size : 1);
	cr_assert_eq(count, segmenter.count);
	cr_assert_eq(given, total);
	cr_assert_eq(given, payload_length + count * header);
	cr_assert_not(segment_next(&segmenter, &packet, &packet_length));
}

static void fill_payload(uint64_t seed)
{
	struct random random = {.state = seed};
	random_fill(&random, payload, sizeof payload);
}

static enum segment_status start(size_t length)
{
	return frame_segment(&segmenter, frame, length, MTU);
}

Test(segment, all_four_kinds_of_super_packet)
{
	fill_payload(1);
	for (int i = 0; i < 4; i++) {
		uint8_t version = i & 1 ? 6 : 4, protocol = i & 2 ? IPPROTO_TCP : IPPROTO_UDP;
		struct packet_spec spec = packet_spec_plain(version, protocol, 1);
		for (size_t bytes = 1; bytes <= 6001; bytes += 250)
			for (uint16_t size = 1; size <= 1201; size += 300) {
				size_t length = packet_build_frame(&spec, payload, bytes, size, frame);
				check_super(&spec, length, bytes, size, MTU);
			}
	}
}

Test(segment, largest_frame_of_the_kernel)
{
	fill_payload(2);
	for (uint8_t version = 4; version <= 6; version += 2) {
		struct packet_spec spec = packet_spec_plain(version, IPPROTO_TCP, 1);
		spec.tcp_options_length = 12;
		size_t bytes = TUN_PACKET_MAX - packet_header_length(&spec);
		size_t length = packet_build_frame(&spec, payload, bytes, 1348, frame);
		check_super(&spec, length, bytes, 1348, MTU);
	}
}

/* Such a frame's own IPv6 length is 0; a segment's never may be. */
Test(segment, ipv6_beyond_its_length_field_is_cut_to_fit)
{
	struct packet_spec spec = packet_spec_plain(6, IPPROTO_TCP, 1);
	size_t bytes = TUN_PACKET_MAX + 100;

	fill_payload(17);
	size_t length = packet_build_frame(&spec, payload, bytes, 65535, frame);
	store_be16(frame + IP + 4, 0);
	check_super(&spec, length, bytes, TUN_PACKET_MAX - 60, 100000);
}

Test(segment, ipv4_ids_and_sequence_numbers_wrap)
{
	struct packet_spec spec = packet_spec_plain(4, IPPROTO_TCP, 1);

	fill_payload(3);
	spec.id = 0xfffe;
	spec.sequence = 0xfffffff0;
	check_super(&spec, packet_build_frame(&spec, payload, 500, 100, frame), 500, 100, MTU);
}

Test(segment, every_combination_of_tcp_flags)
{
	struct packet_spec spec = packet_spec_plain(6, IPPROTO_TCP, 1);

	fill_payload(4);
	for (unsigned flags = 0; flags < 256; flags++) {
		spec.tcp_flags = (uint8_t)flags;
		check_super(&spec, packet_build_frame(&spec, payload, 250, 100, frame), 250, 100, MTU);
	}
}

/* CWR without the type's ECN bit: still only the first segment has the bit, since the window was reduced once. */
Test(segment, cwr_stays_on_the_first_without_the_ecn_bit)
{
	struct packet_spec spec = packet_spec_plain(4, IPPROTO_TCP, 1);

	fill_payload(5);
	spec.tcp_flags |= TEST_TCP_CWR;
	size_t length = packet_build_frame(&spec, payload, 250, 100, frame);
	struct virtio_net_hdr header = get_header();
	cr_assert_eq(header.gso_type, VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN);
	header.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	set_header(&header);
	check_super(&spec, length, 250, 100, MTU);
}

Test(segment, options_of_every_length_are_repeated)
{
	struct packet_spec spec = packet_spec_plain(4, IPPROTO_TCP, 1);

	fill_payload(6);
	memset(spec.ip_options, 1, sizeof spec.ip_options);
	memset(spec.tcp_options, 0x5c, sizeof spec.tcp_options);
	for (uint8_t ip = 0; ip <= 40; ip += 4)
		for (uint8_t tcp = 0; tcp <= 40; tcp += 4) {
			spec.ip_options_length = ip;
			spec.tcp_options_length = tcp;
			/* Segments smaller than the headers that are written in front of them. */
			check_super(&spec, packet_build_frame(&spec, payload, 100, 7, frame), 100, 7, MTU);
		}
}

Test(segment, hdr_len_is_not_believed)
{
	static const uint16_t wrong[] = {0, 1, 20, 200, 65535};
	struct packet_spec spec = packet_spec_plain(4, IPPROTO_TCP, 1);

	fill_payload(7);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		size_t length = packet_build_frame(&spec, payload, 1000, 300, frame);
		struct virtio_net_hdr header = get_header();
		header.hdr_len = wrong[i];
		set_header(&header);
		check_super(&spec, length, 1000, 300, MTU);
	}
}

Test(segment, super_packet_without_needs_csum_gets_its_pseudo_header)
{
	fill_payload(8);
	for (int i = 0; i < 4; i++) {
		uint8_t version = i & 1 ? 6 : 4, protocol = i & 2 ? IPPROTO_TCP : IPPROTO_UDP;
		struct packet_spec spec = packet_spec_plain(version, protocol, 1);
		size_t length = packet_build_frame(&spec, payload, 1000, 300, frame);
		struct virtio_net_hdr header = get_header();

		header.flags = 0;
		header.csum_start = header.csum_offset = 0;
		set_header(&header);
		memset(frame + IP + (version == 4 ? 20 : 40) + (protocol == IPPROTO_TCP ? 16 : 6), 0xee, 2);
		check_super(&spec, length, 1000, 300, MTU);
	}
}

Test(segment, tcp_larger_than_the_session_takes_is_cut_smaller)
{
	struct packet_spec spec = packet_spec_plain(4, IPPROTO_TCP, 1);

	fill_payload(9);
	for (uint32_t max = 41; max < 600; max += 13)
		check_super(&spec, packet_build_frame(&spec, payload, 3000, 500, frame), 3000,
			    max - 40 < 500 ? max - 40 : 500, max);
	/* One segment by the kernel's count, and still too large. */
	check_super(&spec, packet_build_frame(&spec, payload, 3000, 9000, frame), 3000, MTU - 40, MTU);

	packet_build_frame(&spec, payload, 3000, 500, frame);
	cr_assert_eq(frame_segment(&segmenter, frame, IP + 3040, 40), SEGMENT_TOO_BIG);
	cr_assert_eq(frame_segment(&segmenter, frame, IP + 3040, 0), SEGMENT_TOO_BIG);
}

Test(segment, all_else_larger_than_the_session_takes_is_too_big)
{
	struct packet_spec udp = packet_spec_plain(6, IPPROTO_UDP, 1), tcp = packet_spec_plain(4, IPPROTO_TCP, 1);

	fill_payload(10);
	size_t length = packet_build_frame(&udp, payload, 3000, 500, frame);
	cr_assert_eq(frame_segment(&segmenter, frame, length, 547), SEGMENT_TOO_BIG);
	check_super(&udp, packet_build_frame(&udp, payload, 3000, 500, frame), 3000, 500, 548);
	/* A gso_size that the payload does not reach asks for nothing. */
	check_super(&udp, packet_build_frame(&udp, payload, 300, 500, frame), 300, 500, 348);

	length = packet_build_frame(&tcp, payload, 1381, 0, frame);
	cr_assert_eq(frame_segment(&segmenter, frame, length, MTU), SEGMENT_TOO_BIG);
	cr_assert_eq(frame_segment(&segmenter, frame, length, MTU + 1), SEGMENT_OK);
}

Test(segment, plain_packet_passes_untouched)
{
	static const uint8_t flags[] = {0, VIRTIO_NET_HDR_F_DATA_VALID};
	struct packet_spec spec = packet_spec_plain(4, IPPROTO_UDP, 1);
	uint8_t copy[200], *packet;
	uint32_t length;

	fill_payload(11);
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		size_t frame_length = packet_build_frame(&spec, payload, 100, 0, frame);
		struct virtio_net_hdr header = {.flags = flags[i]};
		set_header(&header);
		memset(frame + IP + 26, 0, 2); /* a wrong checksum stays wrong, an absent one absent */
		memcpy(copy, frame + IP, 128);
		cr_assert_eq(start(frame_length), SEGMENT_OK);
		cr_assert_eq(segmenter.count, 1);
		cr_assert_eq(segmenter.total_bytes, 128);
		cr_assert_eq(segmenter.packet_length, 128);
		cr_assert(segment_next(&segmenter, &packet, &length));
		cr_assert_eq(packet, frame + IP);
		cr_assert_eq(length, 128);
		cr_assert(!memcmp(packet, copy, 128));
		cr_assert_not(segment_next(&segmenter, &packet, &length));
	}
}

Test(segment, plain_packet_gets_the_checksum_it_needs)
{
	fill_payload(12);
	for (int i = 0; i < 4; i++)
		for (size_t bytes = 0; bytes < 100; bytes++) {
			uint8_t version = i & 1 ? 6 : 4, protocol = i & 2 ? IPPROTO_TCP : IPPROTO_UDP, *packet;
			struct packet_spec spec = packet_spec_plain(version, protocol, 1);
			size_t length = packet_build_frame(&spec, payload, bytes, 0, frame);
			uint32_t packet_length;

			cr_assert_eq(start(length), SEGMENT_OK);
			cr_assert(segment_next(&segmenter, &packet, &packet_length));
			cr_assert_eq(packet_length, packet_build(&spec, payload, bytes, expected));
			cr_assert(!memcmp(packet, expected, packet_length));
		}
}

/* A tunnel inside ours: UDP in UDP, where the kernel asks for the inner checksum, by csum_start alone. */
Test(segment, needs_csum_deep_inside_the_packet)
{
	struct packet_spec outer = packet_spec_plain(4, IPPROTO_UDP, 1), nested = packet_spec_plain(6, IPPROTO_TCP, 2);
	struct virtio_net_hdr header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 28 + 40, .csum_offset = 16};
	uint8_t tunnelled[200];

	fill_payload(13);
	size_t length = packet_build_frame(&nested, payload, 99, 0, frame) - IP;
	memcpy(tunnelled, frame + IP, length);
	length = packet_build(&outer, tunnelled, length, frame + IP);
	set_header(&header);
	cr_assert_eq(start(IP + length), SEGMENT_OK);
	cr_assert(packet_is_right(frame + IP + 28, length - 28));
}

Test(segment, checksum_that_comes_out_zero_is_sent_as_ones_by_udp_alone)
{
	for (int i = 0; i < 8; i++) {
		uint8_t version = i & 1 ? 6 : 4, protocol = i & 2 ? IPPROTO_TCP : IPPROTO_UDP, *packet;
		uint16_t gso = i & 4 ? 100 : 0;
		struct packet_spec spec = packet_spec_plain(version, protocol, 1);
		size_t at = packet_header_length(&spec), field = (version == 4 ? 20u : 40u) + (i & 2 ? 16u : 6u);
		uint8_t data[2] = {0, 0};
		uint32_t length;

		/* The payload takes the checksum's value; then there is nothing left for the field. */
		packet_build(&spec, data, 2, expected);
		memcpy(data, expected + field, 2);
		size_t frame_length = packet_build_frame(&spec, data, 2, gso, frame);
		cr_assert_eq(start(frame_length), SEGMENT_OK);
		cr_assert(segment_next(&segmenter, &packet, &length));
		cr_assert_eq(length, at + 2);
		cr_assert_eq(load_be16(packet + field), protocol == IPPROTO_UDP ? 0xffff : 0, "kind %d", i);
	}
}

/* TCP behind a destination-options header: csum_start alone says where it is. */
Test(segment, tcp_behind_ipv6_extension_headers)
{
	struct packet_spec spec = packet_spec_plain(6, IPPROTO_TCP, 1);
	static const uint8_t extension[8] = {IPPROTO_TCP, 0, 1, 4, 0, 0, 0, 0};
	uint8_t *packet;
	uint32_t packet_length, count = 0;

	fill_payload(14);
	size_t length = packet_build_frame(&spec, payload, 1000, 300, frame);
	memmove(frame + IP + 48, frame + IP + 40, length - IP - 40);
	memcpy(frame + IP + 40, extension, 8);
	frame[IP + 6] = IPPROTO_DSTOPTS;
	store_be16(frame + IP + 4, (uint16_t)(1020 + 8));
	struct virtio_net_hdr header = get_header();
	header.csum_start = 48;
	set_header(&header);

	cr_assert_eq(start(length + 8), SEGMENT_OK);
	cr_assert_eq(segmenter.count, 4);
	while (segment_next(&segmenter, &packet, &packet_length)) {
		size_t right = naive_segment(&spec, 1000, 300, count++);
		cr_assert_eq(packet_length, right + 8);
		cr_assert_eq(load_be16(packet + 4), packet_length - 40);
		cr_assert(!memcmp(packet + 40, extension, 8));
		cr_assert(!memcmp(packet + 48, expected + 40, right - 40), "packet %u", count);
	}

	/* Without NEEDS_CSUM nothing says where TCP starts. */
	header.flags = 0;
	store_be16(frame + IP + 4, (uint16_t)(1020 + 8));
	set_header(&header);
	cr_assert_eq(start(length + 8), SEGMENT_MALFORMED);
}

Test(segment, frames_that_contradict_themselves_are_malformed)
{
	enum { TCP4 = VIRTIO_NET_HDR_GSO_TCPV4, TCP6 = VIRTIO_NET_HDR_GSO_TCPV6, UDP = VIRTIO_NET_HDR_GSO_UDP_L4 };
	const uint8_t csum = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	const struct {
		const char *why;
		uint8_t version, protocol;
		struct virtio_net_hdr header;
	} cases[] = {
		{"TCP4 over IPv6", 6, IPPROTO_TCP, {csum, TCP4, 0, 100, 40, 16}},
		{"TCP6 over IPv4", 4, IPPROTO_TCP, {csum, TCP6, 0, 100, 20, 16}},
		{"TCP4 of UDP", 4, IPPROTO_UDP, {csum, TCP4, 0, 100, 20, 16}},
		{"UDP of TCP", 4, IPPROTO_TCP, {csum, UDP, 0, 100, 20, 6}},
		{"UDP with ECN", 4, IPPROTO_UDP, {csum, UDP | VIRTIO_NET_HDR_GSO_ECN, 0, 100, 20, 6}},
		{"ECN alone", 4, IPPROTO_TCP, {csum, VIRTIO_NET_HDR_GSO_ECN, 0, 100, 20, 16}},
		{"UFO, never offered", 4, IPPROTO_UDP, {csum, VIRTIO_NET_HDR_GSO_UDP, 0, 100, 20, 6}},
		{"unknown type", 4, IPPROTO_UDP, {csum, 2, 0, 100, 20, 6}},
		{"gso_size 0", 4, IPPROTO_TCP, {csum, TCP4, 0, 0, 20, 16}},
		{"csum_offset of UDP in TCP", 4, IPPROTO_TCP, {csum, TCP4, 0, 100, 20, 6}},
		{"csum_offset of TCP in UDP", 4, IPPROTO_UDP, {csum, UDP, 0, 100, 20, 16}},
		{"csum_start inside the IPv4 header", 4, IPPROTO_TCP, {csum, TCP4, 0, 100, 19, 16}},
		{"csum_start behind the IPv4 header", 4, IPPROTO_TCP, {csum, TCP4, 0, 100, 24, 16}},
		{"csum_start behind TCP's in IPv6", 6, IPPROTO_TCP, {csum, TCP6, 0, 100, 48, 16}},
		{"csum_start beyond the end", 6, IPPROTO_TCP, {csum, TCP6, 0, 100, 65535, 16}},
		{"plain: csum_start inside the IP header", 4, IPPROTO_UDP, {csum, 0, 0, 0, 19, 6}},
		{"plain: csum_start beyond the end", 4, IPPROTO_UDP, {csum, 0, 0, 0, 328, 0}},
		{"plain: field half beyond the end", 4, IPPROTO_UDP, {csum, 0, 0, 0, 20, 307}},
		{"plain: sum that overflows 16 bits", 4, IPPROTO_UDP, {csum, 0, 0, 0, 65535, 65535}},
	};

	memset(payload, 0x50, sizeof payload); /* looks like TCP's data offset wherever one looks */
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct packet_spec spec = packet_spec_plain(cases[i].version, cases[i].protocol, 1);
		size_t length = packet_build_frame(&spec, payload, 300, 100, frame);

		cr_assert_eq(start(length), SEGMENT_OK, "%s: before", cases[i].why);
		packet_build_frame(&spec, payload, 300, 100, frame);
		set_header(&cases[i].header);
		cr_assert_eq(start(length), SEGMENT_MALFORMED, "%s", cases[i].why);
	}
}

Test(segment, truncated_and_fragmented_super_packets_are_malformed)
{
	struct packet_spec spec = packet_spec_plain(4, IPPROTO_TCP, 1);
	size_t length = packet_build_frame(&spec, payload, 300, 100, frame);

	for (size_t cut = 0; cut < length; cut++)
		cr_assert_eq(start(cut), SEGMENT_MALFORMED, "%zu bytes", cut);
	cr_assert_eq(start(length + 1), SEGMENT_MALFORMED);
	frame[IP + 6] = 0x20;
	cr_assert_eq(start(length), SEGMENT_MALFORMED);
	frame[IP + 6] = 0;
	frame[IP + 32] = 0x40;
	cr_assert_eq(start(length), SEGMENT_MALFORMED);
}

/* What a frame stands for when it is dropped before a session's MTU is known. */
Test(segment, frames_are_counted_without_being_cut)
{
	struct packet_spec spec = packet_spec_plain(4, IPPROTO_UDP, 1);
	static uint8_t before[sizeof frame];
	static const struct {
		size_t payload;
		uint16_t gso_size;
		uint8_t gso_type; /* 0: as it is */
		uint32_t count;
	} cases[] = {
		{3000, 500, 0, 6}, {3001, 500, 0, 7}, {300, 500, 0, 1}, {20000, 0, 0, 1}, {3000, 500, 0x7f, 1},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t length = packet_build_frame(&spec, payload, cases[i].payload, cases[i].gso_size, frame);
		if (cases[i].gso_type != 0)
			frame[1] = cases[i].gso_type;
		memcpy(before, frame, length);
		struct inner packet;
		cr_assert(frame_parse(&packet, frame, length));
		struct virtio_net_hdr offload = frame_offload(&packet);
		cr_assert_eq(segment_count(&packet, &offload), cases[i].count, "case %zu", i);
		cr_assert_eq(memcmp(before, frame, length), 0, "nothing is written");
	}
}

Test(segment, super_packet_without_payload_is_one_packet)
{
	struct packet_spec spec = packet_spec_plain(4, IPPROTO_TCP, 1);

	spec.tcp_flags |= TEST_TCP_FIN | TEST_TCP_PSH | TEST_TCP_CWR;
	check_super(&spec, packet_build_frame(&spec, payload, 0, 100, frame), 0, 100, MTU);
}

Test(segment, random_headers_never_lead_out_of_the_frame)
{
	struct random random = {.state = 16};
	uint8_t *packet;
	uint32_t packet_length, accepted = 0;

	for (int i = 0; i < 50000; i++) {
		struct packet_spec spec = packet_spec_plain(random_chance(&random, 50) ? 4 : 6,
							    random_chance(&random, 50) ? IPPROTO_TCP : IPPROTO_UDP, 1);
		size_t length = packet_build_frame(&spec, payload, random_below(&random, 400), 100, frame);
		for (int n = 0; n < 3; n++) { /* a few bytes of the headers, one in four of the virtio-net one */
			size_t at = random_below(&random, random_chance(&random, 25) ? IP : IP + 80);
			frame[at] = (uint8_t)random_next(&random);
		}
		uint8_t *exact = malloc(length);
		memcpy(exact, frame, length);
		uint32_t max = 40 + random_below(&random, 500), total = 0, count = 0;
		if (frame_segment(&segmenter, exact, length, max) == SEGMENT_OK) {
			while (segment_next(&segmenter, &packet, &packet_length)) {
				cr_assert(packet >= exact && packet + packet_length <= exact + length);
				cr_assert_leq(packet_length, max);
				total += packet_length;
				count++;
			}
			cr_assert_eq(count, segmenter.count);
			cr_assert_eq(total, segmenter.total_bytes);
			accepted++;
		}
		free(exact);
	}
	cr_assert_gt(accepted, 5000);
}
