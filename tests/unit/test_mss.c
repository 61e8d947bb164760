// SPDX-License-Identifier: Apache-2.0
#include "tun/mss.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "tests/harness/packets.h"
#include "tun/vnet.h"

enum { MTU = 1420, FITS_4 = MTU - 40, FITS_6 = MTU - 60 };

/* TCP options as systems send them, without padding. */
static const struct option {
	uint8_t length;
	uint8_t bytes[10];
} mss_option = {4, {2, 4, 0x05, 0xb4}}, /* 1460 */
	others[] = {
		{1, {1}},					   /* no operation */
		{3, {3, 3, 7}},					   /* window scale */
		{2, {4, 2}},					   /* SACK permitted */
		{10, {8, 10, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0}}, /* timestamps */
};

static uint16_t fits(uint8_t version)
{
	return version == 4 ? FITS_4 : FITS_6;
}

static void append(struct packet_spec *spec, const struct option *option)
{
	memcpy(spec->tcp_options + spec->tcp_options_length, option->bytes, option->length);
	spec->tcp_options_length = (uint8_t)(spec->tcp_options_length + option->length);
}

/* Ends the list and fills the header up; the padding behind the end is no option, whatever it looks like. */
static void pad(struct packet_spec *spec)
{
	while (spec->tcp_options_length % 4)
		spec->tcp_options[spec->tcp_options_length++] = 0;
}

static struct packet_spec syn_plain(uint8_t version)
{
	struct packet_spec spec = packet_spec_plain(version, IPPROTO_TCP, 1);
	spec.tcp_flags = TEST_TCP_SYN;
	return spec;
}

static struct packet_spec syn_with(uint8_t version, const uint8_t *options, uint8_t length)
{
	struct packet_spec spec = syn_plain(version);
	memcpy(spec.tcp_options, options, length);
	spec.tcp_options_length = length;
	return spec;
}

/* Clamps a copy that is exactly as long as the packet, so that the sanitizers see an access beyond its end, and puts
 * the result back. */
static bool clamp(uint8_t *packet, size_t length, uint16_t mtu, bool partial)
{
	uint8_t *copy = malloc(length);
	struct inner inner;

	memcpy(copy, packet, length);
	cr_assert(inner_parse(&inner, copy, length));
	bool changed = mss_clamp(&inner, mtu, partial);
	cr_assert_eq(changed, memcmp(copy, packet, length) != 0, "it says whether the packet changed");
	memcpy(packet, copy, length);
	free(copy);
	return changed;
}

/* What comes out is, byte for byte, the packet as it would be had the sender written `after` into its options. */
static void check(const struct packet_spec *before, const struct packet_spec *after, uint16_t mtu)
{
	static const uint8_t payload[] = "data of a fast open";
	for (size_t bytes = 0; bytes <= 3; bytes++) {
		uint8_t packet[200], expected[200];
		size_t length = packet_build(before, payload, bytes, packet);
		packet_build(after, payload, bytes, expected);
		cr_assert_eq(clamp(packet, length, mtu, false), before != after);
		cr_assert(!memcmp(packet, expected, length));
		cr_assert(packet_is_right(packet, length));
	}
}

static void check_unchanged(const struct packet_spec *spec, uint16_t mtu)
{
	check(spec, spec, mtu);
}

static void check_clamped_at(const struct packet_spec *spec, size_t value_at, uint16_t mtu, uint16_t value)
{
	struct packet_spec after = *spec;
	store_be16(after.tcp_options + value_at, value);
	check(spec, &after, mtu);
}

/* Every choice of the other options, up to three before MSS and the rest behind: 1 … 17 bytes lead to even and odd
 * places. */
