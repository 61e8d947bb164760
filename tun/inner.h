// SPDX-License-Identifier: Apache-2.0
/* A parsed look at one inner IP packet. Everything that reads inner headers starts here: lengths are checked once. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/ip.h"

/* Where the fields lie that are read or patched here and above, in bytes from the start of their header. */
enum {
	IPV4_AT_TOS = 1,
	IPV4_AT_LENGTH = 2,
	IPV4_AT_ID = 4,
	IPV4_AT_FRAGMENT = 6, /* flags and offset */
	IPV4_AT_TTL = 8,
	IPV4_AT_PROTOCOL = 9,
	IPV4_AT_CHECKSUM = 10,
	IPV4_AT_SOURCE = 12,
	IPV4_AT_DESTINATION = 16,
	IPV4_HEADER_MIN = 20,
	IPV6_AT_LENGTH = 4, /* of what follows the header */
	IPV6_AT_NEXT_HEADER = 6,
	IPV6_AT_HOP_LIMIT = 7,
	IPV6_AT_SOURCE = 8,
	IPV6_AT_DESTINATION = 24,
	IPV6_HEADER_LENGTH = 40,
	TCP_AT_SEQUENCE = 4,
	TCP_AT_ACKNOWLEDGEMENT = 8,
	TCP_AT_DATA_OFFSET = 12,
	TCP_AT_FLAGS = 13,
	TCP_AT_WINDOW = 14,
	TCP_AT_CHECKSUM = 16,
	TCP_AT_URGENT = 18,
	TCP_HEADER_MIN = 20,
	UDP_AT_LENGTH = 4,
	UDP_AT_CHECKSUM = 6,
	UDP_HEADER_LENGTH = 8,
};

struct inner {
	uint8_t *data;	      /* the IP header */
	uint32_t length;      /* of the IP packet in bytes; equals the IP header's own length field */
	uint8_t version;      /* 4 or 6 */
	uint8_t protocol;     /* IPv4 protocol or IPv6 next header (extension headers are not walked) */
	uint8_t ip_length;    /* bytes of IP header: 20…60 or 40 */
	uint8_t upper_length; /* bytes of TCP (20…60) or UDP (8) header; 0 for all else and for fragments */
	bool fragment;	      /* IPv4 with MF or an offset; IPv6 with a fragment header first */
};

/* Checks version, header lengths and that the IP length field equals `length` (super-packets too: their IP length field
 * is that of the whole, except 0 in IPv6 when it does not fit). For TCP and UDP also that the upper header lies inside.
 * False: not an IP packet that can be forwarded. Reads at most `length` bytes. */
bool inner_parse(struct inner *inner, void *data, size_t length);

/* Bytes of the TCP (20…60) or UDP (8) header at `upper`, or 0 when it does not lie inside the `left` bytes there. */
uint8_t inner_upper_length(const uint8_t *upper, size_t left, uint8_t protocol);

/* Source and destination as they stand in the header: 4 or 16 bytes. */
static inline const uint8_t *inner_source_bytes(const struct inner *inner)
{
	return inner->data + (inner->version == 4 ? 12 : 8);
}

static inline const uint8_t *inner_destination_bytes(const struct inner *inner)
{
	return inner->data + (inner->version == 4 ? 16 : 24);
}

/* Source and destination as values. */
void inner_source(const struct inner *inner, struct ip_address *address);
void inner_destination(const struct inner *inner, struct ip_address *address);

/* Whether the upper checksum (TCP, UDP, and for IPv4 the header's) is right over the whole packet. An IPv4 UDP checksum
 * of zero counts as absent, not as right. False for other protocols and for fragments. */
bool inner_checksum_ok(const struct inner *inner);
