// SPDX-License-Identifier: Apache-2.0
/* Blocks of a cluster: session ID, index of the pool and address name the same block. */
#include "core/cluster/blocks.h"

#include <criterion/criterion.h>

static struct ip_prefix prefix_of(const char *text)
{
	struct ip_prefix prefix;
	cr_assert(ip_prefix_parse(text, &prefix));
	return prefix;
}

Test(blocks, a_session_id_names_its_block_in_bits_20_to_27)
{
	for (unsigned block = 0; block < BLOCK_COUNT; block++) {
		cr_assert_eq(block_of_session(block << 20), block);
		cr_assert_eq(block_of_session(block << 20 | 0xfffff), block);
		cr_assert_eq(block_of_session(0xf0000000 | block << 20), block, "an epoch above it");
	}
}

Test(blocks, divide_the_pool_by_index)
{
	cr_assert_eq(block_of_index(0, 4096), 1);
	cr_assert_eq(block_of_index(4095, 4096), 1);
	cr_assert_eq(block_of_index(4096, 4096), 2);
	cr_assert_eq(block_of_index(255 * 4096 - 1, 4096), 255);
	cr_assert_eq(block_of_index(255 * 4096, 4096), BLOCK_NONE, "above the last");
	cr_assert_eq(block_of_index(UINT32_MAX, 16), BLOCK_NONE, "no index");
	for (unsigned block = 1; block < BLOCK_COUNT; block++) {
		cr_assert_eq(block_of_index(block_first_index(block, 16), 16), block);
		cr_assert_eq(block_of_index(block_first_index(block, 16) + 15, 16), block);
	}
}

static void expect_prefix(const char *pool, unsigned block, uint32_t peers, const char *expected)
{
	struct ip_prefix own = prefix_of(pool), prefix;
	char text[IP_TEXT_MAX];
	bool there = block_prefix(&own, block, peers, &prefix);
	cr_assert_eq(there, expected != NULL, "%s, block %u", pool, block);
	if (there)
		cr_assert_str_eq(ip_prefix_format(&prefix, text), expected);
}

Test(blocks, are_one_prefix_of_each_network)
{
	expect_prefix("10.8.0.1/16", 1, 4096, "10.8.0.0/20");
	expect_prefix("10.8.0.1/16", 2, 4096, "10.8.16.0/20");
	expect_prefix("10.8.0.1/16", 16, 4096, "10.8.240.0/20");
	expect_prefix("10.8.0.1/16", 17, 4096, NULL);
	expect_prefix("10.8.77.1/24", 1, 4096, "10.8.77.0/24");
	expect_prefix("10.8.77.1/24", 2, 4096, NULL);
	expect_prefix("10.0.0.1/8", 255, 65536, "10.254.0.0/16");
	expect_prefix("fd00:8::1/64", 3, 16, "fd00:8::20/124");
	expect_prefix("fd00:8::1/112", 16, 4096, "fd00:8::f000/116");
	expect_prefix("fd00:8::1/112", 17, 4096, NULL);
}

/* What the pool counts from its network's address on, the prefix has: address and index agree. */
Test(blocks, prefix_and_index_agree)
{
	struct ip_prefix pool = prefix_of("10.8.0.1/20"), prefix;
	for (uint32_t index = 0; index < 4096; index++) {
		struct ip_address address = {.family = 4,
					     .bytes = {10, 8, (uint8_t)(index >> 8), (uint8_t)(index & 0xff)}};
		for (unsigned block = 1; block_prefix(&pool, block, 256, &prefix); block++)
			cr_assert_eq(ip_prefix_contains(&prefix, &address), block_of_index(index, 256) == block);
	}
}

Test(blocks, sets_have_what_was_added)
{
	struct block_set set = {0};
	cr_assert(block_set_empty(&set));
	for (unsigned block = 1; block < BLOCK_COUNT; block += 3)
		block_set_add(&set, block);
	for (unsigned block = 0; block < BLOCK_COUNT; block++)
		cr_assert_eq(block_set_has(&set, block), block % 3 == 1);
	for (unsigned block = 1; block < BLOCK_COUNT; block += 3)
		block_set_remove(&set, block);
	cr_assert(block_set_empty(&set));
}

static void expect_set(const char *text, const char *shown)
{
	struct block_set set;
	char out[BLOCK_SET_TEXT_MAX];
	cr_assert_eq(block_set_parse(text, &set), shown != NULL, "%s", text);
	if (shown != NULL)
		cr_assert_str_eq(block_set_format(&set, out), shown);
}

Test(blocks, sets_are_read_and_shown)
{
	expect_set("-", "none");
	expect_set("7", "7");
	expect_set("255,1", "1,255");
	expect_set("3,1,2,7,9,8,250", "1-3,7-9,250");
	static const char *const wrong[] = {
		"",   "0",   "256",  "1,",  ",1", "1,,2", "1,1", "-1",	 "+1",	  "01",		"1 2",
		" 1", "1-3", "0x10", "1;2", "--", "a",	  "1,-", "1000", "65537", "4294967297", "18446744073709551617"};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		expect_set(wrong[i], NULL);
}

Test(blocks, a_long_set_is_shown_in_part)
{
	struct block_set set = {0};
	char text[BLOCK_SET_TEXT_MAX];
	for (unsigned block = 1; block < BLOCK_COUNT; block += 2)
		block_set_add(&set, block);
	cr_assert_lt(strlen(block_set_format(&set, text)), BLOCK_SET_TEXT_MAX);
	cr_assert_str_eq(text + strlen(text) - 4, ",...");
}
