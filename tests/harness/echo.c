// SPDX-License-Identifier: Apache-2.0
#include "tests/harness/echo.h"

#include <netinet/in.h>
#include <string.h>

#include "core/base/bytes.h"
#include "tests/harness/packets.h"

/* Number, sequence and a pattern that depends on both. */
static size_t fill_payload(const struct echo *echo, uint8_t *payload)
{
	size_t length = 16 + (echo->sequence * 37u + echo->number * 11u) % (ECHO_MAX - 16);
	store_be32(payload, echo->number);
	store_be32(payload + 4, echo->sequence);
	for (size_t i = 8; i < length; i++)
		payload[i] = (uint8_t)(echo->number * 7 + echo->sequence + i);
	return length;
}

/* What goes before the ICMP message, and its part of the ICMP checksum. */
static uint32_t fill_ip(const struct echo *echo, size_t length, uint8_t *packet)
{
	size_t head = echo->version == 4 ? 20 : 40, address = echo->version == 4 ? 4 : 16;
	memcpy(packet + head - 2 * address, echo->answer ? echo->gateway : echo->client, address);
	memcpy(packet + head - address, echo->answer ? echo->client : echo->gateway, address);
	if (echo->version == 4) {
		packet[0] = 0x45;
		store_be16(packet + 2, (uint16_t)(head + length));
		packet[8] = 64;
		packet[9] = IPPROTO_ICMP;
		store_be16(packet + 10, (uint16_t)~packet_sum(packet, head));
		return 0;
	}
	packet[0] = 0x60;
	store_be16(packet + 4, (uint16_t)length);
	packet[6] = IPPROTO_ICMPV6;
	packet[7] = 64;
	return packet_sum(packet + 8, 32) + (uint32_t)length + IPPROTO_ICMPV6;
}

size_t echo_build(const struct echo *echo, uint8_t *packet)
{
	size_t head = echo->version == 4 ? 20 : 40;
	uint8_t *icmp = packet + head;
	memset(packet, 0, head + 8);
	size_t length = 8 + fill_payload(echo, icmp + 8);
	uint32_t sum = fill_ip(echo, length, packet);
	if (echo->version == 4)
		icmp[0] = echo->answer ? 0 : 8;
	else
		icmp[0] = echo->answer ? 129 : 128;
	store_be16(icmp + 4, (uint16_t)echo->number);
	store_be16(icmp + 6, echo->sequence);
	sum += packet_sum(icmp, length);
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	store_be16(icmp + 2, (uint16_t)~sum);
	return head + length;
}
