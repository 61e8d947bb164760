// SPDX-License-Identifier: Apache-2.0
#include "tun/segment.h"

#include "core/base/bytes.h"
#include "tun/checksum.h"

enum { TCP_FIN = 0x01, TCP_PSH = 0x08, TCP_CWR = 0x80 };

/* Sums are in memory order, so a 16-bit field enters them as it is stored. */
static uint64_t word(uint32_t value)
{
	return __builtin_bswap16((uint16_t)value);
}

static uint16_t load_word(const uint8_t *at)
{
	uint16_t value;
	memcpy(&value, at, sizeof value);
	return value;
}

static void store_checksum(uint8_t *at, uint64_t sum, bool udp)
{
	uint16_t field = (uint16_t)~checksum_fold(sum);

	if (udp && !field)
		field = UINT16_MAX; /* zero means absent (RFC 768) */
	memcpy(at, &field, sizeof field);
}

static enum segment_status start_plain(struct segmenter *segmenter, const struct virtio_net_hdr *header,
				       uint32_t max_packet)
{
	const struct inner *inner = &segmenter->inner;

	segmenter->protocol = 0;
	segmenter->count = 1;
	segmenter->packet_length = segmenter->total_bytes = inner->length;
	if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		uint32_t start = header->csum_start, field = start + header->csum_offset;
		if (start < inner->ip_length || field + 2 > inner->length)
			return SEGMENT_MALFORMED;
		/* The kernel tells the protocol by nothing but the offset: 6 is UDP's (and DCCP's, where it is as
		 * right). */
		store_checksum(inner->data + field, checksum_add(inner->data + start, inner->length - start, 0),
			       header->csum_offset == UDP_AT_CHECKSUM);
	}
	return inner->length > max_packet ? SEGMENT_TOO_BIG : SEGMENT_OK;
}

/* Splits the super-packet's headers into what all segments share (header, sums) and what differs. */
static void prepare_headers(struct segmenter *segmenter, bool needs_csum)
{
	const struct inner *inner = &segmenter->inner;
	uint8_t *ip = segmenter->header, *upper = ip + segmenter->upper_at;
	uint8_t *check = upper + (segmenter->protocol == IPPROTO_TCP ? TCP_AT_CHECKSUM : UDP_AT_CHECKSUM);

	memcpy(ip, inner->data, segmenter->header_length);
	if (inner->version == 4) {
		segmenter->ipv4_id = load_be16(ip + IPV4_AT_ID);
		memset(ip + IPV4_AT_LENGTH, 0, 2);
		memset(ip + IPV4_AT_ID, 0, 2);
		memset(ip + IPV4_AT_CHECKSUM, 0, 2);
		segmenter->ip_sum = checksum_add(ip, inner->ip_length, 0);
	}

	/* The field holds the pseudo-header's sum with the whole length, which goes out by adding its complement. With
	 * a routing header this is the only way to know: the sum is over the final destination. */
	if (needs_csum) {
		uint16_t whole = checksum_fold(__builtin_bswap32(inner->length - segmenter->upper_at));
		segmenter->upper_sum = (uint64_t)load_word(check) + (uint16_t)~whole;
	} else {
		segmenter->upper_sum = checksum_pseudo(inner->version, ip, 0, segmenter->protocol);
	}
	memset(check, 0, 2);
	if (segmenter->protocol == IPPROTO_TCP) {
		segmenter->sequence = load_be32(upper + TCP_AT_SEQUENCE);
		segmenter->tcp_flags = upper[TCP_AT_FLAGS];
		memset(upper + TCP_AT_SEQUENCE, 0, 4);
		upper[TCP_AT_FLAGS] = 0;
	} else {
		memset(upper + UDP_AT_LENGTH, 0, 2);
	}
	segmenter->upper_sum = checksum_add(upper, segmenter->header_length - segmenter->upper_at,
					    segmenter->upper_sum);
}

/* The protocol that a super-packet's type promises, or 0 when the type is unknown or of the other IP version. */
static uint8_t super_protocol(uint8_t gso_type, uint8_t version)
{
	switch (gso_type) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
	case VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN:
		return version == 4 ? IPPROTO_TCP : 0;
	case VIRTIO_NET_HDR_GSO_TCPV6:
	case VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN:
		return version == 6 ? IPPROTO_TCP : 0;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		return IPPROTO_UDP;
	default:
		return 0;
	}
}

