// SPDX-License-Identifier: Apache-2.0
/* Replays tests/vectors/protocol.txt, which the independent Python peer wrote from core/protocol/PROTOCOL.md. */
#include <criterion/criterion.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/protocol/handshake.h"
#include "core/protocol/transport.h"

enum { VALUES_MAX = 128, VALUE_MAX = 1500 };

static struct value {
	char name[64];
	uint8_t bytes[VALUE_MAX];
	size_t length;
} values[VALUES_MAX];
static size_t value_count;

static void read_vector(void)
{
	static char line[2 * VALUE_MAX + 100];
	FILE *file = fopen("tests/vectors/protocol.txt", "r");
	cr_assert(file != NULL, "run the tests from the top of the tree");
	while (fgets(line, sizeof line, file) != NULL) {
		char *equals = strstr(line, " = ");
		if (line[0] == '#' || equals == NULL)
			continue;
		cr_assert(value_count < VALUES_MAX);
		struct value *value = &values[value_count++];
		*equals = '\0';
		snprintf(value->name, sizeof value->name, "%.63s", line);
		const char *end;
		cr_assert(sodium_hex2bin(value->bytes, sizeof value->bytes, equals + 3, strcspn(equals + 3, "\n"), NULL,
					 &value->length, &end) == 0);
	}
	fclose(file);
	cr_assert(value_count > 60, "only %zu values", value_count);
}

static const struct value *get(const char *format, ...) PRINTF_LIKE(1, 2);
static const struct value *get(const char *format, ...)
{
	char name[64];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(name, sizeof name, format, arguments);
	va_end(arguments);
	for (size_t i = 0; i < value_count; i++) {
		if (strcmp(values[i].name, name) == 0)
			return &values[i];
	}
	cr_assert_fail("the vector has no %s", name);
	abort();
}

#define assert_value(name, data, size)                                                         \
	do {                                                                                   \
		const struct value *expected_value = get("%s", name);                          \
		cr_assert(expected_value->length == (size), "%s: length", name);               \
		cr_assert(memcmp(expected_value->bytes, data, size) == 0, "%s differs", name); \
	} while (0)

struct sides {
	struct handshake_identity client, gateway;
	struct handshake_remote remote;
};

static void load_sides(struct sides *sides)
{
	read_vector();
	struct error error;
	cr_assert(keys_init(&error) == 0);
	handshake_identity_init(&sides->client, get("client_static_private")->bytes);
	handshake_identity_init(&sides->gateway, get("gateway_static_private")->bytes);
	cr_assert(handshake_remote_init(&sides->remote, &sides->client, sides->gateway.keys.public_key,
					get("psk")->bytes));
	assert_value("client_static_public", sides->client.keys.public_key, KEY_SIZE);
	assert_value("gateway_static_public", sides->gateway.keys.public_key, KEY_SIZE);
	assert_value("mac1_key", sides->gateway.mac1_key, KEY_SIZE);
}

static struct wire_hello vector_hello(void)
{
	struct wire_hello hello = {.mtu = load_be16(get("hello_mtu")->bytes)};
	memcpy(hello.timestamp, get("hello_timestamp")->bytes, sizeof hello.timestamp);
	memcpy(hello.suites, get("hello_suites")->bytes, sizeof hello.suites);
	hello.wish4.family = 4;
	memcpy(hello.wish4.bytes, get("hello_wished4")->bytes, 4);
	hello.wish6.family = 6;
	memcpy(hello.wish6.bytes, get("hello_wished6")->bytes, 16);
	return hello;
}

static void write_hello(const struct sides *sides, struct handshake_initiator *initiator,
			uint8_t message[WIRE_HELLO_SIZE])
{
	struct wire_hello hello = vector_hello();
	uint8_t random[HANDSHAKE_HELLO_RANDOM];
	memcpy(random, get("client_ephemeral_private")->bytes, KEY_SIZE);
	memcpy(random + KEY_SIZE, get("hello_magic")->bytes, 4);
	cr_assert(handshake_write_hello(initiator, &sides->client, &sides->remote,
					load_be32(get("hello_session_id")->bytes), &hello, random, message));
}

Test(protocol_vector, hello)
{
	struct sides sides;
	struct handshake_initiator initiator;
	uint8_t message[WIRE_HELLO_SIZE], payload[WIRE_HELLO_PAYLOAD_SIZE];
	load_sides(&sides);
	struct wire_hello hello = vector_hello();
	wire_hello_encode(payload, &hello);
	assert_value("hello_payload", payload, sizeof payload);
	write_hello(&sides, &initiator, message);
	assert_value("hello", message, sizeof message);
}

