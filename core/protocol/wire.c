// SPDX-License-Identifier: Apache-2.0
#include "core/protocol/wire.h"

#include "core/base/clock.h"

void wire_prologue(uint8_t prologue[WIRE_PROLOGUE_SIZE], uint32_t session_id, uint32_t magic)
{
	memcpy(prologue, "shardtun", 8);
	wire_header(prologue + 8, WIRE_VERSION, WIRE_HELLO, session_id);
	store_be32(prologue + 8 + WIRE_HEADER_SIZE, magic);
}

void wire_timestamp(uint8_t timestamp[WIRE_TIMESTAMP_SIZE], uint64_t wall_ns)
{
	/* TAI is 10 s ahead of UTC at the epoch; leap seconds since do not matter for an order. */
	store_be64(timestamp, 0x400000000000000aull + wall_ns / NS_PER_S);
	store_be32(timestamp + 8, (uint32_t)(wall_ns % NS_PER_S));
}

static bool all_zero(const uint8_t *bytes, size_t length)
{
	uint8_t any = 0;
	for (size_t i = 0; i < length; i++)
		any |= bytes[i];
	return any == 0;
}

static size_t address_size(unsigned family)
{
	return family == 4 ? 4 : 16;
}

/* An address of fixed width, where all zero stands for none. */
static uint8_t *put_address(uint8_t *at, const struct ip_address *address, unsigned family)
{
	memset(at, 0, address_size(family));
	if (address->family == family)
		memcpy(at, address->bytes, address_size(family));
	return at + address_size(family);
}

static const uint8_t *get_address(const uint8_t *at, struct ip_address *address, uint8_t family)
{
	*address = (struct ip_address){0};
	if (!all_zero(at, address_size(family))) {
		address->family = family;
		memcpy(address->bytes, at, address_size(family));
	}
	return at + address_size(family);
}

void wire_hello_encode(uint8_t payload[WIRE_HELLO_PAYLOAD_SIZE], const struct wire_hello *hello)
{
	uint8_t *at = payload;
	memset(payload, 0, WIRE_HELLO_PAYLOAD_SIZE);
	memcpy(at, hello->timestamp, sizeof hello->timestamp);
	at += sizeof hello->timestamp;
	memcpy(at, hello->challenge, sizeof hello->challenge);
	at += sizeof hello->challenge;
	memcpy(at, hello->suites, sizeof hello->suites);
	at += sizeof hello->suites;
	store_be16(at, hello->mtu);
	at = put_address(at + 2, &hello->wish4, 4);
	at = put_address(at, &hello->wish6, 6);
	*at = hello->capabilities;
}

void wire_hello_decode(struct wire_hello *hello, const uint8_t payload[WIRE_HELLO_PAYLOAD_SIZE])
{
	const uint8_t *at = payload;
	memcpy(hello->timestamp, at, sizeof hello->timestamp);
	at += sizeof hello->timestamp;
	memcpy(hello->challenge, at, sizeof hello->challenge);
	at += sizeof hello->challenge;
	memcpy(hello->suites, at, sizeof hello->suites);
	at += sizeof hello->suites;
	hello->mtu = load_be16(at);
	at = get_address(at + 2, &hello->wish4, 4);
	at = get_address(at, &hello->wish6, 6);
	hello->capabilities = *at;
}

