// SPDX-License-Identifier: Apache-2.0
#include "crypto/blake2s.h"

#include <assert.h>
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

#include "core/base/bytes.h"

/* RFC 7693, 2.6. */
static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
				    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

/* The sixteen words of v as a square: each operation is done on a whole row, so that four columns or diagonals are
 * mixed at once. */
typedef uint32_t row __attribute__((vector_size(16)));

struct square {
	row a, b, c, d;
};

static inline row rotate_right(row words, unsigned bits)
{
	return words >> bits | words << (32 - bits);
}

/* RFC 7693, 3.1, with R1…R4 of BLAKE2s, of each column. */
static inline void mix(struct square *v, row x, row y)
{
	v->a += v->b + x;
	v->d = rotate_right(v->d ^ v->a, 16);
	v->c += v->d;
	v->b = rotate_right(v->b ^ v->c, 12);
	v->a += v->b + y;
	v->d = rotate_right(v->d ^ v->a, 8);
	v->c += v->d;
	v->b = rotate_right(v->b ^ v->c, 7);
}

static inline void diagonals_to_columns(struct square *v)
{
	v->b = __builtin_shufflevector(v->b, v->b, 1, 2, 3, 0);
	v->c = __builtin_shufflevector(v->c, v->c, 2, 3, 0, 1);
	v->d = __builtin_shufflevector(v->d, v->d, 3, 0, 1, 2);
}

static inline void columns_to_diagonals(struct square *v)
{
	v->b = __builtin_shufflevector(v->b, v->b, 3, 0, 1, 2);
	v->c = __builtin_shufflevector(v->c, v->c, 2, 3, 0, 1);
	v->d = __builtin_shufflevector(v->d, v->d, 1, 2, 3, 0);
}

/* The arguments are a row of SIGMA, RFC 7693, 2.7. */
#define ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15)                  \
	do {                                                                                         \
		mix(&v, (row){m[s0], m[s2], m[s4], m[s6]}, (row){m[s1], m[s3], m[s5], m[s7]});       \
		diagonals_to_columns(&v);                                                            \
		mix(&v, (row){m[s8], m[s10], m[s12], m[s14]}, (row){m[s9], m[s11], m[s13], m[s15]}); \
		columns_to_diagonals(&v);                                                            \
	} while (0)

/* RFC 7693, 3.2, over the block, of which `used` bytes count. */
static void compress(struct blake2s *state, bool last)
{
	uint32_t m[BLAKE2S_BLOCK_SIZE / 4];
	row hash[2];
	struct square v;
	memcpy(m, state->block, sizeof m); /* little-endian words, which core/base/bytes.h asserts of the host */
	memcpy(hash, state->hash, sizeof hash);
	state->count += state->used;
	state->used = 0;
	v.a = hash[0];
	v.b = hash[1];
	memcpy(&v.c, initial, sizeof v.c);
	memcpy(&v.d, initial + 4, sizeof v.d);
	v.d ^= (row){(uint32_t)state->count, (uint32_t)(state->count >> 32), last ? UINT32_MAX : 0, 0};

	ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
	ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3);
	ROUND(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4);
	ROUND(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8);
	ROUND(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13);
	ROUND(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9);
	ROUND(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11);
	ROUND(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10);
	ROUND(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5);
	ROUND(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0);

	hash[0] ^= v.a ^ v.c;
	hash[1] ^= v.b ^ v.d;
	memcpy(state->hash, hash, sizeof hash);
}

void blake2s_init(struct blake2s *state, size_t output_size, const uint8_t *key, size_t key_size)
{
	assert(output_size >= 1 && output_size <= BLAKE2S_SIZE && key_size <= BLAKE2S_SIZE);
	memcpy(state->hash, initial, sizeof initial);
	state->hash[0] ^= 0x01010000 ^ (uint32_t)key_size << 8 ^ (uint32_t)output_size;
	state->count = 0;
	state->used = 0;
	state->output_size = (uint8_t)output_size;
	if (key_size == 0)
		return;
	memset(state->block, 0, sizeof state->block);
	memcpy(state->block, key, key_size);
	state->used = BLAKE2S_BLOCK_SIZE;
}

void blake2s_update(struct blake2s *state, const void *data, size_t size)
{
	const uint8_t *at = data;
	while (size > 0) {
		/* The last block is compressed with a flag, so a full one waits until more follows. */
		if (state->used == BLAKE2S_BLOCK_SIZE)
			compress(state, false);
		size_t room = (size_t)(BLAKE2S_BLOCK_SIZE - state->used), part = size < room ? size : room;
		memcpy(state->block + state->used, at, part);
		state->used = (uint8_t)(state->used + part);
		at += part;
		size -= part;
	}
}

void blake2s_final(struct blake2s *state, uint8_t *output)
{
	memset(state->block + state->used, 0, sizeof state->block - state->used);
	compress(state, true);
	memcpy(output, state->hash, state->output_size);
	sodium_memzero(state, sizeof *state);
}
