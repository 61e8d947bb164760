// SPDX-License-Identifier: Apache-2.0
#include "tun/inner.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "tests/harness/packets.h"

static uint8_t packet[70000];

/* Parses a copy that is exactly `length` bytes, so that the sanitizers see a read beyond the end. */
static bool parses(const uint8_t *bytes, size_t length)
{
	uint8_t *copy = malloc(length + !length);
	struct inner inner;

	if (length)
		memcpy(copy, bytes, length);
	bool ok = inner_parse(&inner, copy, length);
	if (ok) {
		struct ip_address address;
		inner_source(&inner, &address);
		inner_destination(&inner, &address);
		inner_checksum_ok(&inner);
	}
	free(copy);
	return ok;
}

static size_t build(uint8_t version, uint8_t protocol, size_t payload)
{
	struct packet_spec spec = packet_spec_plain(version, protocol, 1);

	memset(packet, 0x42, sizeof packet);
	return packet_build(&spec, packet + packet_header_length(&spec), payload, packet);
}

Test(inner, fields_of_tcp4_with_options)
{
	struct packet_spec spec = packet_spec_plain(4, IPPROTO_TCP, 1);
	struct inner inner;
	struct ip_address address;

	spec.ip_options_length = 8;
	spec.tcp_options_length = 12;
	size_t length = packet_build(&spec, (const uint8_t *)"hello", 5, packet);
	cr_assert(inner_parse(&inner, packet, length));
	cr_assert_eq(inner.data, packet);
	cr_assert_eq(inner.length, 20 + 8 + 20 + 12 + 5);
	cr_assert_eq(inner.version, 4);
	cr_assert_eq(inner.protocol, IPPROTO_TCP);
	cr_assert_eq(inner.ip_length, 28);
	cr_assert_eq(inner.upper_length, 32);
	cr_assert_not(inner.fragment);

	inner_source(&inner, &address);
	cr_assert_eq(address.family, 4);
	cr_assert(!memcmp(address.bytes, (const uint8_t[16]){10, 11, 12, 13}, 16));
	inner_destination(&inner, &address);
	cr_assert(!memcmp(address.bytes, (const uint8_t[16]){101, 102, 103, 104}, 16));
}

Test(inner, fields_of_udp6)
{
	struct inner inner;
	struct ip_address address;
	size_t length = build(6, IPPROTO_UDP, 3);

	cr_assert(inner_parse(&inner, packet, length));
	cr_assert_eq(inner.version, 6);
	cr_assert_eq(inner.protocol, IPPROTO_UDP);
	cr_assert_eq(inner.ip_length, 40);
	cr_assert_eq(inner.upper_length, 8);
	cr_assert_not(inner.fragment);
	inner_source(&inner, &address);
	cr_assert_eq(address.family, 6);
	cr_assert(!memcmp(address.bytes, packet + 8, 16));
	inner_destination(&inner, &address);
	cr_assert(!memcmp(address.bytes, packet + 24, 16));
}

Test(inner, whatever_is_neither_version_is_refused)
{
	size_t length = build(4, IPPROTO_UDP, 30);

	for (unsigned version = 0; version < 16; version++) {
		packet[0] = (uint8_t)(version << 4 | 5);
		cr_assert_eq(parses(packet, length), version == 4, "version %u", version);
	}
	cr_assert_not(parses(packet, 0));
}

Test(inner, every_ipv4_header_length)
{
	/* 60 bytes in all: the header may fill the packet, but not for UDP, whose header must follow. */
	for (unsigned words = 0; words < 16; words++) {
		build(4, IPPROTO_UDP, 32);
		packet[0] = (uint8_t)(0x40 | words);
		cr_assert_eq(parses(packet, 60), words >= 5 && words * 4 + 8 <= 60, "UDP, %u words", words);
		packet[9] = IPPROTO_ICMP;
		cr_assert_eq(parses(packet, 60), words >= 5, "ICMP, %u words", words);
		store_be16(packet + 2, 56);
		cr_assert_eq(parses(packet, 56), words >= 5 && words <= 14, "ICMP in 56 bytes, %u words", words);
	}
}

