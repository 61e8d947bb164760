// SPDX-License-Identifier: Apache-2.0
#include "core/base/ip.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/hot.h"

static unsigned family_bits(uint8_t family)
{
	return family == 4 ? 32 : 128;
}

bool ip_address_parse(const char *text, struct ip_address *address)
{
	struct ip_address parsed = {0};
	if (inet_pton(AF_INET, text, parsed.bytes) == 1) {
		parsed.family = 4;
	} else if (inet_pton(AF_INET6, text, parsed.bytes) == 1) {
		struct in6_addr v6;
		memcpy(&v6, parsed.bytes, sizeof v6);
		if (IN6_IS_ADDR_V4MAPPED(&v6))
			return false;
		parsed.family = 6;
	} else {
		return false;
	}
	*address = parsed;
	return true;
}

/* ":5556", or nothing. */
static bool parse_port(const char *text, uint16_t *port)
{
	char *end;
	*port = 0;
	if (*text == '\0')
		return true;
	if (*text != ':' || !isdigit((unsigned char)text[1]))
		return false;
	unsigned long given = strtoul(text + 1, &end, 10);
	*port = (uint16_t)given;
	return *end == '\0' && given > 0 && given <= UINT16_MAX;
}

bool ip_address_port_parse(const char *text, struct ip_address *address, uint16_t *port)
{
	char host[IP_TEXT_MAX];
	bool brackets = *text == '[';
	const char *begin = text + brackets, *colon = strchr(text, ':'), *end = begin + strlen(begin);
	if (brackets)
		end = strchr(begin, ']');
	else if (colon != NULL && strchr(colon + 1, ':') == NULL)
		end = colon;
	if (end == NULL || (size_t)(end - begin) >= sizeof host)
		return false;
	(void)snprintf(host, sizeof host, "%.*s", (int)(end - begin), begin);
	return parse_port(end + brackets, port) && ip_address_parse(host, address);
}

bool ip_prefix_parse(const char *text, struct ip_prefix *prefix)
{
	char address[IP_TEXT_MAX];
	const char *slash = strchr(text, '/');
	size_t length = slash != NULL ? (size_t)(slash - text) : strlen(text);
	if (length >= sizeof address)
		return false;
	memcpy(address, text, length);
	address[length] = '\0';

	struct ip_prefix parsed;
	if (!ip_address_parse(address, &parsed.address))
		return false;
	unsigned long bits = family_bits(parsed.address.family);
	if (slash != NULL) {
		char *end;
		if (!isdigit((unsigned char)slash[1]))
			return false;
		unsigned long given = strtoul(slash + 1, &end, 10);
		if (*end != '\0' || given > bits)
			return false;
		bits = given;
	}
	parsed.length = (uint8_t)bits;
	*prefix = parsed;
	return true;
}

const char *ip_address_format(const struct ip_address *address, char text[IP_TEXT_MAX])
{
	if (address->family == 0)
		snprintf(text, IP_TEXT_MAX, "-");
	else
		inet_ntop(address->family == 4 ? AF_INET : AF_INET6, address->bytes, text, IP_TEXT_MAX);
	return text;
}

const char *ip_prefix_format(const struct ip_prefix *prefix, char text[IP_TEXT_MAX])
{
	ip_address_format(&prefix->address, text);
	size_t used = strlen(text);
	snprintf(text + used, IP_TEXT_MAX - used, "/%u", prefix->length);
	return text;
}

struct ip_prefix ip_prefix_network(const struct ip_prefix *prefix)
{
	struct ip_prefix network = *prefix;
	for (unsigned bit = prefix->length; bit < 128; bit++)
		network.address.bytes[bit / 8] &= (uint8_t) ~(0x80u >> (bit % 8));
	return network;
}

HOT static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned whole = bits / 8;
	if (memcmp(a, b, whole) != 0)
		return false;
	unsigned rest = bits % 8;
	return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

HOT bool ip_prefix_contains(const struct ip_prefix *prefix, const struct ip_address *address)
{
	return prefix->address.family == address->family &&
	       same_bits(prefix->address.bytes, address->bytes, prefix->length);
}

bool ip_prefix_overlaps(const struct ip_prefix *a, const struct ip_prefix *b)
{
	unsigned shorter = a->length < b->length ? a->length : b->length;
	return a->address.family == b->address.family && same_bits(a->address.bytes, b->address.bytes, shorter);
}

HOT bool ip_address_equal(const struct ip_address *a, const struct ip_address *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

const char *ip_address_unfit(const struct ip_address *address)
{
	const uint8_t *b = address->bytes;
	static const uint8_t zeros[16];
	if (address->family == 4) {
		if (b[0] == 0 || b[0] >= 240)
			return "a reserved address";
		if (b[0] == 127)
			return "a loopback address";
		if (b[0] >= 224)
			return "a multicast address";
		return b[0] == 169 && b[1] == 254 ? "a link-local address" : NULL;
	}
	if (memcmp(b, zeros, 15) == 0 && b[15] <= 1)
		return b[15] == 1 ? "a loopback address" : "a reserved address";
	if (b[0] == 0xff)
		return "a multicast address";
	return b[0] == 0xfe && (b[1] & 0xc0) == 0x80 ? "a link-local address" : NULL;
}

const char *sockaddr_format(const struct sockaddr_in6 *address, char text[ENDPOINT_TEXT_MAX])
{
	char host[INET6_ADDRSTRLEN];
	bool mapped = IN6_IS_ADDR_V4MAPPED(&address->sin6_addr);
	if (mapped)
		inet_ntop(AF_INET, &address->sin6_addr.s6_addr[12], host, sizeof host);
	else
		inet_ntop(AF_INET6, &address->sin6_addr, host, sizeof host);
	snprintf(text, ENDPOINT_TEXT_MAX, mapped ? "%s:%u" : "[%s]:%u", host, ntohs(address->sin6_port));
	return text;
}