Test(mss, every_order_of_options)
{
	for (uint8_t version = 4; version <= 6; version += 2) {
		unsigned odd = 0;
		for (unsigned code = 0; code < 5 * 5 * 5; code++) {
			struct packet_spec spec = syn_plain(version);
			unsigned before[] = {code % 5, code / 5 % 5, code / 25};
			for (size_t i = 0; i < ARRAY_SIZE(before); i++)
				if (before[i] < ARRAY_SIZE(others))
					append(&spec, &others[before[i]]);
			uint8_t value_at = (uint8_t)(spec.tcp_options_length + 2);
			append(&spec, &mss_option);
			for (size_t i = 0; i < ARRAY_SIZE(others) - 1 && spec.tcp_options_length < 37; i++)
				append(&spec, &others[i]);
			pad(&spec);
			odd += value_at % 2;
			check_clamped_at(&spec, value_at, MTU, fits(version));
		}
		cr_assert_gt(odd, 40);
	}
}

/* Every value, at an even and an odd place: sums that wrap, and checksums of 0, come by on the way. */
Test(mss, every_value_and_never_raised)
{
	for (unsigned odd = 0; odd < 2; odd++)
		for (unsigned value = 0; value <= UINT16_MAX; value++) {
			uint8_t options[8] = {1, 2, 4, 0, 0, 0, 0, 0};
			struct packet_spec spec = syn_with(4, options + !odd, 8 - 4 * !odd);
			uint8_t at = (uint8_t)(2 + odd), packet[80], expected[80];
			uint16_t after = value > FITS_4 ? FITS_4 : (uint16_t)value;
			store_be16(spec.tcp_options + at, (uint16_t)value);
			size_t length = packet_build(&spec, NULL, 0, packet);
			store_be16(spec.tcp_options + at, after);
			packet_build(&spec, NULL, 0, expected);
			cr_assert_eq(clamp(packet, length, MTU, false), value > FITS_4);
			cr_assert(!memcmp(packet, expected, length), "MSS %u", value);
		}
}

/* 40 + 20 and 20 + 20 bytes of headers; options of either are the sender's to subtract. */
Test(mss, limit_is_the_mtu_less_fixed_headers)
{
	const uint8_t options[] = {2, 4, 0xff, 0xff};
	struct packet_spec with_ip_options = syn_with(4, options, 4);
	with_ip_options.ip_options_length = 8;
	memset(with_ip_options.ip_options, 1, 8);

	check_clamped_at(&with_ip_options, 2, 1420, 1380);
	for (uint16_t mtu = 41; mtu < 65000; mtu = (uint16_t)(mtu + 97)) {
		struct packet_spec spec = syn_with(4, options, 4);
		check_clamped_at(&spec, 2, mtu, (uint16_t)(mtu - 40));
	}
	struct packet_spec spec = syn_with(6, options, 4);
	check_clamped_at(&spec, 2, 1280, 1220);
	check_clamped_at(&spec, 2, 61, 1);
}

Test(mss, mtu_without_room_changes_nothing)
{
	for (uint8_t version = 4; version <= 6; version += 2) {
		struct packet_spec spec = syn_with(version, mss_option.bytes, 4);
		for (unsigned mtu = 0; mtu <= (version == 4 ? 40 : 60); mtu++)
			check_unchanged(&spec, (uint16_t)mtu);
	}
}

Test(mss, exactly_the_packets_with_syn)
{
	for (uint8_t version = 4; version <= 6; version += 2)
		for (unsigned flags = 0; flags < 256; flags++) {
			struct packet_spec spec = syn_with(version, mss_option.bytes, 4);
			spec.tcp_flags = (uint8_t)flags;
			if (flags & TEST_TCP_SYN)
				check_clamped_at(&spec, 2, MTU, fits(version));
			else
				check_unchanged(&spec, MTU);
		}
}

Test(mss, syn_without_the_option)
{
	for (uint8_t version = 4; version <= 6; version += 2) {
		struct packet_spec spec = syn_plain(version);
		check_unchanged(&spec, MTU);
		append(&spec, &others[3]);
		append(&spec, &others[2]);
		check_unchanged(&spec, MTU);
	}
}

