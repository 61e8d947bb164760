// SPDX-License-Identifier: Apache-2.0
#include "core/base/ip.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <string.h>

#include "core/base/bytes.h"

static struct ip_prefix prefix(const char *text)
{
	struct ip_prefix parsed;
	cr_assert(ip_prefix_parse(text, &parsed), "\"%s\"", text);
	return parsed;
}

static struct ip_address address(const char *text)
{
	struct ip_address parsed;
	cr_assert(ip_address_parse(text, &parsed), "\"%s\"", text);
	return parsed;
}

Test(ip, an_address_may_have_a_port)
{
	static const struct {
		const char *text, *address;
		unsigned port;
	} good[] = {{"10.0.0.1", "10.0.0.1", 0},
		    {"10.0.0.1:1", "10.0.0.1", 1},
		    {"fd00::1", "fd00::1", 0},
		    {"[fd00::1]", "fd00::1", 0},
		    {"[fd00::1]:65535", "fd00::1", 65535},
		    {"fd00::1:5556", "fd00::1:5556", 0}};
	static const char *const bad[] = {"",
					  ":",
					  "[",
					  "[]",
					  "10.0.0.1:",
					  "10.0.0.1:0",
					  "10.0.0.1:65536",
					  "10.0.0.1:+1",
					  "10.0.0.1:1x",
					  "[fd00::1",
					  "[fd00::1]1",
					  "[fd00::1]:",
					  "fd00::1]:1",
					  "host:1",
					  "10.0.0.1:18446744073709551617",
					  "1111111111111111111111111111111111111111111111111111111111111111:1"};
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct ip_address parsed, wanted = address(good[i].address);
		uint16_t port = 7;
		cr_assert(ip_address_port_parse(good[i].text, &parsed, &port), "%s", good[i].text);
		cr_assert(ip_address_equal(&parsed, &wanted), "%s", good[i].text);
		cr_assert_eq(port, good[i].port);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct ip_address parsed;
		uint16_t port;
		cr_assert_not(ip_address_port_parse(bad[i], &parsed, &port), "%s", bad[i]);
	}
}

Test(ip, addresses_survive_parsing_and_printing)
{
	static const char *const texts[] = {"10.8.0.1", "0.0.0.0",   "255.255.255.255",
					    "::",	"fd00:8::1", "2001:db8::ff"};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		char text[IP_TEXT_MAX];
		struct ip_address parsed = address(texts[i]);
		cr_assert_eq(parsed.family, strchr(texts[i], ':') != NULL ? 6 : 4);
		cr_assert_str_eq(ip_address_format(&parsed, text), texts[i]);
	}
}

Test(ip, what_is_no_address_is_refused_and_changes_nothing)
{
	static const char *const texts[] = {"",	       "10.8.0",   "10.8.0.256",      "10.8.0.1 ",   "10.8.0.1/24",
					    "gateway", "fd00:::1", "::ffff:10.8.0.1", "fe80::1%eth0"};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct ip_address parsed = {.family = 9};
		cr_assert_not(ip_address_parse(texts[i], &parsed), "\"%s\"", texts[i]);
		cr_assert_eq(parsed.family, 9);
	}
}

Test(ip, none_prints_as_a_dash)
{
	char text[IP_TEXT_MAX];
	cr_assert_str_eq(ip_address_format(&(struct ip_address){0}, text), "-");
}

Test(ip, prefixes_survive_parsing_and_printing)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"10.8.0.1/16", "10.8.0.1/16"},	  {"10.8.0.1", "10.8.0.1/32"}, {"0.0.0.0/0", "0.0.0.0/0"},
		{"fd00:8::1/64", "fd00:8::1/64"}, {"fd00::1", "fd00::1/128"},  {"::/0", "::/0"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[IP_TEXT_MAX];
		struct ip_prefix parsed = prefix(cases[i].in);
		cr_assert_str_eq(ip_prefix_format(&parsed, text), cases[i].out);
	}
	char text[IP_TEXT_MAX];
	struct ip_prefix longest = prefix("2001:db8:1111:2222:3333:4444:5555:6666/128");
	cr_assert_str_eq(ip_prefix_format(&longest, text), "2001:db8:1111:2222:3333:4444:5555:6666/128");
}