static enum segment_status start_super(struct segmenter *segmenter, const struct virtio_net_hdr *header,
				       uint32_t max_packet)
{
	const struct inner *inner = &segmenter->inner;
	bool needs_csum = header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
	uint32_t at = needs_csum ? header->csum_start : inner->ip_length;
	uint8_t protocol = super_protocol(header->gso_type, inner->version);

	if (!protocol || !header->gso_size || inner->fragment || at < inner->ip_length || at > inner->length)
		return SEGMENT_MALFORMED;
	/* Right behind the IP header, or, in IPv6 only, behind extension headers. */
	if (at == inner->ip_length ? inner->protocol != protocol : inner->version == 4 || inner->upper_length)
		return SEGMENT_MALFORMED;
	if (needs_csum && header->csum_offset != (protocol == IPPROTO_TCP ? TCP_AT_CHECKSUM : UDP_AT_CHECKSUM))
		return SEGMENT_MALFORMED;

	uint32_t upper_length = inner_upper_length(inner->data + at, inner->length - at, protocol);
	uint32_t header_length = at + upper_length, size = header->gso_size;
	if (!upper_length || header_length > SEGMENT_HEADER_MAX)
		return SEGMENT_MALFORMED;

	uint32_t payload = inner->length - header_length;
	if (header_length + (payload < size ? payload : size) > max_packet) {
		if (protocol != IPPROTO_TCP || header_length >= max_packet)
			return SEGMENT_TOO_BIG;
		size = max_packet - header_length;
	}
	segmenter->protocol = protocol;
	segmenter->count = payload ? (payload + size - 1) / size : 1;
	segmenter->packet_length = header_length + (payload < size ? payload : size);
	segmenter->total_bytes = segmenter->count * header_length + payload;
	segmenter->header_length = header_length;
	segmenter->upper_at = at;
	segmenter->payload_size = size;
	segmenter->payload_left = payload;
	segmenter->payload = inner->data + header_length;
	prepare_headers(segmenter, needs_csum);
	return SEGMENT_OK;
}

enum segment_status segment_start(struct segmenter *segmenter, uint8_t *frame, size_t length, uint32_t max_packet)
{
	struct virtio_net_hdr header;

	if (length < VNET_HEADER_SIZE ||
	    !inner_parse(&segmenter->inner, frame + VNET_HEADER_SIZE, length - VNET_HEADER_SIZE))
		return SEGMENT_MALFORMED;
	if (max_packet > TUN_PACKET_MAX)
		max_packet = TUN_PACKET_MAX; /* so that every length field holds */
	memcpy(&header, frame, sizeof header);
	segmenter->index = 0;
	return header.gso_type == VIRTIO_NET_HDR_GSO_NONE ? start_plain(segmenter, &header, max_packet)
							  : start_super(segmenter, &header, max_packet);
}

static void finish_ip(const struct segmenter *segmenter, uint8_t *ip, uint32_t length)
{
	if (segmenter->inner.version == 6) {
		store_be16(ip + IPV6_AT_LENGTH, (uint16_t)(length - IPV6_HEADER_LENGTH));
		return;
	}

	uint16_t id = (uint16_t)(segmenter->ipv4_id + segmenter->index);
	store_be16(ip + IPV4_AT_LENGTH, (uint16_t)length);
	store_be16(ip + IPV4_AT_ID, id);
	store_checksum(ip + IPV4_AT_CHECKSUM, segmenter->ip_sum + word(length) + word(id), false);
}

/* `sum` is the payload's. */
static void finish_tcp(const struct segmenter *segmenter, uint8_t *tcp, uint64_t sum)
{
	uint32_t sequence = segmenter->sequence + segmenter->index * segmenter->payload_size;
	uint8_t flags = segmenter->tcp_flags;

	if (segmenter->index)
		flags &= (uint8_t)~TCP_CWR;
	if (segmenter->index + 1 != segmenter->count)
		flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	store_be32(tcp + TCP_AT_SEQUENCE, sequence);
	tcp[TCP_AT_FLAGS] = flags;
	store_checksum(tcp + TCP_AT_CHECKSUM, sum + word(sequence >> 16) + word(sequence) + word(flags), false);
}

bool segment_next(struct segmenter *segmenter, uint8_t **packet, uint32_t *length)
{
	if (segmenter->index == segmenter->count)
		return false;
	if (!segmenter->protocol) {
		*packet = segmenter->inner.data;
		*length = segmenter->inner.length;
		segmenter->index++;
		return true;
	}

	bool last = segmenter->index + 1 == segmenter->count;
	uint32_t payload_length = last ? segmenter->payload_left : segmenter->payload_size;
	uint8_t *ip = segmenter->payload - segmenter->header_length, *upper = ip + segmenter->upper_at;
	uint32_t upper_length = segmenter->header_length - segmenter->upper_at + payload_length;
	uint64_t sum = checksum_add(segmenter->payload, payload_length, segmenter->upper_sum) + word(upper_length);

	*packet = ip;
	*length = segmenter->upper_at + upper_length;
	memcpy(ip, segmenter->header, segmenter->header_length);
	finish_ip(segmenter, ip, *length);
	if (segmenter->protocol == IPPROTO_TCP) {
		finish_tcp(segmenter, upper, sum);
	} else {
		store_be16(upper + UDP_AT_LENGTH, (uint16_t)upper_length);
		store_checksum(upper + UDP_AT_CHECKSUM, sum + word(upper_length), true);
	}
	segmenter->payload += payload_length;
	segmenter->payload_left -= payload_length;
	segmenter->index++;
	return true;
}
