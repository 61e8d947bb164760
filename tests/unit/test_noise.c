// SPDX-License-Identifier: Apache-2.0
#include "crypto/noise.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <string.h>

#include "core/base/bytes.h"
#include "tests/vectors/noise_ikpsk2.h"

enum { VECTOR_MAX = 256 };

#define EACH_VECTOR(v) \
	for (const struct noise_vector *(v) = noise_vectors; (v) < noise_vectors + ARRAY_SIZE(noise_vectors); (v)++)

struct bytes {
	uint8_t data[VECTOR_MAX];
	size_t size;
};

/* Both ends of the vector's handshake, the initiator's first message written. */
struct handshake {
	const struct noise_vector *vector;
	struct bytes prologue, psk;
	struct noise_keypair initiator, responder;
	uint8_t static_static[NOISE_KEY_SIZE];
	uint8_t initiator_ephemeral[NOISE_KEY_SIZE];
	struct noise_keypair responder_ephemeral;
	struct noise_handshake initiator_state, responder_state;
	struct bytes payload1, message1, payload2, message2;
};

static struct bytes from_hex(const char *hex)
{
	struct bytes bytes;
	cr_assert_eq(sodium_hex2bin(bytes.data, sizeof bytes.data, hex, strlen(hex), NULL, &bytes.size, NULL), 0);
	return bytes;
}

static void key_from_hex(const char *hex, uint8_t key[NOISE_KEY_SIZE])
{
	struct bytes bytes = from_hex(hex);
	cr_assert_eq(bytes.size, NOISE_KEY_SIZE);
	memcpy(key, bytes.data, NOISE_KEY_SIZE);
}

static void start_vector(struct handshake *h, const struct noise_vector *vector)
{
	memset(h, 0, sizeof *h);
	h->vector = vector;
	cr_assert_geq(sodium_init(), 0);
	h->prologue = from_hex(vector->prologue);
	h->psk = from_hex(vector->psk);
	key_from_hex(vector->initiator_static, h->initiator.private_key);
	key_from_hex(vector->responder_static, h->responder.private_key);
	key_from_hex(vector->initiator_ephemeral, h->initiator_ephemeral);
	key_from_hex(vector->responder_ephemeral, h->responder_ephemeral.private_key);
	noise_public_key(h->responder_ephemeral.private_key, h->responder_ephemeral.public_key);
	noise_public_key(h->initiator.private_key, h->initiator.public_key);
	noise_public_key(h->responder.private_key, h->responder.public_key);
	cr_assert(noise_dh(h->initiator.private_key, h->responder.public_key, h->static_static));

	h->payload1 = from_hex(vector->messages[0].payload);
	h->payload2 = from_hex(vector->messages[1].payload);
	h->message1.size = NOISE_MESSAGE1_OVERHEAD + h->payload1.size;
	h->message2.size = NOISE_MESSAGE2_OVERHEAD + h->payload2.size;

	noise_initiator_start(&h->initiator_state, vector->function, &h->initiator, h->responder.public_key,
			      h->static_static, h->prologue.data, h->prologue.size);
	noise_responder_start(&h->responder_state, vector->function, &h->responder, h->prologue.data, h->prologue.size);
	cr_assert(noise_initiator_write(&h->initiator_state, h->initiator_ephemeral, h->payload1.data, h->payload1.size,
					h->message1.data));
}

static void start(struct handshake *h)
{
	start_vector(h, &noise_vectors[0]);
}

static void answer(struct handshake *h)
{
	uint8_t remote_static[NOISE_KEY_SIZE], payload[VECTOR_MAX];
	cr_assert(noise_responder_read_static(&h->responder_state, h->message1.data, h->message1.size, remote_static));
	cr_assert_arr_eq(remote_static, h->initiator.public_key, NOISE_KEY_SIZE);
	cr_assert(noise_responder_read_payload(&h->responder_state, h->static_static, h->message1.data,
					       h->message1.size, payload));
	cr_assert_arr_eq(payload, h->payload1.data, h->payload1.size);
	cr_assert(noise_responder_write(&h->responder_state, &h->responder_ephemeral, h->psk.data, h->payload2.data,
					h->payload2.size, h->message2.data));
}

static bool read_message1(struct handshake *h, const struct bytes *message)
{
	uint8_t remote_static[NOISE_KEY_SIZE], payload[VECTOR_MAX];
	return noise_responder_read_static(&h->responder_state, message->data, message->size, remote_static) &&
	       noise_responder_read_payload(&h->responder_state, h->static_static, message->data, message->size,
					    payload);
}

static bool read_message2(struct handshake *h, const struct bytes *message)
{
	uint8_t payload[VECTOR_MAX];
	return noise_initiator_read(&h->initiator_state, h->psk.data, message->data, message->size, payload);
}

