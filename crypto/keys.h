// SPDX-License-Identifier: Apache-2.0
/* Key material outside the handshake: base64 text, key files, locked memory, key derivation of the protocol. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"

enum {
	KEY_SIZE = 32,
	KEY_TEXT_SIZE = 45, /* base64 with padding and terminator, as `wg genkey` prints */
	MAC_SIZE = 16,
};

/* Initialises libsodium; call first in every program. 0, or a negative errno with `error` set. */
int keys_init(struct error *error);

/* Base64 of exactly 32 bytes. Parsing takes surrounding white space and nothing else, runs in constant time, and
 * accepts only the canonical form. */
bool key_parse(const char *text, uint8_t key[KEY_SIZE]);
void key_format(const uint8_t key[KEY_SIZE], char text[KEY_TEXT_SIZE]);

/* Reads a key from a regular file: one base64 line. Refuses (-EPERM) a file with any permission for others, with a
 * hint; -EINVAL when it holds no key or is no regular file (opening a FIFO does not block). `key` changes on success
 * only. The buffer on the way is wiped. */
int key_read_file(const char *path, uint8_t key[KEY_SIZE], struct error *error);

/* Locked, guarded, zeroed memory for long-lived secrets, aligned to a cache line; secret_free() wipes it and takes
 * NULL. NULL when memory is short. When the lock limit is reached the memory is still returned (core dumps leave it
 * out). Each costs whole pages and system calls: for a handful of secrets, not for one per session. */
void *secret_new(size_t size);
void secret_free(void *secret);

/* BLAKE2b with the given output size (1…64) over `key` (0…64 bytes) and the concatenation of label and data. RFC
 * 7693. */
void key_derive(uint8_t *output, size_t output_size, const uint8_t *key, size_t key_size, const char *label,
		const void *data, size_t data_size);

/* The key for mac1 of messages to the owner of `public_key`: BLAKE2b-256("shardtun1 mac1" || public_key). */
void mac1_key(uint8_t key[KEY_SIZE], const uint8_t public_key[KEY_SIZE]);

/* BLAKE2b-128 keyed; mac_verify compares in constant time. */
void mac_compute(uint8_t mac[MAC_SIZE], const uint8_t key[KEY_SIZE], const void *data, size_t size);
bool mac_verify(const uint8_t mac[MAC_SIZE], const uint8_t key[KEY_SIZE], const void *data, size_t size);
