// SPDX-License-Identifier: Apache-2.0
#include "crypto/aead.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sodium.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "tests/unit/aead_subjects.h"
#include "tests/vectors/aead_published.h"
#include "tests/vectors/aead_transport.h"

enum { LENGTH_MAX = 65535, BATCH_MAX = 70 };

static const uint8_t header[AEAD_AAD_SIZE] = "nine byte";

TestSuite(aead, .init = subjects_set_up_all, .fini = subjects_tear_down, .timeout = 120);

static void seal(const struct subject *s, struct aead_op *ops, size_t count)
{
	s->aead->seal(s->engine, &s->key, ops, count);
}

static void open_all(const struct subject *s, struct aead_op *ops, size_t count)
{
	s->aead->open(s->engine, &s->key, ops, count);
}

/* libsodium with any nonce and associated data; false where it does not have the suite. */
static bool reference_seal(enum aead_suite suite, const uint8_t *key, const uint8_t *nonce, const uint8_t *aad,
			   size_t aad_size, const uint8_t *input, size_t length, uint8_t *output, uint8_t *tag)
{
	if (suite != AEAD_AES_256_GCM)
		return crypto_aead_chacha20poly1305_ietf_encrypt_detached(output, tag, NULL, input, length, aad,
									  aad_size, NULL, nonce, key) == 0;
	return crypto_aead_aes256gcm_is_available() &&
	       crypto_aead_aes256gcm_encrypt_detached(output, tag, NULL, input, length, aad, aad_size, NULL, nonce,
						      key) == 0;
}

/* How much of what is before the text the tag covers. */
static size_t aad_size(enum aead_suite suite)
{
	return suite == AEAD_WIREGUARD ? 0 : AEAD_AAD_SIZE;
}

static bool reference_message(enum aead_suite suite, uint64_t counter, const uint8_t *input, size_t length,
			      uint8_t *output, uint8_t *tag)
{
	uint8_t nonce[AEAD_IV_SIZE] = {0};
	bool wireguard = suite == AEAD_WIREGUARD;
	if (!wireguard)
		memcpy(nonce, iv, sizeof nonce);
	for (unsigned i = 0; i < 8; i++)
		nonce[wireguard ? 4 + i : 11 - i] ^= (uint8_t)(counter >> 8 * i);
	return reference_seal(suite, raw_key, nonce, header, aad_size(suite), input, length, output, tag);
}

struct bytes {
	uint8_t data[256];
	size_t size;
};

static struct bytes from_hex(const char *hex)
{
	struct bytes bytes;
	cr_assert_eq(sodium_hex2bin(bytes.data, sizeof bytes.data, hex, strlen(hex), NULL, &bytes.size, NULL), 0);
	return bytes;
}

Test(aead, reference_gives_the_published_vectors)
{
	for (size_t i = 0; i < ARRAY_SIZE(aead_published); i++) {
		struct bytes key = from_hex(aead_published[i].key), nonce = from_hex(aead_published[i].nonce),
			     aad = from_hex(aead_published[i].header),
			     plaintext = from_hex(aead_published[i].plaintext),
			     ciphertext = from_hex(aead_published[i].ciphertext), tag = from_hex(aead_published[i].tag);
		uint8_t sealed[256], sealed_tag[AEAD_TAG_SIZE];
		if (aead_published[i].suite == AEAD_AES_256_GCM && !crypto_aead_aes256gcm_is_available())
			continue;
		cr_assert(reference_seal(aead_published[i].suite, key.data, nonce.data, aad.data, aad.size,
					 plaintext.data, plaintext.size, sealed, sealed_tag));
		cr_assert_arr_eq(sealed, ciphertext.data, ciphertext.size, "vector %zu", i);
		cr_assert_arr_eq(sealed_tag, tag.data, AEAD_TAG_SIZE, "vector %zu", i);
	}
}

