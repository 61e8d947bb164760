// SPDX-License-Identifier: Apache-2.0
#include "tun/icmp.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "tests/harness/packets.h"
#include "tun/tun.h"

enum { VNET = VNET_HEADER_SIZE, MTU = 1300, LONG = 1400, ICMP = 1, ICMPV6 = 58 };

static uint8_t packet[70000], frame[ICMP_FRAME_MAX + 1];

static struct ip_address address(const char *text)
{
	struct ip_address parsed;
	cr_assert(ip_address_parse(text, &parsed), "%s", text);
	return parsed;
}

static struct ip_address router(uint8_t version)
{
	return address(version == 4 ? "10.8.0.1" : "fd00:8::1");
}

/* Into `frame`. Packet and frame are copies of exactly their length, so that the sanitizers see an access beyond. */
static size_t answer_with(size_t length, uint16_t mtu, const struct ip_address *from, size_t capacity)
{
	uint8_t *copy = malloc(length), *out = malloc(capacity + 1);
	struct inner inner;

	memcpy(copy, packet, length);
	memset(out, 0xee, capacity + 1);
	cr_assert(inner_parse(&inner, copy, length));
	size_t written = icmp_too_big(&inner, mtu, from, out, capacity);
	cr_assert_leq(written, capacity);
	for (size_t i = written; i <= capacity; i++)
		cr_assert_eq(out[i], 0xee, "byte %zu behind a frame of %zu", i, written);
	cr_assert(!memcmp(copy, packet, length), "the packet is only read");
	memcpy(frame, out, written);
	free(copy);
	free(out);
	return written;
}

static size_t answer(size_t length)
{
	struct ip_address from = router(packet[0] >> 4);
	return answer_with(length, MTU, &from, ICMP_FRAME_MAX);
}

/* A packet of `length` bytes in all. */
static size_t build(uint8_t version, uint8_t protocol, size_t length)
{
	struct packet_spec spec = packet_spec_plain(version, protocol, 1);
	struct random random = {.state = length};

	random_fill(&random, packet, length);
	size_t header = packet_header_length(&spec);
	return packet_build(&spec, packet + header, length - header, packet);
}

/* The same, of a protocol that the harness does not know: `upper` in front of random bytes. */
static size_t build_other(uint8_t version, uint8_t protocol, const uint8_t *upper, size_t upper_length, size_t length)
{
	build(version, IPPROTO_UDP, length);
	packet[version == 4 ? 9 : 6] = protocol;
	memcpy(packet + (version == 4 ? 20 : 40), upper, upper_length);
	return length;
}

static void check_ipv4(size_t written, size_t length, uint32_t mtu, const struct ip_address *from)
{
	const uint8_t *ip = frame + VNET, *message = ip + 20;
	size_t quoted = length < 548 ? length : 548;

	cr_assert_eq(written, VNET + 28 + quoted);
	cr_assert_eq(ip[0], 0x45);
	cr_assert_eq(ip[1], 0xc0);
	cr_assert_eq(load_be16(ip + 2), 28 + quoted);
	cr_assert_eq(load_be32(ip + 4), 0x4000, "ID 0, DF");
	cr_assert_eq(ip[8], 64);
	cr_assert_eq(ip[9], ICMP);
	cr_assert(!memcmp(ip + 12, from->bytes, 4));
	cr_assert(!memcmp(ip + 16, packet + 12, 4), "to the source");
	cr_assert_eq(packet_sum(ip, 20), 0xffff);

	cr_assert_eq(message[0], 3);
	cr_assert_eq(message[1], 4);
	cr_assert_eq(load_be16(message + 4), 0);
	cr_assert_eq(load_be16(message + 6), mtu);
	cr_assert(!memcmp(message + 8, packet, quoted));
	cr_assert_eq(packet_sum(message, 8 + quoted), 0xffff);
}

