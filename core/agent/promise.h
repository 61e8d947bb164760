// SPDX-License-Identifier: Apache-2.0
/* Datagrams between the agents of a cluster, by which takers promise each other to take no blocks (ownership.h). UDP,
 * between the addresses that node/<name> has; each is one of PROMISE_SIZE bytes, all numbers big-endian:
 *
 *      0  version (1), three zero bytes
 *      4  nonce, 24 random bytes
 *     28  sealed with XChaCha20-Poly1305, the first four bytes being authenticated too (tag of 16 bytes at the end):
 *          0  kind: 1 question, 2 answer
 *          1  verdict, of an answer: enum ownership_verdict, or PROMISE_ASK_AGAIN; of a question 0
 *          2  six zero bytes
 *          8  sender's node name, 32 bytes, filled up with zeros
 *         40  receiver's, the same
 *         72  challenge, 16 random bytes of a question; its answers have the same
 *         88  ticket, 16 bytes: of a question the last one that the receiver gave the sender (zeros: none); of an
 *             answer the one for the next question
 *        104  revision of `takers`
 *        112  blocks, 32 bytes, block b being bit b % 8 (1 << it) of byte b / 8: asked for; in an answer promised
 *
 * The key is BLAKE2b-256, keyed with the 32 bytes of etcd's key `secret`, over "shardtun1 promise".
 *
 * A recording has no effect: an answer counts only with the challenge of the present question, which is random, and a
 * question only with a ticket that was given to its sender and not used since; one without gets a new ticket in an
 * answer of the same length, to be asked again. A message that is sent back to its sender, or to a third one, names
 * another receiver. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/agent/ownership.h"

enum {
	PROMISE_VERSION = 1,
	PROMISE_HEADER = 4 + 24,
	PROMISE_NAME = OWNERSHIP_NAME - 1,
	PROMISE_CHALLENGE = 16,
	PROMISE_PLAIN = 8 + 2 * PROMISE_NAME + 2 * PROMISE_CHALLENGE + 8 + OWNERSHIP_BLOCKS / 8,
	PROMISE_TAG = 16,
	PROMISE_SIZE = PROMISE_HEADER + PROMISE_PLAIN + PROMISE_TAG,
	PROMISE_KEY = 32,
	PROMISE_ASK_AGAIN = 255, /* a verdict: with the ticket of this answer */
};

struct promise_key {
	uint8_t bytes[PROMISE_KEY];
};

/* `secret` as in etcd. */
void promise_key_init(struct promise_key *key, const uint8_t secret[OWNERSHIP_SECRET]);

enum promise_kind { PROMISE_QUESTION = 1, PROMISE_ANSWER };

struct promise_message {
	enum promise_kind kind;
	uint8_t verdict;
	char sender[OWNERSHIP_NAME], receiver[OWNERSHIP_NAME];
	uint8_t challenge[PROMISE_CHALLENGE], ticket[PROMISE_CHALLENGE];
	uint64_t takers_revision;
	struct ownership_set blocks;
};

/* After keys_init(). Any thread, as all functions. */
void promise_write(const struct promise_key *key, const struct promise_message *message,
		   uint8_t datagram[PROMISE_SIZE]);

enum promise_reading {
	PROMISE_READ,
	PROMISE_MALFORMED, /* length or version; or, sealed with the right key, no message of this version */
	PROMISE_FORGED,	   /* not sealed with this key */
};

/* `message` changes only if it is PROMISE_READ. */
enum promise_reading promise_read(const struct promise_key *key, const uint8_t *datagram, size_t length,
				  struct promise_message *message);
