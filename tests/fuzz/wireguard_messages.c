// SPDX-License-Identifier: Apache-2.0
/* Messages of the WireGuard protocol: any bytes, then a genuine message of each type with some of its bytes changed.
 * What is accepted is what no byte was changed of that the check covers, and what is refused changes nothing. */
#include <sodium.h>

#include "core/protocol/wg_handshake.h"
#include "crypto/aead.h"
#include "tests/fuzz/input.h"

enum { INITIATOR_INDEX = 0x01020304, RESPONDER_INDEX = 0x15060708, PORT = 4711, PLAIN = 48, EDITS = 8 };

static const uint8_t here[16] = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 7};
static const uint64_t now = 7 * COOKIE_ROTATION_NS;

/* Made once: both sides after a handshake, the initiator before it read the response. */
static struct world {
	struct handshake_identity initiator_keys, responder_keys;
	struct handshake_remote remote;
	struct wg_initiator initiator;
	struct cookie_jar jar;
	struct aead_engine *engine;
	struct aead_key key;
	uint8_t initiation[WG_INITIATION_SIZE], response[WG_RESPONSE_SIZE], reply[WG_COOKIE_REPLY_SIZE];
	uint8_t data[WG_OVERHEAD + PLAIN];
} world;

static void seal_data(struct world *w, const struct noise_keys *secrets)
{
	static const uint8_t plain[PLAIN + AEAD_INPUT_SLACK] = "an inner packet";
	const struct aead_vtable *aead = aead_engine_wireguard(w->engine);
	aead->expand(w->engine, &w->key, secrets->initiator_to_responder, NULL);
	wg_data_header(w->data, RESPONDER_INDEX, 5);
	struct aead_op op = {.input = plain,
			     .output = w->data + WG_DATA_HEADER_SIZE,
			     .tag = w->data + WG_DATA_HEADER_SIZE + PLAIN,
			     .length = PLAIN,
			     .counter = 5};
	aead->seal(w->engine, &w->key, &op, 1);
}

static void make(struct world *w)
{
	struct wg_responder responder;
	struct noise_keypair ephemeral = {.private_key = {4}};
	struct noise_keys secrets;
	uint8_t private_key[KEY_SIZE] = {1}, psk[KEY_SIZE] = {2}, timestamp[WG_TIMESTAMP_SIZE], peer_key[KEY_SIZE];
	uint8_t cookie[COOKIE_SIZE], nonce[COOKIE_NONCE_SIZE] = {9};
	insist(keys_init(NULL) == 0, "libsodium");
	w->engine = aead_engine_new("sodium", NULL);
	insist(w->engine != NULL, "an engine");
	wg_identity_init(&w->initiator_keys, private_key);
	private_key[0] = 3;
	wg_identity_init(&w->responder_keys, private_key);
	noise_public_key(ephemeral.private_key, ephemeral.public_key);
	wg_timestamp(timestamp, now);
	private_key[0] = 5;
	insist(wg_remote_init(&w->remote, &w->initiator_keys, w->responder_keys.keys.public_key, psk) &&
		       wg_write_initiation(&w->initiator, &w->initiator_keys, &w->remote, INITIATOR_INDEX, timestamp,
					   private_key, w->initiation) &&
		       wg_read_static(&responder, &w->responder_keys, w->initiation, peer_key) &&
		       wg_read_timestamp(&responder, w->remote.static_static, w->initiation, timestamp) &&
		       wg_write_response(&responder, psk, RESPONDER_INDEX, &ephemeral, w->response, &secrets),
	       "a handshake");
	cookie_make_wg(&w->jar, here, PORT, now, cookie);
	wg_write_cookie_reply(&w->responder_keys, w->initiation, sizeof w->initiation, cookie, nonce, w->reply);
	wg_add_mac2(cookie, w->initiation, sizeof w->initiation);
	wg_add_mac2(cookie, w->response, sizeof w->response);
	seal_data(w, &secrets);
}

static bool read_initiation(const uint8_t *message)
{
	struct wg_responder responder;
	uint8_t peer_key[KEY_SIZE], timestamp[WG_TIMESTAMP_SIZE];
	return wg_read_static(&responder, &world.responder_keys, message, peer_key) &&
	       wg_read_timestamp(&responder, world.remote.static_static, message, timestamp);
}

