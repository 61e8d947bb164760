// SPDX-License-Identifier: Apache-2.0
/* Layouts of the WireGuard protocol's messages: what is one, and where its fields are. */
#include "core/protocol/wg_wire.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/protocol/wire.h"

enum { LONGEST = 300 };

/* Whether `type` has messages of `length` bytes; the paper, 5.4. */
static bool has_length(unsigned type, size_t length)
{
	switch (type) {
	case 1:
		return length == 148;
	case 2:
		return length == 92;
	case 3:
		return length == 64;
	case 4:
		return length >= 32;
	default:
		return false;
	}
}

Test(wg_wire, type_needs_the_length_that_it_has)
{
	for (unsigned type = 0; type < 256; type++) {
		for (size_t length = 0; length <= LONGEST; length++) {
			/* On the heap and no longer than the message, so that a sanitizer sees reads beyond it. */
			uint8_t *message = calloc(1, length > 0 ? length : 1);
			cr_assert_not_null(message);
			message[0] = (uint8_t)type;
			cr_assert_eq(wg_type(message, length), has_length(type, length) ? type : 0, "%u of %zu bytes",
				     type, length);
			free(message);
		}
	}
	static uint8_t longest[65535] = {WG_DATA};
	cr_assert_eq(wg_type(longest, sizeof longest), WG_DATA);
}

Test(wg_wire, reserved_bytes_are_zero)
{
	static const size_t lengths[] = {0, WG_INITIATION_SIZE, WG_RESPONSE_SIZE, WG_COOKIE_REPLY_SIZE, WG_DATA_MIN};
	for (unsigned type = WG_INITIATION; type <= WG_DATA; type++) {
		uint8_t message[WG_INITIATION_SIZE];
		memset(message, 0xff, sizeof message);
		wg_header(message, type, 0xffffffff);
		cr_assert_eq(wg_type(message, lengths[type]), type);
		for (unsigned bit = 8; bit < 32; bit++) {
			message[bit / 8] ^= (uint8_t)(1u << bit % 8);
			cr_assert_eq(wg_type(message, lengths[type]), 0, "type %u, bit %u", type, bit);
			message[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
}

/* The high nibble of a first byte: an epoch or the version, neither of which is 0. */
Test(wg_wire, no_message_is_one_of_the_own_protocol)
{
	for (unsigned type = WG_INITIATION; type <= WG_DATA; type++) {
		uint8_t message[8];
		wg_header(message, type, 0);
		cr_assert_eq(wire_high(message), 0);
	}
	cr_assert_eq(WIRE_VERSION, 1);
	for (unsigned epoch = 1; epoch <= WIRE_EPOCH_MAX; epoch++)
		cr_assert_neq(wire_next_epoch(epoch), 0);
}

Test(wg_wire, index_has_epoch_and_session_id)
{
	cr_assert_eq(wg_index(0x0abcdef1, 5), 0x5abcdef1);
	for (unsigned epoch = 0; epoch <= WIRE_EPOCH_MAX; epoch++) {
		static const uint32_t ids[] = {0, 1, 0x08000000, 0x0fffffff};
		for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
			uint32_t index = wg_index(ids[i], epoch);
			cr_assert_eq(wg_index_session_id(index), ids[i]);
			cr_assert_eq(wg_index_epoch(index), epoch);
		}
	}
}

Test(wg_wire, indices_are_where_each_type_has_them_byte_for_byte)
{
	uint8_t message[WG_RESPONSE_SIZE] = {0};
	const uint8_t data[WG_DATA_HEADER_SIZE] = {4,	 0,    0,    0,	   0x5a, 0x0c, 0x00, 0x07,
						   0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01};
	wg_data_header(message, 0x5a0c0007, 0x0123456789abcdef);
	cr_assert_arr_eq(message, data, sizeof data);
	cr_assert_eq(wg_receiver(message, WG_DATA), 0x5a0c0007);
	cr_assert_eq(wg_counter(message), 0x0123456789abcdef);

	const uint8_t response[] = {2, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
	wg_header(message, WG_RESPONSE, 0x01020304);
	store_be32(message + WG_RESPONSE_RECEIVER, 0x05060708);
	cr_assert_arr_eq(message, response, sizeof response);
	cr_assert_eq(wg_sender(message), 0x01020304);
	cr_assert_eq(wg_receiver(message, WG_RESPONSE), 0x05060708);

	wg_header(message, WG_COOKIE_REPLY, 0x0a0b0c0d);
	cr_assert_eq(wg_receiver(message, WG_COOKIE_REPLY), 0x0a0b0c0d);
	wg_header(message, WG_INITIATION, 0x0e0f1011);
	cr_assert_eq(wg_sender(message), 0x0e0f1011);
}

Test(wg_wire, packets_are_padded_to_16_but_not_beyond_the_mtu)
{
	cr_assert_eq(wg_padded_size(0, 1420), 0);
	cr_assert_eq(wg_padded_size(1, 1420), 16);
	cr_assert_eq(wg_padded_size(16, 1420), 16);
	cr_assert_eq(wg_padded_size(17, 1420), 32);
	cr_assert_eq(wg_padded_size(1408, 1420), 1408);
	cr_assert_eq(wg_padded_size(1409, 1420), 1420);
	cr_assert_eq(wg_padded_size(1420, 1420), 1420);
	cr_assert_eq(wg_padded_size(1421, 1420), 1421, "one that is too long stays as it is");
	cr_assert_eq(wg_padded_size(1500, 0), 1500);
	for (uint32_t length = 0; length <= 3000; length++) {
		uint32_t padded = wg_padded_size(length, 1420);
		cr_assert(padded >= length && padded < length + WG_PADDING);
		cr_assert(padded % WG_PADDING == 0 || padded == 1420 || length > 1420);
	}
}

Test(wg_wire, limits_are_those_of_the_paper)
{
	cr_assert_eq(WG_REKEY_AFTER_MESSAGES, 1152921504606846976u);
	cr_assert_eq(WG_REJECT_AFTER_MESSAGES, 18446744073709543423u);
	cr_assert_eq(WG_REKEY_RECEIVING_S, 165);
	cr_assert_eq(WG_SILENCE_S, 15);
	cr_assert_eq(WG_WIPE_AFTER_S, 540);
	cr_assert_eq(WG_INITIATION_INTERVAL_MS, 20);
}