Test(aead, fixed_transport_vectors_seal_and_open)
{
	for (const struct subject *s = subjects; s < subjects + subject_count; s++) {
		for (size_t i = 0; i < ARRAY_SIZE(aead_transport); i++) {
			if (aead_transport[i].suite != s->aead->suite)
				continue;
			struct bytes raw = from_hex(aead_transport[i].key), own_iv = from_hex(aead_transport[i].iv),
				     aad = from_hex(aead_transport[i].header),
				     plaintext = from_hex(aead_transport[i].plaintext),
				     ciphertext = from_hex(aead_transport[i].ciphertext),
				     tag = from_hex(aead_transport[i].tag);
			struct aead_key key;
			s->aead->expand(s->engine, &key, raw.data, own_iv.data);
			uint8_t output[256], sealed_tag[AEAD_TAG_SIZE];
			struct aead_op op = {
				.input = plaintext.data,
				.output = output,
				.header = aad.data,
				.tag = sealed_tag,
				.length = (uint32_t)plaintext.size,
				.counter = aead_transport[i].counter,
			};
			s->aead->seal(s->engine, &key, &op, 1);
			cr_assert_arr_eq(output, ciphertext.data, ciphertext.size, "%s %zu", s->label, i);
			cr_assert_arr_eq(sealed_tag, tag.data, AEAD_TAG_SIZE, "%s %zu", s->label, i);

			op.input = ciphertext.data;
			op.tag = tag.data;
			s->aead->open(s->engine, &key, &op, 1);
			cr_assert(op.authentic, "%s %zu", s->label, i);
			cr_assert_arr_eq(output, plaintext.data, plaintext.size, "%s %zu", s->label, i);
		}
	}
}

/* One message as it lies in a datagram: header, text, tag. */
struct datagram {
	uint8_t bytes[AEAD_AAD_SIZE + LENGTH_MAX + AEAD_TAG_SIZE + 1];
};

static struct aead_op datagram_op(struct datagram *datagram, const uint8_t *input, uint32_t length, uint64_t counter)
{
	memcpy(datagram->bytes, header, sizeof header);
	return (struct aead_op){
		.input = input != NULL ? input : datagram->bytes + AEAD_AAD_SIZE,
		.output = datagram->bytes + AEAD_AAD_SIZE,
		.header = datagram->bytes,
		.tag = datagram->bytes + AEAD_AAD_SIZE + length,
		.length = length,
		.counter = counter,
	};
}

static void check_length(const struct subject *s, const uint8_t *plaintext, uint32_t length)
{
	static struct datagram expected, outside, inside;
	static uint8_t opened[LENGTH_MAX + 1];
	const uint64_t counter = length * 0x9e3779b97f4a7c15u;
	const size_t sealed_size = AEAD_AAD_SIZE + length + AEAD_TAG_SIZE;

	memcpy(expected.bytes, header, sizeof header);
	cr_assert(reference_message(s->aead->suite, counter, plaintext, length, expected.bytes + AEAD_AAD_SIZE,
				    expected.bytes + AEAD_AAD_SIZE + length));

	struct aead_op op = datagram_op(&outside, plaintext, length, counter);
	outside.bytes[sealed_size] = 0xa5;
	seal(s, &op, 1);
	cr_assert_eq(memcmp(outside.bytes, expected.bytes, sealed_size), 0, "%s %u", s->label, length);
	cr_assert_eq(outside.bytes[sealed_size], 0xa5, "%s %u", s->label, length);

	op = datagram_op(&inside, NULL, length, counter);
	memcpy(op.output, plaintext, length);
	inside.bytes[sealed_size] = 0xa5;
	seal(s, &op, 1);
	cr_assert_eq(memcmp(inside.bytes, expected.bytes, sealed_size), 0, "%s %u", s->label, length);
	cr_assert_eq(inside.bytes[sealed_size], 0xa5, "%s %u", s->label, length);

	open_all(s, &op, 1);
	cr_assert(op.authentic, "%s %u", s->label, length);
	cr_assert_eq(memcmp(op.output, plaintext, length), 0, "%s %u", s->label, length);
	cr_assert_eq(memcmp(op.tag, expected.bytes + AEAD_AAD_SIZE + length, AEAD_TAG_SIZE), 0, "the tag is only read");

	op = datagram_op(&outside, NULL, length, counter);
	op.output = opened;
	opened[length] = 0xa5;
	open_all(s, &op, 1);
	cr_assert(op.authentic, "%s %u", s->label, length);
	cr_assert_eq(memcmp(opened, plaintext, length), 0, "%s %u", s->label, length);
	cr_assert_eq(opened[length], 0xa5, "%s %u", s->label, length);
	cr_assert_eq(memcmp(outside.bytes, expected.bytes, sealed_size), 0, "the input is only read");
}

static uint8_t *random_text(void)
{
	static uint8_t text[LENGTH_MAX];
	static const uint8_t seed[randombytes_SEEDBYTES] = "the same on every run";
	randombytes_buf_deterministic(text, sizeof text, seed);
	return text;
}

