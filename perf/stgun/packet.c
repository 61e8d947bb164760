// SPDX-License-Identifier: Apache-2.0
#include "perf/stgun/packet.h"

#include <string.h>

#include "core/base/bytes.h"
#include "tun/checksum.h"
#include "tun/inner.h"

enum { TTL = 64 };

void stgun_packet_stamp_write(uint8_t *payload, const struct stgun_packet_stamp *stamp)
{
	store_be32(payload, PACKET_MAGIC);
	payload[4] = (uint8_t)stamp->kind;
	payload[5] = stamp->answers;
	store_be16(payload + 6, stamp->size);
	store_be32(payload + 8, stamp->run);
	store_be32(payload + 12, stamp->session);
	store_be64(payload + 16, stamp->time);
	store_be32(payload + 24, stamp->number);
}

bool stgun_packet_stamp_read(const uint8_t *payload, size_t length, struct stgun_packet_stamp *stamp)
{
	if (length < PACKET_STAMP_SIZE || load_be32(payload) != PACKET_MAGIC)
		return false;
	*stamp = (struct stgun_packet_stamp){
		.kind = payload[4],
		.answers = payload[5],
		.size = load_be16(payload + 6),
		.run = load_be32(payload + 8),
		.session = load_be32(payload + 12),
		.time = load_be64(payload + 16),
		.number = load_be32(payload + 24),
	};
	return stamp->kind >= PACKET_DATA && stamp->kind <= PACKET_TOLD &&
	       (stamp->kind != PACKET_TOLD || length >= PACKET_TOLD_SIZE);
}

void stgun_packet_form_init(struct stgun_packet_form *form, const struct ip_address *to, uint16_t port)
{
	memset(form, 0, sizeof *form);
	form->version = to->family;
	uint8_t *ip = form->bytes;
	if (form->version == 4) {
		ip[0] = 0x45;
		store_be16(ip + IPV4_AT_FRAGMENT, 0x4000); /* DF */
		ip[IPV4_AT_TTL] = TTL;
		ip[IPV4_AT_PROTOCOL] = IPPROTO_UDP;
		memcpy(ip + IPV4_AT_DESTINATION, to->bytes, 4);
		form->ip_sum = checksum_add(ip, IPV4_HEADER_MIN, 0);
	} else {
		ip[0] = 0x60;
		ip[IPV6_AT_NEXT_HEADER] = IPPROTO_UDP;
		ip[IPV6_AT_HOP_LIMIT] = TTL;
		memcpy(ip + IPV6_AT_DESTINATION, to->bytes, 16);
	}
	store_be16(ip + stgun_packet_headers(form->version) - UDP_HEADER_LENGTH + 2, port);
	/* The destination; what is still zero adds nothing. */
	form->udp_sum = checksum_pseudo(form->version, ip, 0, IPPROTO_UDP);
}

static void finish_ipv4(struct stgun_packet_form *form, size_t size, const uint8_t *source, uint16_t id)
{
	uint8_t *ip = form->bytes;
	memcpy(ip + IPV4_AT_SOURCE, source, 4);
	store_be16(ip + IPV4_AT_LENGTH, (uint16_t)size);
	store_be16(ip + IPV4_AT_ID, id);
	uint64_t sum = checksum_add(ip + IPV4_AT_SOURCE, 4, form->ip_sum);
	sum = checksum_add(ip + IPV4_AT_LENGTH, 4, sum); /* and the ID */
	uint16_t field = (uint16_t)~checksum_fold(sum);
	memcpy(ip + IPV4_AT_CHECKSUM, &field, sizeof field);
}

void stgun_packet_finish(struct stgun_packet_form *form, size_t size, const uint8_t *source, uint16_t port,
			 const struct stgun_packet_stamp *stamp, size_t extra)
{
	uint8_t *ip = form->bytes, *udp = ip + stgun_packet_headers(form->version) - UDP_HEADER_LENGTH;
	size_t address = form->version == 4 ? 4 : 16;
	uint8_t length[4];
	if (form->version == 4) {
		/* IDs count up, as those of a connected socket do. */
		finish_ipv4(form, size, source, (uint16_t)stamp->number);
	} else {
		memcpy(ip + IPV6_AT_SOURCE, source, 16);
		store_be16(ip + IPV6_AT_LENGTH, (uint16_t)(size - IPV6_HEADER_LENGTH));
	}
	uint32_t udp_length = (uint32_t)(size - (size_t)(udp - ip));
	store_be16(udp, port);
	store_be16(udp + UDP_AT_LENGTH, (uint16_t)udp_length);
	store_be16(udp + UDP_AT_CHECKSUM, 0);
	stgun_packet_stamp_write(udp + UDP_HEADER_LENGTH, stamp);

	store_be32(length, udp_length); /* of the pseudo-header */
	uint64_t sum = checksum_add(source, address, form->udp_sum);
	sum = checksum_add(length, sizeof length, sum);
	sum = checksum_add(udp, UDP_HEADER_LENGTH + PACKET_STAMP_SIZE + extra, sum);
	uint16_t field = (uint16_t)~checksum_fold(sum);
	if (field == 0)
		field = UINT16_MAX;
	memcpy(udp + UDP_AT_CHECKSUM, &field, sizeof field);
}
