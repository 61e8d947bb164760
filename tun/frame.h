// SPDX-License-Identifier: Apache-2.0
/* A frame read from the TUN: a virtio-net header, and right behind it an IP packet. The packet is parsed once, by the
 * thread that reads the frame (struct inner), and the virtio-net header once, by the worker that cuts it:
 *
 *   frame_parse     lengths and IP header: a packet that can be routed, in the TUN reader or in a worker without
 * readers frame_offload   what the kernel left to be done, in the worker: complete a checksum, cut a super-packet
 *   mss_clamp       tun/mss.h
 *   segment_start   tun/segment.h; what is too long for the session afterwards is fragmented (tun/fragment.h) or
 *                   answered (tun/icmp.h)
 *
 * A packet from frame_parse() has its virtio-net header in front of it in memory, wherever it is copied to. */
#pragma once

#include <string.h>

#include "tun/inner.h"
#include "tun/vnet.h"

/* Parses the packet in a frame of `length` bytes. False: no IP packet that can be forwarded. */
static inline bool frame_parse(struct inner *packet, uint8_t *frame, size_t length)
{
	return length >= VNET_HEADER_SIZE && inner_parse(packet, frame + VNET_HEADER_SIZE, length - VNET_HEADER_SIZE);
}

/* The virtio-net header in front of a packet from frame_parse(). Its fields are not checked: segment_start() does. */
static inline struct virtio_net_hdr frame_offload(const struct inner *packet)
{
	struct virtio_net_hdr offload;
	memcpy(&offload, packet->data - VNET_HEADER_SIZE, sizeof offload);
	return offload;
}

/* Whether the kernel left the checksum to be completed: the field holds the pseudo-header's sum. */
static inline bool frame_needs_checksum(const struct virtio_net_hdr *offload)
{
	return offload->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
}
