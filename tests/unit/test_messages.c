// SPDX-License-Identifier: Apache-2.0
/* The table of messages: it says what core/protocol/PROTOCOL.md says, and what it refuses is refused for the right
 * reason. The figures stand here once more, so that a slip in the table does not change the test with it. */
#include "core/protocol/messages.h"

#include <stdio.h>

#include "tests/harness/unit.h"

TestSuite(messages, .timeout = 60);

enum { LONGEST = 1500 };

static const struct {
	enum wire_type type;
	uint32_t lengths[2];
	bool between; /* all lengths from one to the other */
	bool to_client, to_gateway, sealed;
} expected[] = {
	{WIRE_HELLO, {1200, 1200}, false, false, true, false},
	{WIRE_WELCOME, {137, 1200}, true, true, false, false},
	{WIRE_CLIENT_ACK, {25, 25}, false, false, true, true},
	{WIRE_DATA, {26, LONGEST}, true, true, true, true},
	{WIRE_BYE, {26, 26}, false, true, true, true},
	{WIRE_KEEPALIVE, {25, 34}, false, true, true, true},
	{WIRE_COOKIE, {65, 65}, false, true, false, false},
	{WIRE_RESET, {21, 21}, false, true, false, false},
	{WIRE_DATA_SPARSE, {26, LONGEST}, true, true, true, true},
};

static enum drop_reason reason(enum wire_side side, unsigned first, uint32_t length)
{
	uint8_t message[LONGEST] = {(uint8_t)first};
	return wire_classify(side, message, length).reason;
}

static enum drop_reason expected_reason(size_t i, uint32_t length)
{
	const uint32_t *lengths = expected[i].lengths;
	if (length < lengths[0])
		return DROP_RUNT;
	if (length > lengths[1])
		return DROP_OVERSIZED;
	bool good = expected[i].between || length == lengths[0] || length == lengths[1];
	return good ? DROP_NONE : DROP_OVERSIZED;
}

static void check_lengths(enum wire_side side, size_t i)
{
	bool taken = side == WIRE_SIDE_CLIENT ? expected[i].to_client : expected[i].to_gateway;
	for (uint32_t length = 0; length <= LONGEST; length++) {
		enum drop_reason want = length < 21			? DROP_RUNT
					: !expected[i].sealed && !taken ? DROP_TYPE
									: expected_reason(i, length);
		enum drop_reason got = reason(side, 0x10u | expected[i].type, length);
		cr_assert_eq(got, want, "type %u, %u bytes, side %d", expected[i].type, length, side);
	}
}

Test(messages, each_length_of_each_type_is_judged_as_specified)
{
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		check_lengths(WIRE_SIDE_CLIENT, i);
		check_lengths(WIRE_SIDE_GATEWAY, i);
	}
}

Test(messages, one_byte_too_short_or_too_long)
{
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		enum wire_side side = expected[i].to_gateway ? WIRE_SIDE_GATEWAY : WIRE_SIDE_CLIENT;
		unsigned first = 0x10u | expected[i].type;
		cr_expect_eq(reason(side, first, expected[i].lengths[0] - 1), DROP_RUNT, "type %u", first);
		cr_expect_eq(reason(side, first, expected[i].lengths[0]), DROP_NONE, "type %u", first);
		cr_expect_eq(reason(side, first, expected[i].lengths[1]), DROP_NONE, "type %u", first);
		if (expected[i].lengths[1] != LONGEST)
			cr_expect_eq(reason(side, first, expected[i].lengths[1] + 1), DROP_OVERSIZED, "type %u", first);
	}
}

Test(messages, unassigned_types_are_refused)
{
	static const unsigned types[] = {0, 10, 11, 12, 13, 14, 15};
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		for (unsigned high = 0; high < 16; high++) {
			unsigned first = high << 4 | types[i];
			cr_expect_eq(reason(WIRE_SIDE_GATEWAY, first, 20), DROP_RUNT, "%02x", first);
			cr_expect_eq(reason(WIRE_SIDE_GATEWAY, first, 21), DROP_TYPE, "%02x", first);
			cr_expect_eq(reason(WIRE_SIDE_CLIENT, first, 1200), DROP_TYPE, "%02x", first);
		}
	}
}

/* The version comes before everything but the length of the smallest message; sealed messages have an epoch there. */
Test(messages, other_versions_are_refused)
{
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		for (unsigned high = 0; high < 16; high++) {
			unsigned first = high << 4 | expected[i].type;
			bool good = high == 1 || expected[i].sealed;
			for (int side = WIRE_SIDE_CLIENT; side <= WIRE_SIDE_GATEWAY; side++) {
				cr_expect_eq(reason((enum wire_side)side, first, 20), DROP_RUNT, "%02x", first);
				enum drop_reason got = reason((enum wire_side)side, first, 21);
				cr_expect_eq(got == DROP_VERSION, !good, "%02x: %d", first, got);
				got = reason((enum wire_side)side, first, expected[i].lengths[0]);
				cr_expect_eq(got == DROP_VERSION, !good, "%02x: %d", first, got);
			}
		}
	}
}

Test(messages, the_class_stands_even_when_the_length_is_wrong)
{
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		uint8_t message[LONGEST] = {(uint8_t)(0x10 | expected[i].type)};
		enum wire_class want = wire_is_data(expected[i].type) ? WIRE_CLASS_DATA
				       : expected[i].sealed	      ? WIRE_CLASS_CONTROL
								      : WIRE_CLASS_HANDSHAKE;
		for (uint32_t length = 21; length <= LONGEST; length++)
			cr_assert_eq(wire_classify(WIRE_SIDE_GATEWAY, message, length).class, want);
	}
}

