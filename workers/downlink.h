// SPDX-License-Identifier: Apache-2.0
/* What a worker that reads the TUN itself and a TUN reader do alike with a frame: look at it, count it, drop it. */
#pragma once

#include "perf/record/stats.h"
#include "tun/inner.h"
#include "tun/segment.h"
#include "tun/tun.h"

/* The packet in a frame (virtio-net header and IP packet); false when it is none. */
static inline bool downlink_parse(struct inner *inner, uint8_t *frame, uint32_t length)
{
	return length >= VNET_HEADER_SIZE && inner_parse(inner, frame + VNET_HEADER_SIZE, length - VNET_HEADER_SIZE);
}

/* A frame was read that stands for so many packets. */
static inline void downlink_count(struct stats *stats, uint32_t packets, uint32_t bytes)
{
	stats_add(stats, tun_rx_frames, 1);
	stats_add(stats, tun_rx_packets, packets);
	stats_add(stats, tun_rx_bytes, bytes);
}

/* Counts a frame as read and dropped; without a session to cut it for, by the segments that it names itself. May write
 * to the frame. */
static inline void downlink_drop(struct stats *stats, uint8_t *frame, uint32_t length, enum drop_reason reason)
{
	struct segmenter segmenter;
	bool cut = segment_start(&segmenter, frame, length, TUN_PACKET_MAX) == SEGMENT_OK;
	uint32_t packets = cut ? segmenter.count : 1;
	downlink_count(stats, packets, length > VNET_HEADER_SIZE ? length - VNET_HEADER_SIZE : 0);
	stats_drop(stats, reason, packets);
}
