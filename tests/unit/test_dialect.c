// SPDX-License-Identifier: Apache-2.0
/* Messages sealed and opened under a WireGuard key: header, padding, counters; and what the key's dialect says. */
#include "core/protocol/transport.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <stdlib.h>

#include "core/sessions/session.h"
#include "tests/vectors/wireguard.h"

enum { EPOCH = 5, ID = 0x0abcdef, MTU = 1420, FORGED = REPLAY_REJECT + 1 };

static struct aead_engine *engine;
static struct transport_key *client, *gateway;
static const struct noise_keys secrets = {"what the initiator seals with", "and what the responder does"};

static struct transport_key *make_key(enum transport_side side, uint32_t receiver)
{
	struct transport_key *key = transport_key_new_wireguard(engine, EPOCH, &secrets, side, receiver, 1);
	cr_assert_not_null(key);
	return key;
}

static void set_up(void)
{
	cr_assert(sodium_init() >= 0);
	engine = aead_engine_new("sodium", NULL);
	cr_assert_not_null(engine);
	client = make_key(TRANSPORT_CLIENT, wg_index(ID, EPOCH));
	gateway = make_key(TRANSPORT_GATEWAY, 0xdeadbeef);
}

static void tear_down(void)
{
	transport_key_free(client);
	transport_key_free(gateway);
	aead_engine_free(engine);
}

TestSuite(dialect, .init = set_up, .fini = tear_down);

/* Opens a copy at the other side; the plaintext goes to `plaintext`. A replay_verdict or FORGED. */
static int deliver(struct transport_key *to, const uint8_t *message, uint32_t length, uint8_t *plaintext,
		   uint32_t *plain_length)
{
	uint8_t copy[2 * MTU + AEAD_INPUT_SLACK];
	struct message_head head;
	struct aead_op op;
	memcpy(copy, message, length);
	message_head_read(&head, to->dialect, copy);
	transport_open_op(&op, &head, copy, length);
	transport_open(engine, to, &op, 1);
	if (!op.authentic)
		return FORGED;
	*plain_length = op.length;
	if (op.length != 0)
		memcpy(plaintext, op.output, op.length);
	return (int)transport_accept(engine, to, &op);
}

Test(dialect, the_head_of_data)
{
	uint8_t message[WG_DATA_MIN], empty[AEAD_INPUT_SLACK] = {0};
	gateway->send_counter = 0xfeedbeef;
	transport_seal(engine, gateway, ID, WIRE_KEEPALIVE, empty, 0, message);
	cr_assert_arr_eq(message, "\4\0\0\0\xde\xad\xbe\xef\xef\xbe\xed\xfe\0\0\0\0", 16);
	transport_seal(engine, client, ID, WIRE_DATA, empty, 0, message);
	cr_assert_arr_eq(message, "\4\0\0\0\x50\xab\xcd\xef\0\0\0\0\0\0\0\0", 16);
}

static size_t from_hex(uint8_t *bytes, size_t room, const char *hex)
{
	size_t length = 0;
	cr_assert_eq(sodium_hex2bin(bytes, room, hex, strlen(hex), NULL, &length, NULL), 0);
	return length;
}

/* tests/vectors/wireguard.py */
Test(dialect, a_message_is_as_another_implementation_computed_it)
{
	struct noise_keys keys;
	uint8_t index[4], packet[256], expected[256], message[256], opened[256];
	uint32_t plain = 0;
	from_hex(keys.initiator_to_responder, NOISE_KEY_SIZE, wireguard_vector.initiator_to_responder);
	from_hex(keys.responder_to_initiator, NOISE_KEY_SIZE, wireguard_vector.responder_to_initiator);
	from_hex(index, sizeof index, wireguard_vector.responder_index);
	size_t length = from_hex(packet, sizeof packet, wireguard_vector.plaintext);
	size_t size = from_hex(expected, sizeof expected, wireguard_vector.data);
	struct transport_key *initiator = transport_key_new_wireguard(engine, EPOCH, &keys, TRANSPORT_CLIENT,
								      load_be32(index), 1);
	struct transport_key *responder = transport_key_new_wireguard(engine, EPOCH, &keys, TRANSPORT_GATEWAY, 0, 1);
	cr_assert(initiator != NULL && responder != NULL);
	cr_assert_eq(transport_sealed_size(initiator, (uint32_t)length, MTU), size);
	initiator->send_counter = wireguard_vector.counter;
	transport_seal_packet(engine, initiator, ID, WIRE_DATA, packet, (uint32_t)length, (uint32_t)size, message);
	cr_assert_arr_eq(message, expected, size);
	cr_assert_eq(deliver(responder, expected, (uint32_t)size, opened, &plain), REPLAY_FRESH);
	cr_assert_eq(plain, length);
	cr_assert_arr_eq(opened, packet, length);
	transport_key_free(initiator);
	transport_key_free(responder);
}

