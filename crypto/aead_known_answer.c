// SPDX-License-Identifier: Apache-2.0
#include "crypto/aead_known_answer.h"

#include <sodium.h>

enum { KNOWN_LENGTH_MAX = 1400 };

/* Tags under key 00…1f, IV 40…4b, header 80…88 and these counters of messages 00 01 … ff 00 …, which an independent
 * implementation (Python's cryptography, on OpenSSL) computed. A tag covers the ciphertext, so a wrong one shows. */
static const struct {
	enum aead_suite suite;
	uint32_t length;
	uint64_t counter;
	uint8_t tag[AEAD_TAG_SIZE];
} known_answers[] = {
	{AEAD_AES_256_GCM,
	 0,
	 0xfffefdfc,
	 {0x5f, 0xa1, 0x14, 0x07, 0x9f, 0x0f, 0x39, 0x6f, 0x81, 0x66, 0x1e, 0xc4, 0x80, 0x54, 0xa8, 0x8d}},
	{AEAD_AES_256_GCM,
	 37,
	 0xfffefdfc,
	 {0x25, 0x19, 0xe1, 0x7b, 0x8c, 0xc5, 0xbf, 0x6d, 0x46, 0xa9, 0x57, 0x98, 0xac, 0xdc, 0x72, 0xf1}},
	{AEAD_AES_256_GCM,
	 1400,
	 0xfffefdfc,
	 {0x4b, 0x17, 0xda, 0xff, 0x63, 0x1c, 0x27, 0xfa, 0xcc, 0x66, 0xe0, 0xa0, 0x23, 0x3b, 0x51, 0x41}},
	{AEAD_CHACHA20_POLY1305,
	 0,
	 0xfffefdfc,
	 {0x2f, 0x61, 0x54, 0x8e, 0x1a, 0xfb, 0x59, 0x7e, 0x11, 0x29, 0xc2, 0x06, 0x63, 0x7b, 0x6b, 0xfc}},
	{AEAD_CHACHA20_POLY1305,
	 37,
	 0xfffefdfc,
	 {0x2a, 0x62, 0x0c, 0x3f, 0xc3, 0x5c, 0x8b, 0x9f, 0xac, 0x40, 0x48, 0x4e, 0xd2, 0x72, 0xc6, 0x50}},
	{AEAD_CHACHA20_POLY1305,
	 1400,
	 0xfffefdfc,
	 {0x25, 0xb6, 0x88, 0x10, 0x77, 0x7c, 0x57, 0x50, 0x4d, 0xa4, 0x36, 0xb8, 0xdc, 0xaf, 0xc1, 0x0b}},
	{AEAD_WIREGUARD,
	 0,
	 0xfffefdfcfbfaf9f8,
	 {0x0c, 0xb9, 0x3a, 0x3c, 0xac, 0x4e, 0xd1, 0xae, 0x71, 0xfc, 0xa2, 0xd4, 0xb9, 0x71, 0x24, 0x51}},
	{AEAD_WIREGUARD,
	 37,
	 0xfffefdfcfbfaf9f8,
	 {0x8a, 0xad, 0xd2, 0xb0, 0x14, 0x12, 0x43, 0x47, 0xb2, 0xfc, 0x79, 0xb7, 0xc7, 0x25, 0xae, 0x2c}},
	{AEAD_WIREGUARD,
	 1400,
	 0xfffefdfcfbfaf9f8,
	 {0x99, 0x16, 0xaa, 0x90, 0x53, 0xc7, 0xf9, 0xd2, 0xe9, 0x73, 0xf6, 0xae, 0x50, 0x4c, 0x3e, 0x77}},
};

static void count_up(uint8_t *bytes, size_t size, unsigned first)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(first + i);
}

bool aead_known_answer(struct aead_engine *engine, enum aead_suite suite)
{
	const struct aead_vtable *aead = engine->suites[suite];
	uint8_t raw[AEAD_KEY_SIZE], iv[AEAD_IV_SIZE], header[AEAD_AAD_SIZE];
	uint8_t plaintext[KNOWN_LENGTH_MAX], sealed[KNOWN_LENGTH_MAX], opened[KNOWN_LENGTH_MAX], tag[AEAD_TAG_SIZE];
	struct aead_key key = {0};

	count_up(raw, sizeof raw, 0);
	count_up(iv, sizeof iv, 0x40);
	count_up(header, sizeof header, 0x80);
	count_up(plaintext, sizeof plaintext, 0);
	aead->expand(engine, &key, raw, iv);

	for (size_t i = 0; i < ARRAY_SIZE(known_answers); i++) {
		if (known_answers[i].suite != suite)
			continue;
		struct aead_op seal = {
			.input = plaintext,
			.output = sealed,
			.header = header,
			.tag = tag,
			.length = known_answers[i].length,
			.counter = known_answers[i].counter,
		};
		aead->seal(engine, &key, &seal, 1);
		if (memcmp(tag, known_answers[i].tag, sizeof tag) != 0)
			return false;

		uint8_t forged[AEAD_TAG_SIZE];
		memcpy(forged, tag, sizeof forged);
		forged[AEAD_TAG_SIZE - 1] ^= 1;
		struct aead_op open[2] = {seal, seal};
		open[0].input = open[1].input = sealed;
		open[0].output = plaintext; /* its content is needed no more: a forgery must zero it */
		open[0].tag = forged;
		open[1].output = opened;
		aead->open(engine, &key, open, ARRAY_SIZE(open));
		if (open[0].authentic || !sodium_is_zero(plaintext, seal.length))
			return false;
		count_up(plaintext, sizeof plaintext, 0);
		if (!open[1].authentic || memcmp(opened, plaintext, seal.length) != 0)
			return false;
	}
	return true;
}