Test(protocol_vector, cookie_and_the_hello_after_it)
{
	struct sides sides;
	struct handshake_initiator initiator;
	uint8_t message[WIRE_HELLO_SIZE], cookie_message[WIRE_COOKIE_SIZE], cookie[COOKIE_SIZE];
	load_sides(&sides);
	assert_value("cookie_key", sides.gateway.cookie_key, KEY_SIZE);
	write_hello(&sides, &initiator, message);
	handshake_write_cookie(&sides.gateway, message, get("cookie")->bytes, get("cookie_nonce")->bytes,
			       cookie_message);
	assert_value("cookie_message", cookie_message, sizeof cookie_message);
	cr_assert(handshake_read_cookie(&initiator, &sides.remote, cookie_message, sizeof cookie_message, cookie));
	assert_value("cookie", cookie, sizeof cookie);

	struct wire_hello hello = vector_hello();
	uint8_t random[HANDSHAKE_HELLO_RANDOM];
	memcpy(hello.timestamp, get("hello2_timestamp")->bytes, sizeof hello.timestamp);
	memcpy(hello.challenge, cookie, sizeof hello.challenge);
	memcpy(random, get("hello2_ephemeral_private")->bytes, KEY_SIZE);
	memcpy(random + KEY_SIZE, get("hello2_magic")->bytes, 4);
	cr_assert(handshake_write_hello(&initiator, &sides.client, &sides.remote, 0, &hello, random, message));
	handshake_add_mac2(cookie, message);
	assert_value("hello2_mac2", message + WIRE_HELLO_MAC2, MAC_SIZE);
	assert_value("hello2", message, sizeof message);
}

Test(protocol_vector, welcome_and_secrets)
{
	struct sides sides;
	struct handshake_initiator initiator;
	struct handshake_responder responder;
	uint8_t message[WIRE_WELCOME_MAX], hello_message[WIRE_HELLO_SIZE], client_key[KEY_SIZE];
	load_sides(&sides);
	write_hello(&sides, &initiator, hello_message);

	cr_assert(handshake_check_mac1(&sides.gateway, hello_message));
	cr_assert(handshake_read_static(&responder, &sides.gateway, hello_message, client_key));
	assert_value("client_static_public", client_key, KEY_SIZE);
	struct wire_hello hello;
	cr_assert(handshake_read_payload(&responder, get("dh_ss")->bytes, hello_message, &hello));
	assert_value("hello_timestamp", hello.timestamp, sizeof hello.timestamp);

	struct wire_welcome welcome;
	const struct value *payload = get("welcome_payload");
	cr_assert(wire_welcome_decode(&welcome, payload->bytes, payload->length));
	cr_assert_eq(welcome.session_id, load_be32(get("welcome_session_id")->bytes));
	cr_assert_eq(welcome.dns_count, 2);
	cr_assert_eq(welcome.route_count, 2);
	cr_assert_eq(welcome.keepalive, 25);

	struct noise_keys made, read;
	struct noise_keypair ephemeral;
	memcpy(ephemeral.private_key, get("gateway_ephemeral_private")->bytes, KEY_SIZE);
	noise_public_key(ephemeral.private_key, ephemeral.public_key);
	size_t length = handshake_write_welcome(&responder, get("psk")->bytes, &welcome, &ephemeral, message, &made);
	assert_value("welcome", message, length);
	assert_value("k1", made.initiator_to_responder, NOISE_KEY_SIZE);
	assert_value("k2", made.responder_to_initiator, NOISE_KEY_SIZE);

	struct wire_welcome understood;
	cr_assert(handshake_read_welcome(&initiator, &sides.remote, message, length, &understood, &read));
	cr_assert(memcmp(&made, &read, sizeof made) == 0);
	cr_assert_eq(understood.mtu, load_be16(get("welcome_mtu")->bytes));
}

static void seal_and_compare(struct aead_engine *engine, struct transport_key *key, const char *name,
			     enum wire_type type, const struct value *plaintext, uint32_t counter)
{
	uint8_t message[VALUE_MAX];
	uint32_t id = load_be32(get("welcome_session_id")->bytes);
	uint32_t length = plaintext != NULL ? (uint32_t)plaintext->length : 0;
	key->send_counter = counter;
	transport_seal(engine, key, id, type, plaintext != NULL ? plaintext->bytes : NULL, length, message);
	assert_value(name, message, WIRE_OVERHEAD + length);
	cr_assert_eq(key->send_counter, (uint64_t)counter + 1);
}

