// SPDX-License-Identifier: Apache-2.0
/* The counters of frames read from the TUN: a TUN reader and a worker that reads the TUN itself count alike. A dropped
 * frame is counted as read, too. */
#pragma once

#include "perf/record/stats.h"
#include "tun/segment.h"

/* A frame was read that becomes so many packets of an inner IP length of `bytes` together. */
static inline void frame_stats_read(struct stats *stats, uint32_t packets, uint32_t bytes)
{
	stats_add(stats, tun_rx_frames, 1);
	stats_add(stats, tun_rx_packets, packets);
	stats_add(stats, tun_rx_bytes, bytes);
}

/* A frame of a sparse flow was read: it counts by the segments that it names itself. */
static inline void frame_stats_sparse(struct stats *stats, const struct inner *packet)
{
	struct virtio_net_hdr offload = frame_offload(packet);
	stats_add(stats, sparse_packets, segment_count(packet, &offload));
}

/* A frame is dropped before it was cut: it counts by the segments that it names itself. */
static inline void frame_stats_drop(struct stats *stats, const struct inner *packet, enum drop_reason reason)
{
	struct virtio_net_hdr offload = frame_offload(packet);
	uint32_t packets = segment_count(packet, &offload);
	frame_stats_read(stats, packets, packet->length);
	stats_drop(stats, reason, packets);
}

/* A frame of `length` bytes holds no packet: frame_parse() failed. */
static inline void frame_stats_malformed(struct stats *stats, uint32_t length)
{
	frame_stats_read(stats, 1, length > VNET_HEADER_SIZE ? length - VNET_HEADER_SIZE : 0);
	stats_drop(stats, DROP_OUT_MALFORMED, 1);
}
