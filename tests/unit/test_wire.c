// SPDX-License-Identifier: Apache-2.0
#include "core/protocol/messages.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct wire_welcome sample_welcome(void)
{
	struct wire_welcome welcome = {
		.session_id = 0x01020304,
		.suite = 2,
		.epoch = 15,
		.mtu = 1420,
		.keepalive = 25,
		.back_off = 3,
		.rekey_interval = 120,
		.session_timeout = 7200,
	};
	cr_assert(ip_prefix_parse("10.8.0.7/16", &welcome.address4));
	cr_assert(ip_prefix_parse("fd00:8::7/64", &welcome.address6));
	cr_assert(ip_address_parse("10.8.0.1", &welcome.gateway4));
	cr_assert(ip_address_parse("fd00:8::1", &welcome.gateway6));
	welcome.dns_count = 2;
	cr_assert(ip_address_parse("10.8.0.53", &welcome.dns[0]));
	cr_assert(ip_address_parse("fd00:8::53", &welcome.dns[1]));
	welcome.route_count = 2;
	cr_assert(ip_prefix_parse("192.168.7.0/24", &welcome.routes[0]));
	cr_assert(ip_prefix_parse("2001:db8:7::/48", &welcome.routes[1]));
	return welcome;
}

Test(wire, welcome_survives_a_round_trip)
{
	struct wire_welcome welcome = sample_welcome(), decoded;
	uint8_t payload[WIRE_WELCOME_PAYLOAD_MAX], again[WIRE_WELCOME_PAYLOAD_MAX];
	size_t length = wire_welcome_encode(payload, &welcome);
	cr_assert(length == WIRE_WELCOME_PAYLOAD_MIN + 5 + 17 + 6 + 18);
	cr_assert(wire_welcome_decode(&decoded, payload, length));
	cr_assert(wire_welcome_encode(again, &decoded) == length);
	cr_assert(memcmp(payload, again, length) == 0);
	cr_assert(ip_address_equal(&decoded.dns[1], &welcome.dns[1]));
	cr_assert(decoded.routes[1].length == 48);
}

Test(wire, capabilities_follow_the_routes)
{
	struct wire_welcome welcome = sample_welcome(), decoded;
	uint8_t payload[WIRE_WELCOME_PAYLOAD_MAX] = {0};
	size_t without = wire_welcome_encode(payload, &welcome);
	cr_assert(wire_welcome_decode(&decoded, payload, without));
	cr_assert_eq(decoded.capabilities, 0);
	welcome.capabilities = WIRE_TAKES_SPARSE | WIRE_MARKS_SPARSE;
	cr_assert_eq(wire_welcome_encode(payload, &welcome), without + 1);
	for (size_t further = 0; further < 3; further++) {
		cr_assert(wire_welcome_decode(&decoded, payload, without + 1 + further));
		cr_assert_eq(decoded.capabilities, 3);
	}
}

Test(wire, every_truncated_welcome_is_refused)
{
	struct wire_welcome welcome = sample_welcome(), decoded;
	uint8_t payload[WIRE_WELCOME_PAYLOAD_MAX];
	size_t length = wire_welcome_encode(payload, &welcome);
	for (size_t cut = 0; cut < length; cut++) {
		uint8_t *exact = malloc(cut + 1); /* so that the sanitizer sees a read past the end */
		memcpy(exact, payload, cut);
		cr_expect(!wire_welcome_decode(&decoded, exact, cut), "cut to %zu", cut);
		free(exact);
	}
	cr_assert(wire_welcome_decode(&decoded, payload, length));
	payload[length] = 0xff;
	cr_assert(wire_welcome_decode(&decoded, payload, length + 1), "what follows the last route is ignored");
}

Test(wire, welcome_fields_out_of_range_are_refused)
{
	static const struct {
		const char *what;
		size_t offset;
		uint8_t value;
	} table[] = {
		{"epoch 0", 5, 0},
		{"epoch 16", 5, 16},
		{"MTU 396", 6, 0x01},
		{"IPv4 prefix 33", 40, 33},
		{"IPv6 prefix 129", 61, 129},
		{"more DNS servers than there are", 78, 40},
		{"more routes than there are", 79, 40},
		{"DNS of family 5", 80, 5},
		{"route of family 0", 102, 0},
		{"IPv4 route of length 33", 103, 33},
	};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct wire_welcome welcome = sample_welcome(), decoded;
		uint8_t payload[WIRE_WELCOME_PAYLOAD_MAX] = {0};
		size_t length = wire_welcome_encode(payload, &welcome);
		payload[table[i].offset] = table[i].value;
		cr_expect(!wire_welcome_decode(&decoded, payload, length), "%s", table[i].what);
	}
	struct wire_welcome welcome = sample_welcome(), decoded;
	uint8_t payload[WIRE_WELCOME_PAYLOAD_MAX];
	welcome.session_id = 0;
	cr_expect(!wire_welcome_decode(&decoded, payload, wire_welcome_encode(payload, &welcome)), "session ID 0");
	welcome = sample_welcome();
	welcome.address4.address.family = welcome.address6.address.family = 0;
	cr_expect(!wire_welcome_decode(&decoded, payload, wire_welcome_encode(payload, &welcome)), "no address");
}

