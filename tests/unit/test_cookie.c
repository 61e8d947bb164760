// SPDX-License-Identifier: Apache-2.0
/* Cookies by themselves, and the messages that carry them. */
#include "crypto/cookie.h"

#include <criterion/criterion.h>
#include <sodium.h>

#include "core/protocol/handshake.h"

static const uint8_t here[16] = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 7};

static struct cookie_jar new_jar(void)
{
	struct cookie_jar jar;
	cr_assert(keys_init(NULL) == 0);
	cookie_jar_init(&jar);
	return jar;
}

Test(cookie, is_for_one_address_and_port_of_one_jar)
{
	struct cookie_jar jar = new_jar(), other = new_jar();
	uint64_t now = 1000 * NS_PER_S;
	uint8_t cookie[COOKIE_SIZE];
	cookie_make(&jar, here, 4711, now, cookie);
	cr_assert(cookie_number(&jar, here, 4711, now, cookie));
	cr_assert_not(cookie_number(&other, here, 4711, now, cookie));
	for (unsigned bit = 0; bit < 128; bit++) {
		uint8_t elsewhere[16];
		memcpy(elsewhere, here, sizeof elsewhere);
		elsewhere[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert_not(cookie_number(&jar, elsewhere, 4711, now, cookie), "bit %u of the address", bit);
	}
	for (unsigned bit = 0; bit < 16; bit++)
		cr_assert_not(cookie_number(&jar, here, (uint16_t)(4711 ^ 1u << bit), now, cookie), "bit %u", bit);
	for (unsigned bit = 0; bit < 8 * COOKIE_SIZE; bit++) {
		uint8_t forged[COOKIE_SIZE];
		memcpy(forged, cookie, sizeof forged);
		forged[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert_not(cookie_number(&jar, here, 4711, now, forged), "bit %u of the cookie", bit);
	}
	cr_assert_not(cookie_number(&jar, here, 4711, now, (uint8_t[COOKIE_SIZE]){0}), "none");
}

Test(cookie, lives_for_a_period_at_least_and_two_at_most)
{
	struct cookie_jar jar = new_jar();
	for (uint64_t made = 0; made < 2 * COOKIE_ROTATION_NS; made += 7 * NS_PER_S) {
		uint8_t cookie[COOKIE_SIZE];
		cookie_make(&jar, here, 1, made, cookie);
		uint64_t end = (made / COOKIE_ROTATION_NS + 2) * COOKIE_ROTATION_NS;
		cr_assert(cookie_number(&jar, here, 1, made, cookie));
		cr_assert(cookie_number(&jar, here, 1, made + COOKIE_ROTATION_NS, cookie));
		cr_assert(cookie_number(&jar, here, 1, end - 1, cookie));
		cr_assert_not(cookie_number(&jar, here, 1, end, cookie));
		cr_assert_not(cookie_number(&jar, here, 1, end + 10 * COOKIE_ROTATION_NS, cookie));
	}
}

Test(cookie, of_a_period_to_come_is_not_valid)
{
	struct cookie_jar jar = new_jar();
	uint8_t cookie[COOKIE_SIZE];
	cookie_make(&jar, here, 1, 5 * COOKIE_ROTATION_NS, cookie);
	cr_assert_not(cookie_number(&jar, here, 1, 5 * COOKIE_ROTATION_NS - 1, cookie));
}

Test(cookie, tells_which_of_two_was_given_first)
{
	struct cookie_jar jar = new_jar();
	uint64_t last = 0;
	for (uint64_t now = 0; now < 5 * COOKIE_ROTATION_NS; now += COOKIE_ROTATION_NS) {
		uint8_t period[COOKIE_SIZE], numbered[COOKIE_SIZE];
		cookie_make(&jar, here, 1, now, period);
		cookie_make_numbered(&jar, here, 1, now + 7, numbered);
		uint64_t number = cookie_number(&jar, here, 1, now + 7, period);
		cr_assert(number > last && number <= now + 1);
		cr_assert_eq(cookie_number(&jar, here, 1, now + 7, numbered), now + 7);
		cr_assert_eq(cookie_number(&jar, here, 1, now + COOKIE_ROTATION_NS, period), number);
		last = now + 7;
	}
}

Test(cookie, numbered_is_for_one_source_and_one_number_and_120_seconds)
{
	struct cookie_jar jar = new_jar(), other = new_jar();
	uint64_t now = 1000 * NS_PER_S;
	uint8_t cookie[COOKIE_SIZE], elsewhere[16];
	cookie_make_numbered(&jar, here, 4711, now, cookie);
	cr_assert_eq(cookie_number(&jar, here, 4711, now, cookie), now);
	cr_assert_eq(cookie_number(&jar, here, 4711, now + COOKIE_ROTATION_NS, cookie), now);
	cr_assert_eq(cookie_number(&jar, here, 4711, now + COOKIE_ROTATION_NS + 1, cookie), 0);
	cr_assert_eq(cookie_number(&jar, here, 4711, now - NS_PER_S, cookie), now, "a clock that stands");
	cr_assert_eq(cookie_number(&jar, here, 4711, now - 2 * NS_PER_S, cookie), 0);
	cr_assert_eq(cookie_number(&other, here, 4711, now, cookie), 0);
	cr_assert_eq(cookie_number(&jar, here, 4712, now, cookie), 0);
	memcpy(elsewhere, here, sizeof elsewhere);
	elsewhere[15] ^= 1;
	cr_assert_eq(cookie_number(&jar, elsewhere, 4711, now, cookie), 0);
	for (unsigned bit = 0; bit < 8 * COOKIE_SIZE; bit++) {
		cookie[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert_eq(cookie_number(&jar, here, 4711, now, cookie), 0, "bit %u", bit);
		cookie[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

Test(cookie, sealed_opens_only_whole_and_with_the_same_key_nonce_and_mac1)
{
	cr_assert(keys_init(NULL) == 0);
	uint8_t key[KEY_SIZE], public_key[KEY_SIZE] = {9}, nonce[COOKIE_NONCE_SIZE] = {1}, mac1[MAC_SIZE] = {2};
	uint8_t cookie[COOKIE_SIZE] = {3}, sealed[COOKIE_SEALED_SIZE], opened[COOKIE_SIZE] = {7};
	const uint8_t untouched[COOKIE_SIZE] = {7};
	cookie_key(key, public_key);
	cookie_seal(sealed, key, nonce, mac1, cookie);
	struct {
		const char *what;
		uint8_t *bytes;
		size_t size;
	} inputs[] = {
		{"key", key, sizeof key},
		{"nonce", nonce, sizeof nonce},
		{"mac1", mac1, sizeof mac1},
		{"sealed", sealed, sizeof sealed},
	};
	for (size_t i = 0; i < ARRAY_SIZE(inputs); i++) {
		for (size_t bit = 0; bit < 8 * inputs[i].size; bit++) {
			inputs[i].bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
			cr_assert_not(cookie_open(opened, key, nonce, mac1, sealed), "bit %zu of %s", bit,
				      inputs[i].what);
			inputs[i].bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
	cr_assert_arr_eq(opened, untouched, sizeof opened);
	cr_assert(cookie_open(opened, key, nonce, mac1, sealed));
	cr_assert_arr_eq(opened, cookie, sizeof opened);
}

/* --- COOKIE and mac2 ---------------------------------------------------------------------------------------------- */

struct sides {
	struct handshake_identity client, gateway;
	struct handshake_remote remote;
	struct handshake_initiator initiator;
	struct cookie_jar jar;
	uint8_t hello[WIRE_HELLO_SIZE];
};

static void write_hello(struct sides *sides, uint32_t session_id)
{
	struct wire_hello hello = {.mtu = 1420, .suites = {1}};
	uint8_t random[HANDSHAKE_HELLO_RANDOM];
	randombytes_buf(random, sizeof random);
	cr_assert(handshake_write_hello(&sides->initiator, &sides->client, &sides->remote, session_id, &hello, random,
					sides->hello));
}

static void start(struct sides *sides, uint32_t session_id)
{
	uint8_t private_key[KEY_SIZE], psk[KEY_SIZE] = {0};
	sides->jar = new_jar();
	randombytes_buf(private_key, sizeof private_key);
	handshake_identity_init(&sides->gateway, private_key);
	randombytes_buf(private_key, sizeof private_key);
	handshake_identity_init(&sides->client, private_key);
	cr_assert(handshake_remote_init(&sides->remote, &sides->client, sides->gateway.keys.public_key, psk));
	write_hello(sides, session_id);
}

static void write_cookie(const struct sides *sides, const uint8_t cookie[COOKIE_SIZE],
			 uint8_t message[WIRE_COOKIE_SIZE])
{
	uint8_t nonce[COOKIE_NONCE_SIZE];
	randombytes_buf(nonce, sizeof nonce);
	handshake_write_cookie(&sides->gateway, sides->hello, cookie, nonce, message);
}

Test(cookie, message_is_read_by_the_hello_that_it_answers)
{
	struct sides sides;
	start(&sides, 0x0a0c0007);
	uint8_t cookie[COOKIE_SIZE] = "sixteen bytes ..", read[COOKIE_SIZE], message[WIRE_COOKIE_SIZE + 1] = {0};
	write_cookie(&sides, cookie, message);
	cr_assert_eq(message[0], 0x17);
	cr_assert_eq(wire_session_id(message), 0x0a0c0007);
	cr_assert(handshake_read_cookie(&sides.initiator, &sides.remote, message, WIRE_COOKIE_SIZE, read));
	cr_assert_arr_eq(read, cookie, sizeof read);
	cr_assert_not(handshake_read_cookie(&sides.initiator, &sides.remote, message, WIRE_COOKIE_SIZE - 1, read));
	cr_assert_not(handshake_read_cookie(&sides.initiator, &sides.remote, message, WIRE_COOKIE_SIZE + 1, read));
	for (unsigned bit = 8; bit < 8 * WIRE_COOKIE_SIZE; bit++) {
		message[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert_not(handshake_read_cookie(&sides.initiator, &sides.remote, message, WIRE_COOKIE_SIZE, read),
			      "bit %u", bit);
		message[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	write_hello(&sides, 0x0a0c0007);
	cr_assert_not(handshake_read_cookie(&sides.initiator, &sides.remote, message, WIRE_COOKIE_SIZE, read),
		      "it answered the HELLO before");
}

/* Same magic and session ID, as a guesser would have them, but another HELLO. */
Test(cookie, message_is_bound_to_mac1)
{
	struct sides sides;
	start(&sides, 0);
	uint8_t cookie[COOKIE_SIZE] = {1}, read[COOKIE_SIZE], message[WIRE_COOKIE_SIZE];
	sides.hello[WIRE_HELLO_MAC1] ^= 1;
	write_cookie(&sides, cookie, message);
	cr_assert_not(handshake_read_cookie(&sides.initiator, &sides.remote, message, sizeof message, read));
}

Test(cookie, mac2_shows_where_a_hello_comes_from)
{
	struct sides sides;
	start(&sides, 0);
	uint64_t now = 3 * COOKIE_ROTATION_NS - 1; /* of the last moment of a period */
	uint8_t cookie[COOKIE_SIZE];
	cr_assert_not(handshake_check_mac2(&sides.jar, here, 4711, now, sides.hello), "none");
	cookie_make(&sides.jar, here, 4711, now, cookie);
	handshake_add_mac2(cookie, sides.hello);
	cr_assert(handshake_check_mac1(&sides.gateway, sides.hello));
	cr_assert(handshake_check_mac2(&sides.jar, here, 4711, now, sides.hello));
	cr_assert(handshake_check_mac2(&sides.jar, here, 4711, now + COOKIE_ROTATION_NS, sides.hello));
	cr_assert_not(handshake_check_mac2(&sides.jar, here, 4711, now + COOKIE_ROTATION_NS + 1, sides.hello));
	cr_assert_not(handshake_check_mac2(&sides.jar, here, 4712, now, sides.hello));
	for (size_t byte = 0; byte < WIRE_HELLO_SIZE; byte++) {
		sides.hello[byte] ^= 0x80;
		cr_assert_not(handshake_check_mac2(&sides.jar, here, 4711, now, sides.hello), "byte %zu", byte);
		sides.hello[byte] ^= 0x80;
	}
}
