// SPDX-License-Identifier: Apache-2.0
#include "tun/checksum.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "tests/harness/packets.h"

/* What packet_sum() returns is a number, what checksum_fold() returns is in memory order. */
static uint16_t sum_as_number(const void *data, size_t length)
{
	return __builtin_bswap16(checksum_fold(checksum_add(data, length, 0)));
}

/* RFC 1071, section 3. */
Test(checksum, rfc1071_example)
{
	const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};

	cr_assert_eq(sum_as_number(bytes, sizeof bytes), 0xddf2);
}

/* A well-known header: 172.16.10.99 to 172.16.10.12, TCP, checksum b1e6. */
Test(checksum, known_ipv4_header)
{
	const uint8_t header[20] = {0x45, 0x00, 0x00, 0x3c, 0x1c, 0x46, 0x40, 0x00, 0x40, 0x06,
				    0xb1, 0xe6, 0xac, 0x10, 0x0a, 0x63, 0xac, 0x10, 0x0a, 0x0c};
	uint16_t field = checksum_ipv4_header(header, sizeof header);

	cr_assert(!memcmp(&field, header + 10, 2));
	cr_assert_eq(sum_as_number(header, sizeof header), 0xffff);
}

Test(checksum, ipv4_header_with_options_ignores_the_old_field)
{
	struct packet_spec spec = packet_spec_plain(4, IPPROTO_UDP, 0);
	uint8_t packet[200];

	for (uint8_t options = 0; options <= 40; options += 4) {
		spec.ip_options_length = options;
		memset(spec.ip_options, 0xa5, options);
		packet_build(&spec, (const uint8_t *)"x", 1, packet);

		uint16_t expected, field;
		memcpy(&expected, packet + 10, 2);
		memset(packet + 10, 0x77, 2);
		field = checksum_ipv4_header(packet, 20u + options);
		cr_assert_eq(field, expected, "with %u bytes of options", options);
	}
}

Test(checksum, every_length_and_alignment_agrees_with_the_naive_loop)
{
	struct random random = {.state = 1};
	uint8_t data[2000 + 64];

	random_fill(&random, data, sizeof data);
	for (size_t align = 0; align < 64; align += align < 9 ? 1 : 11)
		for (size_t length = 0; length <= 2000; length++)
			cr_assert_eq(sum_as_number(data + align, length), packet_sum(data + align, length),
				     "length %zu at alignment %zu", length, align);
}

/* The sanitizers see a byte read beyond the end. */
Test(checksum, reads_no_byte_beyond_the_end)
{
	for (size_t length = 1; length <= 300; length++) {
		uint8_t *data = malloc(length);
		memset(data, 0xff, length);
		cr_assert_eq(sum_as_number(data, length), packet_sum(data, length));
		free(data);
	}
}

Test(checksum, no_carry_is_lost_in_the_largest_packet_of_ones)
{
	static uint8_t data[65535];

	memset(data, 0xff, sizeof data);
	cr_assert_eq(sum_as_number(data, sizeof data), packet_sum(data, sizeof data));
	cr_assert_eq(sum_as_number(data, sizeof data - 1), 0xffff);
	memset(data, 0, sizeof data);
	cr_assert_eq(sum_as_number(data, sizeof data), 0);
}

Test(checksum, chunks_of_even_length_add_up)
{
	struct random random = {.state = 2};
	uint8_t data[1999];

	random_fill(&random, data, sizeof data);
	for (size_t cut = 0; cut < sizeof data; cut += 2) {
		uint64_t sum = checksum_add(data, cut, 0);
		sum = checksum_add(data + cut, sizeof data - cut, sum);
		cr_assert_eq(__builtin_bswap16(checksum_fold(sum)), packet_sum(data, sizeof data), "cut at %zu", cut);
	}
}

Test(checksum, fold_takes_any_sum)
{
	const struct {
		uint64_t sum;
		uint16_t folded;
	} cases[] = {
		{0, 0},
		{1, 1},
		{0xffff, 0xffff},
		{0x10000, 1},
		{0x1ffff, 1},
		{0xffffffff, 0xffff},
		{0x100000000, 1},
		{UINT64_MAX, 0xffff},
		{UINT64_MAX - 1, 0xfffe},
		{0xfffeffff00000001, 0xffff},
		{0x8000000000000000, 0x8000},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		cr_assert_eq(checksum_fold(cases[i].sum), cases[i].folded, "sum %llx",
			     (unsigned long long)cases[i].sum);
	struct random random = {.state = 3};
	for (int i = 0; i < 100000; i++) {
		uint64_t sum = random_next(&random) >> random_below(&random, 64);
		uint16_t folded = checksum_fold(sum);
		cr_assert(folded == sum % 0xffff || (folded == 0xffff && sum && sum % 0xffff == 0));
	}
}

/* A pseudo-header laid out as the RFCs draw it, summed by the naive loop. */
Test(checksum, pseudo_header_of_both_families)
{
	struct packet_spec spec4 = packet_spec_plain(4, IPPROTO_TCP, 3), spec6 = packet_spec_plain(6, IPPROTO_UDP, 3);
	uint8_t packet[100], pseudo[40];

	packet_build(&spec4, NULL, 0, packet);
	memcpy(pseudo, packet + 12, 8);
	memcpy(pseudo + 8, (const uint8_t[]){0, IPPROTO_TCP, 0xfe, 0xdc}, 4);
	cr_assert_eq(__builtin_bswap16(checksum_fold(checksum_pseudo(4, packet, 0xfedc, IPPROTO_TCP))),
		     packet_sum(pseudo, 12));

	packet_build(&spec6, NULL, 0, packet);
	memcpy(pseudo, packet + 8, 32);
	memcpy(pseudo + 32, (const uint8_t[]){0x00, 0x01, 0x23, 0x45, 0, 0, 0, IPPROTO_ICMPV6}, 8);
	cr_assert_eq(__builtin_bswap16(checksum_fold(checksum_pseudo(6, packet, 0x12345, IPPROTO_ICMPV6))),
		     packet_sum(pseudo, 40));
}
