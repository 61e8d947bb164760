// SPDX-License-Identifier: Apache-2.0
/* Frames as a TUN might yield them, virtio-net header included: segmentation promises lengths and counts beforehand. */
#include "tests/harness/frames.h"
#include "tests/fuzz/input.h"
#include "tun/tun.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t frame[TUN_FRAME_MAX];
	struct input input = {data, size};
	uint32_t longest = 68 + input_u16(&input) % TUN_PACKET_MAX;
	size_t length = input.left < sizeof frame ? input.left : sizeof frame;
	if (length != 0)
		memcpy(frame, input.data, length);

	struct inner packet_in_frame;
	if (!frame_parse(&packet_in_frame, frame, length))
		return 0;
	struct virtio_net_hdr offload = frame_offload(&packet_in_frame);
	uint32_t counted = segment_count(&packet_in_frame, &offload);

	struct segmenter segmenter;
	if (frame_segment(&segmenter, frame, length, longest) != SEGMENT_OK)
		return 0;
	uint32_t count = 0, total = 0, packet_length, last = segmenter.packet_length;
	uint8_t *packet;
	while (segment_next(&segmenter, &packet, &packet_length)) {
		insist(packet >= frame && packet + packet_length <= frame + length, "a packet lies in the frame");
		insist(packet_length <= longest, "no packet is longer than asked for");
		insist(last == segmenter.packet_length && packet_length <= last, "all but the last are equally long");
		last = packet_length;
		total += packet_length;
		count++;
	}
	insist(count == segmenter.count, "as many packets as promised");
	insist(longest < TUN_PACKET_MAX || count == counted, "as many packets as counted");
	insist(total == segmenter.total_bytes, "as many bytes as promised");
	return 0;
}
