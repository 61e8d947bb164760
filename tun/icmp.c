// SPDX-License-Identifier: Apache-2.0
#include "tun/icmp.h"

#include <netinet/icmp6.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>

#include "core/base/bytes.h"
#include "tun/checksum.h"

enum {
	MESSAGE_HEADER = 8, /* type, code, checksum, and 4 bytes that end in the MTU */
	MESSAGE_AT_CHECKSUM = 2,
	IPV4_MESSAGE_AT_MTU = 6,
	IPV6_MESSAGE_AT_MTU = 4, /* 32 bits */
	IPV4_QUOTE_MAX = ICMP_IPV4_MAX - IPV4_HEADER_MIN - MESSAGE_HEADER,
	IPV6_QUOTE_MAX = ICMP_IPV6_MAX - IPV6_HEADER_LENGTH - MESSAGE_HEADER,
	IPV6_AT_FRAGMENT = 2, /* within the fragment header */
	IPV6_FRAGMENT_OFFSET = 0xfff8,
	INTERNETWORK_CONTROL = 0xc0, /* precedence 6: RFC 1812, 4.3.2.5 */
	HOP_LIMIT = 64,
};

static bool single_host(const struct ip_address *address)
{
	static const uint8_t zero[15];
	const uint8_t *bytes = address->bytes;

	if (address->family == 4)
		return bytes[0] != 0 && bytes[0] != IN_LOOPBACKNET && bytes[0] < 224;
	/* The unspecified address is ::0, loopback is ::1. */
	return bytes[0] != 0xff && (memcmp(bytes, zero, sizeof zero) != 0 || bytes[15] > 1);
}

static bool ipv4_query(uint8_t type)
{
	enum { EXTENDED_ECHO = 42, EXTENDED_ECHOREPLY = 43 /* RFC 8335 */ };

	switch (type) {
	case ICMP_ECHOREPLY:
	case ICMP_ECHO:
	case ICMP_ROUTERADVERT:
	case ICMP_ROUTERSOLICIT:
	case ICMP_TIMESTAMP:
	case ICMP_TIMESTAMPREPLY:
	case ICMP_INFO_REQUEST:
	case ICMP_INFO_REPLY:
	case ICMP_ADDRESS:
	case ICMP_ADDRESSREPLY:
	case EXTENDED_ECHO:
	case EXTENDED_ECHOREPLY:
		return true;
	default:
		return false;
	}
}

static bool ipv4_answerable(const struct inner *inner)
{
	if (inner->may_fragment || load_be16(inner->data + IPV4_AT_FRAGMENT) & IPV4_FRAGMENT_OFFSET)
		return false;
	if (inner->protocol != IPPROTO_ICMP)
		return true;
	return inner->length > inner->ip_length && ipv4_query(inner->data[inner->ip_length]);
}

/* ESP does not count: the header behind it is encrypted. */
static bool ipv6_extension(uint8_t protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING || protocol == IPPROTO_FRAGMENT ||
	       protocol == IPPROTO_AH || protocol == IPPROTO_DSTOPTS;
}

static size_t ipv6_extension_length(uint8_t protocol, const uint8_t *header)
{
	if (protocol == IPPROTO_FRAGMENT)
		return sizeof(struct ip6_frag);
	return protocol == IPPROTO_AH ? (header[1] + 2u) * 4 : (header[1] + 1u) * 8;
}

/* Reads no further than the quote, so that a long chain of headers costs no more than the copy. */
static bool ipv6_answerable(const struct inner *inner, size_t quote)
{
	const uint8_t *at = inner->data + IPV6_HEADER_LENGTH;
	size_t left = quote - IPV6_HEADER_LENGTH;
	uint8_t protocol = inner->protocol;

	for (size_t length; ipv6_extension(protocol); at += length, left -= length) {
		if (left < sizeof(struct ip6_ext))
			return false;
		length = ipv6_extension_length(protocol, at);
		if (length > left ||
		    (protocol == IPPROTO_FRAGMENT && load_be16(at + IPV6_AT_FRAGMENT) & IPV6_FRAGMENT_OFFSET))
			return false;
		protocol = at[0];
	}
	if (protocol != IPPROTO_ICMPV6)
		return true;
	return left > 0 && at[0] & ICMP6_INFOMSG_MASK && at[0] != ND_REDIRECT;
}

