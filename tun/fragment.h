// SPDX-License-Identifier: Apache-2.0
/* Fragmentation of IPv4 packets that are longer than a session takes and may be fragmented (RFC 791, 2.3; RFC 1812,
 * 4.2.2.7): inner.may_fragment. A packet with DF is answered by ICMP too-big instead (tun/icmp.h).
 *
 * No payload is copied. Each fragment's header is written in place, right in front of its payload, over the tail of the
 * fragment before: take fragment k (seal it elsewhere) before asking for fragment k + 1. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tun/headers.h"

struct fragmenter {
	uint8_t *packet;
	uint32_t at, left; /* bytes of payload: returned so far, left */
	uint32_t size;	   /* of payload in each but the last */
	uint16_t field;	   /* the packet's own flags and offset: it may be a fragment itself */
	uint8_t ip_length;
	uint8_t header[60];
};

/* How many fragments a packet of `length` bytes becomes, with `ip_length` of them header. `mtu` is at least 68, as
 * every IPv4 link's. */
uint32_t fragment_count(uint32_t length, uint32_t ip_length, uint32_t mtu);

/* Starts on a packet that may be fragmented, is longer than `mtu`, has its checksums and `ip_length` bytes of IP
 * header. */
void fragment_start(struct fragmenter *fragmenter, uint8_t *packet, uint32_t length, uint8_t ip_length, uint32_t mtu);

/* The next fragment, or false after the last. Valid until the next call. */
bool fragment_next(struct fragmenter *fragmenter, uint8_t **fragment, uint32_t *length);