static void check_ipv6(size_t written, size_t length, uint32_t mtu, const struct ip_address *from)
{
	const uint8_t *ip = frame + VNET, *message = ip + 40;
	size_t quoted = length < 1232 ? length : 1232;

	cr_assert_eq(written, VNET + 48 + quoted);
	cr_assert_eq(load_be32(ip), 6u << 28);
	cr_assert_eq(load_be16(ip + 4), 8 + quoted);
	cr_assert_eq(ip[6], ICMPV6);
	cr_assert_eq(ip[7], 64);
	cr_assert(!memcmp(ip + 8, from->bytes, 16));
	cr_assert(!memcmp(ip + 24, packet + 8, 16), "to the source");

	cr_assert_eq(message[0], 2);
	cr_assert_eq(message[1], 0);
	cr_assert_eq(load_be32(message + 4), mtu);
	cr_assert(!memcmp(message + 8, packet, quoted));

	uint8_t summed[40 + 1240] = {0}; /* RFC 8200, 8.1: the pseudo-header as a whole, then the message */
	memcpy(summed, ip + 8, 32);
	store_be32(summed + 32, (uint32_t)(8 + quoted));
	summed[39] = ICMPV6;
	memcpy(summed + 40, message, 8 + quoted);
	cr_assert_eq(packet_sum(summed, 48 + quoted), 0xffff);
}

/* Checks every byte of the answer to the packet of `length` bytes. */
static void check_with(size_t length, uint16_t mtu, const struct ip_address *from)
{
	uint8_t version = packet[0] >> 4;
	size_t written = answer_with(length, mtu, from, ICMP_FRAME_MAX);

	cr_assert_gt(written, 0);
	for (size_t i = 0; i < VNET; i++)
		cr_assert_eq(frame[i], 0);
	cr_assert_leq(written - VNET, version == 4 ? 576 : 1280);
	(version == 4 ? check_ipv4 : check_ipv6)(written, length, mtu, from);
}

static void check(size_t length)
{
	struct ip_address from = router(packet[0] >> 4);
	check_with(length, MTU, &from);
}

static void check_none(size_t length)
{
	cr_assert_eq(answer(length), 0);
}

/* All lengths around the limits of the quote, odd ones too. */
Test(icmp, every_length)
{
	for (uint8_t version = 4; version <= 6; version += 2)
		for (size_t length = 60; length <= 1500; length += 1)
			check(build(version, length % 2 ? IPPROTO_TCP : IPPROTO_UDP, length));
}

Test(icmp, every_mtu)
{
	for (uint8_t version = 4; version <= 6; version += 2) {
		struct ip_address from = router(version);
		size_t length = build(version, IPPROTO_UDP, LONG);
		for (unsigned mtu = 0; mtu <= UINT16_MAX; mtu++)
			check_with(length, (uint16_t)mtu, &from);
	}
}

Test(icmp, super_packets)
{
	check(build(4, IPPROTO_UDP, 65535));
	check(build(6, IPPROTO_UDP, 65575));
	size_t length = build(6, IPPROTO_TCP, 66000);
	store_be16(packet + 4, 0);
	check(length);
}

Test(icmp, ipv4_options_are_quoted)
{
	struct packet_spec spec = packet_spec_plain(4, IPPROTO_TCP, 1);
	spec.ip_options_length = 40;
	memset(spec.ip_options, 1, 40);
	check(packet_build(&spec, packet + 80, LONG, packet));
}

Test(icmp, needs_an_address_of_the_packets_version)
{
	struct ip_address none = {0}, v4 = router(4), v6 = router(6);
	size_t length = build(4, IPPROTO_UDP, LONG);
	cr_assert_eq(answer_with(length, MTU, &none, ICMP_FRAME_MAX), 0);
	cr_assert_eq(answer_with(length, MTU, &v6, ICMP_FRAME_MAX), 0);
	length = build(6, IPPROTO_UDP, LONG);
	cr_assert_eq(answer_with(length, MTU, &none, ICMP_FRAME_MAX), 0);
	cr_assert_eq(answer_with(length, MTU, &v4, ICMP_FRAME_MAX), 0);
}

Test(icmp, capacity_is_kept)
{
	for (uint8_t version = 4; version <= 6; version += 2) {
		struct ip_address from = router(version);
		size_t length = build(version, IPPROTO_UDP, LONG), needed = VNET + (version == 4 ? 576 : 1280);
		for (size_t capacity = 0; capacity < needed; capacity++)
			cr_assert_eq(answer_with(length, MTU, &from, capacity), 0);
		cr_assert_eq(answer_with(length, MTU, &from, needed), needed);
	}
}

Test(icmp, ipv4_without_df_gets_none)
{
	size_t length = build(4, IPPROTO_UDP, LONG);
	store_be16(packet + 6, 0);
	check_none(length);
	store_be16(packet + 6, 0x2000);
	check_none(length);
}

Test(icmp, ipv4_only_for_the_first_fragment)
{
	for (unsigned offset = 0; offset <= 0x1fff; offset++)
		for (unsigned more = 0; more <= 0x2000; more += 0x2000) {
			size_t length = build(4, IPPROTO_UDP, 80);
			store_be16(packet + 6, (uint16_t)(0x4000 | more | offset));
			if (offset)
				check_none(length);
			else
				check(length);
		}
}

