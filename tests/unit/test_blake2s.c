// SPDX-License-Identifier: Apache-2.0
#include "crypto/blake2s.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <string.h>

#include "core/base/bytes.h"
#include "tests/vectors/blake2s.h"

enum { LONGEST = 1024 };

static void hash(uint8_t *output, size_t output_size, const uint8_t *key, size_t key_size, const void *data,
		 size_t size)
{
	struct blake2s state;
	blake2s_init(&state, output_size, key, key_size);
	blake2s_update(&state, data, size);
	blake2s_final(&state, output);
}

static void assert_hex(const uint8_t *bytes, size_t size, const char *expected)
{
	char hex[2 * BLAKE2S_SIZE + 1];
	sodium_bin2hex(hex, sizeof hex, bytes, size);
	cr_assert_str_eq(hex, expected);
}

static void count_up(uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)i;
}

/* RFC 7693, Appendix B. */
Test(blake2s, hashes_abc)
{
	uint8_t output[BLAKE2S_SIZE];
	hash(output, sizeof output, NULL, 0, "abc", 3);
	assert_hex(output, sizeof output, "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
}

/* RFC 7693, Appendix E: its numbers from a seed. */
static void fill(uint8_t *bytes, size_t size, uint32_t seed)
{
	uint32_t a = 0xdead4bad * seed, b = 1;
	for (size_t i = 0; i < size; i++) {
		uint32_t t = a + b;
		a = b;
		b = t;
		bytes[i] = (uint8_t)(t >> 24);
	}
}

/* RFC 7693, Appendix E: one hash over those of several sizes of output, input and key. */
Test(blake2s, passes_the_self_test_of_the_rfc)
{
	static const size_t output_sizes[] = {16, 20, 28, 32}, input_sizes[] = {0, 3, 64, 65, 255, 1024};
	struct blake2s all;
	blake2s_init(&all, BLAKE2S_SIZE, NULL, 0);
	for (size_t i = 0; i < ARRAY_SIZE(output_sizes); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(input_sizes); k++) {
			uint8_t input[LONGEST], key[BLAKE2S_SIZE], output[BLAKE2S_SIZE];
			fill(input, input_sizes[k], (uint32_t)input_sizes[k]);
			hash(output, output_sizes[i], NULL, 0, input, input_sizes[k]);
			blake2s_update(&all, output, output_sizes[i]);
			fill(key, output_sizes[i], (uint32_t)output_sizes[i]);
			hash(output, output_sizes[i], key, output_sizes[i], input, input_sizes[k]);
			blake2s_update(&all, output, output_sizes[i]);
		}
	}
	uint8_t output[BLAKE2S_SIZE];
	blake2s_final(&all, output);
	assert_hex(output, sizeof output, "6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe");
}

Test(blake2s, gives_the_published_answers)
{
	uint8_t input[256], key[BLAKE2S_SIZE], output[BLAKE2S_SIZE];
	count_up(input, sizeof input);
	count_up(key, sizeof key);
	for (size_t i = 0; i < ARRAY_SIZE(blake2s_known); i++) {
		hash(output, sizeof output, NULL, 0, input, blake2s_known[i].length);
		assert_hex(output, sizeof output, blake2s_known[i].plain);
		hash(output, sizeof output, key, sizeof key, input, blake2s_known[i].length);
		assert_hex(output, sizeof output, blake2s_known[i].keyed);
	}
}

Test(blake2s, any_parts_make_the_hash_of_the_whole)
{
	enum { SIZE = 200 };
	uint8_t input[SIZE], whole[BLAKE2S_SIZE], parts[BLAKE2S_SIZE];
	count_up(input, sizeof input);
	for (size_t key_size = 0; key_size <= BLAKE2S_SIZE; key_size += BLAKE2S_SIZE) {
		hash(whole, sizeof whole, input, key_size, input, SIZE);
		for (size_t first = 0; first <= SIZE; first++) {
			for (size_t second = 0; first + second <= SIZE; second += 13) {
				struct blake2s state;
				blake2s_init(&state, sizeof parts, input, key_size);
				blake2s_update(&state, input, first);
				blake2s_update(&state, NULL, 0);
				blake2s_update(&state, input + first, second);
				blake2s_update(&state, input + first + second, SIZE - first - second);
				blake2s_final(&state, parts);
				cr_assert_arr_eq(parts, whole, sizeof parts, "%zu, %zu", first, second);
			}
		}
	}
}

Test(blake2s, output_may_be_what_is_hashed_and_no_more_is_written)
{
	uint8_t bytes[BLAKE2S_SIZE + 1], expected[BLAKE2S_SIZE];
	count_up(bytes, sizeof bytes);
	hash(expected, 16, NULL, 0, bytes, BLAKE2S_SIZE);
	hash(bytes, 16, NULL, 0, bytes, BLAKE2S_SIZE);
	cr_assert_arr_eq(bytes, expected, 16);
	for (size_t i = 16; i < sizeof bytes; i++)
		cr_assert_eq(bytes[i], i);
}

Test(blake2s, final_wipes_the_state)
{
	struct blake2s state;
	uint8_t output[BLAKE2S_SIZE];
	blake2s_init(&state, BLAKE2S_SIZE, (const uint8_t *)"key", 3);
	blake2s_update(&state, "data", 4);
	blake2s_final(&state, output);
	cr_assert(sodium_is_zero((const uint8_t *)&state, sizeof state));
}