/* To 16, not beyond the MTU, which may have become smaller than the packet. */
Test(dialect, sizes_of_messages)
{
	struct transport_key *own = transport_key_new(engine, AEAD_CHACHA20_POLY1305, EPOCH, &secrets, TRANSPORT_CLIENT,
						      1);
	cr_assert_not_null(own);
	for (uint32_t mtu = MTU - 20; mtu <= MTU; mtu++) {
		for (uint32_t length = 0; length <= mtu + 20; length++) {
			uint32_t padded = length;
			while (padded % 16 != 0 && padded < mtu)
				padded++;
			cr_assert_eq(transport_sealed_size(client, length, mtu), 32 + padded, "%u of %u", length, mtu);
			cr_assert_eq(transport_sealed_size(own, length, mtu), 25 + length, "%u of %u", length, mtu);
		}
	}
	transport_key_free(own);
}

Test(dialect, padding_is_zero_and_what_was_there_comes_back)
{
	uint8_t packet[MTU + AEAD_INPUT_SLACK], was[sizeof packet], message[MTU + WG_DATA_MIN], opened[MTU];
	for (uint32_t length = 1; length <= MTU; length++) {
		uint32_t size = transport_sealed_size(client, length, MTU), plain = 0;
		randombytes_buf(packet, sizeof packet);
		memset(packet + length, 0xaa, AEAD_INPUT_SLACK);
		memcpy(was, packet, sizeof was);
		transport_seal_packet(engine, client, ID, WIRE_DATA, packet, length, size, message);
		cr_assert_arr_eq(packet, was, sizeof was, "%u bytes", length);
		cr_assert_eq(deliver(gateway, message, size, opened, &plain), REPLAY_FRESH, "%u bytes", length);
		cr_assert_eq(plain, size - WG_DATA_MIN);
		cr_assert_arr_eq(opened, packet, length);
		cr_assert(plain - length < 16 && sodium_is_zero(opened + length, plain - length), "%u bytes", length);
	}
}

Test(dialect, each_side_opens_what_the_other_seals_and_not_its_own)
{
	uint8_t message[WG_DATA_MIN], empty[AEAD_INPUT_SLACK] = {0};
	uint32_t plain;
	struct transport_key *sides[] = {client, gateway};
	for (size_t i = 0; i < 2; i++) {
		transport_seal(engine, sides[i], ID, WIRE_DATA, empty, 0, message);
		cr_assert_eq(deliver(sides[i], message, sizeof message, NULL, &plain), FORGED);
		cr_assert_eq(deliver(sides[1 - i], message, sizeof message, NULL, &plain), REPLAY_FRESH);
		cr_assert_eq(plain, 0);
		cr_assert_eq(deliver(sides[1 - i], message, sizeof message, NULL, &plain), REPLAY_REJECT);
	}
}