Test(mss, each_of_several_is_lowered)
{
	struct packet_spec spec = syn_plain(4);
	append(&spec, &mss_option);
	append(&spec, &others[0]);
	append(&spec, &mss_option);
	pad(&spec);
	struct packet_spec after = spec;
	store_be16(after.tcp_options + 2, FITS_4);
	store_be16(after.tcp_options + 7, FITS_4);
	check(&spec, &after, MTU);
}

Test(mss, malformed_options_change_nothing)
{
	static const uint8_t lists[][8] = {
		{2, 0, 0x05, 0xb4, 2, 4, 0x05, 0xb4}, /* length 0 would never end */
		{3, 1, 2, 4, 0xff, 0xff, 0, 0},	      /* shorter than itself */
		{2, 3, 0x05, 0xb4, 0xff, 0, 0, 0},    /* an MSS of one byte */
		{2, 2, 3, 3, 7, 0, 0, 0},	      /* an MSS of none */
		{2, 5, 0x05, 0xb4, 0, 0, 0, 0},	      /* an MSS of three bytes */
		{8, 9, 2, 4, 0x05, 0xb4, 1, 1},	      /* beyond the header by one */
		{8, 255, 2, 4, 0x05, 0xb4, 1, 1},     /* beyond everything */
		{1, 1, 1, 1, 1, 1, 1, 2},	      /* the kind alone fits */
		{1, 1, 1, 1, 1, 1, 2, 4},	      /* kind and length fit */
		{1, 1, 1, 1, 1, 2, 4, 0xff},	      /* half of the value fits */
		{0, 2, 2, 4, 0xff, 0xff, 0, 0},	      /* behind the end of the list */
		{1, 0, 3, 0, 2, 4, 0xff, 0xff},
		{254, 8, 2, 4, 0xff, 0xff, 0, 0}, /* inside another option */
	};
	for (uint8_t version = 4; version <= 6; version += 2)
		for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
			struct packet_spec spec = syn_with(version, lists[i], 8);
			check_unchanged(&spec, MTU);
		}
}

/* A receiver believes what stood before, so that has to be right. */
Test(mss, lowered_in_front_of_a_malformed_option)
{
	const uint8_t options[] = {2, 4, 0x05, 0xb4, 3, 0, 2, 4, 0xff, 0xff, 0, 0};
	struct packet_spec spec = syn_with(6, options, sizeof options);
	check_clamped_at(&spec, 2, MTU, FITS_6);
}

/* The field of a frame with NEEDS_CSUM: completed as the kernel does, from csum_start on, it is right afterwards. */
Test(mss, partial_checksum_stays_as_it_is)
{
	for (uint8_t version = 4; version <= 6; version += 2)
		for (unsigned odd = 0; odd < 2; odd++) {
			const uint8_t options[8] = {1, 2, 4, 0x05, 0xb4, 0, 0, 0};
			struct packet_spec spec = syn_with(version, options + !odd, 8 - 4 * !odd);
			uint8_t frame[200], *packet = frame + VNET_HEADER_SIZE;
			size_t length = packet_build_frame(&spec, NULL, 0, 0, frame) - VNET_HEADER_SIZE;
			uint8_t *tcp = packet + (version == 4 ? 20 : 40);
			uint16_t partial = load_be16(tcp + 16);

			cr_assert(clamp(packet, length, MTU, true));
			cr_assert_eq(load_be16(tcp + 16), partial);
			cr_assert_eq(load_be16(tcp + 22 + odd), fits(version));
			store_be16(tcp + 16, (uint16_t)~packet_sum(tcp, length - (size_t)(tcp - packet)));
			cr_assert(packet_is_right(packet, length));
		}
}

Test(mss, a_wrong_checksum_stays_wrong)
{
	for (unsigned error = 1; error < UINT16_MAX; error += 101) {
		struct packet_spec spec = syn_with(4, mss_option.bytes, 4);
		uint8_t packet[80];
		size_t length = packet_build(&spec, NULL, 0, packet);
		store_be16(packet + 36, (uint16_t)(load_be16(packet + 36) + error));
		cr_assert(clamp(packet, length, MTU, false));
		cr_assert_not(packet_is_right(packet, length));
	}
}