Test(noise, published_vector_message_by_message)
{
	EACH_VECTOR(v)
	{
		struct handshake h;
		start_vector(&h, v);
		struct bytes public_key = from_hex(h.vector->responder_static_public);
		cr_assert_arr_eq(h.responder.public_key, public_key.data, NOISE_KEY_SIZE);

		struct bytes expected = from_hex(h.vector->messages[0].message);
		cr_assert_eq(h.message1.size, expected.size);
		cr_assert_arr_eq(h.message1.data, expected.data, expected.size);

		answer(&h);
		expected = from_hex(h.vector->messages[1].message);
		cr_assert_eq(h.message2.size, expected.size);
		cr_assert_arr_eq(h.message2.data, expected.data, expected.size);

		uint8_t payload[VECTOR_MAX];
		cr_assert(noise_initiator_read(&h.initiator_state, h.psk.data, h.message2.data, h.message2.size,
					       payload));
		cr_assert_arr_eq(payload, h.payload2.data, h.payload2.size);

		expected = from_hex(h.vector->handshake_hash);
		cr_assert_eq(expected.size, h.vector->function->size);
		cr_assert_arr_eq(h.initiator_state.hash, expected.data, h.vector->function->size);
		cr_assert_arr_eq(h.responder_state.hash, expected.data, h.vector->function->size);
	}
}

Test(noise, split_keys_make_the_vectors_transport_messages)
{
	EACH_VECTOR(v)
	{
		struct handshake h;
		start_vector(&h, v);
		answer(&h);
		cr_assert(read_message2(&h, &h.message2));

		struct noise_keys initiator, responder;
		noise_split(&h.initiator_state, &initiator);
		noise_split(&h.responder_state, &responder);
		cr_assert_arr_eq(&initiator, &responder, sizeof initiator);

		for (size_t i = 2; i < ARRAY_SIZE(h.vector->messages); i++) {
			struct bytes payload = from_hex(h.vector->messages[i].payload);
			struct bytes expected = from_hex(h.vector->messages[i].message);
			uint8_t nonce[12] = {[4] = (uint8_t)(i / 2 - 1)};
			uint8_t sealed[VECTOR_MAX];
			crypto_aead_chacha20poly1305_ietf_encrypt(
				sealed, NULL, payload.data, payload.size, NULL, 0, NULL, nonce,
				i % 2 == 0 ? initiator.initiator_to_responder : initiator.responder_to_initiator);
			cr_assert_eq(payload.size + NOISE_TAG_SIZE, expected.size);
			cr_assert_arr_eq(sealed, expected.data, expected.size, "message %zu", i);
		}
	}
}

Test(noise, split_wipes_the_state)
{
	EACH_VECTOR(v)
	{
		struct handshake h;
		start_vector(&h, v);
		answer(&h);
		struct noise_keys keys;
		noise_split(&h.responder_state, &keys);
		cr_assert(sodium_is_zero((const uint8_t *)&h.responder_state, sizeof h.responder_state));
	}
}

Test(noise, every_flipped_bit_of_message_1_fails_and_leaves_the_state)
{
	EACH_VECTOR(v)
	{
		struct handshake h;
		start_vector(&h, v);
		const struct noise_handshake fresh = h.responder_state;

		for (size_t bit = 0; bit < h.message1.size * 8; bit++) {
			/* X25519 ignores the ephemeral's top bit; the hash does not, so even that one fails. */
			struct bytes forged = h.message1;
			forged.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			struct noise_handshake before = h.responder_state;
			uint8_t remote_static[NOISE_KEY_SIZE] = {0}, payload[VECTOR_MAX];
			bool payload_only = bit / 8 >= NOISE_MESSAGE1_OVERHEAD - NOISE_TAG_SIZE;

			bool known = noise_responder_read_static(&h.responder_state, forged.data, forged.size,
								 remote_static);
			cr_assert_eq(known, payload_only, "bit %zu", bit);
			if (!known) {
				cr_assert(sodium_is_zero(remote_static, sizeof remote_static), "bit %zu", bit);
				cr_assert_arr_eq(&h.responder_state, &before, sizeof before, "bit %zu", bit);
				continue;
			}
			before = h.responder_state;
			cr_assert_not(noise_responder_read_payload(&h.responder_state, h.static_static, forged.data,
								   forged.size, payload),
				      "bit %zu", bit);
			cr_assert_arr_eq(&h.responder_state, &before, sizeof before, "bit %zu", bit);
			h.responder_state = fresh;
		}
		cr_assert(read_message1(&h, &h.message1), "the genuine one is still welcome");
	}
}

