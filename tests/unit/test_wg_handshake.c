// SPDX-License-Identifier: Apache-2.0
/* The handshake of the WireGuard protocol: against what another implementation computed, and against all that may come
 * instead of a right message. */
#include "core/protocol/wg_handshake.h"

#include <criterion/criterion.h>
#include <sodium.h>

#include "crypto/aead.h"
#include "crypto/blake2s.h"
#include "crypto/wg_mac.h"
#include "tests/vectors/wireguard.h"

static const uint8_t here[16] = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 7};
static const uint64_t now = 3 * COOKIE_ROTATION_NS - 1; /* the last moment of a period */
enum { PORT = 4711, WALL_S = 1234567890 };

/* Both ends with the vector's keys, and the messages that the library made of them. */
struct sides {
	struct handshake_identity initiator_keys, responder_keys;
	struct handshake_remote remote;
	struct noise_keypair ephemeral; /* the responder's */
	uint8_t ephemeral_private[KEY_SIZE], psk[KEY_SIZE], timestamp[WG_TIMESTAMP_SIZE];
	uint32_t initiator_index, responder_index;
	struct wg_initiator initiator;
	struct wg_responder responder;
	struct cookie_jar jar;
	uint8_t initiation[WG_INITIATION_SIZE], response[WG_RESPONSE_SIZE];
	struct noise_keys secrets; /* the responder's */
};

static size_t from_hex(uint8_t *bytes, size_t room, const char *hex)
{
	size_t size;
	cr_assert_eq(sodium_hex2bin(bytes, room, hex, strlen(hex), NULL, &size, NULL), 0);
	return size;
}

static void fill(uint8_t *bytes, size_t size, const char *hex)
{
	cr_assert_eq(from_hex(bytes, size, hex), size);
}

static void assert_hex(const uint8_t *bytes, size_t size, const char *expected)
{
	char hex[2 * WG_INITIATION_SIZE + 1];
	sodium_bin2hex(hex, sizeof hex, bytes, size);
	cr_assert_str_eq(hex, expected);
}

static uint32_t index_of(const char *hex)
{
	uint8_t bytes[4];
	fill(bytes, sizeof bytes, hex);
	return load_be32(bytes);
}

static void identity_of(struct handshake_identity *identity, const char *hex)
{
	uint8_t private_key[KEY_SIZE];
	fill(private_key, sizeof private_key, hex);
	wg_identity_init(identity, private_key);
}

static void start(struct sides *s)
{
	memset(s, 0, sizeof *s);
	cr_assert_eq(keys_init(NULL), 0);
	cookie_jar_init(&s->jar);
	identity_of(&s->initiator_keys, wireguard_vector.initiator_static);
	identity_of(&s->responder_keys, wireguard_vector.responder_static);
	fill(s->psk, sizeof s->psk, wireguard_vector.psk);
	fill(s->ephemeral_private, KEY_SIZE, wireguard_vector.initiator_ephemeral);
	fill(s->ephemeral.private_key, KEY_SIZE, wireguard_vector.responder_ephemeral);
	noise_public_key(s->ephemeral.private_key, s->ephemeral.public_key);
	cr_assert(wg_remote_init(&s->remote, &s->initiator_keys, s->responder_keys.keys.public_key, s->psk));
	s->initiator_index = index_of(wireguard_vector.initiator_index);
	s->responder_index = index_of(wireguard_vector.responder_index);
	wg_timestamp(s->timestamp, WALL_S * NS_PER_S + (16u << 24) + 12345678);
	cr_assert(wg_write_initiation(&s->initiator, &s->initiator_keys, &s->remote, s->initiator_index, s->timestamp,
				      s->ephemeral_private, s->initiation));
}

static bool read_initiation(struct sides *s, const uint8_t message[WG_INITIATION_SIZE])
{
	uint8_t peer_key[KEY_SIZE], timestamp[WG_TIMESTAMP_SIZE];
	return wg_read_static(&s->responder, &s->responder_keys, message, peer_key) &&
	       wg_read_timestamp(&s->responder, s->remote.static_static, message, timestamp);
}