Test(mss, not_in_fragments)
{
	static const uint16_t fragments[] = {0x2000, 0x0001, 0x2001, 0x1fff};
	uint8_t packet[200];
	for (size_t i = 0; i < ARRAY_SIZE(fragments); i++) {
		struct packet_spec spec = syn_with(4, mss_option.bytes, 4);
		size_t length = packet_build(&spec, NULL, 0, packet);
		store_be16(packet + 6, fragments[i]);
		cr_assert_not(clamp(packet, length, MTU, false));
	}
}

/* Nothing is read where TCP's flags would be. */
Test(mss, not_in_what_is_shorter_than_tcp)
{
	uint8_t packet[48];
	for (uint8_t version = 4; version <= 6; version += 2) {
		struct packet_spec spec = packet_spec_plain(version, IPPROTO_UDP, 1);
		cr_assert_not(clamp(packet, packet_build(&spec, NULL, 0, packet), MTU, false));
	}
	struct packet_spec spec = packet_spec_plain(4, IPPROTO_UDP, 1);
	packet_build(&spec, NULL, 0, packet);
	packet[9] = IPPROTO_TCP;
	store_be16(packet + 6, 0x2000);
	for (uint16_t length = 20; length <= 28; length++) {
		store_be16(packet + 2, length);
		cr_assert_not(clamp(packet, length, MTU, false));
	}
}

Test(mss, not_in_other_protocols)
{
	uint8_t packet[200];
	for (uint8_t version = 4; version <= 6; version += 2)
		for (unsigned protocol = 0; protocol < 256; protocol++) {
			struct packet_spec spec = syn_with(version, mss_option.bytes, 4);
			size_t length = packet_build(&spec, NULL, 0, packet);
			packet[version == 4 ? 9 : 6] = (uint8_t)protocol;
			if (protocol == IPPROTO_UDP)
				store_be16(packet + (version == 4 ? 24 : 44), 24);
			cr_assert_eq(clamp(packet, length, MTU, false), protocol == IPPROTO_TCP);
		}
}

/* Random bytes for options: nothing but MSS values and the checksum change, no value grows, the checksum stays right.
 */
Test(mss, random_options)
{
	struct random random = {.state = 4};
	unsigned changes = 0;
	for (unsigned i = 0; i < 200000; i++) {
		struct packet_spec spec = syn_plain(i & 1 ? 6 : 4);
		uint8_t packet[200], before[200];
		spec.tcp_options_length = (uint8_t)(4 * random_below(&random, 11));
		for (size_t at = 0; at < spec.tcp_options_length; at++)
			spec.tcp_options[at] = (uint8_t)random_below(&random, random_chance(&random, 20) ? 256 : 6);
		size_t length = packet_build(&spec, NULL, 0, packet), tcp = spec.version == 4 ? 20 : 40;
		uint16_t mtu = (uint16_t)(tcp + 20 + random_below(&random, 1500));
		memcpy(before, packet, length);
		bool changed = clamp(packet, length, mtu, false);
		cr_assert(packet_is_right(packet, length));
		cr_assert(!memcmp(packet, before, tcp + 16) && !memcmp(packet + tcp + 18, before + tcp + 18, 2));
		if (!changed)
			continue;
		changes++;
		for (size_t at = tcp + 20; at < length; at++)
			if (packet[at] != before[at]) {
				size_t kind = before[at - 2] == 2 && before[at - 1] == 4 ? at - 2 : at - 3;
				cr_assert(before[kind] == 2 && before[kind + 1] == 4);
				cr_assert_eq(load_be16(packet + kind + 2), mtu - tcp - 20);
				cr_assert_gt(load_be16(before + kind + 2), mtu - tcp - 20);
			}
	}
	cr_assert_gt(changes, 1000);
}