Test(wire, random_welcomes_never_read_outside)
{
	struct wire_welcome decoded;
	srandom(7);
	for (int round = 0; round < 20000; round++) {
		size_t length = (size_t)random() % WIRE_WELCOME_PAYLOAD_MAX;
		uint8_t *payload = malloc(length + 1);
		for (size_t i = 0; i < length; i++)
			payload[i] = (uint8_t)(random() % 8); /* small numbers reach deeper than noise */
		if (length > 7) {
			payload[6] = 5;
			payload[5] = 1;
		}
		if (wire_welcome_decode(&decoded, payload, length)) {
			cr_assert(decoded.dns_count <= WIRE_DNS_MAX);
			cr_assert(decoded.route_count <= WIRE_ROUTES_MAX);
		}
		free(payload);
	}
}

Test(wire, welcome_that_does_not_fit_is_not_cut)
{
	struct wire_welcome welcome = sample_welcome();
	uint8_t payload[WIRE_WELCOME_PAYLOAD_MAX];
	welcome.dns_count = WIRE_DNS_MAX;
	for (unsigned i = 0; i < WIRE_DNS_MAX; i++)
		welcome.dns[i] = welcome.gateway6;
	welcome.route_count = WIRE_ROUTES_MAX;
	for (unsigned i = 0; i < WIRE_ROUTES_MAX; i++)
		welcome.routes[i] = (struct ip_prefix){.address = welcome.gateway6, .length = 128};
	size_t length = wire_welcome_encode(payload, &welcome);
	cr_assert(length == WIRE_WELCOME_PAYLOAD_MIN + WIRE_DNS_MAX * 17 + WIRE_ROUTES_MAX * 18,
		  "the limits fit together");
	welcome.route_count = WIRE_ROUTES_MAX + 1;
	cr_assert(wire_welcome_encode(payload, &welcome) == 0);
}

Test(wire, hello_survives_a_round_trip)
{
	struct wire_hello hello = {.challenge = "0123456789abcdef", .suites = {2, 1}, .mtu = 1380, .capabilities = 3};
	struct wire_hello decoded;
	uint8_t payload[WIRE_HELLO_PAYLOAD_SIZE];
	wire_timestamp(hello.timestamp, 1700000000500000000);
	cr_assert(ip_address_parse("10.8.0.7", &hello.wish4));
	cr_assert(ip_address_parse("fd00:8::7", &hello.wish6));
	wire_hello_encode(payload, &hello);
	cr_assert(memcmp(payload + 12, "0123456789abcdef", WIRE_CHALLENGE_SIZE) == 0, "where the document says");
	cr_assert_eq(payload[58], 3, "where the document says");
	wire_hello_decode(&decoded, payload);
	cr_assert_eq(decoded.capabilities, 3);
	cr_assert(memcmp(decoded.timestamp, hello.timestamp, sizeof hello.timestamp) == 0);
	cr_assert(memcmp(decoded.challenge, hello.challenge, sizeof hello.challenge) == 0);
	cr_assert(memcmp(decoded.suites, hello.suites, sizeof hello.suites) == 0);
	cr_assert(decoded.mtu == hello.mtu);
	cr_assert(ip_address_equal(&decoded.wish4, &hello.wish4));
	cr_assert(ip_address_equal(&decoded.wish6, &hello.wish6));
}

Test(wire, timestamps_order_as_bytes)
{
	uint8_t earlier[WIRE_TIMESTAMP_SIZE], later[WIRE_TIMESTAMP_SIZE];
	static const uint64_t times[] = {
		0, 1, 999999999, 1000000000, 1700000000500000000, 1700000000500000001, 4291747200000000000};
	for (size_t i = 1; i < ARRAY_SIZE(times); i++) {
		wire_timestamp(earlier, times[i - 1]);
		wire_timestamp(later, times[i]);
		cr_expect(memcmp(earlier, later, sizeof later) < 0, "%zu", i);
	}
}

Test(wire, epochs_cycle_without_zero)
{
	unsigned epoch = 1;
	for (unsigned step = 1; step <= 40; step++) {
		epoch = wire_next_epoch(epoch);
		cr_assert(epoch == step % 15 + 1);
	}
}

Test(wire, bye_reasons_have_texts)
{
	cr_assert(strcmp(wire_bye_text(WIRE_BYE_REPLACED), "replaced by a newer session") == 0);
	cr_assert(strcmp(wire_bye_text(255), "unknown reason") == 0);
}