/* Each side has what takes each control message that may come to it, and nothing for others. */
Test(messages, roles_take_what_is_for_them)
{
	for (unsigned type = 0; type < WIRE_TYPES; type++) {
		bool control = wire_messages[type].class == WIRE_CLASS_CONTROL;
		cr_expect_eq(client_worker_role.control[type] != NULL, control && wire_receives(WIRE_SIDE_CLIENT, type),
			     "client, type %u", type);
		cr_expect_eq(gateway_worker_role.control[type] != NULL,
			     control && wire_receives(WIRE_SIDE_GATEWAY, type), "gateway, type %u", type);
	}
}

Test(messages, all_but_data_have_counters)
{
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		const struct wire_message *row = &wire_messages[expected[i].type];
		char name[32];
		cr_assert_not_null(row->name);
		if (wire_is_data(expected[i].type)) {
			cr_expect(row->received == WIRE_UNCOUNTED && row->sent == WIRE_UNCOUNTED);
			continue;
		}
		snprintf(name, sizeof name, "rx_%s", row->name);
		cr_expect(strcasecmp(counter_infos[row->received].name, name) == 0, "%s", name);
		snprintf(name, sizeof name, "tx_%s", row->name);
		cr_expect(strcasecmp(counter_infos[row->sent].name, name) == 0, "%s", name);
	}
}

/* --- the specification -------------------------------------------------------------------------------------------- */

/* "exactly 1200", "137 … 1200", "26 and more", "25 or 34". */
static void check_row(const struct wire_message *row, const char *sender, const char *high, const char *length)
{
	unsigned least = 0, greatest = 0;
	bool ends_only = false;
	if (sscanf(length, "exactly %u", &least) == 1)
		greatest = least;
	else if (sscanf(length, "%u and more", &least) == 1 && strstr(length, "more") != NULL)
		greatest = UINT32_MAX;
	if (greatest == 0 && sscanf(length, "%u or %u", &least, &greatest) == 2)
		ends_only = true;
	if (greatest == 0)
		cr_assert_eq(sscanf(length, "%u … %u", &least, &greatest), 2, "\"%s\"", length);
	cr_expect_eq(row->least, least, "%s", row->name);
	cr_expect_eq(row->greatest, greatest, "%s", row->name);
	cr_expect_eq((row->flags & WIRE_ENDS_ONLY) != 0, ends_only, "%s", row->name);

	enum wire_side receiver = strcmp(sender, "client") == 0	   ? WIRE_SIDE_GATEWAY
				  : strcmp(sender, "gateway") == 0 ? WIRE_SIDE_CLIENT
								   : WIRE_SIDE_BOTH;
	cr_expect_eq(row->receiver, receiver, "%s: sent by %s", row->name, sender);
	bool version = strncmp(high, "protocol version", 16) == 0;
	cr_assert(version || strncmp(high, "key epoch", 9) == 0, "\"%s\"", high);
	cr_expect_eq(row->class == WIRE_CLASS_HANDSHAKE, version, "%s: %s", row->name, high);
}

Test(messages, the_table_is_the_specification_s)
{
	FILE *page = fopen("core/protocol/PROTOCOL.md", "re");
	char line[512], name[32], sender[16], high[64], length[64];
	unsigned rows = 0, type, assigned = 0;
	cr_assert_not_null(page, "run from the root");
	while (fgets(line, sizeof line, page) != NULL) {
		if (sscanf(line, "| %u | %31[A-Z_] | %15[a-z] | %63[^|]| %63[^|]|", &type, name, sender, high,
			   length) != 5)
			continue;
		cr_assert_lt(type, WIRE_TYPES);
		cr_assert_not_null(wire_messages[type].name, "%s is not in the table", name);
		cr_expect_str_eq(wire_messages[type].name, name);
		check_row(&wire_messages[type], sender, high, length);
		rows++;
	}
	(void)fclose(page);
	for (type = 0; type < WIRE_TYPES; type++)
		assigned += wire_messages[type].name != NULL;
	cr_assert_eq(rows, assigned);
	cr_assert_eq(rows, ARRAY_SIZE(expected));
}

/* --- the small ones ----------------------------------------------------------------------------------------------- */

Test(messages, probes_are_read_as_they_were_written)
{
	uint8_t payload[WIRE_PROBE_SIZE];
	static const uint8_t pong[WIRE_PROBE_SIZE] = {2, 1, 2, 3, 4, 5, 6, 7, 8};
	struct wire_probe probe;
	wire_probe_write(payload, WIRE_PONG, 0x0102030405060708);
	cr_assert_arr_eq(payload, pong, sizeof pong);
	cr_assert(wire_probe_read(&probe, payload, sizeof payload));
	cr_assert(probe.kind == WIRE_PONG && probe.nonce == 0x0102030405060708);
	cr_assert_not(wire_probe_read(&probe, payload, 0), "an empty KEEPALIVE");
}

Test(messages, a_reset_is_about_one_session)
{
	struct reset_secret secret;
	uint8_t key[KEY_SIZE] = {1}, message[WIRE_RESET_SIZE], token[WIRE_RESET_TOKEN_SIZE];
	reset_secret_init(&secret, key);
	reset_write(message, &secret, 0x01020304);
	reset_token(&secret, 0x01020304, token);
	cr_assert_eq(reason(WIRE_SIDE_CLIENT, message[0], sizeof message), DROP_NONE);
	cr_assert(wire_reset_matches(message, 0x01020304, token));
	cr_assert_not(wire_reset_matches(message, 0x01020305, token));
	token[WIRE_RESET_TOKEN_SIZE - 1] ^= 1;
	cr_assert_not(wire_reset_matches(message, 0x01020304, token));
}
