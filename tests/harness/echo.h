// SPDX-License-Identifier: Apache-2.0
/* ICMP and ICMPv6 echo whose payload names its sender: many clients that ask one host, and each knows its answers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ECHO_MAX = 1300 /* bytes of payload */, ECHO_PACKET_MAX = 40 + 8 + ECHO_MAX };

struct echo {
	const uint8_t *client, *gateway; /* addresses: 4 or 16 bytes */
	unsigned version;
	uint32_t number; /* of the client; its last 16 bits are the ICMP identifier */
	uint16_t sequence;
	bool answer; /* the reply, from the gateway; else the request to it */
};

/* Writes the packet with its checksums; the payload's length depends on number and sequence. Returns the packet's
 * length, at most ECHO_PACKET_MAX. */
size_t echo_build(const struct echo *echo, uint8_t *packet);