static bool contains(const uint8_t *list, size_t count, unsigned value)
{
	for (size_t i = 0; i < count; i++)
		if (list[i] == value)
			return true;
	return false;
}

Test(icmp, ipv4_never_about_an_error)
{
	static const uint8_t queries[] = {0, 8, 9, 10, 13, 14, 15, 16, 17, 18, 42, 43};
	uint8_t message[8] = {0};
	for (unsigned type = 0; type < 256; type++) {
		message[0] = (uint8_t)type;
		size_t length = build_other(4, ICMP, message, sizeof message, LONG);
		if (contains(queries, sizeof queries, type))
			check(length);
		else
			check_none(length);
		/* Of a fragment other than the first these bytes say nothing. */
		store_be16(packet + 6, 0x4001);
		check_none(length);
	}
	/* A type that is not there might be an error's. */
	build_other(4, ICMP, message, 0, 28);
	store_be16(packet + 2, 20);
	check_none(20);
}

Test(icmp, ipv6_never_about_an_error)
{
	uint8_t message[8] = {0};
	for (unsigned type = 0; type < 256; type++) {
		message[0] = (uint8_t)type;
		size_t length = build_other(6, ICMPV6, message, sizeof message, LONG);
		if (type >= 128 && type != 137)
			check(length);
		else
			check_none(length);
	}
	build_other(6, ICMPV6, message, 0, 48);
	store_be16(packet + 4, 0);
	check_none(40);
}

/* All other protocols, and whatever stands where ICMP has its type. */
Test(icmp, other_protocols)
{
	static const uint8_t extensions[] = {0, 43, 44, 51, 60};
	static const uint8_t upper[] = {3, 4, 0, 8, 0x50, 0, 0, 0};
	for (uint8_t version = 4; version <= 6; version += 2)
		for (unsigned protocol = 0; protocol < 256; protocol++) {
			if (protocol == (version == 4 ? ICMP : ICMPV6) || protocol == IPPROTO_TCP)
				continue;
			if (version == 6 && contains(extensions, sizeof extensions, protocol))
				continue;
			size_t length = build(version, IPPROTO_UDP, LONG);
			packet[version == 4 ? 9 : 6] = (uint8_t)protocol;
			memcpy(packet + (version == 4 ? 20 : 40), upper, sizeof upper);
			check(length);
		}
}

/* --- IPv6 extension headers --------------------------------------------------------------------------------------- */

/* Hop-by-hop of 16 bytes, routing of 8, a first fragment, authentication of 12 … then what `last` says. */
static size_t build_chain(uint8_t last, uint8_t type, uint16_t fragment)
{
	uint8_t chain[] = {
		43,   1, 1, 12, 3,    58, 0, 0, 1, 4, 0, 0, 0, 0, 0, 0, /* hop-by-hop */
		60,   0, 4, 0,	0,    0,  0, 0,				/* routing */
		44,   0, 1, 4,	2,    0,  0, 0,				/* destination options */
		51,   9, 0, 0,	0,    0,  0, 1,				/* fragment; its second byte is no length */
		last, 1, 0, 0,	0xff, 0,  0, 0, 0, 0, 0, 0,		/* authentication: (1 + 2) * 4 bytes */
		type, 0, 0, 0,	0,    0,  0, 0,
	};
	store_be16(chain + 34, fragment);
	return build_other(6, 0, chain, sizeof chain, LONG);
}

Test(icmp, ipv6_errors_are_found_behind_extension_headers)
{
	check(build_chain(ICMPV6, 128, 0));
	check(build_chain(IPPROTO_UDP, 1, 0));
	check(build_chain(59, 1, 0)); /* no next header */
	check(build_chain(50, 1, 0)); /* ESP: cannot be read */
	for (uint8_t type = 1; type <= 4; type++)
		check_none(build_chain(ICMPV6, type, 0));
	check_none(build_chain(ICMPV6, 137, 0));
}

Test(icmp, ipv6_only_for_the_first_fragment)
{
	check(build_chain(IPPROTO_UDP, 0, 0x0001));
	check(build_chain(IPPROTO_UDP, 0, 0x0007)); /* reserved bits */
	for (unsigned offset = 8; offset <= 0xfff8; offset += 8)
		check_none(build_chain(IPPROTO_UDP, 0, (uint16_t)offset));
}

