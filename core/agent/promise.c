// SPDX-License-Identifier: Apache-2.0
#include "core/agent/promise.h"

#include <sodium.h>
#include <string.h>

#include "core/base/bytes.h"
#include "crypto/keys.h"

/* Offsets in the datagram, and in the plaintext. */
enum { AT_NONCE = 4 };
enum {
	AT_KIND = 0,
	AT_VERDICT = 1,
	AT_ZERO = 2,
	AT_SENDER = 8,
	AT_RECEIVER = AT_SENDER + PROMISE_NAME,
	AT_CHALLENGE = AT_RECEIVER + PROMISE_NAME,
	AT_TICKET = AT_CHALLENGE + PROMISE_CHALLENGE,
	AT_TAKERS = AT_TICKET + PROMISE_CHALLENGE,
	AT_BLOCKS = AT_TAKERS + 8,
};

_Static_assert(PROMISE_HEADER - AT_NONCE == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES &&
		       PROMISE_TAG == crypto_aead_xchacha20poly1305_ietf_ABYTES &&
		       PROMISE_KEY == crypto_aead_xchacha20poly1305_ietf_KEYBYTES,
	       "XChaCha20-Poly1305");
_Static_assert(AT_BLOCKS + OWNERSHIP_BLOCKS / 8 == PROMISE_PLAIN, "blocks are the last");

static const uint8_t start[AT_NONCE] = {PROMISE_VERSION};

void promise_key_init(struct promise_key *key, const uint8_t secret[OWNERSHIP_SECRET])
{
	key_derive(key->bytes, sizeof key->bytes, secret, OWNERSHIP_SECRET, "shardtun1 promise", NULL, 0);
}

static void write_blocks(uint8_t *bytes, const struct ownership_set *blocks)
{
	for (size_t i = 0; i < OWNERSHIP_BLOCKS / 8; i++)
		bytes[i] = (uint8_t)(blocks->words[i / 8] >> (i % 8 * 8));
}

static void read_blocks(const uint8_t *bytes, struct ownership_set *blocks)
{
	*blocks = (struct ownership_set){0};
	for (size_t i = 0; i < OWNERSHIP_BLOCKS / 8; i++)
		blocks->words[i / 8] |= (uint64_t)bytes[i] << (i % 8 * 8);
}

void promise_write(const struct promise_key *key, const struct promise_message *message, uint8_t datagram[PROMISE_SIZE])
{
	uint8_t plain[PROMISE_PLAIN] = {0};
	unsigned long long sealed;
	plain[AT_KIND] = (uint8_t)message->kind;
	plain[AT_VERDICT] = message->verdict;
	memcpy(plain + AT_SENDER, message->sender, strnlen(message->sender, PROMISE_NAME));
	memcpy(plain + AT_RECEIVER, message->receiver, strnlen(message->receiver, PROMISE_NAME));
	memcpy(plain + AT_CHALLENGE, message->challenge, sizeof message->challenge);
	memcpy(plain + AT_TICKET, message->ticket, sizeof message->ticket);
	store_be64(plain + AT_TAKERS, message->takers_revision);
	write_blocks(plain + AT_BLOCKS, &message->blocks);
	memcpy(datagram, start, sizeof start);
	randombytes_buf(datagram + AT_NONCE, PROMISE_HEADER - AT_NONCE);
	(void)crypto_aead_xchacha20poly1305_ietf_encrypt(datagram + PROMISE_HEADER, &sealed, plain, sizeof plain, start,
							 sizeof start, NULL, datagram + AT_NONCE, key->bytes);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* A name, and nothing but zeros behind it. */
static bool read_name(const uint8_t *bytes, char name[OWNERSHIP_NAME])
{
	size_t length = 0;
	while (length < PROMISE_NAME && bytes[length] != 0)
		length++;
	for (size_t i = length; i < PROMISE_NAME; i++) {
		if (bytes[i] != 0)
			return false;
	}
	memcpy(name, bytes, length);
	name[length] = '\0';
	return length != 0;
}

static bool parse(const uint8_t plain[PROMISE_PLAIN], struct promise_message *message)
{
	static const uint8_t zero[AT_SENDER - AT_ZERO];
	message->kind = (enum promise_kind)plain[AT_KIND];
	message->verdict = plain[AT_VERDICT];
	if (memcmp(plain + AT_ZERO, zero, sizeof zero) != 0 || !read_name(plain + AT_SENDER, message->sender) ||
	    !read_name(plain + AT_RECEIVER, message->receiver))
		return false;
	memcpy(message->challenge, plain + AT_CHALLENGE, sizeof message->challenge);
	memcpy(message->ticket, plain + AT_TICKET, sizeof message->ticket);
	message->takers_revision = load_be64(plain + AT_TAKERS);
	read_blocks(plain + AT_BLOCKS, &message->blocks);
	if (message->kind == PROMISE_QUESTION)
		return message->verdict == 0;
	return message->kind == PROMISE_ANSWER &&
	       (message->verdict < OWNERSHIP_VERDICTS || message->verdict == PROMISE_ASK_AGAIN);
}

enum promise_reading promise_read(const struct promise_key *key, const uint8_t *datagram, size_t length,
				  struct promise_message *message)
{
	uint8_t plain[PROMISE_PLAIN];
	unsigned long long opened;
	struct promise_message parsed = {0};
	if (length != PROMISE_SIZE || memcmp(datagram, start, sizeof start) != 0)
		return PROMISE_MALFORMED;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(plain, &opened, NULL, datagram + PROMISE_HEADER,
						       PROMISE_PLAIN + PROMISE_TAG, start, sizeof start,
						       datagram + AT_NONCE, key->bytes) != 0)
		return PROMISE_FORGED;
	if (!parse(plain, &parsed))
		return PROMISE_MALFORMED;
	*message = parsed;
	return PROMISE_READ;
}