static bool read_response(const uint8_t *message)
{
	struct wg_initiator initiator = world.initiator;
	struct noise_keys secrets;
	uint32_t peer_index;
	bool read = wg_read_response(&initiator, &world.remote, message, &peer_index, &secrets);
	insist(read || memcmp(&initiator.noise, &world.initiator.noise, sizeof initiator.noise) == 0,
	       "a response that is refused changes the initiator");
	return read;
}

static bool read_reply(const uint8_t *message)
{
	uint8_t cookie[COOKIE_SIZE];
	return wg_read_cookie_reply(world.remote.cookie_key, INITIATOR_INDEX, world.initiator.mac1, message, cookie);
}

static bool open_data(const uint8_t *message, size_t length)
{
	uint8_t *copy = malloc(length + AEAD_INPUT_SLACK), *output = malloc(length);
	insist(copy != NULL && output != NULL, "memory");
	memcpy(copy, message, length);
	struct aead_op op = {.input = copy + WG_DATA_HEADER_SIZE,
			     .output = output,
			     .tag = copy + length - WG_TAG_SIZE,
			     .length = (uint32_t)(length - WG_OVERHEAD),
			     .counter = wg_counter(message)};
	aead_engine_wireguard(world.engine)->open(world.engine, &world.key, &op, 1);
	insist(op.authentic || sodium_is_zero(output, op.length), "plaintext of a forgery");
	free(copy);
	free(output);
	return op.authentic;
}

/* As it comes from the network. The fuzzer's buffer ends where the message does. */
static void any_bytes(const uint8_t *message, size_t length)
{
	switch (wg_type(message, length)) {
	case WG_INITIATION:
		(void)wg_check_mac1(&world.responder_keys, message, length);
		(void)wg_check_mac2(&world.jar, here, PORT, now, message, length);
		(void)read_initiation(message);
		break;
	case WG_RESPONSE:
		(void)wg_check_mac1(&world.initiator_keys, message, length);
		(void)wg_check_mac2(&world.jar, here, PORT, now, message, length);
		(void)read_response(message);
		break;
	case WG_COOKIE_REPLY:
		(void)read_reply(message);
		break;
	case WG_DATA:
		if (length <= UINT16_MAX)
			(void)open_data(message, length);
		break;
	default:
		break;
	}
}

static void changed_message(struct input *input, enum wg_type type, const uint8_t *genuine, size_t length)
{
	uint8_t message[WG_INITIATION_SIZE];
	memcpy(message, genuine, length);
	for (unsigned i = 0; i < EDITS && input->left > 0; i++) {
		size_t at = input_byte(input) % length;
		message[at] ^= input_byte(input);
	}
#define SAME(from, to) (memcmp(message + (from), genuine + (from), (to) - (from)) == 0)
	uint32_t first = load_le32(message);
	insist(wg_type(message, length) == (first == type || first == WG_DATA ? first : 0), "the type");
	switch (type) {
	case WG_INITIATION:
		insist(read_initiation(message) == SAME(WG_INITIATION_NOISE, WG_INITIATION_MAC1), "the initiation");
		break;
	case WG_RESPONSE:
		insist(read_response(message) == SAME(WG_RESPONSE_RECEIVER, WG_RESPONSE_MAC1), "the response");
		break;
	case WG_COOKIE_REPLY:
		insist(read_reply(message) == SAME(WG_COOKIE_RECEIVER, length), "the cookie reply");
		return;
	default:
		insist(open_data(message, length) == SAME(WG_DATA_COUNTER, length), "the data");
		return;
	}
	const struct handshake_identity *own = type == WG_INITIATION ? &world.responder_keys : &world.initiator_keys;
	insist(wg_check_mac1(own, message, length) == SAME(0, length - MAC_SIZE), "mac1");
	insist(wg_check_mac2(&world.jar, here, PORT, now, message, length) == SAME(0, length), "mac2");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (world.engine == NULL)
		make(&world);
	any_bytes(data, size);
	struct input input = {data, size};
	switch (input_byte(&input) % 4) {
	case 0:
		changed_message(&input, WG_INITIATION, world.initiation, sizeof world.initiation);
		break;
	case 1:
		changed_message(&input, WG_RESPONSE, world.response, sizeof world.response);
		break;
	case 2:
		changed_message(&input, WG_COOKIE_REPLY, world.reply, sizeof world.reply);
		break;
	default:
		changed_message(&input, WG_DATA, world.data, sizeof world.data);
	}
	return 0;
}
