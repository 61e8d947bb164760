// SPDX-License-Identifier: Apache-2.0
#include "tun/segment.h"

#include "core/base/bytes.h"
#include "core/base/hot.h"
#include "tun/checksum.h"

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

static enum segment_status plan_plain(struct segmenter *segmenter, const struct virtio_net_hdr *offload,
				      uint32_t max_packet)
{
	const struct inner *packet = &segmenter->packet;

	segmenter->protocol = 0;
	segmenter->count = 1;
	segmenter->packet_length = segmenter->total_bytes = packet->length;
	if (frame_needs_checksum(offload) && (offload->csum_start < packet->ip_length ||
					      offload->csum_start + offload->csum_offset + 2u > packet->length))
		return SEGMENT_MALFORMED;
	return packet->length > max_packet ? SEGMENT_TOO_BIG : SEGMENT_OK;
}

static void complete_checksum(const struct inner *packet, const struct virtio_net_hdr *offload)
{
	uint8_t *start = packet->data + offload->csum_start;

	/* Nothing but the offset tells the protocol: 6 is UDP's (and DCCP's, where it is as right). */
	store_checksum(start + offload->csum_offset, checksum_add(start, packet->length - offload->csum_start, 0),
		       offload->csum_offset == UDP_AT_CHECKSUM);
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

/* Where TCP or UDP starts: right behind the IP header, or, in IPv6 only, behind extension headers. 0: the virtio-net
 * header contradicts the packet. */
static uint32_t find_upper(const struct inner *packet, const struct virtio_net_hdr *offload, uint8_t protocol)
{
	bool needs_checksum = frame_needs_checksum(offload);
	uint32_t at = needs_checksum ? offload->csum_start : packet->ip_length;

	if (!protocol || packet->fragment || at < packet->ip_length || at > packet->length)
		return 0;
	if (at == packet->ip_length ? packet->protocol != protocol : packet->version == 4 || packet->upper_length)
		return 0;
	if (needs_checksum && offload->csum_offset != (protocol == IPPROTO_TCP ? TCP_AT_CHECKSUM : UDP_AT_CHECKSUM))
		return 0;
	return at;
}

static enum segment_status plan_super(struct segmenter *segmenter, const struct virtio_net_hdr *offload,
				      uint32_t max_packet)
{
	const struct inner *packet = &segmenter->packet;
	uint8_t protocol = super_protocol(offload->gso_type, packet->version);
	uint32_t at = find_upper(packet, offload, protocol), size = offload->gso_size;

	if (!at || !size)
		return SEGMENT_MALFORMED;
	uint32_t upper_length = at == packet->ip_length
					? packet->upper_length
					: inner_upper_length(packet->data + at, packet->length - at, protocol);
	uint32_t header_length = at + upper_length;
	if (!upper_length || header_length > SEGMENT_HEADER_MAX)
		return SEGMENT_MALFORMED;

	uint32_t payload = packet->length - header_length;
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
	segmenter->payload = packet->data + header_length;
	return SEGMENT_OK;
}

/* What the packet becomes, by its headers alone: nothing is written to it. */
static enum segment_status plan(struct segmenter *segmenter, const struct inner *packet,
				const struct virtio_net_hdr *offload, uint32_t max_packet)
{
	segmenter->packet = *packet;
	segmenter->index = 0;
	if (max_packet > TUN_PACKET_MAX)
		max_packet = TUN_PACKET_MAX; /* so that every length field holds */
	return offload->gso_type == VIRTIO_NET_HDR_GSO_NONE ? plan_plain(segmenter, offload, max_packet)
							    : plan_super(segmenter, offload, max_packet);
}

HOT uint32_t segment_count(const struct inner *packet, const struct virtio_net_hdr *offload)
{
	struct segmenter segmenter;

	return plan(&segmenter, packet, offload, TUN_PACKET_MAX) == SEGMENT_OK ? segmenter.count : 1;
}

/* Splits the super-packet's headers into what all segments share (header, sums) and what differs. */
static void prepare_headers(struct segmenter *segmenter, bool needs_checksum)
{
	const struct inner *packet = &segmenter->packet;
	uint8_t *ip = segmenter->header, *upper = ip + segmenter->upper_at;
	uint8_t *check = upper + (segmenter->protocol == IPPROTO_TCP ? TCP_AT_CHECKSUM : UDP_AT_CHECKSUM);

	memcpy(ip, packet->data, segmenter->header_length);
	if (packet->version == 4) {
		segmenter->ipv4_id = load_be16(ip + IPV4_AT_ID);
		memset(ip + IPV4_AT_LENGTH, 0, 2);
		memset(ip + IPV4_AT_ID, 0, 2);
		memset(ip + IPV4_AT_CHECKSUM, 0, 2);
		segmenter->ip_sum = checksum_add(ip, packet->ip_length, 0);
	}

	/* The field holds the pseudo-header's sum with the whole length, which goes out by adding its complement. With
	 * a routing header this is the only way to know: the sum is over the final destination. */
	if (needs_checksum) {
		uint16_t whole = checksum_fold(__builtin_bswap32(packet->length - segmenter->upper_at));
		segmenter->upper_sum = (uint64_t)load_word(check) + (uint16_t)~whole;
	} else {
		segmenter->upper_sum = checksum_pseudo(packet->version, ip, 0, segmenter->protocol);
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

HOT enum segment_status segment_start(struct segmenter *segmenter, const struct inner *packet,
				      const struct virtio_net_hdr *offload, uint32_t max_packet)
{
	enum segment_status status = plan(segmenter, packet, offload, max_packet);
	bool super = offload->gso_type != VIRTIO_NET_HDR_GSO_NONE;

	if (super && status == SEGMENT_OK)
		prepare_headers(segmenter, frame_needs_checksum(offload));
	/* Also of a packet that is too big: the ICMP message that answers it quotes it. */
	if (!super && status != SEGMENT_MALFORMED && frame_needs_checksum(offload))
		complete_checksum(packet, offload);
	return status;
}

static void finish_ip(const struct segmenter *segmenter, uint8_t *ip, uint32_t length)
{
	if (segmenter->packet.version == 6) {
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

HOT bool segment_next(struct segmenter *segmenter, uint8_t **packet, uint32_t *length)
{
	if (segmenter->index == segmenter->count)
		return false;
	if (!segmenter->protocol) {
		*packet = segmenter->packet.data;
		*length = segmenter->packet.length;
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
