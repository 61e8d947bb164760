// SPDX-License-Identifier: Apache-2.0
/* Where the fields of IP, TCP and UDP headers lie that are read or written in this folder and above, in bytes from the
 * start of their header (RFC 791, RFC 8200, RFC 9293, RFC 768). */
#pragma once

enum {
	IPV4_AT_TOS = 1,
	IPV4_AT_LENGTH = 2,
	IPV4_AT_ID = 4,
	IPV4_AT_FRAGMENT = 6, /* IPV4_DONT_FRAGMENT, IPV4_MORE_FRAGMENTS, IPV4_FRAGMENT_OFFSET */
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

/* The three parts of IPv4's fragment field. */
enum {
	IPV4_DONT_FRAGMENT = 0x4000,
	IPV4_MORE_FRAGMENTS = 0x2000,
	IPV4_FRAGMENT_OFFSET = 0x1fff, /* in units of 8 bytes */
};

enum { TCP_FIN = 0x01, TCP_SYN = 0x02, TCP_PSH = 0x08, TCP_ACK = 0x10, TCP_CWR = 0x80 };
