// SPDX-License-Identifier: Apache-2.0
/* What the heads of both protocols' messages say, byte by byte; and what is refused by them. */
#include "core/protocol/head.h"

#include <criterion/criterion.h>

#include "core/protocol/messages.h"

enum { LONGEST = 1500 };

Test(head, of_our_messages)
{
	static const uint8_t message[WIRE_OVERHEAD] = {0xf4, 0x0a, 0x0b, 0x0c, 0x0d, 0xfe, 0xdc, 0xba, 0x98};
	struct message_head head;
	wire_head_read(&head, message);
	cr_assert_eq(head.session_id, 0x0a0b0c0d);
	cr_assert_eq(head.epoch, 15);
	cr_assert_eq(head.type, WIRE_DATA);
	cr_assert_eq(head.counter, 0xfedcba98);
	cr_assert_eq(head.header_size, 9);
	cr_assert_not(message_is_wireguard(message));
	cr_assert_eq(message_session_id(message), 0x0a0b0c0d);
}

Test(head, of_our_messages_keeps_all_bits_of_the_id)
{
	static const uint8_t message[WIRE_OVERHEAD] = {0x15, 0x5a, 0x0b, 0x0c, 0x0d};
	struct message_head head;
	wire_head_read(&head, message);
	cr_assert_eq(head.session_id, 0x5a0b0c0d, "no session has it");
	cr_assert_eq(head.type, WIRE_BYE);
	cr_assert_eq(message_session_id(message), 0x5a0b0c0d);
}

Test(head, of_wireguard_s_data)
{
	static const uint8_t message[WG_DATA_MIN] = {4,	   0,	 0,    0,    0xfa, 0x0b, 0x0c, 0x0d,
						     0xf0, 0xde, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12};
	struct message_head head;
	wg_head_read(&head, message);
	cr_assert_eq(head.session_id, 0x0a0b0c0d);
	cr_assert_eq(head.epoch, 15);
	cr_assert_eq(head.type, WIRE_DATA);
	cr_assert_eq(head.counter, 0x123456789abcdef0);
	cr_assert_eq(head.header_size, 16);
	cr_assert(message_is_wireguard(message));
	cr_assert_eq(message_session_id(message), 0x0a0b0c0d);
}

Test(head, what_is_written_is_read)
{
	uint8_t message[WG_DATA_MIN];
	for (unsigned epoch = 1; epoch <= WIRE_EPOCH_MAX; epoch++) {
		struct message_head head;
		memset(message, 0xaa, sizeof message);
		wg_data_header(message, wg_index(0x0fffffff - epoch, epoch), UINT64_MAX - epoch);
		cr_assert_arr_eq(message, "\4\0\0\0", 4);
		wg_head_read(&head, message);
		cr_assert_eq(head.session_id, 0x0fffffff - epoch);
		cr_assert_eq(head.epoch, epoch);
		cr_assert_eq(head.counter, UINT64_MAX - epoch);
		cr_assert_eq(message[16], 0xaa, "no more than the header");
	}
}

Test(head, the_first_byte_tells_the_protocols_apart)
{
	for (unsigned first = 0; first < 256; first++)
		cr_assert_eq(message_is_wireguard(&(uint8_t){(uint8_t)first}), first < 16);
}

/* --- lengths and types of WireGuard's ----------------------------------------------------------------------------- */

static struct wire_verdict verdict(enum wire_side side, uint32_t type, uint32_t length)
{
	uint8_t message[LONGEST] = {(uint8_t)type, (uint8_t)(type >> 8), (uint8_t)(type >> 16), (uint8_t)(type >> 24)};
	return wg_classify(side, message, length);
}

Test(head, each_length_of_each_type_is_judged)
{
	static const struct {
		uint32_t least, greatest;
		enum wire_class class;
	} expected[] = {{0, 0, WIRE_CLASS_NONE},
			{148, 148, WIRE_CLASS_HANDSHAKE},
			{92, 92, WIRE_CLASS_HANDSHAKE},
			{64, 64, WIRE_CLASS_HANDSHAKE},
			{32, LONGEST, WIRE_CLASS_DATA}};
	for (uint32_t type = 1; type <= 4; type++) {
		for (uint32_t length = 0; length <= LONGEST; length++) {
			enum drop_reason want = length < expected[type].least	   ? DROP_RUNT
						: length > expected[type].greatest ? DROP_OVERSIZED
										   : DROP_NONE;
			struct wire_verdict got = verdict(WIRE_SIDE_GATEWAY, type, length);
			cr_assert_eq(got.reason, want, "type %u, %u bytes", type, length);
			if (length >= 21)
				cr_assert_eq(got.class, expected[type].class, "type %u, %u bytes", type, length);
		}
	}
}

Test(head, reserved_bytes_and_other_types_are_refused)
{
	for (uint32_t type = 0; type < 16; type++) {
		for (unsigned bit = 8; bit < 32; bit++)
			cr_assert_eq(verdict(WIRE_SIDE_GATEWAY, type | 1u << bit, 148).reason, DROP_TYPE, "type %u",
				     type);
		bool assigned = type >= 1 && type <= 4;
		cr_assert_eq(verdict(WIRE_SIDE_GATEWAY, type, 148).reason == DROP_TYPE, !assigned, "type %u", type);
	}
}

Test(head, clients_of_ours_take_none)
{
	for (uint32_t type = 0; type < 16; type++) {
		for (uint32_t length = 0; length <= LONGEST; length++)
			cr_assert_eq(verdict(WIRE_SIDE_CLIENT, type, length).reason,
				     length < 21 ? DROP_RUNT : DROP_TYPE, "type %u, %u bytes", type, length);
	}
}

/* Where threads take both: as the one function or the other says. */
Test(head, both_protocols_are_told_apart)
{
	uint8_t message[LONGEST] = {0};
	for (unsigned first = 0; first < 256; first++) {
		message[0] = (uint8_t)first;
		for (uint32_t length = 0; length < 200; length++) {
			struct wire_verdict want = first < 16 ? wg_classify(WIRE_SIDE_GATEWAY, message, length)
							      : wire_classify(WIRE_SIDE_GATEWAY, message, length);
			struct wire_verdict got = message_classify(WIRE_SIDE_GATEWAY, message, length);
			cr_assert(got.class == want.class && got.reason == want.reason, "%02x, %u bytes", first,
				  length);
		}
	}
}