static void open_and_compare(struct aead_engine *engine, struct transport_key *key, const char *name,
			     const struct value *plaintext)
{
	struct value message = *get("%s", name);
	struct message_head head;
	struct aead_op op;
	wire_head_read(&head, message.bytes);
	cr_assert_eq(head.session_id, load_be32(get("welcome_session_id")->bytes), "%s", name);
	cr_assert_eq(head.epoch, 1, "%s", name);
	transport_open_op(&op, &head, message.bytes, (uint32_t)message.length);
	transport_open(engine, key, &op, 1);
	cr_assert(op.authentic, "%s", name);
	cr_assert(op.length == plaintext->length && memcmp(op.output, plaintext->bytes, op.length) == 0, "%s", name);
}

static void check_suite(const char *backend, unsigned suite)
{
	struct error error;
	struct aead_engine *engine = aead_engine_new(backend, &error);
	if (engine == NULL || aead_engine_suite(engine, suite) == NULL) {
		aead_engine_free(engine);
		cr_skip_test("this machine has no %s for suite %u", backend, suite);
	}
	struct noise_keys secrets;
	memcpy(secrets.initiator_to_responder, get("k1")->bytes, NOISE_KEY_SIZE);
	memcpy(secrets.responder_to_initiator, get("k2")->bytes, NOISE_KEY_SIZE);
	uint8_t raw[AEAD_KEY_SIZE], iv[AEAD_IV_SIZE];
	transport_derive(secrets.initiator_to_responder, suite, raw, iv);
	cr_assert(memcmp(raw, get("s%u_c2g_key", suite)->bytes, sizeof raw) == 0);
	cr_assert(memcmp(iv, get("s%u_c2g_iv", suite)->bytes, sizeof iv) == 0);

	struct transport_key *client = transport_key_new(engine, suite, 1, &secrets, TRANSPORT_CLIENT, 1);
	struct transport_key *gateway = transport_key_new(engine, suite, 1, &secrets, TRANSPORT_GATEWAY, 1);
	char name[64];
#define NAME(text) (snprintf(name, sizeof name, "s%u_" text, suite), name)
	seal_and_compare(engine, client, NAME("c2g_client_ack_0"), WIRE_CLIENT_ACK, NULL, 0);
	seal_and_compare(engine, client, NAME("c2g_data_1"), WIRE_DATA, get("packet_c2g"), 1);
	seal_and_compare(engine, client, NAME("c2g_keepalive_2"), WIRE_KEEPALIVE, NULL, 2);
	seal_and_compare(engine, client, NAME("c2g_data_16909060"), WIRE_DATA, get("packet_c2g"), 16909060);
	seal_and_compare(engine, client, NAME("c2g_bye_16909061"), WIRE_BYE, get("bye_reason_c2g"), 16909061);
	seal_and_compare(engine, gateway, NAME("g2c_keepalive_0"), WIRE_KEEPALIVE, NULL, 0);
	seal_and_compare(engine, gateway, NAME("g2c_data_1"), WIRE_DATA, get("packet_g2c"), 1);
	seal_and_compare(engine, gateway, NAME("g2c_bye_2"), WIRE_BYE, get("bye_reason_g2c"), 2);
	open_and_compare(engine, gateway, NAME("c2g_data_16909060"), get("packet_c2g"));
	open_and_compare(engine, client, NAME("g2c_data_1"), get("packet_g2c"));
#undef NAME
	transport_key_free(client);
	transport_key_free(gateway);
	aead_engine_free(engine);
}

Test(protocol_vector, aes_256_gcm_sodium)
{
	read_vector();
	check_suite("sodium", AEAD_AES_256_GCM);
}

Test(protocol_vector, chacha20_poly1305_sodium)
{
	read_vector();
	check_suite("sodium", AEAD_CHACHA20_POLY1305);
}

Test(protocol_vector, aes_256_gcm_fastest)
{
	read_vector();
	check_suite("auto", AEAD_AES_256_GCM);
}

Test(protocol_vector, chacha20_poly1305_fastest)
{
	read_vector();
	check_suite("auto", AEAD_CHACHA20_POLY1305);
}
