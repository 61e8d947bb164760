// SPDX-License-Identifier: Apache-2.0
/* IP addresses and prefixes as values: parsing, printing, comparing. Bytes are in network order throughout. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ip_address {
	uint8_t family;	   /* 4, 6, or 0 for none */
	uint8_t bytes[16]; /* network order; the first 4 for IPv4, the rest zero */
};

struct ip_prefix {
	struct ip_address address;
	uint8_t length; /* bits: 0…32 or 0…128 */
};

enum { IP_TEXT_MAX = 64 /* an address or prefix with its terminator */ };

/* Both parse the whole text ("10.8.0.1", "fd00::1"; "10.8.0.0/16", or a bare address, which is /32 or /128);
 * IPv4-mapped IPv6 is refused. Host bits are kept: see ip_prefix_network(). False when it is no address. Any thread. */
bool ip_address_parse(const char *text, struct ip_address *address);
bool ip_prefix_parse(const char *text, struct ip_prefix *prefix);

/* "10.0.0.1", "10.0.0.1:5556", "fd00::1", "[fd00::1]" or "[fd00::1]:5556"; `*port` is in host order, 0 if the text has
 * none. False when it is anything else. Any thread. */
bool ip_address_port_parse(const char *text, struct ip_address *address, uint16_t *port);

/* Both write at most IP_TEXT_MAX bytes with the terminator and return `text`. */
const char *ip_address_format(const struct ip_address *address, char text[IP_TEXT_MAX]);
const char *ip_prefix_format(const struct ip_prefix *prefix, char text[IP_TEXT_MAX]);

/* The prefix with its host bits cleared. */
struct ip_prefix ip_prefix_network(const struct ip_prefix *prefix);

/* Whether `address` (family and `bytes`) lies in the prefix; families never match each other. */
bool ip_prefix_contains(const struct ip_prefix *prefix, const struct ip_address *address);
bool ip_prefix_overlaps(const struct ip_prefix *a, const struct ip_prefix *b);
bool ip_address_equal(const struct ip_address *a, const struct ip_address *b);

/* Why no host can have the address ("a multicast address"), or NULL. */
const char *ip_address_unfit(const struct ip_address *address);

/* "192.0.2.1:5555" or "[2001:db8::1]:5555"; a v4-mapped address prints as IPv4. */
enum { ENDPOINT_TEXT_MAX = 80 };
const char *sockaddr_format(const struct sockaddr_in6 *address, char text[ENDPOINT_TEXT_MAX]);
