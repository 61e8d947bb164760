// SPDX-License-Identifier: Apache-2.0
/* BLAKE2s (RFC 7693), WireGuard's hash, which libsodium does not have. Output and key have at most 32 bytes.
 *
 * Constant time: no branch and no address depends on what is hashed. Pure: no allocation. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { BLAKE2S_SIZE = 32, BLAKE2S_BLOCK_SIZE = 64 };

/* A plain value; blake2s_final() wipes it. */
struct blake2s {
	uint32_t hash[8];
	uint64_t count; /* bytes that were compressed */
	uint8_t block[BLAKE2S_BLOCK_SIZE];
	uint8_t used;	     /* bytes of the block */
	uint8_t output_size; /* bytes */
};

/* Starts a hash of `output_size` bytes (1…BLAKE2S_SIZE), keyed if `key_size` (0…BLAKE2S_SIZE) is not 0: then it is a
 * MAC. `key` may be NULL with size 0. */
void blake2s_init(struct blake2s *state, size_t output_size, const uint8_t *key, size_t key_size);

/* Adds data; `data` may be NULL with size 0. */
void blake2s_update(struct blake2s *state, const void *data, size_t size);

/* Writes the hash, `output_size` bytes. The state is wiped. */
void blake2s_final(struct blake2s *state, uint8_t *output);