Test(inner, every_tcp_header_length)
{
	for (uint8_t version = 4; version <= 6; version += 2)
		for (unsigned words = 0; words < 16; words++) {
			size_t length = build(version, IPPROTO_TCP, 36), ip = version == 4 ? 20 : 40;
			packet[ip + 12] = (uint8_t)(words << 4);
			cr_assert_eq(parses(packet, length), words >= 5 && words <= 14, "IPv%u, %u words", version,
				     words);
		}
}

/* Parses a copy of exactly `length` bytes; the packet's own length, 0 when it is refused. */
static uint32_t padded_length(const uint8_t *bytes, size_t length)
{
	uint8_t *copy = malloc(length + !length);
	struct inner inner;

	if (length)
		memcpy(copy, bytes, length);
	bool ok = inner_parse_padded(&inner, copy, length);
	cr_assert(!ok || inner.data == copy);
	free(copy);
	return ok ? inner.length : 0;
}

Test(inner, padding_is_cut_off)
{
	for (uint8_t version = 4; version <= 6; version += 2)
		for (size_t payload = 0; payload < 40; payload++) {
			size_t length = build(version, IPPROTO_UDP, payload);
			for (size_t padding = 0; padding < 100; padding++)
				cr_assert_eq(padded_length(packet, length + padding), length,
					     "IPv%u, %zu and %zu bytes", version, length, padding);
			for (size_t missing = 1; missing <= length; missing++)
				cr_assert_eq(padded_length(packet, length - missing), 0, "IPv%u, %zu less %zu bytes",
					     version, length, missing);
		}
}

Test(inner, padding_alone_or_a_length_below_the_header_s_is_no_packet)
{
	uint8_t zeros[64] = {0};

	for (size_t length = 0; length <= sizeof zeros; length++)
		cr_assert_eq(padded_length(zeros, length), 0);
	size_t length = build(4, IPPROTO_ICMP, 40);
	for (uint16_t own = 0; own < 20; own++) {
		store_be16(packet + 2, own);
		cr_assert_eq(padded_length(packet, length), 0, "%u", own);
	}
	store_be16(packet + 2, 20);
	cr_assert_eq(padded_length(packet, length), 20, "a header alone");
	packet[0] = 0x46;
	cr_assert_eq(padded_length(packet, length), 0, "a longer header than packet");
}

Test(inner, length_field_off_by_one_or_more_is_refused)
{
	static const int wrong[] = {-20, -8, -1, 1, 2, 100};

	for (uint8_t version = 4; version <= 6; version += 2) {
		size_t length = build(version, IPPROTO_UDP, 100);
		uint8_t *field = packet + (version == 4 ? 2 : 4);
		uint16_t right = load_be16(field);

		cr_assert(parses(packet, length));
		for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
			cr_assert_not(parses(packet, length + (size_t)wrong[i]), "IPv%u: %d bytes more", version,
				      wrong[i]);
			store_be16(field, (uint16_t)(right + wrong[i]));
			cr_assert_not(parses(packet, length), "IPv%u: field %d too large", version, wrong[i]);
			store_be16(field, right);
		}
		store_be16(field, 0);
		cr_assert_not(parses(packet, length), "IPv%u: field 0", version);
	}
}

Test(inner, every_truncation_is_refused)
{
	for (int i = 0; i < 4; i++) {
		uint8_t version = i & 1 ? 6 : 4, protocol = i & 2 ? IPPROTO_TCP : IPPROTO_UDP;
		size_t length = build(version, protocol, 0), ip = version == 4 ? 20 : 40;

		/* Also with a length field that agrees, so that only the missing upper header is wrong. */
		for (size_t cut = 0; cut < length; cut++) {
			cr_assert_not(parses(packet, cut), "%zu of %zu bytes", cut, length);
			if (cut < ip)
				continue;
			uint8_t shorter[100];
			memcpy(shorter, packet, cut);
			store_be16(shorter + (version == 4 ? 2 : 4), (uint16_t)(version == 4 ? cut : cut - ip));
			cr_assert_not(parses(shorter, cut), "IPv%u, protocol %u: %zu of %zu bytes", version, protocol,
				      cut, length);
		}
	}
}