/* The same chain in a packet that ends too early, at every byte; once TCP's first byte is there, it is enough. */
Test(icmp, ipv6_chain_that_is_cut_off)
{
	enum { CHAIN = 40 + 16 + 8 + 8 + 8 + 12 };
	for (size_t length = 40; length <= CHAIN + 8; length++) {
		build_chain(ICMPV6, 128, 0);
		store_be16(packet + 4, (uint16_t)(length - 40));
		if (length <= CHAIN)
			check_none(length);
		else
			check(length);
		build_chain(IPPROTO_UDP, 0, 0);
		store_be16(packet + 4, (uint16_t)(length - 40));
		if (length < CHAIN)
			check_none(length);
		else
			check(length);
	}
}

/* Nothing is believed that is not quoted: the last header may end where the quote does, not behind it. */
Test(icmp, ipv6_chain_as_long_as_the_quote)
{
	build(6, IPPROTO_UDP, 65575);
	packet[6] = 60;
	memset(packet + 40, 0, 65535);
	for (size_t at = 40; at < 65575; at += 8)
		packet[at] = 60;
	check_none(65575);
	packet[40 + 1192 - 8] = 17; /* the last one inside */
	check(65575);
	packet[40 + 1192 - 8] = 60;
	packet[40 + 1192] = 17; /* the first one outside */
	check_none(65575);

	uint8_t beyond[8] = {17, 255}; /* 2048 bytes */
	check_none(build_other(6, 60, beyond, sizeof beyond, 1500));
	check_none(build_other(6, 60, beyond, sizeof beyond, 4000));
}

/* --- addresses ---------------------------------------------------------------------------------------------------- */

static void check_address(const char *text, bool answered)
{
	struct ip_address changed = address(text);
	for (int destination = 0; destination < 2; destination++) {
		size_t length = build(changed.family, IPPROTO_UDP, LONG);
		if (changed.family == 4)
			memcpy(packet + (destination ? 16 : 12), changed.bytes, 4);
		else
			memcpy(packet + (destination ? 24 : 8), changed.bytes, 16);
		if (answered)
			check(length);
		else
			cr_assert_eq(answer(length), 0, "%s as %s", text, destination ? "destination" : "source");
	}
}

Test(icmp, only_between_single_hosts)
{
	static const char *const none[] = {"0.0.0.0",	"0.1.2.3",
					   "127.0.0.1", "127.255.255.255",
					   "224.0.0.1", "239.255.255.255",
					   "240.0.0.1", "255.255.255.255",
					   "::",	"::1",
					   "ff02::1",	"ff0e::1:2",
					   "ffff::"};
	static const char *const single[] = {
		"1.0.0.0", "10.0.0.127", "126.255.255.255", "128.0.0.1", "223.255.255.255", "::2",    "1::",
		"1::1",	   "100::1",	 "2001:db8::ff",    "fd00::1",	 "fe80::1",	    "feff::1"};
	for (size_t i = 0; i < ARRAY_SIZE(none); i++)
		check_address(none[i], false);
	for (size_t i = 0; i < ARRAY_SIZE(single); i++)
		check_address(single[i], true);
}

/* --- hostile packets ---------------------------------------------------------------------------------------------- */

/* Random headers on random bytes: none is read beyond its end, and every answer is right in each byte. */
Test(icmp, random_packets)
{
	static const uint8_t protocols[] = {0, 1, 6, 17, 43, 44, 50, 51, 58, 60};
	struct random random = {.state = 11};
	unsigned answers = 0, silences = 0;
	for (unsigned i = 0; i < 100000; i++) {
		uint8_t version = i & 1 ? 6 : 4;
		size_t length = (version == 4 ? 20 : 40) + random_below(&random, random_chance(&random, 50) ? 30 : 600);
		random_fill(&random, packet, length);
		packet[0] = version == 4 ? (uint8_t)(0x45 + random_below(&random, 3)) : 0x60;
		store_be16(packet + (version == 4 ? 2 : 4), (uint16_t)(version == 4 ? length : length - 40));
		packet[version == 4 ? 9 : 6] = protocols[random_below(&random, sizeof protocols)];
		if (version == 4 && random_chance(&random, 70))
			store_be16(packet + 6, 0x4000);
		for (size_t at = 40; at < length && version == 6; at += 4)
			if (random_chance(&random, 70)) {
				packet[at] = protocols[random_below(&random, sizeof protocols)];
				packet[at + 1 < length ? at + 1 : at] = (uint8_t)random_below(&random, 4);
			}
		struct inner inner;
		if (!inner_parse(&inner, packet, length))
			continue;
		if (answer(length)) {
			check(length);
			answers++;
		} else {
			silences++;
		}
	}
	cr_assert_gt(answers, 5000);
	cr_assert_gt(silences, 5000);
}

