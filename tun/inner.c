// SPDX-License-Identifier: Apache-2.0
#include "tun/inner.h"

#include "core/base/bytes.h"
#include "core/base/hot.h"
#include "tun/checksum.h"

static bool parse_ipv4(struct inner *inner, const uint8_t *ip, size_t length)
{
	size_t header = (ip[0] & 0xfu) * 4;

	if (header < IPV4_HEADER_MIN || header > length || load_be16(ip + IPV4_AT_LENGTH) != length)
		return false;
	uint16_t field = load_be16(ip + IPV4_AT_FRAGMENT);
	inner->version = 4;
	inner->fragment = field & (IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET);
	inner->may_fragment = !(field & IPV4_DONT_FRAGMENT);
	inner->protocol = ip[IPV4_AT_PROTOCOL];
	inner->ip_length = (uint8_t)header;
	return true;
}

static bool parse_ipv6(struct inner *inner, const uint8_t *ip, size_t length)
{
	if (length < IPV6_HEADER_LENGTH)
		return false;

	size_t payload = length - IPV6_HEADER_LENGTH;
	if (load_be16(ip + IPV6_AT_LENGTH) != (payload > UINT16_MAX ? 0 : payload))
		return false;
	inner->version = 6;
	inner->protocol = ip[IPV6_AT_NEXT_HEADER];
	inner->fragment = inner->protocol == IPPROTO_FRAGMENT;
	inner->may_fragment = false;
	inner->ip_length = IPV6_HEADER_LENGTH;
	return true;
}

uint8_t inner_upper_length(const uint8_t *upper, size_t left, uint8_t protocol)
{
	size_t header = UDP_HEADER_LENGTH;

	if (protocol == IPPROTO_TCP) {
		if (left < TCP_HEADER_MIN)
			return 0;
		header = (upper[TCP_AT_DATA_OFFSET] >> 4) * 4u;
		if (header < TCP_HEADER_MIN)
			return 0;
	}
	return header <= left ? (uint8_t)header : 0;
}

HOT static bool parse_upper(struct inner *inner)
{
	inner->upper_length = 0;
	if (inner->fragment || (inner->protocol != IPPROTO_TCP && inner->protocol != IPPROTO_UDP))
		return true;
	inner->upper_length = inner_upper_length(inner->data + inner->ip_length, inner->length - inner->ip_length,
						 inner->protocol);
	return inner->upper_length;
}

HOT bool inner_parse(struct inner *inner, void *data, size_t length)
{
	const uint8_t *ip = data;

	if (length < IPV4_HEADER_MIN || length > UINT32_MAX)
		return false;
	inner->data = data;
	inner->length = (uint32_t)length;
	switch (ip[0] >> 4) {
	case 4:
		return parse_ipv4(inner, ip, length) && parse_upper(inner);
	case 6:
		return parse_ipv6(inner, ip, length) && parse_upper(inner);
	default:
		return false;
	}
}

/* By its header; all there is when that does not say less. */
static size_t own_length(const uint8_t *ip, size_t length)
{
	size_t own = length;

	if (length >= IPV4_HEADER_MIN && ip[0] >> 4 == 4)
		own = load_be16(ip + IPV4_AT_LENGTH);
	else if (length >= IPV6_HEADER_LENGTH && ip[0] >> 4 == 6)
		own = IPV6_HEADER_LENGTH + load_be16(ip + IPV6_AT_LENGTH);
	return own < length ? own : length;
}

bool inner_parse_padded(struct inner *inner, void *data, size_t length)
{
	return inner_parse(inner, data, own_length(data, length));
}

static void address_read(const struct inner *inner, const uint8_t *bytes, struct ip_address *address)
{
	*address = (struct ip_address){.family = inner->version};
	memcpy(address->bytes, bytes, inner->version == 4 ? 4 : 16);
}

HOT void inner_source(const struct inner *inner, struct ip_address *address)
{
	address_read(inner, inner_source_bytes(inner), address);
}

HOT void inner_destination(const struct inner *inner, struct ip_address *address)
{
	address_read(inner, inner_destination_bytes(inner), address);
}

HOT bool inner_checksum_ok(const struct inner *inner)
{
	const uint8_t *upper = inner->data + inner->ip_length;
	uint32_t left = inner->length - inner->ip_length;

	if (!inner->upper_length)
		return false;
	if (inner->protocol == IPPROTO_UDP &&
	    (load_be16(upper + UDP_AT_LENGTH) != left || !load_be16(upper + UDP_AT_CHECKSUM)))
		return false;
	if (inner->version == 4 && checksum_fold(checksum_add(inner->data, inner->ip_length, 0)) != UINT16_MAX)
		return false;

	uint64_t pseudo = checksum_pseudo(inner->version, inner->data, left, inner->protocol);
	return checksum_fold(checksum_add(upper, left, pseudo)) == UINT16_MAX;
}