Test(inner, fragments_have_no_upper_header)
{
	static const struct {
		uint16_t field;
		bool fragment;
	} cases[] = {
		{0x0000, false}, {0x4000, false}, {0x8000, false}, {0x2000, true}, {0x0001, true},
		{0x1fff, true},	 {0x2001, true},  {0x6000, true},  {0x5000, true},
	};
	struct inner inner;
	size_t length = build(4, IPPROTO_TCP, 50);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		store_be16(packet + 6, cases[i].field);
		packet_finish(packet, length);
		cr_assert(inner_parse(&inner, packet, length));
		cr_assert_eq(inner.fragment, cases[i].fragment, "flags and offset %04x", cases[i].field);
		cr_assert_eq(inner.may_fragment, (cases[i].field & 0x4000) == 0, "%04x", cases[i].field);
		cr_assert_eq(inner.upper_length, cases[i].fragment ? 0 : 20);
		cr_assert_eq(inner_checksum_ok(&inner), !cases[i].fragment);
	}

	/* A last fragment of 3 bytes: too short for TCP, but it is none. */
	length = build(4, IPPROTO_TCP, 0);
	store_be16(packet + 2, 23);
	store_be16(packet + 6, 0x00b9);
	cr_assert(inner_parse(&inner, packet, 23));

	length = build(6, IPPROTO_UDP, 50);
	packet[6] = IPPROTO_FRAGMENT;
	cr_assert(inner_parse(&inner, packet, length));
	cr_assert(inner.fragment);
	cr_assert_not(inner.may_fragment);
	cr_assert_eq(inner.upper_length, 0);
	cr_assert_not(inner_checksum_ok(&inner));
}

Test(inner, other_protocols_pass_without_upper_header)
{
	static const uint8_t protocols[] = {IPPROTO_ICMP, IPPROTO_ICMPV6,  IPPROTO_ESP,	 IPPROTO_GRE,
					    IPPROTO_SCTP, IPPROTO_HOPOPTS, IPPROTO_NONE, 255};
	struct inner inner;

	for (uint8_t version = 4; version <= 6; version += 2)
		for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
			size_t length = build(version, IPPROTO_UDP, 0) - 8; /* nothing behind the IP header */
			packet[version == 4 ? 9 : 6] = protocols[i];
			store_be16(packet + (version == 4 ? 2 : 4), version == 4 ? 20 : 0);
			cr_assert(inner_parse(&inner, packet, length), "IPv%u, protocol %u", version, protocols[i]);
			cr_assert_eq(inner.upper_length, 0);
			cr_assert_not(inner.fragment);
			cr_assert_not(inner_checksum_ok(&inner));
		}
}

Test(inner, largest_packets_and_ipv6_length_zero)
{
	struct inner inner;

	memset(packet, 0, sizeof packet);
	packet[0] = 0x45;
	packet[9] = IPPROTO_ICMP;
	store_be16(packet + 2, 65535);
	cr_assert(inner_parse(&inner, packet, 65535));
	cr_assert_not(inner_parse(&inner, packet, 65536 + 65535));

	packet[0] = 0x60;
	packet[6] = IPPROTO_ICMPV6;
	store_be16(packet + 4, 65535);
	cr_assert(inner_parse(&inner, packet, 40 + 65535));
	cr_assert_not(inner_parse(&inner, packet, 40 + 65536));
	store_be16(packet + 4, 0); /* means "does not fit": right only above 65535 */
	cr_assert_not(inner_parse(&inner, packet, 40 + 65535));
	cr_assert(inner_parse(&inner, packet, 40 + 65536));
	cr_assert_eq(inner.length, 40 + 65536);
	cr_assert(inner_parse(&inner, packet, 40));
}