/* --- the kernel, which has the last word -------------------------------------------------------------------------- */

static struct tun_device device;

/* An IPv6 address's local route is laid by a kernel thread, some time after the request for the address was confirmed.
 * Before that a packet to it is not for us. */
static void await_local_route(const char *route)
{
	for (int tries = 0; tries < 20000; tries++) {
		char line[256];
		bool found = false;
		FILE *routes = fopen("/proc/net/ipv6_route", "re");
		cr_assert_not_null(routes);
		while (!found && fgets(line, sizeof line, routes) != NULL)
			found = strncmp(line, route, strlen(route)) == 0;
		fclose(routes);
		if (found)
			return;
		usleep(1000);
	}
	cr_assert_fail("no local route %s", route);
}

static void open_device(void)
{
	struct ip_prefix addresses[2];
	struct error error;

	if (unshare(CLONE_NEWNET) < 0)
		cr_skip_test("a network namespace of our own needs CAP_SYS_ADMIN");
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		cr_skip_test("no /dev/net/tun to open");
	cr_assert(ip_prefix_parse("10.8.0.1/16", &addresses[0]) && ip_prefix_parse("fd00:8::1/64", &addresses[1]));
	cr_assert_eq(
		tun_device_open(
			&device,
			&(struct tun_params){
				.name = "tun9", .mtu = 1420, .addresses = addresses, .address_count = 2, .readers = 1},
			&error),
		0, "%s", error.text);
	await_local_route("fd000008000000000000000000000001 80 ");
}

/* Sends a datagram from a socket that does path MTU discovery, answers it from `from`, and returns what the kernel
 * then takes the path's MTU for. */
static int learned(uint8_t version, const char *from)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(7777)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(7777)};
	inet_pton(AF_INET, "10.8.0.2", &v4.sin_addr);
	inet_pton(AF_INET6, "fd00:8::2", &v6.sin6_addr);
	int level = version == 4 ? IPPROTO_IP : IPPROTO_IPV6, mtu = 0, discover = IP_PMTUDISC_DO;
	socklen_t size = sizeof mtu;
	uint8_t payload[1372] = {0};

	int fd = socket(version == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(
		setsockopt(fd, level, version == 4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, &discover, sizeof discover),
		0);
	cr_assert_eq(version == 4 ? connect(fd, (struct sockaddr *)&v4, sizeof v4)
				  : connect(fd, (struct sockaddr *)&v6, sizeof v6),
		     0);
	cr_assert_eq(send(fd, payload, sizeof payload, 0), (ssize_t)sizeof payload);

	struct iovec read;
	struct inner inner;
	do {
		struct pollfd readable = {.fd = device.queues[0].fd, .events = POLLIN};
		cr_assert_eq(poll(&readable, 1, 240000), 1);
		read = (struct iovec){packet, sizeof packet};
		cr_assert_eq(device.queues[0].ops->read(&device.queues[0], &read, 1), 1);
		cr_assert(inner_parse(&inner, packet + VNET, read.iov_len - VNET));
	} while (inner.protocol != IPPROTO_UDP);

	struct ip_address router_address = address(from);
	struct iovec write = {frame, icmp_too_big(&inner, MTU, &router_address, frame, sizeof frame)};
	cr_assert_gt(write.iov_len, 0);
	cr_assert_eq(device.queues[0].ops->write(&device.queues[0], &(struct tun_frame){&write, 1, 1}), 0);
	cr_assert_eq(getsockopt(fd, level, version == 4 ? IP_MTU : IPV6_MTU, &mtu, &size), 0);
	close(fd);
	return mtu;
}

Test(icmp, the_kernel_believes_it, .init = open_device)
{
	cr_assert_eq(learned(4, "10.8.0.2"), MTU);
	cr_assert_eq(learned(6, "fd00:8::2"), MTU);
	tun_device_close(&device);
}

/* A source address of the kernel's own is a martian in IPv4: the contract warns of it. */
Test(icmp, the_kernel_does_not_believe_itself, .init = open_device)
{
	cr_assert_eq(learned(4, "10.8.0.1"), 1420);
	cr_assert_eq(learned(6, "fd00:8::1"), MTU);
	tun_device_close(&device);
}