size_t wire_welcome_encode(uint8_t payload[WIRE_WELCOME_PAYLOAD_MAX], const struct wire_welcome *welcome)
{
	if (welcome->dns_count > WIRE_DNS_MAX || welcome->route_count > WIRE_ROUTES_MAX)
		return 0;

	uint8_t *at = payload;
	store_be32(at, welcome->session_id);
	at[4] = welcome->suite;
	at[5] = welcome->epoch;
	store_be16(at + 6, welcome->mtu);
	store_be16(at + 8, welcome->keepalive);
	store_be16(at + 10, welcome->back_off);
	store_be32(at + 12, welcome->rekey_interval);
	store_be32(at + 16, welcome->session_timeout);
	memcpy(at + 20, welcome->reset_token, WIRE_RESET_TOKEN_SIZE);
	at = put_address(at + 36, &welcome->address4.address, 4);
	*at++ = welcome->address4.length;
	at = put_address(at, &welcome->gateway4, 4);
	at = put_address(at, &welcome->address6.address, 6);
	*at++ = welcome->address6.length;
	at = put_address(at, &welcome->gateway6, 6);
	*at++ = (uint8_t)welcome->dns_count;
	*at++ = (uint8_t)welcome->route_count;

	const uint8_t *end = payload + WIRE_WELCOME_PAYLOAD_MAX;
	for (unsigned i = 0; i < welcome->dns_count; i++) {
		const struct ip_address *dns = &welcome->dns[i];
		if (end - at < 1 + 16)
			return 0;
		*at++ = dns->family;
		at = put_address(at, dns, dns->family);
	}
	for (unsigned i = 0; i < welcome->route_count; i++) {
		const struct ip_prefix *route = &welcome->routes[i];
		if (end - at < 2 + 16)
			return 0;
		*at++ = route->address.family;
		*at++ = route->length;
		at = put_address(at, &route->address, route->address.family);
	}
	if (welcome->capabilities != 0) {
		if (at == end)
			return 0;
		*at++ = welcome->capabilities;
	}
	return (size_t)(at - payload);
}

/* Reads a family byte; 0 when it is none, or when less than `extra` bytes and an address follow. */
static uint8_t get_family(const uint8_t *at, const uint8_t *end, size_t extra)
{
	if (end - at < 1 || (*at != 4 && *at != 6))
		return 0;
	return (size_t)(end - at) >= 1 + extra + address_size(*at) ? *at : 0;
}

static bool decode_lists(struct wire_welcome *welcome, const uint8_t *at, const uint8_t *end, unsigned dns_count,
			 unsigned route_count)
{
	welcome->dns_count = welcome->route_count = 0;
	for (unsigned i = 0; i < dns_count; i++) {
		struct ip_address dns = {.family = get_family(at, end, 0)};
		if (dns.family == 0)
			return false;
		memcpy(dns.bytes, at + 1, address_size(dns.family));
		at += 1 + address_size(dns.family);
		if (welcome->dns_count < WIRE_DNS_MAX)
			welcome->dns[welcome->dns_count++] = dns;
	}
	for (unsigned i = 0; i < route_count; i++) {
		struct ip_prefix route = {.address.family = get_family(at, end, 1)};
		if (route.address.family == 0 || at[1] > 8 * address_size(route.address.family))
			return false;
		route.length = at[1];
		memcpy(route.address.bytes, at + 2, address_size(route.address.family));
		at += 2 + address_size(route.address.family);
		if (welcome->route_count < WIRE_ROUTES_MAX)
			welcome->routes[welcome->route_count++] = route;
	}
	welcome->capabilities = at < end ? *at : 0;
	return true;
}

bool wire_welcome_decode(struct wire_welcome *welcome, const uint8_t *payload, size_t length)
{
	if (length < WIRE_WELCOME_PAYLOAD_MIN)
		return false;

	*welcome = (struct wire_welcome){
		.session_id = load_be32(payload),
		.suite = payload[4],
		.epoch = payload[5],
		.mtu = load_be16(payload + 6),
		.keepalive = load_be16(payload + 8),
		.back_off = load_be16(payload + 10),
		.rekey_interval = load_be32(payload + 12),
		.session_timeout = load_be32(payload + 16),
	};
	memcpy(welcome->reset_token, payload + 20, WIRE_RESET_TOKEN_SIZE);
	const uint8_t *at = get_address(payload + 36, &welcome->address4.address, 4);
	welcome->address4.length = *at++;
	at = get_address(at, &welcome->gateway4, 4);
	at = get_address(at, &welcome->address6.address, 6);
	welcome->address6.length = *at++;
	at = get_address(at, &welcome->gateway6, 6);

	if (welcome->session_id == 0 || welcome->epoch == 0 || welcome->epoch > WIRE_EPOCH_MAX ||
	    welcome->mtu < WIRE_MTU_MIN || welcome->address4.length > 32 || welcome->address6.length > 128)
		return false;
	if (welcome->address4.address.family == 0 && welcome->address6.address.family == 0)
		return false;
	return decode_lists(welcome, at + 2, payload + length, at[0], at[1]);
}