Test(noise, every_flipped_bit_of_message_2_fails_and_leaves_the_state)
{
	EACH_VECTOR(v)
	{
		struct handshake h;
		start_vector(&h, v);
		answer(&h);
		const struct noise_handshake before = h.initiator_state;

		for (size_t bit = 0; bit < h.message2.size * 8; bit++) {
			struct bytes forged = h.message2;
			forged.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			cr_assert_not(read_message2(&h, &forged), "bit %zu", bit);
			cr_assert_arr_eq(&h.initiator_state, &before, sizeof before, "bit %zu", bit);
		}
		cr_assert(read_message2(&h, &h.message2), "the genuine one is still welcome");
	}
}

Test(noise, truncated_messages_fail_at_any_length)
{
	EACH_VECTOR(v)
	{
		struct handshake h;
		start_vector(&h, v);
		const struct noise_handshake fresh = h.responder_state;
		for (size_t size = 0; size < h.message1.size; size++) {
			struct bytes cut = h.message1;
			cut.size = size;
			cr_assert_not(read_message1(&h, &cut), "%zu bytes", size);
			h.responder_state = fresh;
		}
		answer(&h);
		for (size_t size = 0; size < h.message2.size; size++) {
			struct bytes cut = h.message2;
			cut.size = size;
			cr_assert_not(read_message2(&h, &cut), "%zu bytes", size);
		}
	}
}

