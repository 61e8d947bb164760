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

#include "tun/inner.h"
#include "tun/vnet.h"

enum segment_status {
	SEGMENT_OK,
	SEGMENT_MALFORMED, /* not an IP packet, or a virtio-net header that contradicts it */
	SEGMENT_TOO_BIG,   /* longer than max_packet and not TCP that could be cut smaller: answer with ICMP too-big */
};

enum { SEGMENT_HEADER_MAX = 192 /* IPv6 with extension headers; more is SEGMENT_MALFORMED */ };

struct segmenter {
	struct inner inner;	/* of the frame as it came; look at inner.data before the first segment_next() */
	uint32_t count;		/* packets that will come out; known from the start */
	uint32_t packet_length; /* bytes of each but the last, which is not longer */
	uint32_t total_bytes;	/* of all packets together, headers included */
	/* private from here on */
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
 * segment, FIN and PSH on the last. hdr_len is not believed, the headers tell their lengths; csum_start is, within
 * bounds, and finds TCP behind IPv6 extension headers. A checksum that nobody asks to complete passes untouched.
 *
 * Starts on a frame of `length` bytes at `frame`, which starts with the virtio-net header. No packet that comes out is
 * longer than `max_packet` bytes (a session's MTU): TCP super-packets are cut smaller than their gso_size asks if need
 * be; all else above it is SEGMENT_TOO_BIG. With SEGMENT_TOO_BIG `inner` is filled. */
enum segment_status segment_start(struct segmenter *segmenter, uint8_t *frame, size_t length, uint32_t max_packet);

/* The next packet, or false when all were given. `packet` points into the frame and is valid until the next call. */
bool segment_next(struct segmenter *segmenter, uint8_t **packet, uint32_t *length);
