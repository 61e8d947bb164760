// SPDX-License-Identifier: Apache-2.0
/* Frames on their way down: parsed and handed to segmentation, as a reader and a worker do together; and packets that
 * stand for arbitrary bytes in a frame ring. */
#pragma once

#include "tun/segment.h"

static inline enum segment_status frame_segment(struct segmenter *segmenter, uint8_t *frame, size_t length,
						uint32_t max_packet)
{
	struct inner packet;
	if (!frame_parse(&packet, frame, length))
		return SEGMENT_MALFORMED;
	struct virtio_net_hdr offload = frame_offload(&packet);
	return segment_start(segmenter, &packet, &offload, max_packet);
}

/* What a reader hands over for the `length` bytes at `frame`, VNET_HEADER_SIZE or more, if they were parsed so. */
static inline struct inner frame_unparsed(uint8_t *frame, uint32_t length, uint8_t protocol)
{
	return (struct inner){.data = frame + VNET_HEADER_SIZE,
			      .length = length - VNET_HEADER_SIZE,
			      .version = 4,
			      .protocol = protocol};
}
