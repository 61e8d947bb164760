// SPDX-License-Identifier: Apache-2.0
#include "tests/harness/packets.h"

#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <string.h>

uint64_t random_next(struct random *random)
{
	uint64_t z = random->state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint32_t random_below(struct random *random, uint32_t limit)
{
	return (uint32_t)((random_next(random) >> 32) * limit >> 32);
}

bool random_chance(struct random *random, uint32_t percent)
{
	return random_below(random, 100) < percent;
}

void random_fill(struct random *random, void *data, size_t length)
{
	for (size_t i = 0; i < length; i++)
		((uint8_t *)data)[i] = (uint8_t)random_next(random);
}

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value);
}

static uint32_t get16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static uint16_t fold(uint32_t sum)
{
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

uint16_t packet_sum(const uint8_t *data, size_t length)
{
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < length; i += 2)
		sum = fold(sum + get16(data + i));
	if (length % 2)
		sum = fold(sum + ((uint32_t)data[length - 1] << 8));
	return fold(sum);
}

struct packet_spec packet_spec_plain(uint8_t version, uint8_t protocol, uint8_t flow)
{
	struct packet_spec spec = {
		.version = version,
		.protocol = protocol,
		.source_port = 40000,
		.destination_port = (uint16_t)(5000 + flow),
		.ttl = 64,
		.id = 0x1234,
		.dont_fragment = true,
		.sequence = 0x01020304,
		.acknowledgement = 0x0a0b0c0d,
		.tcp_flags = TEST_TCP_ACK,
		.window = 501,
	};

	for (uint8_t i = 0; i < 16; i++) {
		spec.source[i] = (uint8_t)(10 + i);
		spec.destination[i] = (uint8_t)(100 + i + flow);
	}
	return spec;
}

static size_t ip_length(const struct packet_spec *spec)
{
	return spec->version == 4 ? 20u + spec->ip_options_length : 40u;
}

size_t packet_header_length(const struct packet_spec *spec)
{
	return ip_length(spec) + (spec->protocol == IPPROTO_TCP ? 20u + spec->tcp_options_length : 8u);
}

/* The sum of the pseudo-header, of a packet whose IP header is written. */
static uint16_t pseudo_sum(const uint8_t *packet, size_t upper_length)
{
	bool v4 = packet[0] >> 4 == 4;
	uint32_t sum = v4 ? packet_sum(packet + 12, 8) : packet_sum(packet + 8, 32);

	return fold(sum + packet[v4 ? 9 : 6] + fold((uint32_t)upper_length));
}

static uint8_t *upper_checksum(uint8_t *packet)
{
	bool v4 = packet[0] >> 4 == 4;
	uint8_t *upper = packet + (v4 ? (packet[0] & 15) * 4 : 40);

	return upper + (packet[v4 ? 9 : 6] == IPPROTO_TCP ? 16 : 6);
}

void packet_finish(uint8_t *packet, size_t length)
{
	bool v4 = packet[0] >> 4 == 4;
	size_t upper = v4 ? (packet[0] & 15u) * 4u : 40u;
	uint8_t *check = upper_checksum(packet);

	if (v4) {
		put16(packet + 10, 0);
		put16(packet + 10, (uint16_t)~packet_sum(packet, upper));
	}
	put16(check, 0);
	uint16_t sum = fold((uint32_t)pseudo_sum(packet, length - upper) + packet_sum(packet + upper, length - upper));
	if (sum == 0xffff && check == packet + upper + 6)
		sum = 0; /* UDP: RFC 768 */
	put16(check, (uint16_t)~sum);
}

static void write_ip(const struct packet_spec *spec, size_t length, uint8_t *ip)
{
	memset(ip, 0, 40);
	if (spec->version == 6) {
		put32(ip, 6u << 28 | (uint32_t)spec->tos << 20 | spec->flow_label);
		put16(ip + 4, (uint32_t)length - 40);
		ip[6] = spec->protocol;
		ip[7] = spec->ttl;
		memcpy(ip + 8, spec->source, 16);
		memcpy(ip + 24, spec->destination, 16);
		return;
	}
	ip[0] = (uint8_t)(0x40 | ip_length(spec) / 4);
	ip[1] = spec->tos;
	put16(ip + 2, (uint32_t)length);
	put16(ip + 4, spec->id);
	put16(ip + 6, spec->dont_fragment ? 0x4000 : 0);
	ip[8] = spec->ttl;
	ip[9] = spec->protocol;
	memcpy(ip + 12, spec->source, 4);
	memcpy(ip + 16, spec->destination, 4);
	memcpy(ip + 20, spec->ip_options, spec->ip_options_length);
}

