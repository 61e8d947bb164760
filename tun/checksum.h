// SPDX-License-Identifier: Apache-2.0
/* The Internet checksum (RFC 1071), vectorised where the CPU can. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* One's-complement sum of `length` bytes taken as 16-bit words in memory order (an odd last byte is padded with zero),
 * added to `sum`, not folded. Chunks may be summed one after the other as long as all but the last have even length. */
uint64_t checksum_add(const void *data, size_t length, uint64_t sum);

/* Folds to 16 bits and leaves the sum as it is: what a partial checksum (VIRTIO_NET_HDR_F_NEEDS_CSUM) field holds.
 * Store with memcpy: the sum is in memory order. */
uint16_t checksum_fold(uint64_t sum);

/* The sum of the pseudo-header of TCP, UDP or ICMPv6 (RFC 9293, RFC 8200 8.1): addresses straight from the IP header,
 * the upper layer's length in bytes, the protocol number. `version` is 4 or 6. */
uint64_t checksum_pseudo(unsigned version, const uint8_t *ip_header, uint32_t upper_length, uint8_t protocol);

/* The complete IPv4 header checksum field for a header whose checksum field counts as zero. `header_length` in bytes.
 */
uint16_t checksum_ipv4_header(const uint8_t *header, size_t header_length);
