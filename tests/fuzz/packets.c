// SPDX-License-Identifier: Apache-2.0
/* Inner packets as an authentic but malicious client sends them: parsing, ECN, MSS, ICMP and coalescing; and that
 * segmentation takes apart what coalescing put together, byte for byte but for IPv4 IDs under DF. */
#include <netinet/in.h>

#include "tests/fuzz/input.h"
#include "tests/harness/frames.h"
#include "tests/harness/packets.h"
#include "tun/coalesce.h"
#include "tun/ecn.h"
#include "tun/icmp.h"
#include "tun/mss.h"

enum { PACKETS = 16, ROOM = 2048 };

static const struct tun_offloads all_offloads = {.checksum = true, .tso = true, .uso = true};

struct batch {
	uint8_t data[PACKETS][ROOM], original[PACKETS][ROOM];
	size_t length[PACKETS];
	size_t count;
	bool given[PACKETS]; /* back */
};

static void look_at(struct input *input, const struct inner *inner)
{
	uint8_t frame[ICMP_FRAME_MAX];
	struct ip_address from = {.family = inner->version, .bytes = {10, 8, 0, 1}};
	size_t length = icmp_too_big(inner, input_u16(input), &from, frame, sizeof frame);
	insist(length <= sizeof frame, "an ICMP message fits");
	struct inner error;
	insist(length == 0 || inner_parse(&error, frame + VNET_HEADER_SIZE, length - VNET_HEADER_SIZE),
	       "an ICMP message is a packet");
	(void)ecn_decapsulate(inner, input_byte(input) & 3);
	(void)mss_clamp(inner, input_u16(input), input_byte(input) & 1);
}

/* One packet, perhaps with its checksums mended: random bytes alone would never get as far as merging. */
static void take_packet(struct input *input, struct coalescer *coalescer, struct batch *batch)
{
	uint8_t *data = batch->data[batch->count];
	struct inner inner;
	size_t length = input_bytes(input, data, ROOM);
	uint8_t how = input_byte(input);
	bool mend = how & 1;
	if (how & 2 ? !inner_parse_padded(&inner, data, length) : !inner_parse(&inner, data, length))
		return;
	insist(inner.length <= length, "no more than there is");
	length = inner.length;
	look_at(input, &inner);
	if (mend && inner.upper_length != 0 && !inner.fragment)
		packet_finish(data, length);
	memcpy(batch->original[batch->count], data, length);
	batch->length[batch->count] = length;
	insist(coalescer_add(coalescer, &inner), "there is room");
	batch->count++;
}

/* Each packet that went in comes out once, `index` is its place in its frame. Packets of one flow keep their order,
 * others may pass them. */
static void give_back(struct batch *batch, const uint8_t *packet, size_t length, size_t index)
{
	for (size_t i = 0; i < batch->count; i++) {
		if (batch->given[i] || batch->length[i] != length ||
		    !packet_came_back(packet, batch->original[i], length, index))
			continue;
		batch->given[i] = true;
		return;
	}
	insist(false, "segmentation gives back what was merged");
}

static void take_apart(struct batch *batch, const struct tun_frame *frame)
{
	static uint8_t flat[TUN_FRAME_MAX];
	struct segmenter segmenter;
	size_t length = packet_flatten(frame->iov, frame->iov_count, flat, sizeof flat);
	insist(length != 0, "a frame is not longer than frames are");
	enum segment_status status = frame_segment(&segmenter, flat, length, TUN_PACKET_MAX);
	if (status != SEGMENT_OK) {
		insist(frame->packets == 1, "what was merged can be segmented");
		give_back(batch, flat + VNET_HEADER_SIZE, length - VNET_HEADER_SIZE, 0);
		return;
	}
	insist(segmenter.count == frame->packets, "as many packets as were merged");
	uint8_t *packet;
	uint32_t packet_length;
	for (size_t i = 0; segment_next(&segmenter, &packet, &packet_length); i++)
		give_back(batch, packet, packet_length, i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct coalescer *coalescer;
	static struct batch batch;
	if (coalescer == NULL)
		coalescer = coalescer_new(PACKETS, all_offloads);
	insist(coalescer != NULL, "memory");
	struct input input = {data, size};
	batch.count = 0;
	memset(batch.given, 0, sizeof batch.given);
	while (input.left > 0 && batch.count < PACKETS)
		take_packet(&input, coalescer, &batch);
	size_t frames;
	const struct tun_frame *frame = coalescer_frames(coalescer, &frames);
	for (size_t i = 0; i < frames; i++)
		take_apart(&batch, &frame[i]);
	coalescer_reset(coalescer);
	for (size_t i = 0; i < batch.count; i++)
		insist(batch.given[i], "every packet comes out again");
	return 0;
}
