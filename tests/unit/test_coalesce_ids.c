// SPDX-License-Identifier: Apache-2.0
/* Which IPv4 IDs of consecutive packets make a super-packet, and what they are behind it: under DF they may stay the
 * same or count up (RFC 6864), without it they count up. */
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <string.h>

#include "core/base/bytes.h"
#include "tests/harness/frames.h"
#include "tests/harness/packets.h"
#include "tun/coalesce.h"

enum { PACKETS = 5, SIZE = 100, ROOM = PACKET_HEADERS_MAX + SIZE };

struct row {
	const char *what;
	bool dont_fragment;
	uint16_t ids[PACKETS];
	uint32_t frames[PACKETS]; /* packets of each; 0: no more frames */
	uint16_t come[PACKETS];	  /* the IDs that come out */
};

static const struct row rows[] = {
	{"DF, all 0: as an unconnected UDP socket sends", true, {0, 0, 0, 0, 0}, {5}, {0, 1, 2, 3, 4}},
	{"DF, all the same", true, {77, 77, 77, 77, 77}, {5}, {77, 78, 79, 80, 81}},
	{"DF, the same up to the last number", true, {65534, 65534, 65534, 65534, 65534}, {5}, {65534, 65535, 0, 1, 2}},
	{"DF, counting up", true, {7, 8, 9, 10, 11}, {5}, {7, 8, 9, 10, 11}},
	{"DF, counting up beyond the last number", true, {65534, 65535, 0, 1, 2}, {5}, {65534, 65535, 0, 1, 2}},
	{"DF, counting up and then the same", true, {7, 8, 8, 8, 9}, {2, 2, 1}, {7, 8, 8, 9, 9}},
	{"DF, the same and then counting up", true, {0, 0, 1, 2, 3}, {2, 3}, {0, 1, 1, 2, 3}},
	{"DF, counting down", true, {9, 8, 7, 6, 5}, {1, 1, 1, 1, 1}, {9, 8, 7, 6, 5}},
	{"DF, at random", true, {9, 80, 3, 3000, 5}, {1, 1, 1, 1, 1}, {9, 80, 3, 3000, 5}},
	{"no DF, all the same", false, {5, 5, 5, 5, 5}, {1, 1, 1, 1, 1}, {5, 5, 5, 5, 5}},
	{"no DF, counting up", false, {65534, 65535, 0, 1, 2}, {5}, {65534, 65535, 0, 1, 2}},
	{"no DF, one repeated", false, {5, 6, 6, 7, 8}, {2, 3}, {5, 6, 6, 7, 8}},
};

static uint8_t packets[PACKETS][ROOM], flat[TUN_FRAME_MAX];

static size_t add_all(struct coalescer *coalescer, const struct row *row, uint8_t protocol)
{
	struct packet_spec spec = packet_spec_plain(4, protocol, 1);
	static uint8_t payload[SIZE];
	size_t length = 0;

	spec.dont_fragment = row->dont_fragment;
	for (size_t i = 0; i < PACKETS; i++, spec.sequence += SIZE) {
		struct inner inner;
		spec.id = row->ids[i];
		memset(payload, (int)i, sizeof payload);
		length = packet_build(&spec, payload, SIZE, packets[i]);
		cr_assert(inner_parse(&inner, packets[i], length));
		cr_assert(coalescer_add(coalescer, &inner));
	}
	return length;
}

static void check(struct coalescer *coalescer, const struct row *row, uint8_t protocol)
{
	size_t count, came = 0, length = add_all(coalescer, row, protocol);
	const struct tun_frame *frames = coalescer_frames(coalescer, &count);

	for (size_t f = 0; f < count; f++) {
		struct segmenter segmenter;
		uint8_t *packet;
		uint32_t got;

		cr_assert_eq(frames[f].packets, row->frames[f], "%s, protocol %u: frame %zu has %u packets", row->what,
			     protocol, f, frames[f].packets);
		size_t frame = packet_flatten(frames[f].iov, frames[f].iov_count, flat, sizeof flat);
		cr_assert_eq(frame_segment(&segmenter, flat, frame, TUN_PACKET_MAX), SEGMENT_OK);
		for (; segment_next(&segmenter, &packet, &got); came++) {
			cr_assert_eq(got, length);
			cr_assert_eq(load_be16(packet + 4), row->come[came], "%s, protocol %u: packet %zu", row->what,
				     protocol, came);
			cr_assert_eq(packet[length - 1], came, "%s: in order", row->what);
			cr_assert(packet_is_right(packet, got), "%s: checksums", row->what);
		}
	}
	cr_assert_eq(came, PACKETS, "%s, protocol %u", row->what, protocol);
	coalescer_reset(coalescer);
}

Test(coalesce_ids, they_stay_or_count_up_under_df_and_count_up_without)
{
	struct coalescer *coalescer = coalescer_new(PACKETS,
						    (struct tun_offloads){.checksum = true, .tso = true, .uso = true});

	cr_assert_not_null(coalescer);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		check(coalescer, &rows[i], IPPROTO_UDP);
		check(coalescer, &rows[i], IPPROTO_TCP);
	}
	coalescer_free(coalescer);
}
