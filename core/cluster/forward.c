// SPDX-License-Identifier: Apache-2.0
#include "core/cluster/forward.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "core/base/bytes.h"

/* Offsets in the datagram. */
enum { AT_SENDER = 4, AT_COUNTER = 12, AT_TIME = 20 };
/* And in the plaintext. */
enum { AT_FLAGS = 0, AT_ADDRESS = 1, AT_PORT = 17, AT_LOCAL = 19 };
enum { FLAG_PROVEN = 1 };

_Static_assert(FORWARD_HEADER - AT_SENDER == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
	       "sender, counter and time are the nonce");
_Static_assert(FORWARD_TAG == crypto_aead_xchacha20poly1305_ietf_ABYTES &&
		       (int)KEY_SIZE == (int)crypto_aead_xchacha20poly1305_ietf_KEYBYTES,
	       "XChaCha20-Poly1305");

static const uint8_t start[AT_SENDER] = {FORWARD_VERSION};

void forward_key_init(struct forward_key *key, const uint8_t private_key[KEY_SIZE])
{
	key_derive(key->bytes, sizeof key->bytes, private_key, KEY_SIZE, "shardtun1 forward", NULL, 0);
}

void forward_sender_init(struct forward_sender *sender)
{
	*sender = (struct forward_sender){0};
	randombytes_buf(&sender->number, sizeof sender->number);
}

bool forward_possible(const struct sockaddr_in6 *source)
{
	return source->sin6_scope_id == 0 && !IN6_IS_ADDR_LINKLOCAL(&source->sin6_addr);
}

size_t forward_write(const struct forward_key *key, struct forward_sender *sender, uint64_t wall,
		     const struct forwarded *forwarded, uint8_t datagram[FORWARD_MAX])
{
	uint8_t plain[FORWARD_SOURCE + FORWARD_CARRIED_MAX];
	unsigned long long sealed;
	assert(forwarded->length >= FORWARD_CARRIED_MIN && forwarded->length <= FORWARD_CARRIED_MAX);
	plain[AT_FLAGS] = forwarded->proven ? FLAG_PROVEN : 0;
	memcpy(plain + AT_ADDRESS, &forwarded->source.sin6_addr, sizeof forwarded->source.sin6_addr);
	memcpy(plain + AT_PORT, &forwarded->source.sin6_port, sizeof forwarded->source.sin6_port);
	memcpy(plain + AT_LOCAL, &forwarded->local, sizeof forwarded->local);
	memcpy(plain + FORWARD_SOURCE, forwarded->message, forwarded->length);
	memcpy(datagram, start, sizeof start);
	store_be64(datagram + AT_SENDER, sender->number);
	store_be64(datagram + AT_COUNTER, ++sender->counter);
	store_be64(datagram + AT_TIME, wall);
	(void)crypto_aead_xchacha20poly1305_ietf_encrypt(datagram + FORWARD_HEADER, &sealed, plain,
							 FORWARD_SOURCE + forwarded->length, start, sizeof start, NULL,
							 datagram + AT_SENDER, key->bytes);
	return FORWARD_HEADER + (size_t)sealed;
}

/* --- receiving ---------------------------------------------------------------------------------------------------- */

static bool is_current(uint64_t time, uint64_t wall)
{
	return time <= wall ? wall - time <= FORWARD_LIFE_NS : time - wall <= FORWARD_LIFE_NS;
}

/* The sender's place, or a free one; NULL: all are taken. One that was silent for long is free: what it sent is late by
 * now. */
static struct forward_seen *find_place(struct forward_guard *guard, uint64_t number, uint64_t now)
{
	struct forward_seen *place = NULL;
	for (size_t i = 0; i < FORWARD_SENDERS; i++) {
		struct forward_seen *one = &guard->seen[i];
		if (one->last != 0 && one->number == number)
			return one;
		if (place == NULL && (one->last == 0 || now - one->last > 2 * FORWARD_LIFE_NS + NS_PER_S))
			place = one;
	}
	if (place != NULL)
		*place = (struct forward_seen){.number = number};
	return place;
}

static bool note(struct forward_seen *seen, uint64_t counter, uint64_t now)
{
	enum { WINDOW = 64 };
	if (counter > seen->highest) {
		uint64_t ahead = counter - seen->highest;
		seen->window = ahead < WINDOW ? seen->window << ahead : 0;
		seen->highest = counter;
	}
	uint64_t behind = seen->highest - counter;
	if (behind >= WINDOW || (seen->window >> behind & 1) != 0)
		return false;
	seen->window |= 1ull << behind;
	seen->last = now;
	return true;
}

static void parse(const uint8_t *plain, size_t length, struct forwarded *forwarded)
{
	*forwarded = (struct forwarded){.source = {.sin6_family = AF_INET6},
					.proven = (plain[AT_FLAGS] & FLAG_PROVEN) != 0,
					.length = (uint32_t)(length - FORWARD_SOURCE)};
	memcpy(&forwarded->source.sin6_addr, plain + AT_ADDRESS, sizeof forwarded->source.sin6_addr);
	memcpy(&forwarded->source.sin6_port, plain + AT_PORT, sizeof forwarded->source.sin6_port);
	memcpy(&forwarded->local, plain + AT_LOCAL, sizeof forwarded->local);
	memcpy(forwarded->message, plain + FORWARD_SOURCE, forwarded->length);
}

/* The time is looked at once it is authentic: a stranger learns nothing of our clock, and a wrong clock is told from a
 * forgery. */
enum forward_verdict forward_read(const struct forward_key *key, struct forward_guard *guard, uint64_t wall,
				  uint64_t now, const uint8_t *datagram, size_t length, struct forwarded *forwarded)
{
	uint8_t plain[FORWARD_SOURCE + FORWARD_CARRIED_MAX];
	unsigned long long opened;
	if (length < FORWARD_MIN || length > FORWARD_MAX || memcmp(datagram, start, sizeof start) != 0)
		return FORWARD_MALFORMED;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(plain, &opened, NULL, datagram + FORWARD_HEADER,
						       length - FORWARD_HEADER, start, sizeof start,
						       datagram + AT_SENDER, key->bytes) != 0)
		return FORWARD_FORGED;
	if (!is_current(load_be64(datagram + AT_TIME), wall))
		return FORWARD_LATE;
	struct forward_seen *seen = find_place(guard, load_be64(datagram + AT_SENDER), now);
	if (seen == NULL || !note(seen, load_be64(datagram + AT_COUNTER), now))
		return FORWARD_REPEATED;
	parse(plain, (size_t)opened, forwarded);
	return FORWARD_TAKEN;
}