static void answer(struct sides *s)
{
	cr_assert(read_initiation(s, s->initiation));
	cr_assert(
		wg_write_response(&s->responder, s->psk, s->responder_index, &s->ephemeral, s->response, &s->secrets));
}

/* --- what another implementation computed ------------------------------------------------------------------------- */

/* Published: noise.c of wireguard-linux-compat derives both from the names at start. */
Test(wg_handshake, begins_with_the_constants_of_the_protocol)
{
	struct noise_handshake state;
	struct noise_keypair own = {.public_key = {9}};
	uint8_t initial_hash[BLAKE2S_SIZE], mixed[BLAKE2S_SIZE];
	static const char identifier[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";
	noise_responder_start(&state, &noise_blake2s, &own, identifier, sizeof identifier - 1);
	assert_hex(state.chaining_key, BLAKE2S_SIZE,
		   "60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36");
	cr_assert_str_eq(wireguard_vector.initial_chaining_key,
			 "60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36");
	fill(initial_hash, sizeof initial_hash, "2211b361081ac566691243db458ad5322d9c6c662293e8b70ee19c65ba079ef3");
	noise_blake2s.hash(mixed, initial_hash, sizeof initial_hash, own.public_key, sizeof own.public_key);
	cr_assert_arr_eq(state.hash, mixed, sizeof mixed);
}

Test(wg_handshake, messages_are_those_of_the_vector)
{
	struct sides s;
	start(&s);
	assert_hex(s.initiator_keys.keys.public_key, KEY_SIZE, wireguard_vector.initiator_public);
	assert_hex(s.responder_keys.keys.public_key, KEY_SIZE, wireguard_vector.responder_public);
	assert_hex(s.timestamp, sizeof s.timestamp, wireguard_vector.timestamp);
	assert_hex(s.initiation, sizeof s.initiation, wireguard_vector.initiation);
	cr_assert_eq(wg_type(s.initiation, sizeof s.initiation), WG_INITIATION);
	cr_assert_arr_eq(s.initiator.mac1, s.initiation + WG_INITIATION_MAC1, MAC_SIZE);

	uint8_t peer_key[KEY_SIZE], timestamp[WG_TIMESTAMP_SIZE];
	cr_assert(wg_read_static(&s.responder, &s.responder_keys, s.initiation, peer_key));
	cr_assert_arr_eq(peer_key, s.initiator_keys.keys.public_key, KEY_SIZE);
	cr_assert_eq(s.responder.peer_index, s.initiator_index);
	cr_assert(wg_read_timestamp(&s.responder, s.remote.static_static, s.initiation, timestamp));
	cr_assert_arr_eq(timestamp, s.timestamp, sizeof timestamp);

	struct noise_keys responder, initiator;
	cr_assert(wg_write_response(&s.responder, s.psk, s.responder_index, &s.ephemeral, s.response, &responder));
	assert_hex(s.response, sizeof s.response, wireguard_vector.response);
	cr_assert_eq(wg_type(s.response, sizeof s.response), WG_RESPONSE);
	cr_assert_eq(s.responder.peer_index, s.initiator_index, "it stays");

	uint32_t peer_index;
	cr_assert(wg_check_mac1(&s.initiator_keys, s.response, sizeof s.response));
	cr_assert(wg_read_response(&s.initiator, &s.remote, s.response, &peer_index, &initiator));
	cr_assert_eq(peer_index, s.responder_index);
	cr_assert_arr_eq(&initiator, &responder, sizeof initiator);
	assert_hex(initiator.initiator_to_responder, KEY_SIZE, wireguard_vector.initiator_to_responder);
	assert_hex(initiator.responder_to_initiator, KEY_SIZE, wireguard_vector.responder_to_initiator);
}

Test(wg_handshake, data_is_that_of_the_vector_on_each_back_end)
{
	uint8_t raw[KEY_SIZE], plaintext[128], expected[256];
	fill(raw, sizeof raw, wireguard_vector.initiator_to_responder);
	size_t length = from_hex(plaintext, sizeof plaintext, wireguard_vector.plaintext);
	size_t size = from_hex(expected, sizeof expected, wireguard_vector.data);
	cr_assert_eq(size, length + WG_OVERHEAD);
	cr_assert_eq(wg_type(expected, size), WG_DATA);
	const char *name;
	for (size_t i = 0; (name = aead_backend_name(i)) != NULL; i++) {
		struct aead_engine *engine = aead_engine_new(name, NULL);
		if (engine == NULL)
			continue;
		const struct aead_vtable *aead = aead_engine_wireguard(engine);
		struct aead_key key;
		uint8_t message[256];
		aead->expand(engine, &key, raw, NULL);
		wg_data_header(message, index_of(wireguard_vector.responder_index), wireguard_vector.counter);
		struct aead_op op = {.input = plaintext,
				     .output = message + WG_DATA_HEADER_SIZE,
				     .tag = message + WG_DATA_HEADER_SIZE + length,
				     .length = (uint32_t)length,
				     .counter = wg_counter(message)};
		aead->seal(engine, &key, &op, 1);
		cr_assert_eq(memcmp(message, expected, size), 0, "%s", name);
		aead_engine_free(engine);
	}
}

Test(wg_handshake, cookie_and_mac2_are_those_of_the_vector)
{
	struct sides s;
	start(&s);
	answer(&s);
	uint8_t cookie[COOKIE_SIZE], nonce[COOKIE_NONCE_SIZE], reply[WG_COOKIE_REPLY_SIZE], read[COOKIE_SIZE];
	fill(cookie, sizeof cookie, wireguard_vector.cookie);
	fill(nonce, sizeof nonce, wireguard_vector.nonce);
	wg_write_cookie_reply(&s.responder_keys, s.initiation, sizeof s.initiation, cookie, nonce, reply);
	assert_hex(reply, sizeof reply, wireguard_vector.cookie_reply);
	cr_assert(wg_read_cookie_reply(s.remote.cookie_key, s.initiator_index, s.initiator.mac1, reply, read));
	cr_assert_arr_eq(read, cookie, sizeof cookie);
	wg_add_mac2(cookie, s.initiation, sizeof s.initiation);
	assert_hex(s.initiation + WG_INITIATION_SIZE - MAC_SIZE, MAC_SIZE, wireguard_vector.initiation_mac2);
	wg_add_mac2(cookie, s.response, sizeof s.response);
	assert_hex(s.response + WG_RESPONSE_SIZE - MAC_SIZE, MAC_SIZE, wireguard_vector.response_mac2);
}

/* --- what is refused ---------------------------------------------------------------------------------------------- */

static bool check_macs(struct sides *s, const struct handshake_identity *own, const uint8_t *message, size_t length)
{
	return wg_check_mac1(own, message, length) && wg_check_mac2(&s->jar, here, PORT, now, message, length);
}

Test(wg_handshake, every_flipped_bit_fails_a_mac)
{
	struct sides s;
	start(&s);
	answer(&s);
	uint8_t cookie[COOKIE_SIZE];
	cookie_make_wg(&s.jar, here, PORT, now, cookie);
	struct {
		const struct handshake_identity *own;
		uint8_t *message;
		size_t length;
	} messages[] = {{&s.responder_keys, s.initiation, sizeof s.initiation},
			{&s.initiator_keys, s.response, sizeof s.response}};
	for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
		uint8_t *message = messages[i].message;
		size_t length = messages[i].length;
		cr_assert_not(wg_check_mac2(&s.jar, here, PORT, now, message, length), "none");
		wg_add_mac2(cookie, message, length);
		cr_assert(check_macs(&s, messages[i].own, message, length));
		for (size_t bit = 0; bit < 8 * length; bit++) {
			message[bit / 8] ^= (uint8_t)(1u << bit % 8);
			cr_assert_eq(wg_check_mac1(messages[i].own, message, length), bit >= 8 * (length - MAC_SIZE),
				     "bit %zu", bit);
			cr_assert_not(check_macs(&s, messages[i].own, message, length), "bit %zu", bit);
			message[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		const struct handshake_identity *other = messages[i].own == &s.responder_keys ? &s.initiator_keys
											      : &s.responder_keys;
		cr_assert_not(wg_check_mac1(other, message, length), "for another key");
	}
}

Test(wg_handshake, mac2_shows_where_a_message_comes_from)
{
	struct sides s;
	start(&s);
	uint8_t cookie[COOKIE_SIZE], *message = s.initiation;
	const size_t length = sizeof s.initiation;
	cookie_make_wg(&s.jar, here, PORT, now, cookie);
	wg_add_mac2(cookie, message, length);
	cr_assert(wg_check_mac2(&s.jar, here, PORT, now, message, length));
	cr_assert(wg_check_mac2(&s.jar, here, PORT, now + COOKIE_ROTATION_NS, message, length));
	cr_assert_not(wg_check_mac2(&s.jar, here, PORT, now + COOKIE_ROTATION_NS + 1, message, length));
	cr_assert_not(wg_check_mac2(&s.jar, here, PORT + 1, now, message, length));
	uint8_t elsewhere[16];
	memcpy(elsewhere, here, sizeof elsewhere);
	elsewhere[15] ^= 1;
	cr_assert_not(wg_check_mac2(&s.jar, elsewhere, PORT, now, message, length));
	struct cookie_jar other;
	cookie_jar_init(&other);
	cr_assert_not(wg_check_mac2(&other, here, PORT, now, message, length));
}

Test(wg_handshake, cookies_of_the_two_protocols_are_not_each_others)
{
	struct sides s;
	start(&s);
	uint8_t own[COOKIE_SIZE], wg[COOKIE_SIZE], mac[MAC_SIZE];
	cookie_make(&s.jar, here, PORT, now, own);
	cookie_make_wg(&s.jar, here, PORT, now, wg);
	cr_assert_neq(memcmp(own, wg, sizeof own), 0);
	cr_assert_neq(cookie_number(&s.jar, here, PORT, now, own), 0);
	cr_assert_eq(cookie_number(&s.jar, here, PORT, now, wg), 0);
	wg_add_mac2(own, s.initiation, sizeof s.initiation);
	cr_assert_not(wg_check_mac2(&s.jar, here, PORT, now, s.initiation, sizeof s.initiation));
	cookie_mac(mac, wg, "data", 4);
	cr_assert_not(cookie_mac_verify(&s.jar, here, PORT, now, mac, "data", 4));
	cr_assert_not(cookie_mac_verify_wg(&s.jar, here, PORT, now, mac, "data", 4), "another hash");
	wg_mac(mac, wg, sizeof wg, "data", 4);
	cr_assert(cookie_mac_verify_wg(&s.jar, here, PORT, now, mac, "data", 4));
}

Test(wg_handshake, cookie_reply_is_for_the_message_that_it_answers)
{
	struct sides s;
	start(&s);
	answer(&s);
	uint8_t cookie[COOKIE_SIZE] = "sixteen bytes ..", nonce[COOKIE_NONCE_SIZE] = {1};
	uint8_t reply[WG_COOKIE_REPLY_SIZE], read[COOKIE_SIZE] = {7};
	const uint8_t untouched[COOKIE_SIZE] = {7};
	wg_write_cookie_reply(&s.responder_keys, s.initiation, sizeof s.initiation, cookie, nonce, reply);
	cr_assert_eq(wg_type(reply, sizeof reply), WG_COOKIE_REPLY);
	for (size_t bit = 32; bit < 8 * sizeof reply; bit++) {
		reply[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert_not(
			wg_read_cookie_reply(s.remote.cookie_key, s.initiator_index, s.initiator.mac1, reply, read),
			"bit %zu", bit);
		reply[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	uint8_t other_mac1[MAC_SIZE];
	memcpy(other_mac1, s.initiator.mac1, sizeof other_mac1);
	other_mac1[15] ^= 0x80;
	cr_assert_not(wg_read_cookie_reply(s.remote.cookie_key, s.initiator_index, other_mac1, reply, read));
	cr_assert_not(wg_read_cookie_reply(s.remote.mac1_key, s.initiator_index, s.initiator.mac1, reply, read));
	cr_assert_arr_eq(read, untouched, sizeof read);
	cr_assert(wg_read_cookie_reply(s.remote.cookie_key, s.initiator_index, s.initiator.mac1, reply, read));
	cr_assert_arr_eq(read, cookie, sizeof read);

	/* An initiator under load answers a response the same way. */
	wg_write_cookie_reply(&s.initiator_keys, s.response, sizeof s.response, cookie, nonce, reply);
	memcpy(read, untouched, sizeof read);
	cr_assert(wg_read_cookie_reply(s.initiator_keys.cookie_key, s.responder_index, s.response + WG_RESPONSE_MAC1,
				       reply, read));
	cr_assert_arr_eq(read, cookie, sizeof read);
}

Test(wg_handshake, initiation_with_any_flipped_bit_of_noise_is_not_read)
{
	struct sides s;
	start(&s);
	for (size_t bit = 8 * WG_INITIATION_NOISE; bit < 8 * WG_INITIATION_MAC1; bit++) {
		uint8_t forged[WG_INITIATION_SIZE];
		memcpy(forged, s.initiation, sizeof forged);
		forged[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert_not(read_initiation(&s, forged), "bit %zu", bit);
	}
	cr_assert(read_initiation(&s, s.initiation));
}

Test(wg_handshake, forged_timestamp_leaves_the_responder_as_it_was)
{
	struct sides s;
	start(&s);
	uint8_t peer_key[KEY_SIZE], timestamp[WG_TIMESTAMP_SIZE] = {7}, forged[WG_INITIATION_SIZE];
	cr_assert(wg_read_static(&s.responder, &s.responder_keys, s.initiation, peer_key));
	const struct wg_responder before = s.responder;
	memcpy(forged, s.initiation, sizeof forged);
	forged[WG_INITIATION_MAC1 - 1] ^= 1;
	cr_assert_not(wg_read_timestamp(&s.responder, s.remote.static_static, forged, timestamp));
	cr_assert_arr_eq(&s.responder.noise, &before.noise, sizeof before.noise);
	uint8_t none[KEY_SIZE] = {0};
	cr_assert_not(wg_read_timestamp(&s.responder, none, s.initiation, timestamp), "a static key of low order");
	cr_assert(wg_read_timestamp(&s.responder, s.remote.static_static, s.initiation, timestamp));
}

Test(wg_handshake, response_with_any_flipped_bit_is_not_read_and_changes_nothing)
{
	struct sides s;
	start(&s);
	answer(&s);
	const struct wg_initiator before = s.initiator;
	struct noise_keys keys = {{7}, {7}};
	const struct noise_keys untouched = keys;
	uint32_t peer_index = 7;
	for (size_t bit = 8 * WG_RESPONSE_RECEIVER; bit < 8 * WG_RESPONSE_MAC1; bit++) {
		uint8_t forged[WG_RESPONSE_SIZE];
		memcpy(forged, s.response, sizeof forged);
		forged[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert_not(wg_read_response(&s.initiator, &s.remote, forged, &peer_index, &keys), "bit %zu", bit);
	}
	s.remote.preshared_key[0] ^= 1;
	cr_assert_not(wg_read_response(&s.initiator, &s.remote, s.response, &peer_index, &keys), "another PSK");
	s.remote.preshared_key[0] ^= 1;
	cr_assert_arr_eq(&s.initiator.noise, &before.noise, sizeof before.noise);
	cr_assert_arr_eq(&keys, &untouched, sizeof keys);
	cr_assert_eq(peer_index, 7);
	cr_assert(wg_read_response(&s.initiator, &s.remote, s.response, &peer_index, &keys));
	cr_assert_arr_eq(&keys, &s.secrets, sizeof keys);
	cr_assert(sodium_is_zero((const uint8_t *)&s.initiator, sizeof s.initiator), "it is spent and wiped");
	cr_assert(sodium_is_zero((const uint8_t *)&s.responder.noise, sizeof s.responder.noise));
}

Test(wg_handshake, response_to_the_initiation_before_is_not_read)
{
	struct sides s;
	start(&s);
	answer(&s);
	s.ephemeral_private[0] ^= 8;
	cr_assert(wg_write_initiation(&s.initiator, &s.initiator_keys, &s.remote, s.initiator_index, s.timestamp,
				      s.ephemeral_private, s.initiation));
	uint32_t peer_index;
	struct noise_keys keys;
	cr_assert_not(wg_read_response(&s.initiator, &s.remote, s.response, &peer_index, &keys));
}

Test(wg_handshake, works_without_a_preshared_key)
{
	struct sides s;
	start(&s);
	memset(s.psk, 0, sizeof s.psk);
	memset(s.remote.preshared_key, 0, sizeof s.remote.preshared_key);
	answer(&s);
	uint32_t peer_index;
	struct noise_keys keys;
	cr_assert(wg_read_response(&s.initiator, &s.remote, s.response, &peer_index, &keys));
	cr_assert_arr_eq(&keys, &s.secrets, sizeof keys);
}

Test(wg_handshake, points_of_low_order_are_refused)
{
	struct sides s;
	start(&s);
	const uint8_t zero[KEY_SIZE] = {0};
	struct handshake_remote remote;
	cr_assert_not(wg_remote_init(&remote, &s.initiator_keys, zero, zero));
	uint8_t forged[WG_INITIATION_SIZE], peer_key[KEY_SIZE];
	memcpy(forged, s.initiation, sizeof forged);
	memset(forged + WG_INITIATION_NOISE, 0, KEY_SIZE);
	cr_assert_not(wg_read_static(&s.responder, &s.responder_keys, forged, peer_key));
}

/* --- timestamps --------------------------------------------------------------------------------------------------- */

Test(wg_handshake, timestamps_are_rounded_down_and_ordered)
{
	uint8_t one[WG_TIMESTAMP_SIZE], other[WG_TIMESTAMP_SIZE], none[WG_TIMESTAMP_SIZE] = {0};
	wg_timestamp(one, WALL_S * NS_PER_S);
	assert_hex(one, sizeof one, "40000000499602dc00000000");
	cr_assert(wg_timestamp_is_newer(one, none));
	cr_assert_not(wg_timestamp_is_newer(one, one));
	wg_timestamp(other, WALL_S * NS_PER_S + (1u << 24) - 1);
	cr_assert_arr_eq(one, other, sizeof one);
	wg_timestamp(other, WALL_S * NS_PER_S + (1u << 24));
	assert_hex(other, sizeof other, "40000000499602dc01000000");
	cr_assert(wg_timestamp_is_newer(other, one));
	cr_assert_not(wg_timestamp_is_newer(one, other));
	wg_timestamp(other, WALL_S * NS_PER_S + NS_PER_S - 1);
	assert_hex(other, sizeof other, "40000000499602dc3b000000");
	wg_timestamp(one, (WALL_S + 1) * NS_PER_S);
	assert_hex(one, sizeof one, "40000000499602dd00000000");
	cr_assert(wg_timestamp_is_newer(one, other));
}
