// SPDX-License-Identifier: Apache-2.0
/* What stgun's two ends say to each other inside the tunnel: UDP packets that begin with a stamp.
 *
 *   0  magic    u32
 *   4  kind     u8   what follows
 *   5  answers  u8   DATA: how many ANSWERs are wanted
 *   6  size     u16  DATA: of the inner packet of each ANSWER
 *   8  run      u32  of one generator, for one rate: what comes late from another does not count
 *  12  session  u32  DATA, ANSWER: number of the generator's session; ASK, TOLD: of the query
 *  16  time     u64  DATA: when it was meant to leave, monotonic ns of the generator; ANSWER: that of its DATA
 *  24  number   u32  counts up in a session
 *
 * An ASK is answered by TOLD, in which three u64 follow: packets and bytes of inner packets that came of this run, and
 * datagrams that the answering side's own sockets lost since it started. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/ip.h"

enum {
	PACKET_MAGIC = 0x53744731, /* "StG1" */
	PACKET_STAMP_SIZE = 28,
	PACKET_TOLD_SIZE = PACKET_STAMP_SIZE + 3 * 8,
	PACKET_HEADERS_MAX = 40 + 8,
	PACKET_SIZE_MAX = 65000,
	PACKET_PORT = 5556, /* of the reflector, unless given */
};

enum stgun_packet_kind { PACKET_DATA = 1, PACKET_ANSWER, PACKET_ASK, PACKET_TOLD };

struct stgun_packet_stamp {
	enum stgun_packet_kind kind;
	uint8_t answers;
	uint16_t size;
	uint32_t run, session;
	uint64_t time;
	uint32_t number;
};

/* At least PACKET_STAMP_SIZE bytes. */
void stgun_packet_stamp_write(uint8_t *payload, const struct stgun_packet_stamp *stamp);

/* False when it is no stamp. */
bool stgun_packet_stamp_read(const uint8_t *payload, size_t length, struct stgun_packet_stamp *stamp);

/* Bytes of IP and UDP header. */
static inline size_t stgun_packet_headers(unsigned version)
{
	return version == 4 ? 20 + 8 : 40 + 8;
}

/* The smallest inner packet that holds a stamp. */
static inline size_t stgun_packet_size_least(unsigned version)
{
	return stgun_packet_headers(version) + PACKET_STAMP_SIZE;
}

/* One inner packet in the making, and the sums over what does not change. Everything behind the stamp is zero, so that
 * checksums cost the same for all sizes. */
struct stgun_packet_form {
	unsigned version;
	uint64_t ip_sum, udp_sum; /* of the fields that stgun_packet_finish() leaves alone */
	/* A packet, and zeros behind it: what an AEAD reads, and WireGuard's padding. */
	uint8_t bytes[PACKET_SIZE_MAX + 64] __attribute__((aligned(64)));
};

/* Headers of packets to `to`, `port` from an address that is yet to come. */
void stgun_packet_form_init(struct stgun_packet_form *form, const struct ip_address *to, uint16_t port);

/* Completes the packet of `size` bytes in form->bytes: source address (4 or 16 bytes) and port, stamp, lengths,
 * checksums. `extra` bytes behind the stamp, an even number, are the caller's (TOLD), and taken into the checksum. */
void stgun_packet_finish(struct stgun_packet_form *form, size_t size, const uint8_t *source, uint16_t port,
			 const struct stgun_packet_stamp *stamp, size_t extra);