/* Each bit that a checksum covers, flipped alone, shows; the TTL of IPv6, which none covers, does not. */
Test(inner, checksum_ok_sees_every_flipped_bit)
{
	for (int i = 0; i < 4; i++) {
		uint8_t version = i & 1 ? 6 : 4, protocol = i & 2 ? IPPROTO_TCP : IPPROTO_UDP;
		size_t length = build(version, protocol, 33);
		struct inner inner;

		cr_assert(inner_parse(&inner, packet, length));
		cr_assert(inner_checksum_ok(&inner));
		for (size_t bit = 0; bit < length * 8; bit++) {
			bool covered = version == 4 || bit / 8 >= 8;
			packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
			struct inner flipped;
			bool ok = inner_parse(&flipped, packet, length) && inner_checksum_ok(&flipped);
			if (covered)
				cr_assert_not(ok, "IPv%u, protocol %u, byte %zu, bit %zu", version, protocol, bit / 8,
					      bit % 8);
			packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		packet[version == 4 ? 8 : 7]--;
		cr_assert_eq(inner_checksum_ok(&inner), version == 6);
	}
}

Test(inner, udp_checksum_of_zero_is_absent)
{
	for (uint8_t version = 4; version <= 6; version += 2) {
		size_t length = build(version, IPPROTO_UDP, 10), ip = version == 4 ? 20 : 40;
		struct inner inner;

		memset(packet + ip + 6, 0, 2);
		cr_assert(inner_parse(&inner, packet, length));
		cr_assert_not(inner_checksum_ok(&inner));

		/* Even where the sum comes out as if the zero were right: the payload takes the checksum's value. */
		memset(packet + ip + 8, 0, 2);
		packet_finish(packet, length);
		memcpy(packet + ip + 8, packet + ip + 6, 2);
		memcpy(packet + ip + 6, (const uint8_t[]){0, 0}, 2);
		cr_assert_not(inner_checksum_ok(&inner));
	}
}

Test(inner, udp_checksum_sent_as_all_ones_is_right)
{
	for (uint8_t version = 4; version <= 6; version += 2) {
		size_t length = build(version, IPPROTO_UDP, 2), ip = version == 4 ? 20 : 40;
		struct inner inner;

		/* Move the checksum into the payload: what is left to put into the field is zero, sent as ffff. */
		memset(packet + ip + 8, 0, 2);
		packet_finish(packet, length);
		memcpy(packet + ip + 8, packet + ip + 6, 2);
		packet_finish(packet, length);
		cr_assert_eq(load_be16(packet + ip + 6), 0xffff);
		cr_assert(inner_parse(&inner, packet, length));
		cr_assert(inner_checksum_ok(&inner));
	}
}

/* A datagram shorter than its IP packet is legal to forward, but no checksum covers the bytes behind it. */
Test(inner, udp_length_that_differs_is_never_checked)
{
	for (int delta = -1; delta <= 1; delta += 2) {
		size_t length = build(4, IPPROTO_UDP, 10);
		struct inner inner;

		store_be16(packet + 24, (uint16_t)(18 + delta));
		packet_finish(packet, length);
		cr_assert(inner_parse(&inner, packet, length));
		cr_assert_not(inner_checksum_ok(&inner));
	}
}

Test(inner, random_bytes_are_judged_without_a_read_beyond)
{
	struct random random = {.state = 7};
	uint8_t bytes[160];
	unsigned accepted = 0;

	for (int i = 0; i < 200000; i++) {
		size_t length = random_below(&random, sizeof bytes);
		random_fill(&random, bytes, length > 64 ? 64 : length);
		if (length > 10 && random_chance(&random, 90)) { /* near misses find more than noise */
			bool v4 = random_chance(&random, 50);
			bytes[0] = (uint8_t)(v4 ? 0x45 + random_below(&random, 4) : 0x60);
			store_be16(bytes + (v4 ? 2 : 4), (uint16_t)(v4 ? length : length - 40));
			bytes[v4 ? 9 : 6] = random_chance(&random, 50) ? IPPROTO_TCP : IPPROTO_UDP;
		}
		accepted += parses(bytes, length);
	}
	cr_assert_gt(accepted, 10000);
}