static void write_upper(const struct packet_spec *spec, size_t length, uint8_t *upper)
{
	put16(upper, spec->source_port);
	put16(upper + 2, spec->destination_port);
	if (spec->protocol == IPPROTO_UDP) {
		put16(upper + 4, (uint32_t)length);
		return;
	}
	put32(upper + 4, spec->sequence);
	put32(upper + 8, spec->acknowledgement);
	upper[12] = (uint8_t)((20 + spec->tcp_options_length) / 4 << 4);
	upper[13] = spec->tcp_flags;
	put16(upper + 14, spec->window);
	put16(upper + 18, spec->urgent);
	memcpy(upper + 20, spec->tcp_options, spec->tcp_options_length);
}

size_t packet_build(const struct packet_spec *spec, const uint8_t *payload, size_t payload_length, uint8_t *packet)
{
	size_t header = packet_header_length(spec), upper = ip_length(spec), length = header + payload_length;
	uint8_t headers[PACKET_HEADERS_MAX];

	write_ip(spec, length, headers);
	write_upper(spec, length - upper, headers + upper);
	if (payload_length)
		memmove(packet + header, payload, payload_length);
	memcpy(packet, headers, header);
	packet_finish(packet, length);
	return length;
}

size_t packet_build_frame(const struct packet_spec *spec, const uint8_t *payload, size_t payload_length,
			  uint16_t gso_size, uint8_t *frame)
{
	uint8_t *packet = frame + sizeof(struct virtio_net_hdr);
	size_t length = packet_build(spec, payload, payload_length, packet), upper = ip_length(spec);
	struct virtio_net_hdr header = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.hdr_len = (uint16_t)packet_header_length(spec),
		.gso_size = gso_size,
		.csum_start = (uint16_t)upper,
		.csum_offset = spec->protocol == IPPROTO_TCP ? 16 : 6,
	};

	if (gso_size && spec->protocol == IPPROTO_UDP)
		header.gso_type = 5; /* VIRTIO_NET_HDR_GSO_UDP_L4, which Debian 12's headers lack */
	else if (gso_size)
		header.gso_type = spec->version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
	if (header.gso_type && spec->protocol == IPPROTO_TCP && spec->tcp_flags & TEST_TCP_CWR)
		header.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	put16(upper_checksum(packet), pseudo_sum(packet, length - upper));
	memcpy(frame, &header, sizeof header);
	return sizeof header + length;
}

bool packet_is_right(const uint8_t *packet, size_t length)
{
	uint8_t copy[65536 + 40];
	bool v4 = packet[0] >> 4 == 4;

	if (length > sizeof copy || length != get16(packet + (v4 ? 2 : 4)) + (v4 ? 0u : 40u))
		return false;
	memcpy(copy, packet, length);
	packet_finish(copy, length);
	return !memcmp(copy, packet, length);
}

bool packet_came_back(const uint8_t *packet, const uint8_t *original, size_t length, size_t index)
{
	static uint8_t copy[65535];

	if (!memcmp(packet, original, length))
		return true;
	if (original[0] >> 4 != 4 || !(original[6] & 0x40) || length > sizeof copy)
		return false;
	memcpy(copy, original, length);
	put16(copy + 4, (uint32_t)((get16(copy + 4) + index) & 0xffff));
	put16(copy + 10, 0);
	put16(copy + 10, (uint16_t)~packet_sum(copy, (copy[0] & 15u) * 4u));
	return !memcmp(packet, copy, length);
}

size_t packet_flatten(const struct iovec *iov, int count, uint8_t *frame, size_t room)
{
	size_t length = 0;

	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len > room - length)
			return 0;
		memcpy(frame + length, iov[i].iov_base, iov[i].iov_len);
		length += iov[i].iov_len;
	}
	return length;
}
