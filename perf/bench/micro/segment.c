// SPDX-License-Identifier: Apache-2.0
/* What the packet arithmetic of tun/ costs, hot in cache: checksum, segmentation, coalescing. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "perf/bench/micro/micro.h"
#include "tun/checksum.h"
#include "tun/coalesce.h"
#include "tun/segment.h"

enum { SEGMENTS = 47, SEGMENT_PAYLOAD = 1368, HEADERS = 20 + 32, MTU = HEADERS + SEGMENT_PAYLOAD };

struct bench {
	uint8_t original[TUN_FRAME_MAX]; /* the super-packet as the kernel yields it */
	uint8_t frame[TUN_FRAME_MAX];
	uint8_t packets[SEGMENTS][MTU + 9]; /* 9 bytes of tunnel header, so nothing is aligned */
	struct coalescer *coalescer;
	size_t length;		/* of what checksum() sums */
	size_t flows;		/* whose packets came in turn; SEGMENTS: nothing can be merged */
	uint32_t packet_length; /* of all packets */
};

static void checksum(void *context)
{
	const struct bench *bench = context;
	uint64_t sum = checksum_add(bench->original + 9, bench->length, 0);

	MICRO_KEEP(sum);
}

/* A TCP super-packet with timestamps, as one iperf3 stream makes them; or, without payload, an acknowledgement. */
static void make_super_packet(struct bench *bench, uint16_t port, uint32_t payload)
{
	struct virtio_net_hdr header = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = payload > 0 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_NONE,
		.gso_size = payload > 0 ? SEGMENT_PAYLOAD : 0,
		.csum_start = 20,
		.csum_offset = TCP_AT_CHECKSUM,
	};
	uint8_t *ip = bench->original + VNET_HEADER_SIZE, *tcp = ip + 20;
	uint32_t length = HEADERS + payload;

	for (size_t i = 0; i < sizeof bench->original; i++)
		bench->original[i] = (uint8_t)(i * 7 >> 3);
	memcpy(bench->original, &header, sizeof header);
	memcpy(ip, (const uint8_t[]){0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, IPPROTO_TCP, 0, 0, 10, 8, 0, 1, 10, 8, 0, 2},
	       20);
	store_be16(ip + IPV4_AT_LENGTH, (uint16_t)length);
	store_be16(tcp, port);
	tcp[TCP_AT_DATA_OFFSET] = 32 / 4 << 4;
	tcp[TCP_AT_FLAGS] = 0x10;
	uint16_t partial = checksum_fold(checksum_pseudo(4, ip, length - 20, IPPROTO_TCP));
	memcpy(tcp + TCP_AT_CHECKSUM, &partial, sizeof partial);
	memcpy(bench->frame, bench->original, sizeof bench->frame);
}

static void start(struct bench *bench, struct segmenter *segmenter, size_t length)
{
	struct inner packet;
	if (!frame_parse(&packet, bench->frame, VNET_HEADER_SIZE + length))
		abort();
	struct virtio_net_hdr offload = frame_offload(&packet);
	if (segment_start(segmenter, &packet, &offload, MTU) != SEGMENT_OK)
		abort();
}

/* Only the first headers have to come back: what the others overwrite is payload. */
static uint32_t segment_start_again(struct bench *bench, struct segmenter *segmenter)
{
	memcpy(bench->frame, bench->original, VNET_HEADER_SIZE + HEADERS);
	start(bench, segmenter, HEADERS + SEGMENTS * SEGMENT_PAYLOAD);
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

/* Packets of that many flows as they come in turn, all flows alike but for their port. */
static void make_packets(struct bench *bench, size_t flows)
{
	for (size_t flow = 0; flow < flows; flow++) {
		struct segmenter segmenter;
		uint8_t *packet;
		uint32_t length;

		make_super_packet(bench, (uint16_t)(1000 + flow), SEGMENTS * SEGMENT_PAYLOAD);
		if (segment_start_again(bench, &segmenter) != SEGMENTS)
			abort();
		for (size_t i = flow; segment_next(&segmenter, &packet, &length) && i < SEGMENTS; i += flows)
			memcpy(bench->packets[i] + 9, packet, length);
	}
	bench->flows = flows;
	bench->packet_length = MTU;
}

static void make_acknowledgements(struct bench *bench)
{
	struct segmenter segmenter;
	uint8_t *packet;
	uint32_t length;

	make_super_packet(bench, 1000, 0);
	start(bench, &segmenter, HEADERS);
	if (!segment_next(&segmenter, &packet, &length))
		abort();
	for (size_t i = 0; i < SEGMENTS; i++)
		memcpy(bench->packets[i] + 9, packet, length);
	bench->flows = SEGMENTS;
	bench->packet_length = length;
}

/* The headers of the first packet of each flow become a super-packet's: they are put back. */
static void coalesce(void *context)
{
	struct bench *bench = context;
	uint8_t headers[SEGMENTS][HEADERS];
	size_t count;

	for (size_t i = 0; i < bench->flows; i++)
		memcpy(headers[i], bench->packets[i] + 9, HEADERS);
	for (size_t i = 0; i < SEGMENTS; i++) {
		struct inner inner;
		if (!inner_parse(&inner, bench->packets[i] + 9, bench->packet_length) ||
		    !coalescer_add(bench->coalescer, &inner))
			abort();
	}
	coalescer_frames(bench->coalescer, &count);
	if (count != bench->flows)
		abort();
	coalescer_reset(bench->coalescer);
	for (size_t i = 0; i < bench->flows; i++)
		memcpy(bench->packets[i] + 9, headers[i], HEADERS);
}

int main(void)
{
	static const size_t lengths[] = {64, 576, 1388};
	struct bench *bench = calloc(1, sizeof *bench);

	struct coalescer *coalescer = coalescer_new(SEGMENTS, (struct tun_offloads){.checksum = true, .tso = true});

	if (!bench || !coalescer)
		abort();
	bench->coalescer = coalescer;
	make_packets(bench, 1);

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		char name[32];
		snprintf(name, sizeof name, "checksum, %zu bytes", lengths[i]);
		bench->length = lengths[i];
		micro_report(name, checksum, bench, 2000, 1);
	}
	micro_report("segment TCP, each of 47 of 1368 bytes", segment, bench, 20, SEGMENTS);
	micro_report("verify and coalesce the same, each", coalesce, bench, 20, SEGMENTS);
	make_packets(bench, 8);
	micro_report("verify and coalesce, 8 flows in turn, each", coalesce, bench, 20, SEGMENTS);
	make_acknowledgements(bench);
	micro_report("verify acknowledgements, not merged, each", coalesce, bench, 20, SEGMENTS);

	coalescer_free(coalescer);
	free(bench);
	return 0;
}