/* All 64 bits are the nonce's, and the window's. */
Test(dialect, counters_have_64_bits)
{
	static const uint64_t counters[] = {0,		1,	    0xffffffff,		1ull << 32,
					    1ull << 40, 1ull << 63, UINT64_MAX / 2 + 7, REPLAY_COUNTER_LIMIT - 1};
	uint8_t message[WG_DATA_MIN], empty[AEAD_INPUT_SLACK] = {0};
	uint32_t plain;
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
		client->send_counter = counters[i];
		transport_seal(engine, client, ID, WIRE_DATA, empty, 0, message);
		int want = i > 0 && counters[i] < counters[i - 1] ? REPLAY_REJECT : REPLAY_FRESH;
		cr_assert_eq(deliver(gateway, message, sizeof message, NULL, &plain), want, "%lx", counters[i]);
		for (size_t bit = 0; bit < 64; bit++) {
			uint8_t forged[sizeof message];
			memcpy(forged, message, sizeof forged);
			forged[WG_DATA_COUNTER + bit / 8] ^= (uint8_t)(1 << bit % 8);
			cr_assert_eq(deliver(gateway, forged, sizeof forged, NULL, &plain), FORGED, "bit %zu", bit);
		}
	}
	client->send_counter = REPLAY_COUNTER_LIMIT;
	transport_seal(engine, client, ID, WIRE_DATA, empty, 0, message);
	cr_assert_eq(deliver(gateway, message, sizeof message, NULL, &plain), REPLAY_REJECT);
}

Test(dialect, an_empty_message_wakes_no_key)
{
	uint8_t packet[16 + AEAD_INPUT_SLACK] = {0x45}, message[16 + WG_DATA_MIN], opened[16];
	uint32_t plain;
	transport_seal(engine, client, ID, WIRE_KEEPALIVE, packet, 0, message);
	cr_assert_eq(deliver(gateway, message, WG_DATA_MIN, opened, &plain), REPLAY_FRESH);
	cr_assert(!transport_key_is_live(client) && !transport_key_is_live(gateway));
	transport_seal_packet(engine, client, ID, WIRE_DATA, packet, 16, sizeof message, message);
	cr_assert_eq(deliver(gateway, message, sizeof message, opened, &plain), REPLAY_FRESH);
	cr_assert(transport_key_is_live(client) && transport_key_is_live(gateway));
}

/* The same session ID and epoch in both: their keys are told apart. */
Test(dialect, heads_of_one_key_and_of_no_other_name_the_same)
{
	uint64_t seen[2 * WIRE_EPOCH_MAX * 2];
	size_t count = 0;
	for (uint32_t id = ID; id < ID + 2; id++) {
		for (unsigned epoch = 1; epoch <= WIRE_EPOCH_MAX; epoch++) {
			uint8_t ours[WIRE_OVERHEAD], theirs[WG_DATA_MIN];
			struct message_head head;
			wire_transport_header(ours, epoch, WIRE_DATA, id, 7);
			message_head_read(&head, &dialect_own, ours);
			seen[count++] = message_head_names(&head, &dialect_own);
			wg_data_header(theirs, wg_index(id, epoch), 7);
			message_head_read(&head, &dialect_wireguard, theirs);
			seen[count++] = message_head_names(&head, &dialect_wireguard);
		}
	}
	for (size_t i = 0; i < count; i++) {
		cr_assert_neq(seen[i], 0);
		for (size_t other = 0; other < i; other++)
			cr_assert_neq(seen[i], seen[other], "%zu and %zu", i, other);
	}
	uint8_t none[WG_DATA_MIN] = {WG_DATA};
	struct message_head head;
	message_head_read(&head, &dialect_wireguard, none);
	cr_assert_neq(message_head_names(&head, &dialect_wireguard), 0, "index 0 is not taken for no key");
}

/* Reject-After-Time. */
Test(dialect, a_key_ends_when_its_protocol_says)
{
	const uint64_t start = 1;
	struct session *session = session_new(ID, start);
	cr_assert_not_null(session);
	session_set_next(session, gateway, start);
	(void)session_promote(session);
	cr_assert_eq(session_keys_due(session), start + 180 * NS_PER_S);
	session_expire_keys(session, start + 180 * NS_PER_S - 1);
	cr_assert_eq(session->current, gateway);
	session_expire_keys(session, start + 180 * NS_PER_S);
	cr_assert_null(session->current);
	session_free(session);
	gateway = NULL;
}
