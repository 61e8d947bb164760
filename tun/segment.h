// SPDX-License-Identifier: Apache-2.0
/* Segmentation: one frame from the TUN (virtio-net header and packet, maybe a super-packet) becomes the packets to
 * send.
 *
 * No payload is copied. Each segment's header is written in place, right in front of its payload, over the tail of the
 * segment before: take segment k (seal it elsewhere) before asking for segment k + 1. Checksums come out complete. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tun/frame.h"

enum segment_status {
	SEGMENT_OK,
	SEGMENT_MALFORMED, /* the virtio-net header contradicts the packet */
	SEGMENT_TOO_BIG,   /* longer than max_packet, and cannot be cut to fit: answered by ICMP too-big */
};

enum { SEGMENT_HEADER_MAX = 192 /* IPv6 with extension headers; more is SEGMENT_MALFORMED */ };

struct segmenter {
	uint32_t count;		/* packets that will come out; known from the start */
	uint32_t packet_length; /* bytes of each but the last, which is not longer */
	uint32_t total_bytes;	/* of all packets together, headers included */
	/* private from here on */
	struct inner packet;
	uint32_t index;
	uint32_t header_length;
	uint32_t upper_at; /* where TCP or UDP starts */
	uint32_t payload_size;
	uint32_t payload_left;
	uint8_t *payload;
	uint64_t ip_sum;    /* of the header fields that all segments share */
	uint64_t upper_sum; /* the same with the pseudo-header */
	uint32_t sequence;
	uint16_t ipv4_id;
	uint8_t tcp_flags;
	uint8_t protocol;		    /* of a super-packet: TCP or UDP; 0 for a plain packet */
	uint8_t header[SEGMENT_HEADER_MAX]; /* the fields that differ are zero */
};

/* What comes out is what the kernel's own segmentation makes of the frame: IPv4 IDs count up, CWR stays on the first
 * segment, FIN and PSH on the last. hdr_len is ignored, lengths come from the headers; csum_start is used, within
 * bounds, and finds TCP behind IPv6 extension headers. Without NEEDS_CSUM a plain packet's checksum is not touched.
 *
 * Starts on a packet from frame_parse() with its virtio-net header from frame_offload(). No packet that comes out is
 * longer than `max_packet` bytes (a session's MTU): TCP super-packets are cut smaller than their gso_size if need be;
 * anything else above it is SEGMENT_TOO_BIG. Writes to the packet: its checksum, when it is not a super-packet. */
enum segment_status segment_start(struct segmenter *segmenter, const struct inner *packet,
				  const struct virtio_net_hdr *offload, uint32_t max_packet);

/* How many packets the frame stands for by what it says itself, without a session's MTU; 1 when it contradicts itself.
 * Writes nothing: for frames that are dropped. */
uint32_t segment_count(const struct inner *packet, const struct virtio_net_hdr *offload);

/* The next packet, or false after the last. `packet` points into the frame and is valid until the next call. */
bool segment_next(struct segmenter *segmenter, uint8_t **packet, uint32_t *length);
