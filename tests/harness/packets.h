// SPDX-License-Identifier: Apache-2.0
/* Inner packets for tests, made the slow and plain way: byte by byte, checksums by a loop over 16-bit words. Shares no
 * code with tun/, so that it can say whether tun/ is right. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* SplitMix64: the same numbers from the same seed everywhere. */
struct random {
	uint64_t state;
};

uint64_t random_next(struct random *random);
uint32_t random_below(struct random *random, uint32_t limit); /* 0 … limit - 1 */
bool random_chance(struct random *random, uint32_t percent);
void random_fill(struct random *random, void *data, size_t length);

enum {
	TEST_TCP_FIN = 0x01,
	TEST_TCP_SYN = 0x02,
	TEST_TCP_RST = 0x04,
	TEST_TCP_PSH = 0x08,
	TEST_TCP_ACK = 0x10,
	TEST_TCP_URG = 0x20,
	TEST_TCP_ECE = 0x40,
	TEST_TCP_CWR = 0x80,
	PACKET_HEADERS_MAX = 60 + 60,
};

/* Every header field of a TCP or UDP packet, in host byte order. */
struct packet_spec {
	uint8_t version;  /* 4 or 6 */
	uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	uint8_t source[16], destination[16];
	uint16_t source_port, destination_port;
	uint8_t tos, ttl;
	uint32_t flow_label;
	uint16_t id;
	bool dont_fragment;
	uint8_t ip_options[40], ip_options_length; /* IPv4; a multiple of 4 */
	uint32_t sequence, acknowledgement;
	uint8_t tcp_flags;
	uint16_t window, urgent;
	uint8_t tcp_options[40], tcp_options_length; /* a multiple of 4 */
};

/* A plain spec: addresses and ports differ by `flow`, ACK, TTL 64, no options. */
struct packet_spec packet_spec_plain(uint8_t version, uint8_t protocol, uint8_t flow);

size_t packet_header_length(const struct packet_spec *spec);

/* Writes the packet with right checksums to `packet` and returns its length. The payload may already be in place. */
size_t packet_build(const struct packet_spec *spec, const uint8_t *payload, size_t payload_length, uint8_t *packet);

/* Writes a frame as a TUN with offloads yields it: virtio-net header, then the super-packet with its partial checksum.
 * Returns its length. A `gso_size` of 0 makes a single packet that still needs its checksum. */
size_t packet_build_frame(const struct packet_spec *spec, const uint8_t *payload, size_t payload_length,
			  uint16_t gso_size, uint8_t *frame);

/* Recomputes all checksums of a TCP or UDP packet whose headers were changed by hand. */
void packet_finish(uint8_t *packet, size_t length);

/* Whether a TCP or UDP packet's lengths and checksums are all as packet_finish() would have them. */
bool packet_is_right(const uint8_t *packet, size_t length);

/* Whether `packet`, number `index` of those that a frame was cut into, is `original`: byte for byte, or but for what
 * coalescing may change (tun/coalesce.h): an IPv4 ID under DF that counted up, with the header's checksum. */
bool packet_came_back(const uint8_t *packet, const uint8_t *original, size_t length, size_t index);

/* Copies the pieces of a frame one behind the other into `room` bytes; returns their length, 0 when they do not fit. */
size_t packet_flatten(const struct iovec *iov, int count, uint8_t *frame, size_t room);

/* One's-complement sum of big-endian words, folded, not inverted; an odd end is padded with zero. */
uint16_t packet_sum(const uint8_t *data, size_t length);