Test(aead, every_length_agrees_with_the_reference_in_place_and_not)
{
	const uint8_t *plaintext = random_text();
	for (const struct subject *s = subjects; s < subjects + subject_count; s++) {
		if (s->aead->suite == AEAD_AES_256_GCM && !crypto_aead_aes256gcm_is_available())
			continue;
		for (uint32_t length = 0; length <= 2100; length++)
			check_length(s, plaintext, length);
		check_length(s, plaintext, 65000);
		check_length(s, plaintext, LENGTH_MAX);
	}
}

static uint32_t random_below(uint32_t limit)
{
	return randombytes_uniform(limit);
}

/* Half of them have 32 bits, as the own protocol's. */
static uint64_t random_counter(void)
{
	uint64_t low = randombytes_random();
	return randombytes_random() % 2 == 0 ? low : (uint64_t)randombytes_random() << 32 | low;
}

Test(aead, what_one_back_end_seals_any_other_opens)
{
	const uint8_t *plaintext = random_text();
	static struct datagram datagram;
	for (const struct subject *sealer = subjects; sealer < subjects + subject_count; sealer++) {
		for (const struct subject *opener = subjects; opener < subjects + subject_count; opener++) {
			if (opener->aead->suite != sealer->aead->suite)
				continue;
			for (int n = 0; n < 200; n++) {
				uint32_t length = random_below(n % 10 == 0 ? LENGTH_MAX : 1500);
				struct aead_op op = datagram_op(&datagram, plaintext, length, random_counter());
				seal(sealer, &op, 1);
				op.input = op.output;
				open_all(opener, &op, 1);
				cr_assert(op.authentic, "%s to %s, %u", sealer->label, opener->label, length);
				cr_assert_eq(memcmp(op.output, plaintext, length), 0, "%s to %s, %u", sealer->label,
					     opener->label, length);
			}
		}
	}
}

enum { BATCH_LENGTH_MAX = 1600 };

struct batch {
	struct aead_op ops[BATCH_MAX];
	uint8_t messages[BATCH_MAX][AEAD_AAD_SIZE + BATCH_LENGTH_MAX + AEAD_TAG_SIZE];
	uint8_t plaintexts[BATCH_MAX][BATCH_LENGTH_MAX];
};

/* Fills a batch with messages of mixed lengths, half of them in place, and seals it at once. */
static void seal_batch(struct batch *batch, size_t count, const struct subject *s)
{
	for (size_t i = 0; i < count; i++) {
		uint32_t length = i % 7 == 3 ? 0 : random_below(BATCH_LENGTH_MAX + 1);
		randombytes_buf(batch->plaintexts[i], length);
		memcpy(batch->messages[i], header, sizeof header);
		uint8_t *text = batch->messages[i] + AEAD_AAD_SIZE;
		if (i % 2 == 0)
			memcpy(text, batch->plaintexts[i], length);
		batch->ops[i] = (struct aead_op){
			.input = i % 2 == 0 ? text : batch->plaintexts[i],
			.output = text,
			.header = batch->messages[i],
			.tag = text + length,
			.length = length,
			.counter = random_counter(),
		};
	}
	seal(s, batch->ops, count);
	for (size_t i = 0; i < count; i++)
		batch->ops[i].input = batch->ops[i].output;
}

Test(aead, batches_of_mixed_lengths_seal_and_open_like_single_messages)
{
	static struct batch batch;
	for (const struct subject *s = subjects; s < subjects + subject_count; s++) {
		for (size_t count = 0; count <= BATCH_MAX; count++) {
			seal_batch(&batch, count, s);
			for (size_t i = 0; i < count; i++) {
				uint8_t output[BATCH_LENGTH_MAX], tag[AEAD_TAG_SIZE];
				struct aead_op single = batch.ops[i];
				single.input = batch.plaintexts[i];
				single.output = output;
				single.tag = tag;
				seal(s, &single, 1);
				cr_assert_eq(memcmp(output, batch.ops[i].output, single.length), 0, "%s %zu of %zu",
					     s->label, i, count);
				cr_assert_eq(memcmp(tag, batch.ops[i].tag, sizeof tag), 0, "%s %zu of %zu", s->label, i,
					     count);
			}
			open_all(s, batch.ops, count);
			for (size_t i = 0; i < count; i++) {
				cr_assert(batch.ops[i].authentic, "%s %zu of %zu", s->label, i, count);
				cr_assert_eq(memcmp(batch.ops[i].output, batch.plaintexts[i], batch.ops[i].length), 0,
					     "%s %zu of %zu", s->label, i, count);
			}
		}
	}
}

