// SPDX-License-Identifier: Apache-2.0
/* Parsing of inner IP packets. Everything that reads inner headers starts here, and lengths are checked here alone. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/ip.h"
#include "tun/headers.h"

/* A packet and what its headers say, parsed once: on the way down by the thread that read the frame from the TUN
 * (tun/frame.h), on the way up by the worker that opened the datagram. It travels with the packet, also through the
 * frame ring (workers/frame_ring.h), and no later step parses again. ECN marking and MSS clamping change none of these
 * fields; segmentation, fragmentation and coalescing write headers of their own. */
struct inner {
	uint8_t *data;	       /* the IP header */
	uint32_t length;       /* of the IP packet in bytes; equals the IP header's own length field */
	uint8_t version : 4;   /* 4 or 6 */
	bool fragment : 1;     /* IPv4 with MF or an offset; IPv6 with a fragment header first */
	bool may_fragment : 1; /* IPv4 without DF */
	uint8_t protocol;      /* IPv4 protocol or IPv6 next header (extension headers are not walked) */
	uint8_t ip_length;     /* bytes of IP header: 20…60 or 40 */
	uint8_t upper_length;  /* bytes of TCP (20…60) or UDP (8) header; 0 for all else and for fragments */
};
_Static_assert(sizeof(struct inner) == 16, "half of a frame ring's entry");
/* Checks version, header lengths and that the IP length field equals `length` (super-packets too: their IP length field
 * is that of the whole, except 0 in IPv6 when it does not fit). For TCP and UDP also that the upper header lies inside.
 * False: not an IP packet that can be forwarded. Reads at most `length` bytes. */
bool inner_parse(struct inner *inner, void *data, size_t length);

/* The same for a packet that padding of any length may follow: its own header says how long it is. */
bool inner_parse_padded(struct inner *inner, void *data, size_t length);

/* Bytes of the TCP (20…60) or UDP (8) header at `upper`, or 0 when it does not lie inside the `left` bytes there. */
uint8_t inner_upper_length(const uint8_t *upper, size_t left, uint8_t protocol);

/* Source and destination as they stand in the header: 4 or 16 bytes. */
static inline const uint8_t *inner_source_bytes(const struct inner *inner)
{
	return inner->data + (inner->version == 4 ? IPV4_AT_SOURCE : IPV6_AT_SOURCE);
}

static inline const uint8_t *inner_destination_bytes(const struct inner *inner)
{
	return inner->data + (inner->version == 4 ? IPV4_AT_DESTINATION : IPV6_AT_DESTINATION);
}

/* Source and destination as values. */
void inner_source(const struct inner *inner, struct ip_address *address);
void inner_destination(const struct inner *inner, struct ip_address *address);

/* Whether the upper checksum (TCP, UDP, and for IPv4 the header's) is right over the whole packet. An IPv4 UDP checksum
 * of zero counts as absent, not as right. False for other protocols and for fragments. */
bool inner_checksum_ok(const struct inner *inner);