static void write_ipv4(uint8_t *ip, size_t length, const struct ip_address *from, const struct ip_address *to)
{
	ip[0] = 4 << 4 | IPV4_HEADER_MIN / 4;
	ip[IPV4_AT_TOS] = INTERNETWORK_CONTROL;
	store_be16(ip + IPV4_AT_LENGTH, (uint16_t)length);
	/* Never fragmented, so its ID may be 0 (RFC 6864). */
	store_be16(ip + IPV4_AT_FRAGMENT, IPV4_DONT_FRAGMENT);
	ip[IPV4_AT_TTL] = HOP_LIMIT;
	ip[IPV4_AT_PROTOCOL] = IPPROTO_ICMP;
	memcpy(ip + IPV4_AT_SOURCE, from->bytes, 4);
	memcpy(ip + IPV4_AT_DESTINATION, to->bytes, 4);

	uint16_t checksum = checksum_ipv4_header(ip, IPV4_HEADER_MIN);
	memcpy(ip + IPV4_AT_CHECKSUM, &checksum, sizeof checksum);
}

static void write_ipv6(uint8_t *ip, size_t length, const struct ip_address *from, const struct ip_address *to)
{
	ip[0] = 6 << 4;
	store_be16(ip + IPV6_AT_LENGTH, (uint16_t)(length - IPV6_HEADER_LENGTH));
	ip[IPV6_AT_NEXT_HEADER] = IPPROTO_ICMPV6;
	ip[IPV6_AT_HOP_LIMIT] = HOP_LIMIT;
	memcpy(ip + IPV6_AT_SOURCE, from->bytes, 16);
	memcpy(ip + IPV6_AT_DESTINATION, to->bytes, 16);
}

/* The quote and the IP header are written. */
static void write_message(uint8_t *message, size_t length, uint16_t mtu, const uint8_t *ip, bool ipv4)
{
	message[0] = ipv4 ? ICMP_DEST_UNREACH : ICMP6_PACKET_TOO_BIG;
	message[1] = ipv4 ? ICMP_FRAG_NEEDED : 0;
	if (ipv4)
		store_be16(message + IPV4_MESSAGE_AT_MTU, mtu);
	else
		store_be32(message + IPV6_MESSAGE_AT_MTU, mtu);

	uint64_t pseudo = ipv4 ? 0 : checksum_pseudo(6, ip, (uint32_t)length, IPPROTO_ICMPV6);
	uint16_t checksum = (uint16_t)~checksum_fold(checksum_add(message, length, pseudo));
	memcpy(message + MESSAGE_AT_CHECKSUM, &checksum, sizeof checksum);
}

size_t icmp_too_big(const struct inner *inner, uint16_t mtu, const struct ip_address *from, uint8_t *frame,
		    size_t capacity)
{
	bool ipv4 = inner->version == 4;
	size_t header = ipv4 ? IPV4_HEADER_MIN : IPV6_HEADER_LENGTH;
	size_t quote_max = ipv4 ? IPV4_QUOTE_MAX : IPV6_QUOTE_MAX;
	size_t quote = inner->length < quote_max ? inner->length : quote_max;
	size_t length = header + MESSAGE_HEADER + quote;
	struct ip_address source, destination;

	inner_source(inner, &source);
	inner_destination(inner, &destination);
	if (from->family != inner->version || VNET_HEADER_SIZE + length > capacity || !single_host(&source) ||
	    !single_host(&destination) || !(ipv4 ? ipv4_answerable(inner) : ipv6_answerable(inner, quote)))
		return 0;

	uint8_t *ip = frame + VNET_HEADER_SIZE, *message = ip + header;
	memset(frame, 0, VNET_HEADER_SIZE + header + MESSAGE_HEADER);
	memcpy(message + MESSAGE_HEADER, inner->data, quote);
	if (ipv4)
		write_ipv4(ip, length, from, &source);
	else
		write_ipv6(ip, length, from, &source);
	write_message(message, MESSAGE_HEADER + quote, mtu, ip, ipv4);
	return VNET_HEADER_SIZE + length;
}