/* Opens a batch of which the messages in `forged` were changed; those and no others must be refused and zeroed. */
static void check_forged(struct batch *batch, size_t count, const bool *forged, const struct subject *s)
{
	for (size_t i = 0; i < count; i++)
		batch->ops[i].authentic = forged[i];
	open_all(s, batch->ops, count);
	for (size_t i = 0; i < count; i++) {
		const struct aead_op *op = &batch->ops[i];
		cr_assert_eq(op->authentic, !forged[i], "%s %zu of %zu", s->label, i, count);
		if (forged[i])
			cr_assert(sodium_is_zero(op->output, op->length), "%s %zu", s->label, i);
		else
			cr_assert_eq(memcmp(op->output, batch->plaintexts[i], op->length), 0, "%s %zu of %zu", s->label,
				     i, count);
	}
}

Test(aead, any_flipped_bit_is_refused)
{
	static struct batch batch;
	enum { COUNT = 5, TARGET = 2, LENGTH = 37, MESSAGE_BITS = 8 * (AEAD_AAD_SIZE + LENGTH + AEAD_TAG_SIZE) };
	const bool forged[COUNT] = {[TARGET] = true};

	for (const struct subject *s = subjects; s < subjects + subject_count; s++) {
		/* Every bit of header, ciphertext and tag, then of the counter. */
		for (size_t bit = 8 * (AEAD_AAD_SIZE - aad_size(s->aead->suite)); bit < MESSAGE_BITS + 64; bit++) {
			seal_batch(&batch, COUNT, s);
			struct aead_op *op = &batch.ops[TARGET];
			op->length = LENGTH;
			op->tag = op->output + LENGTH;
			op->input = batch.plaintexts[TARGET];
			seal(s, op, 1);
			op->input = op->output;
			if (bit < MESSAGE_BITS)
				batch.messages[TARGET][bit / 8] ^= (uint8_t)(1 << bit % 8);
			else
				op->counter ^= 1ull << (bit - MESSAGE_BITS);
			check_forged(&batch, COUNT, forged, s);
		}
	}
}

Test(aead, forgeries_anywhere_in_a_batch_leave_the_others_alone)
{
	static struct batch batch;
	for (const struct subject *s = subjects; s < subjects + subject_count; s++) {
		for (int round = 0; round < 100; round++) {
			bool forged[BATCH_MAX];
			size_t count = 1 + random_below(BATCH_MAX);
			size_t first = AEAD_AAD_SIZE - aad_size(s->aead->suite);
			seal_batch(&batch, count, s);
			for (size_t i = 0; i < count; i++) {
				forged[i] = random_below(3) == 0;
				if (forged[i]) {
					size_t end = AEAD_AAD_SIZE + batch.ops[i].length + AEAD_TAG_SIZE;
					size_t at = end - 1 - random_below((uint32_t)(end - first));
					batch.messages[i][at] ^= (uint8_t)(1 << random_below(8));
				}
			}
			check_forged(&batch, count, forged, s);
		}
	}
}

Test(aead, forged_message_leaves_nothing_in_a_separate_output)
{
	static struct datagram datagram;
	for (const struct subject *s = subjects; s < subjects + subject_count; s++) {
		uint8_t output[1400];
		struct aead_op op = datagram_op(&datagram, random_text(), sizeof output, 7);
		seal(s, &op, 1);
		op.input = op.output;
		op.output = output;
		op.tag[0] ^= 1;
		memset(output, 0x5a, sizeof output);
		open_all(s, &op, 1);
		cr_assert_not(op.authentic);
		cr_assert(sodium_is_zero(output, sizeof output), "%s", s->label);
	}
}

Test(aead, counters_at_their_boundaries_are_in_the_nonce)
{
	static const uint64_t counters[] = {0,
					    1,
					    0xff,
					    0x100,
					    0xffff,
					    0x10000,
					    0xffffff,
					    0x1000000,
					    0x7fffffff,
					    0x80000000,
					    0xfffffffe,
					    0xffffffff,
					    1ull << 32,
					    1ull << 63,
					    0x0123456789abcdef,
					    UINT64_MAX - 1};
	const uint8_t *plaintext = random_text();
	static struct datagram datagram;
	for (const struct subject *s = subjects; s < subjects + subject_count; s++) {
		for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
			uint8_t expected[100], tag[AEAD_TAG_SIZE];
			if (!reference_message(s->aead->suite, counters[i], plaintext, sizeof expected, expected, tag))
				continue;
			struct aead_op op = datagram_op(&datagram, plaintext, sizeof expected, counters[i]);
			seal(s, &op, 1);
			cr_assert_arr_eq(op.output, expected, sizeof expected, "%s %#lx", s->label, counters[i]);
			cr_assert_arr_eq(op.tag, tag, sizeof tag, "%s %#lx", s->label, counters[i]);
		}
	}
}

