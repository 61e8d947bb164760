// SPDX-License-Identifier: Apache-2.0
/* A parsed look at one inner IP packet. Everything that reads inner headers starts here: lengths are checked once. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/ip.h"

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

/* Source and destination as values. */
void inner_source(const struct inner *inner, struct ip_address *address);
void inner_destination(const struct inner *inner, struct ip_address *address);

/* Whether the upper checksum (TCP, UDP, and for IPv4 the header's) is right over the whole packet. An IPv4 UDP checksum
 * of zero counts as absent, not as right. False for other protocols and for fragments. */
bool inner_checksum_ok(const struct inner *inner);
