// SPDX-License-Identifier: Apache-2.0
/* What the packet arithmetic of tun/ costs, hot in cache: checksum, segmentation, coalescing. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "perf/bench/micro.h"
#include "tun/checksum.h"
#include "tun/coalesce.h"
#include "tun/segment.h"

enum { SEGMENTS = 47, SEGMENT_PAYLOAD = 1368, HEADERS = 20 + 32, MTU = HEADERS + SEGMENT_PAYLOAD };

struct bench {
	uint8_t original[TUN_FRAME_MAX]; /* the super-packet as the kernel yields it */
	uint8_t frame[TUN_FRAME_MAX];
	uint8_t packets[SEGMENTS][MTU + 9]; /* 9 bytes of tunnel header, so nothing is aligned */
	struct coalescer *coalescer;
	size_t length; /* of what checksum() sums */
};

static void checksum(void *context)
{
	const struct bench *bench = context;
	uint64_t sum = checksum_add(bench->original + 9, bench->length, 0);

	MICRO_KEEP(sum);
}

/* A TCP super-packet with timestamps, as one iperf3 stream makes them. */
static void make_super_packet(struct bench *bench)
{
	struct virtio_net_hdr header = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.gso_size = SEGMENT_PAYLOAD,
		.csum_start = 20,
		.csum_offset = TCP_AT_CHECKSUM,
	};
	uint8_t *ip = bench->original + VNET_HEADER_SIZE, *tcp = ip + 20;
	uint32_t length = HEADERS + SEGMENTS * SEGMENT_PAYLOAD;

	for (size_t i = 0; i < sizeof bench->original; i++)
		bench->original[i] = (uint8_t)(i * 7 >> 3);
	memcpy(bench->original, &header, sizeof header);
	memcpy(ip, (const uint8_t[]){0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, IPPROTO_TCP, 0, 0, 10, 8, 0, 1, 10, 8, 0, 2},
	       20);
	store_be16(ip + IPV4_AT_LENGTH, (uint16_t)length);
	tcp[TCP_AT_DATA_OFFSET] = 32 / 4 << 4;
	tcp[TCP_AT_FLAGS] = 0x10;
	uint16_t partial = checksum_fold(checksum_pseudo(4, ip, length - 20, IPPROTO_TCP));
	memcpy(tcp + TCP_AT_CHECKSUM, &partial, sizeof partial);
	memcpy(bench->frame, bench->original, sizeof bench->frame);
}

/* Only the first headers have to come back: what the others overwrite is payload. */
static uint32_t segment_start_again(struct bench *bench, struct segmenter *segmenter)
{
	memcpy(bench->frame, bench->original, VNET_HEADER_SIZE + HEADERS);
	if (segment_start(segmenter, bench->frame, VNET_HEADER_SIZE + HEADERS + SEGMENTS * SEGMENT_PAYLOAD, MTU))
		abort();
	return segmenter->count;
}

static void segment(void *context)
{
	struct bench *bench = context;
	struct segmenter segmenter;
	uint8_t *packet;
	uint32_t length;

	segment_start_again(bench, &segmenter);
	while (segment_next(&segmenter, &packet, &length))
		MICRO_KEEP(packet);
}

static void make_packets(struct bench *bench)
{
	struct segmenter segmenter;
	uint8_t *packet;
	uint32_t length;

	if (segment_start_again(bench, &segmenter) != SEGMENTS)
		abort();
	for (size_t i = 0; segment_next(&segmenter, &packet, &length); i++)
		memcpy(bench->packets[i] + 9, packet, length);
}

static void coalesce(void *context)
{
	struct bench *bench = context;
	uint8_t *head = bench->packets[0] + 9, headers[HEADERS];
	size_t count;

	memcpy(headers, head, sizeof headers);
	for (size_t i = 0; i < SEGMENTS; i++) {
		struct inner inner;
		if (!inner_parse(&inner, bench->packets[i] + 9, MTU) || !coalescer_add(bench->coalescer, &inner))
			abort();
	}
	coalescer_frames(bench->coalescer, &count);
	if (count != 1)
		abort();
	coalescer_reset(bench->coalescer);
	memcpy(head, headers, sizeof headers);
}

int main(void)
{
	static const size_t lengths[] = {64, 576, 1388};
	struct bench *bench = calloc(1, sizeof *bench);

	struct coalescer *coalescer = coalescer_new(SEGMENTS, (struct tun_offloads){.checksum = true, .tso = true});

	if (!bench || !coalescer)
		abort();
	bench->coalescer = coalescer;
	make_super_packet(bench);
	make_packets(bench);

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		char name[32];
		snprintf(name, sizeof name, "checksum, %zu bytes", lengths[i]);
		bench->length = lengths[i];
		micro_report(name, checksum, bench, 2000, 1);
	}
	micro_report("segment TCP, each of 47 of 1368 bytes", segment, bench, 20, SEGMENTS);
	micro_report("verify and coalesce the same, each", coalesce, bench, 20, SEGMENTS);

	coalescer_free(coalescer);
	free(bench);
	return 0;
}