/* Memory of one page whose neighbours on both sides cannot be touched. */
static uint8_t *guarded_page(size_t page)
{
	uint8_t *area = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq((void *)area, MAP_FAILED);
	cr_assert_eq(mprotect(area + page, page, PROT_READ | PROT_WRITE), 0);
	return area + page;
}

Test(aead, nothing_outside_the_buffers_is_touched_but_the_slack)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *first = guarded_page(page), *second = guarded_page(page), *aad = guarded_page(page),
		*tag = guarded_page(page), *own_iv = guarded_page(page), *raw = guarded_page(page);
	memcpy(own_iv, iv, sizeof iv);
	memcpy(raw, raw_key, sizeof raw_key);

	for (const struct subject *s = subjects; s < subjects + subject_count; s++) {
		struct aead_key key;
		s->aead->expand(s->engine, &key, raw, own_iv);
		for (uint32_t length = 0; length <= 1500; length += length < 300 ? 1 : 37) {
			for (int end = 0; end < 2; end++) {
				uint8_t *plain = end ? first + page - length - AEAD_INPUT_SLACK : first;
				uint8_t *sealed = end ? second + page - length : second;
				struct aead_op op = {
					.input = plain,
					.output = sealed,
					.header = end ? aad + page - AEAD_AAD_SIZE : aad,
					.tag = end ? tag + page - AEAD_TAG_SIZE : tag,
					.length = length,
					.counter = length,
				};
				s->aead->seal(s->engine, &key, &op, 1);
				if (end) {
					memmove(sealed - AEAD_INPUT_SLACK, sealed, length);
					sealed -= AEAD_INPUT_SLACK;
					plain += AEAD_INPUT_SLACK;
				}
				op.input = sealed;
				op.output = plain;
				s->aead->open(s->engine, &key, &op, 1);
				cr_assert(op.authentic, "%s %u", s->label, length);
			}
		}
	}
}

struct other_thread {
	const char *backend;
	const struct aead_key *key;
	struct aead_op *op;
	unsigned suite;
};

static void *open_elsewhere(void *argument)
{
	struct other_thread *other = argument;
	struct aead_engine *engine = aead_engine_new(other->backend, NULL);
	const struct aead_vtable *aead = other->suite == AEAD_WIREGUARD ? aead_engine_wireguard(engine)
									: aead_engine_suite(engine, other->suite);
	aead->open(engine, other->key, other->op, 1);
	aead_engine_free(engine);
	return NULL;
}

Test(aead, expanded_key_works_with_the_engine_of_another_thread)
{
	static struct datagram datagram;
	for (const struct subject *s = subjects; s < subjects + subject_count; s++) {
		struct aead_op op = datagram_op(&datagram, random_text(), 1000, 3);
		seal(s, &op, 1);
		op.input = op.output;
		struct other_thread other = {s->backend, &s->key, &op, s->aead->suite};
		pthread_t thread;
		cr_assert_eq(pthread_create(&thread, NULL, open_elsewhere, &other), 0);
		pthread_join(thread, NULL);
		cr_assert(op.authentic, "%s", s->label);
	}
}

Test(aead, wireguard_reads_neither_header_nor_iv)
{
	const uint8_t *plaintext = random_text();
	size_t tried = 0;
	for (const struct subject *s = subjects; s < subjects + subject_count; s++) {
		if (s->aead->suite != AEAD_WIREGUARD)
			continue;
		struct aead_key key;
		uint8_t sealed[200], expected[200], tag[AEAD_TAG_SIZE], expected_tag[AEAD_TAG_SIZE];
		s->aead->expand(s->engine, &key, raw_key, NULL);
		struct aead_op op = {.input = plaintext, .output = sealed, .tag = tag, .counter = 5};
		for (op.length = 0; op.length <= sizeof sealed; op.length += 40) {
			s->aead->seal(s->engine, &key, &op, 1);
			cr_assert(reference_message(AEAD_WIREGUARD, 5, plaintext, op.length, expected, expected_tag));
			cr_assert_eq(memcmp(sealed, expected, op.length), 0, "%s %u", s->label, op.length);
			cr_assert_arr_eq(tag, expected_tag, sizeof tag, "%s %u", s->label, op.length);
		}
		tried++;
	}
	cr_assert_gt(tried, 0);
}