Test(ip, what_is_no_prefix_is_refused)
{
	static const char *const texts[] = {"10.8.0.0/33",
					    "10.8.0.0/",
					    "10.8.0.0/-1",
					    "10.8.0.0/+8",
					    "10.8.0.0/ 8",
					    "10.8.0.0/8x",
					    "10.8.0.0/8/8",
					    "10.8.0.0/99999999999999999999",
					    "fd00::/129",
					    "/24",
					    "",
					    "::ffff:10.0.0.0/104"};
	struct ip_prefix parsed;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		cr_assert_not(ip_prefix_parse(texts[i], &parsed), "\"%s\"", texts[i]);

	char huge[200];
	memset(huge, '1', sizeof huge - 1);
	huge[sizeof huge - 1] = '\0';
	cr_assert_not(ip_prefix_parse(huge, &parsed));
}

Test(ip, network_clears_host_bits)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"10.8.7.1/16", "10.8.0.0/16"}, {"10.8.255.255/17", "10.8.128.0/17"}, {"10.8.7.1/32", "10.8.7.1/32"},
		{"10.8.7.1/0", "0.0.0.0/0"},	{"fd00:8:0:1::1/63", "fd00:8::/63"},  {"fd00::1/128", "fd00::1/128"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[IP_TEXT_MAX];
		struct ip_prefix parsed = prefix(cases[i].in);
		struct ip_prefix network = ip_prefix_network(&parsed);
		cr_assert_str_eq(ip_prefix_format(&network, text), cases[i].out);
	}
}

Test(ip, prefix_contains_its_addresses_to_the_bit)
{
	static const struct {
		const char *prefix, *address;
		bool inside;
	} cases[] = {
		{"10.8.0.1/16", "10.8.255.255", true},
		{"10.8.0.1/16", "10.9.0.0", false},
		{"10.8.0.0/17", "10.8.127.255", true},
		{"10.8.0.0/17", "10.8.128.0", false},
		{"10.8.0.1/32", "10.8.0.1", true},
		{"10.8.0.1/32", "10.8.0.0", false},
		{"0.0.0.0/0", "203.0.113.9", true},
		{"0.0.0.0/0", "::1", false},
		{"::/0", "10.8.0.1", false},
		{"fd00:8::/63", "fd00:8:0:1::9", true},
		{"fd00:8::/63", "fd00:8:0:2::", false},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ip_prefix network = prefix(cases[i].prefix);
		struct ip_address host = address(cases[i].address);
		cr_assert_eq(ip_prefix_contains(&network, &host), cases[i].inside, "%s in %s", cases[i].address,
			     cases[i].prefix);
	}
}

Test(ip, overlap_is_symmetric)
{
	static const struct {
		const char *a, *b;
		bool overlap;
	} cases[] = {
		{"10.8.0.0/16", "10.8.7.0/24", true}, {"10.8.0.0/16", "10.9.0.0/16", false},
		{"0.0.0.0/0", "192.0.2.1", true},     {"10.8.0.0/24", "10.8.0.255/32", true},
		{"::/0", "0.0.0.0/0", false},	      {"fd00::/64", "fd00:0:0:1::/64", false},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ip_prefix a = prefix(cases[i].a), b = prefix(cases[i].b);
		cr_assert_eq(ip_prefix_overlaps(&a, &b), cases[i].overlap, "%s and %s", cases[i].a, cases[i].b);
		cr_assert_eq(ip_prefix_overlaps(&b, &a), cases[i].overlap, "%s and %s", cases[i].b, cases[i].a);
	}
}

Test(ip, equality_minds_the_family)
{
	struct ip_address zero4 = address("0.0.0.0"), zero6 = address("::"), one = address("0.0.0.1");
	cr_assert(ip_address_equal(&zero4, &zero4));
	cr_assert_not(ip_address_equal(&zero4, &zero6));
	cr_assert_not(ip_address_equal(&zero4, &one));
}

Test(ip, endpoints_print_with_brackets_only_around_ipv6)
{
	static const struct {
		const char *address, *text;
	} cases[] = {
		{"::ffff:192.0.2.1", "192.0.2.1:5555"},
		{"2001:db8::1", "[2001:db8::1]:5555"},
		{"::", "[::]:5555"},
		{"2001:db8:1111:2222:3333:4444:5555:6666", "[2001:db8:1111:2222:3333:4444:5555:6666]:5555"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[ENDPOINT_TEXT_MAX];
		struct sockaddr_in6 socket = {.sin6_family = AF_INET6, .sin6_port = htons(5555)};
		cr_assert_eq(inet_pton(AF_INET6, cases[i].address, &socket.sin6_addr), 1);
		cr_assert_str_eq(sockaddr_format(&socket, text), cases[i].text);
	}
}