/* The points whose multiples by a clamped scalar are all zero, with and without the bit that X25519 ignores. */
static const char *const low_order_points[] = {
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

Test(noise, low_order_points_fail_everywhere)
{
	struct handshake h;
	start(&h);
	answer(&h);
	for (size_t i = 0; i < ARRAY_SIZE(low_order_points) * 2; i++) {
		uint8_t point[NOISE_KEY_SIZE], shared[NOISE_KEY_SIZE];
		key_from_hex(low_order_points[i / 2], point);
		point[31] |= (uint8_t)(i % 2 << 7);
		cr_assert_not(noise_dh(h.initiator.private_key, point, shared), "point %zu", i);

		/* as the responder's static key */
		struct noise_handshake state;
		uint8_t message[VECTOR_MAX];
		noise_initiator_start(&state, h.vector->function, &h.initiator, point, h.static_static, NULL, 0);
		struct noise_handshake before = state;
		cr_assert_not(noise_initiator_write(&state, h.initiator_ephemeral, NULL, 0, message), "point %zu", i);
		cr_assert_arr_eq(&state, &before, sizeof before, "point %zu", i);

		/* as the ephemeral of message 1 */
		struct bytes forged = h.message1;
		memcpy(forged.data, point, NOISE_KEY_SIZE);
		noise_responder_start(&state, h.vector->function, &h.responder, h.prologue.data, h.prologue.size);
		before = state;
		cr_assert_not(noise_responder_read_static(&state, forged.data, forged.size, message), "point %zu", i);
		cr_assert_arr_eq(&state, &before, sizeof before, "point %zu", i);

		/* as the initiator's ephemeral or static when the responder writes */
		for (int statics = 0; statics < 2; statics++) {
			state = h.responder_state;
			memcpy(statics ? state.remote_static : state.remote_ephemeral, point, NOISE_KEY_SIZE);
			before = state;
			cr_assert_not(
				noise_responder_write(&state, &h.responder_ephemeral, h.psk.data, NULL, 0, message),
				"point %zu", i);
			cr_assert_arr_eq(&state, &before, sizeof before, "point %zu", i);
		}

		/* as the ephemeral of message 2 */
		forged = h.message2;
		memcpy(forged.data, point, NOISE_KEY_SIZE);
		before = h.initiator_state;
		cr_assert_not(read_message2(&h, &forged), "point %zu", i);
		cr_assert_arr_eq(&h.initiator_state, &before, sizeof before, "point %zu", i);
	}
}

Test(noise, zero_static_static_fails_on_both_sides)
{
	struct handshake h;
	start(&h);
	const uint8_t zero[NOISE_KEY_SIZE] = {0};
	uint8_t buffer[VECTOR_MAX];

	struct noise_handshake state;
	noise_initiator_start(&state, h.vector->function, &h.initiator, h.responder.public_key, zero, NULL, 0);
	cr_assert_not(noise_initiator_write(&state, h.initiator_ephemeral, NULL, 0, buffer));

	cr_assert(noise_responder_read_static(&h.responder_state, h.message1.data, h.message1.size, buffer));
	cr_assert_not(noise_responder_read_payload(&h.responder_state, zero, h.message1.data, h.message1.size, buffer));
}

Test(noise, wrong_psk_fails_at_message_2)
{
	EACH_VECTOR(v)
	{
		struct handshake h;
		start_vector(&h, v);
		answer(&h);
		const struct noise_handshake before = h.initiator_state;
		struct bytes right = h.psk;
		h.psk.data[31] ^= 1;
		cr_assert_not(read_message2(&h, &h.message2));
		cr_assert_arr_eq(&h.initiator_state, &before, sizeof before);
		h.psk = right;
		cr_assert(read_message2(&h, &h.message2));
	}
}

Test(noise, wrong_responder_static_fails_at_message_1)
{
	struct handshake h;
	start(&h);
	struct noise_keypair other = {.private_key = {1, 2, 3}};
	noise_public_key(other.private_key, other.public_key);
	noise_responder_start(&h.responder_state, h.vector->function, &other, h.prologue.data, h.prologue.size);
	cr_assert_not(read_message1(&h, &h.message1));
}

Test(noise, initiator_without_the_private_key_of_its_static_fails)
{
	struct handshake h;
	start(&h);
	/* It claims the genuine public key, which proves nothing until ss is mixed in. */
	struct noise_keypair thief = {.private_key = {1, 2, 3}};
	memcpy(thief.public_key, h.initiator.public_key, NOISE_KEY_SIZE);
	uint8_t static_static[NOISE_KEY_SIZE], remote_static[NOISE_KEY_SIZE], payload[VECTOR_MAX];
	cr_assert(noise_dh(thief.private_key, h.responder.public_key, static_static));
	noise_initiator_start(&h.initiator_state, h.vector->function, &thief, h.responder.public_key, static_static,
			      h.prologue.data, h.prologue.size);
	cr_assert(noise_initiator_write(&h.initiator_state, h.initiator_ephemeral, h.payload1.data, h.payload1.size,
					h.message1.data));

	cr_assert(noise_responder_read_static(&h.responder_state, h.message1.data, h.message1.size, remote_static));
	cr_assert_arr_eq(remote_static, h.initiator.public_key, NOISE_KEY_SIZE);
	cr_assert_not(noise_responder_read_payload(&h.responder_state, h.static_static, h.message1.data,
						   h.message1.size, payload));
}

Test(noise, other_prologue_fails_at_message_1)
{
	struct handshake h;
	start(&h);
	h.prologue.data[0] ^= 1;
	noise_responder_start(&h.responder_state, h.vector->function, &h.responder, h.prologue.data, h.prologue.size);
	cr_assert_not(read_message1(&h, &h.message1));
}

Test(noise, static_of_one_message_and_payload_of_another_fail)
{
	struct handshake h;
	start(&h);
	struct bytes second = h.message1;
	uint8_t ephemeral[NOISE_KEY_SIZE] = {7}, remote_static[NOISE_KEY_SIZE], payload[VECTOR_MAX];
	struct noise_handshake other;
	noise_initiator_start(&other, h.vector->function, &h.initiator, h.responder.public_key, h.static_static,
			      h.prologue.data, h.prologue.size);
	cr_assert(noise_initiator_write(&other, ephemeral, h.payload1.data, h.payload1.size, second.data));

	cr_assert(noise_responder_read_static(&h.responder_state, h.message1.data, h.message1.size, remote_static));
	cr_assert_not(
		noise_responder_read_payload(&h.responder_state, h.static_static, second.data, second.size, payload));
	cr_assert(noise_responder_read_payload(&h.responder_state, h.static_static, h.message1.data, h.message1.size,
					       payload));
}

Test(noise, empty_payloads_and_prologue_make_a_handshake)
{
	EACH_VECTOR(v)
	{
		struct handshake h;
		start_vector(&h, v);
		uint8_t message[VECTOR_MAX], remote_static[NOISE_KEY_SIZE];
		noise_initiator_start(&h.initiator_state, h.vector->function, &h.initiator, h.responder.public_key,
				      h.static_static, NULL, 0);
		noise_responder_start(&h.responder_state, h.vector->function, &h.responder, NULL, 0);
		cr_assert(noise_initiator_write(&h.initiator_state, h.initiator_ephemeral, NULL, 0, message));
		cr_assert(noise_responder_read_static(&h.responder_state, message, NOISE_MESSAGE1_OVERHEAD,
						      remote_static));
		cr_assert(noise_responder_read_payload(&h.responder_state, h.static_static, message,
						       NOISE_MESSAGE1_OVERHEAD, NULL));
		cr_assert(noise_responder_write(&h.responder_state, &h.responder_ephemeral, h.psk.data, NULL, 0,
						message));
		cr_assert(noise_initiator_read(&h.initiator_state, h.psk.data, message, NOISE_MESSAGE2_OVERHEAD, NULL));
		struct noise_keys initiator, responder;
		noise_split(&h.initiator_state, &initiator);
		noise_split(&h.responder_state, &responder);
		cr_assert_arr_eq(&initiator, &responder, sizeof initiator);
		cr_assert_neq(
			memcmp(initiator.initiator_to_responder, initiator.responder_to_initiator, NOISE_KEY_SIZE), 0);
	}
}
