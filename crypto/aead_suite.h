// SPDX-License-Identifier: Apache-2.0
/* The terms of authenticated encryption that callers and back ends share: suites, expanded keys, operations, and the
 * functions of one suite.
 *
 * Suites: AES-256-GCM (NIST SP 800-38D) and ChaCha20-Poly1305 (RFC 8439), both with a 96-bit nonce and a 128-bit tag.
 * Nonce = IV with the counter XORed, big-endian, into its last 8 bytes. The counters of core/protocol/PROTOCOL.md have
 * 32 bits, so that these are its last 4.
 *
 * WireGuard's data messages are ChaCha20-Poly1305 too, in a suite of their own: nonce = 4 zero bytes and the
 * little-endian counter, no IV and no associated data (Donenfeld, "WireGuard: Next Generation Kernel Network Tunnel",
 * 5.4.6). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/bytes.h"

enum aead_suite {
	AEAD_AES_256_GCM = 1, /* wire numbers of the own protocol */
	AEAD_CHACHA20_POLY1305 = 2,
	AEAD_WIREGUARD = 3, /* no wire number: no peer can choose it */
};
enum { AEAD_SUITE_FIRST = 1, AEAD_SUITE_LAST = 2 }; /* of the wire numbers */
enum { AEAD_SUITES = 4 };			    /* an array of all, indexed by enum aead_suite */

enum {
	AEAD_KEY_SIZE = 32,
	AEAD_IV_SIZE = 12,
	AEAD_TAG_SIZE = 16,
	AEAD_AAD_SIZE = 9,	   /* the clear header of a transport message, always, but with AEAD_WIREGUARD */
	AEAD_SCHEDULE_SIZE = 1024, /* the largest expanded key of any back end */
	AEAD_INPUT_SLACK = 16, /* readable bytes that must lie behind any input: one code path loads whole vectors */
};

/* An expanded key. Its owner wipes it with sodium_memzero() before freeing it. */
struct aead_key {
	uint8_t schedule[AEAD_SCHEDULE_SIZE] CACHE_ALIGNED; /* back end's own format */
	uint8_t iv[AEAD_IV_SIZE];
};

/* One message to seal or open. `output` may equal `input` or not overlap it at all. Behind the input lie
 * AEAD_INPUT_SLACK bytes that may be read, though their values do not matter: the tag's room will do. */
struct aead_op {
	const uint8_t *input;  /* plaintext when sealing, ciphertext when opening: `length` bytes and slack; not NULL */
	uint8_t *output;       /* `length` bytes */
	const uint8_t *header; /* AEAD_AAD_SIZE bytes of associated data; AEAD_WIREGUARD does not read it */
	uint8_t *tag;	       /* AEAD_TAG_SIZE bytes: written when sealing, only read when opening */
	uint64_t counter;      /* host byte order */
	uint32_t length;       /* bytes, 0…65535 */
	bool authentic;	       /* out, open only: the tag matched. When false `output` is all zero */
};

struct aead_engine;

/* One suite of one back end. */
struct aead_vtable {
	enum aead_suite suite;
	/* Fills `key` from the raw key and IV, which AEAD_WIREGUARD does not read. Any thread. */
	void (*expand)(const struct aead_engine *engine, struct aead_key *key, const uint8_t raw[AEAD_KEY_SIZE],
		       const uint8_t iv[AEAD_IV_SIZE]);
	/* Seals or opens `count` messages under one key. The engine's thread. Tags are compared in constant time. */
	void (*seal)(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count);
	void (*open)(struct aead_engine *engine, const struct aead_key *key, struct aead_op *ops, size_t count);
};
